"""Group commit: what many threads have to write goes into one transaction, and each goes on when it is durable.

There is no thread for it: whoever finds nobody writing writes for all that wait. While the database cannot be reached everybody waits; what they
would write stays valid as long as nobody has taken their leases away.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock

from reconciler.errors import OctofleetError
from reconciler.store.engine import Store, Unavailable
from reconciler.store.journal import Entry, Lease, Said, write

MOST_AT_ONCE = 500
PAUSE_S = 0.5


class Fenced(OctofleetError):
    """The lease was taken away: another worker may be at the step by now, and this one has to let go of it."""


class Halted(OctofleetError):
    """The step was not begun, because its run is paused or being cancelled: `code` says which."""


NOT_WRITTEN = Unavailable("it was not written", code="store-unavailable")
"""Stands until the contrary is known, so that nobody takes for durable what another thread failed to write for him."""


@dataclass(slots=True)
class _Waiting:
    entry: Entry
    settled: Event = field(default_factory=Event)
    verdict: str = ""
    error: Exception | None = NOT_WRITTEN


class Journal:
    """The journal as the threads of one process write it. `stopped` says that it is no use to wait for the database any longer."""

    def __init__(self, store: Store, *, wait: Callable[[float], None] = time.sleep, stopped: Callable[[], bool] = lambda: False) -> None:
        self._store, self._sleep, self._stopped = store, wait, stopped
        self._waiting: list[_Waiting] = []
        self._lock, self._turn = Lock(), Lock()

    def write(self, entry: Entry) -> None:
        """Write one entry; it is durable when this returns. Raises `Fenced`, `Halted`, or `OctofleetError` if the database refuses."""
        mine = _Waiting(entry)
        with self._lock:
            self._waiting.append(mine)
        with self._turn:
            if not mine.settled.is_set():
                self._write_all()
        if mine.error is not None:
            raise mine.error
        if mine.verdict == "lost":
            raise Fenced(f"the lease of step {entry.lease.step} of run {entry.lease.run} was taken away", code="fenced")
        if mine.verdict:
            raise Halted(f"run {entry.lease.run} is {mine.verdict}", code=mine.verdict)

    def say(self, lease: Lease, text: str) -> None:
        """A line for the log; it is written with what is written next (`flush`)."""
        with self._lock:
            self._waiting.append(_Waiting(Said(lease=lease, text=text)))

    def flush(self) -> None:
        """Write the lines that nobody waits for."""
        with self._turn:
            self._write_all()

    def _write_all(self) -> None:
        while True:
            with self._lock:
                batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            if not batch:
                return
            try:
                self._settle(batch)
            finally:
                for item in batch:
                    item.settled.set()

    def _settle(self, batch: list[_Waiting]) -> None:
        """Write them together; if that is refused, each alone, so that one which cannot be written does not take the others with it."""
        try:
            verdicts = self._commit([item.entry for item in batch])
        except Exception as error:  # noqa: BLE001 - whose entry it was hears of it, in his own thread
            if len(batch) > 1 and not isinstance(error, Unavailable):
                for item in batch:
                    self._settle([item])
                return
            for item in batch:
                item.error = error
            return
        for item, verdict in zip(batch, verdicts, strict=True):
            item.verdict, item.error = verdict, None

    def _commit(self, entries: list[Entry]) -> list[str]:
        while True:
            try:
                with self._store.write(alone=False) as connection:
                    return write(connection, entries)
            except Unavailable:
                if self._stopped():
                    raise
                self._sleep(PAUSE_S)
