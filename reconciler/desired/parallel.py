"""The files of a whole tree parsed, on all cores where it pays: below `WORTH_IT` unknown files a pool costs more than it saves.

Workers get bytes and give bytes; they touch neither the repository nor the index. They are programs of their own: a fork would not be safe in a process
with threads, and multiprocessing would run the main program of whoever uses Octofleet as a library once more.
"""

import gc
import os
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from itertools import islice
from queue import SimpleQueue
from typing import IO, TYPE_CHECKING, Any, Self

import msgspec

from reconciler.desired.contribution import Reader, SourceFile
from reconciler.desired.manifest import parse
from reconciler.desired.packed import ONLY_HOSTS, pack_parsed
from reconciler.errors import RetryLater
from reconciler.stages import count

if TYPE_CHECKING:
    from concurrent.futures import Future

WORTH_IT = 20_000
BATCH = 250
AHEAD = 3
"""Batches that are under way for each worker."""


def parse_all(reader: Reader, files: Sequence[SourceFile], cores: int | None = None) -> list[SourceFile]:
    """Have the index know the parse of every file; within `Index.writing`. Gives those that hold anything but Hosts. `cores`: how many to use, all that
    this process may if None.
    """
    known = {blob: first == ONLY_HOSTS for blob, first in reader.index.known()}
    unknown = {file.blob: file for file in files if file.problem is None and file.blob_id not in known}
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    parsed = _here(reader, unknown.values()) if cores < 2 or len(unknown) < WORTH_IT else _spread(reader, unknown.values(), cores)
    for part in parsed:
        reader.index.remember(part)
        known.update((blob, body[0] == ONLY_HOSTS) for blob, body in part)
    return [file for file in files if not known.get(file.blob_id)]


Parsed = list[tuple[bytes, bytes]]
"""Blob ids with their packed parse."""


def _here(reader: Reader, files: Iterable[SourceFile]) -> Iterator[Parsed]:
    for part in _batches(files):
        yield [(file.blob_id, reader.packed(file.path, reader.blob(file.blob))) for file in part]


def _spread(reader: Reader, files: Iterable[SourceFile], cores: int) -> Iterator[Parsed]:
    from concurrent.futures import Future, ThreadPoolExecutor  # noqa: PLC0415 - only for a large build

    waiting: deque[tuple[list[SourceFile], Future[tuple[list[bytes], int]]]] = deque()
    with ExitStack() as stack:
        idle: SimpleQueue[_Worker] = SimpleQueue()
        for _ in range(cores):
            idle.put(stack.enter_context(_Worker(reader.contract.kinds)))
        pool = stack.enter_context(ThreadPoolExecutor(cores))

        def work(texts: list[tuple[str, bytes]]) -> tuple[list[bytes], int]:
            worker = idle.get()
            try:
                return worker.parse(texts)
            finally:
                idle.put(worker)

        for part in _batches(files):
            waiting.append((part, pool.submit(work, [(file.path, reader.blob(file.blob)) for file in part])))
            if len(waiting) > AHEAD * cores:
                yield _ended(*waiting.popleft())
        while waiting:
            yield _ended(*waiting.popleft())


def _ended(part: Sequence[SourceFile], found: "Future[tuple[list[bytes], int]]") -> Parsed:
    bodies, documents = found.result()
    count("documents_parsed", documents)
    return list(zip((file.blob_id for file in part), bodies, strict=True))


class _Worker:
    """A process that parses what it is sent. Messages are MessagePack behind their length in four bytes; the first one names the kinds."""

    def __init__(self, kinds: Mapping[str, str | None]) -> None:
        program = f"import sys; sys.path[:] = {sys.path!r}; from reconciler.desired.parallel import serve; serve()"
        self._process = subprocess.Popen(  # noqa: S603 - our own interpreter and program
            [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=True
        )
        assert self._process.stdin is not None and self._process.stdout is not None  # noqa: S101 - both are pipes
        self._in, self._out = self._process.stdin, self._process.stdout
        _send(self._in, dict(kinds))

    def parse(self, texts: Sequence[tuple[str, bytes]]) -> tuple[list[bytes], int]:
        """The packed parse of each file (path and bytes), and how many documents there were. Raises `RetryLater` if the process has died."""
        try:
            _send(self._in, texts)
            bodies, documents = _received(self._out)
        except (OSError, TypeError) as error:
            raise RetryLater("a process that parses files has died", hint="run the same command again", code="worker") from error
        return bodies, documents

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._in.close()
        self._out.close()
        self._process.wait()


def _send(stream: IO[bytes], message: object) -> None:
    body = msgspec.msgpack.encode(message)
    stream.write(len(body).to_bytes(4, "big") + body)
    stream.flush()


def _received(stream: IO[bytes]) -> Any:
    """The next message; None at the end."""
    size = stream.read(4)
    return msgspec.msgpack.decode(stream.read(int.from_bytes(size, "big"))) if len(size) == 4 else None


def serve() -> None:
    """What a worker does until its input ends."""
    from reconciler.desired.check import Checker  # noqa: PLC0415 - only in a worker

    gc.set_threshold(100_000, 50, 100)
    kinds, check = _received(sys.stdin.buffer), Checker(read=True)
    while (files := _received(sys.stdin.buffer)) is not None:
        parsed = [parse(path, data, kinds, check) for path, data in files]
        documents = sum(len(item.manifests) + len(item.unknown) for item in parsed)
        _send(sys.stdout.buffer, ([pack_parsed(item) for item in parsed], documents))


def _batches(files: Iterable[SourceFile]) -> Iterator[list[SourceFile]]:
    left = iter(files)
    while part := list(islice(left, BATCH)):
        yield part
