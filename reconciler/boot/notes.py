"""What the boot server writes down: many short notes in one transaction, in a thread of its own.

A claim, an answer file that was handed out, and what an installer says are durable before the machine is answered; what a machine was told to boot is not
waited for, and the latest of each host is kept.
"""

from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, TypeVar

from reconciler.errors import OctofleetError
from reconciler.store import installs
from reconciler.store.engine import Connection, Store

T = TypeVar("T")
MOST = 500
TICK_S = 0.5
Seen = tuple[str, str, float, str, str, str, str]


class Notes:
    """`refreshed` is called after each transaction, and every half second."""

    def __init__(self, store: Store, refreshed: Callable[[], None]) -> None:
        self._store, self._refreshed = store, refreshed
        self._queue: SimpleQueue[tuple[Callable[[Connection], Any], Future[Any]]] = SimpleQueue()
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

    def write(self, note: Callable[[Connection], T]) -> "Future[T]":
        """What a note gives, once it is durable."""
        future: Future[T] = Future()
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
                for _, future in batch:
                    future.set_exception(error)
                self._end.wait(TICK_S)
                continue
            for (_, future), result in zip(batch, results, strict=True):
                future.set_result(result)

    def _written(self, notes: list[Callable[[Connection], Any]], seen: list[Seen]) -> list[Any]:
        with self._store.write() as connection:
            results = [note(connection) for note in notes]
            installs.save_seen(connection, seen)
        return results

    def _taken(self) -> list[tuple[Callable[[Connection], Any], "Future[Any]"]]:
        batch: list[tuple[Callable[[Connection], Any], Future[Any]]] = []
        try:
            batch.append(self._queue.get(timeout=TICK_S))
            while len(batch) < MOST:
                batch.append(self._queue.get_nowait())
        except Empty:
            pass
        return batch
