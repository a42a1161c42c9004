"""What the boot server writes down: many short notes in one transaction, in a thread of its own.

A claim, an answer file that was handed out, and what an installer says are durable before the machine is answered; what a machine was told to boot is not
waited for, and the latest of each host is kept.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, TypeVar

from reconciler.errors import OctofleetError
from reconciler.store import installs
from reconciler.store.engine import Connection, Store

T = TypeVar("T")
MOST = 500
TICK_S = 0.5
Note = tuple[Callable[[Connection], Any], asyncio.Future[Any]]
Seen = tuple[str, str, float, str, str, str, str]


class Notes:
    """`refreshed` is called after each transaction, and every half second."""

    def __init__(self, store: Store, refreshed: Callable[[], None]) -> None:
        self._store, self._refreshed = store, refreshed
        self._queue: SimpleQueue[Note] = SimpleQueue()
        self._seen: dict[tuple[str, str], Seen] = {}
        self._thread = Thread(target=self._work, name="boot-notes", daemon=True)
        self._end = Event()

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def close(self) -> None:
        """Write what is left, and end."""
        self._end.set()
        self._thread.join(5)

    def write(self, note: Callable[[Connection], T]) -> Awaitable[T]:
        """What a note gives, once it is durable; for the event loop that asks."""
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._queue.put((note, future))
        return future

    def seen(self, row: Seen) -> None:
        """What a known machine was told to boot."""
        self._seen[row[0], row[1]] = row

    def _work(self) -> None:
        while not self._end.is_set() or not self._queue.empty():
            batch = self._taken()
            seen, self._seen = self._seen, {}
            try:
                results = self._written([note for note, _ in batch], list(seen.values())) if batch or seen else []
                self._refreshed()
            except OctofleetError as error:
                _tell([(future, error) for _, future in batch])
                self._end.wait(TICK_S)
                continue
            _tell([(future, result) for (_, future), result in zip(batch, results, strict=True)])

    def _written(self, notes: list[Callable[[Connection], Any]], seen: list[Seen]) -> list[Any]:
        with self._store.write() as connection:
            results = [note(connection) for note in notes]
            installs.save_seen(connection, seen)
        return results

    def _taken(self) -> list[Note]:
        batch: list[Note] = []
        try:
            batch.append(self._queue.get(timeout=TICK_S))
            while len(batch) < MOST:
                batch.append(self._queue.get_nowait())
        except Empty:
            pass
        return batch


def _tell(results: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    """Each event loop is woken once for all that it waits for. Whoever does not wait any more, or has no loop any more, is not told."""
    of = defaultdict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]](list)
    for future, result in results:
        of[future.get_loop()].append((future, result))
    for loop, some in of.items():
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, some)


def _settle(results: Sequence[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in results:
        if future.done():
            continue
        if isinstance(result, OctofleetError):
            future.set_exception(result)
        else:
            future.set_result(result)
