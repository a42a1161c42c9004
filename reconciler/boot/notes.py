"""What the boot server writes down: many short notes in one transaction, in a thread of its own.

A claim, an answer file that was handed out, and what an installer says are durable before the machine is answered; what a machine was told to boot is not
waited for, and the latest of each host is kept. A note that fails fails alone, and never ends the thread.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event, Thread
from typing import Any, TypeVar

from reconciler.errors import OctofleetError
from reconciler.server.refused import unforeseen
from reconciler.store import installs
from reconciler.store.connection import Unavailable
from reconciler.store.engine import Connection, Store

T = TypeVar("T")
MOST = 500
TICK_S = 0.5
Seen = tuple[str, str, float, str, str, str, str]
Note = Callable[[Connection], Any]
End = tuple[Any, Exception | None]
"""What a note gave, or why it failed."""
Waiting = tuple[Note | None, asyncio.Future[Any] | None]


class Notes:
    """`refreshed` is called after each transaction, and every half second."""

    def __init__(self, store: Store, refreshed: Callable[[], None]) -> None:
        self._store, self._refreshed = store, refreshed
        self._queue: SimpleQueue[Waiting] = SimpleQueue()
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
        return self._put(note)

    def fresh(self) -> Awaitable[None]:
        """Done once all that was written before, by whichever process, has been read. Whoever asks at the same time shares one look at the database."""
        return self._put(None)

    def later(self, note: Note) -> None:
        """Nobody waits for this one."""
        self._queue.put((note, None))

    def _put(self, note: Note | None) -> Awaitable[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._queue.put((note, future))
        return future

    def seen(self, row: Seen) -> None:
        """What a known machine was told to boot."""
        self._seen[row[0], row[1]] = row

    def _work(self) -> None:
        while not self._end.is_set() or not self._queue.empty():
            batch = self._taken()
            seen, self._seen = self._seen, {}
            ends = self._ended([note for note, _ in batch], list(seen.values()))
            failed = self._failed()
            _tell(
                [
                    (future, (result, error or failed))
                    for (_, future), (result, error) in zip(batch, ends, strict=True)
                    if future is not None
                ]
            )
            if failed:
                self._end.wait(TICK_S)

    def _failed(self) -> Exception | None:
        """Why what was written cannot be read."""
        try:
            self._refreshed()
        except Exception as error:  # noqa: BLE001 - the thread goes on
            return _told(error)
        return None

    def _ended(self, notes: list[Note | None], seen: list[Seen]) -> list[End]:
        """What each note gives, or why it failed. If one does, each is written alone."""
        try:
            return [(result, None) for result in self._written(notes, seen)]
        except Unavailable as error:
            return [(None, error if note else None) for note in notes]
        except Exception as error:  # noqa: BLE001 - whoever waits for the note is told
            if len(notes) + bool(seen) < 2:
                return [(None, _told(error)) for _ in notes]
            self._ended([], seen)
            return [end for note in notes for end in self._ended([note], [])]

    def _written(self, notes: list[Note | None], seen: list[Seen]) -> list[Any]:
        if not seen and not any(notes):
            return [None] * len(notes)
        with self._store.write() as connection:
            results = [note(connection) if note else None for note in notes]
            installs.save_seen(connection, seen)
        return results

    def _taken(self) -> list[Waiting]:
        batch: list[Waiting] = []
        try:
            batch.append(self._queue.get(timeout=TICK_S))
            while len(batch) < MOST:
                batch.append(self._queue.get_nowait())
        except Empty:
            pass
        return batch


def _told(error: Exception) -> Exception:
    """What nobody foresaw is told to the log."""
    if not isinstance(error, OctofleetError):
        unforeseen("boot notes", error)
    return error


def _tell(ends: Sequence[tuple[asyncio.Future[Any], End]]) -> None:
    """Each event loop is woken once for all that it waits for. Whoever does not wait any more, or has no loop any more, is not told."""
    of = defaultdict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], End]]](list)
    for future, end in ends:
        of[future.get_loop()].append((future, end))
    for loop, some in of.items():
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(_settle, some)


def _settle(ends: Sequence[tuple[asyncio.Future[Any], End]]) -> None:
    for future, (result, error) in ends:
        if future.done():
            continue
        if error is not None:
            future.set_exception(error)
        else:
            future.set_result(result)
