"""The files of a whole tree parsed, on all cores where it pays: below `WORTH_IT` unknown files a pool costs more than it saves.

Workers get bytes and give bytes; they touch neither the repository nor the index. They are started anew (not forked: the process may have threads).
"""

import os
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import TYPE_CHECKING

from reconciler.desired.contribution import Contract, Reader, SourceFile
from reconciler.desired.manifest import parse
from reconciler.desired.packed import pack_parsed
from reconciler.stages import count

if TYPE_CHECKING:
    from concurrent.futures import Future

WORTH_IT = 20_000
BATCH = 250
AHEAD = 3
"""Batches that are under way for each worker."""


def parse_all(reader: Reader, files: Sequence[SourceFile], cores: int | None = None) -> None:
    """Have the index know the parse of every file; within `Index.writing`. `cores`: how many to use, all that this process may if None."""
    unknown = {file.blob: file for file in files if file.problem is None and not reader.index.knows(file.blob_id)}
    cores = len(os.sched_getaffinity(0)) if cores is None else cores
    parsed = _here(reader, unknown.values()) if cores < 2 or len(unknown) < WORTH_IT else _spread(reader, unknown.values(), cores)
    for part in parsed:
        reader.index.remember(part)


Parsed = list[tuple[bytes, bytes]]
"""Blob ids with their packed parse."""


def _here(reader: Reader, files: Iterable[SourceFile]) -> Iterator[Parsed]:
    for part in _batches(files):
        yield [(file.blob_id, reader.packed(file.path, reader.blob(file.blob))) for file in part]


def _spread(reader: Reader, files: Iterable[SourceFile], cores: int) -> Iterator[Parsed]:
    from concurrent.futures import ProcessPoolExecutor  # noqa: PLC0415 - only for a large build
    from multiprocessing import get_context  # noqa: PLC0415

    waiting: deque[tuple[list[SourceFile], Future[tuple[list[bytes], int]]]] = deque()
    contract = reader.contract
    with ProcessPoolExecutor(cores, mp_context=get_context("spawn"), initializer=_begin, initargs=(dict(contract.kinds),)) as pool:
        for part in _batches(files):
            waiting.append((part, pool.submit(_work, [(file.path, reader.blob(file.blob)) for file in part])))
            if len(waiting) > AHEAD * cores:
                yield _ended(*waiting.popleft())
        while waiting:
            yield _ended(*waiting.popleft())


def _ended(part: Sequence[SourceFile], found: "Future[tuple[list[bytes], int]]") -> Parsed:
    bodies, documents = found.result()
    count("documents_parsed", documents)
    return list(zip((file.blob_id for file in part), bodies, strict=True))


_contract: list[Contract] = []
"""In a worker: what to parse by."""


def _begin(kinds: Mapping[str, str | None]) -> None:
    import gc  # noqa: PLC0415 - in a worker

    from reconciler.desired.check import Checker  # noqa: PLC0415

    gc.set_threshold(100_000, 50, 100)
    _contract.append(Contract(kinds=kinds, check=Checker(read=True), rules={}))


def _work(files: Sequence[tuple[str, bytes]]) -> tuple[list[bytes], int]:
    """The packed parse of each file, and how many documents there were."""
    contract = _contract[0]
    parsed = [parse(path, data, contract.kinds, contract.check) for path, data in files]
    return [pack_parsed(item) for item in parsed], sum(len(item.manifests) + len(item.unknown) for item in parsed)


def _batches(files: Iterable[SourceFile]) -> Iterator[list[SourceFile]]:
    left = iter(files)
    while part := list(islice(left, BATCH)):
        yield part
