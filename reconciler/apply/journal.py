"""Group commit: what many threads have to write goes into one transaction, and each goes on when it is durable.

There is no thread for it: whoever finds nobody writing writes for all that wait. While the database cannot be reached everybody waits; what they
would write stays valid as long as nobody has taken their leases away.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Event, Lock

from reconciler.errors import OctofleetError
from reconciler.events import happened, held
from reconciler.store.engine import Store, Unavailable
from reconciler.store.journal import Entry, Lease, Said, write

MOST_AT_ONCE = 500
PAUSE_S = 0.5


class Fenced(OctofleetError):
    """The lease was taken away: another worker may be at the step by now, and this one has to let go of it."""


class Halted(OctofleetError):
    """The step was not begun, because its run is paused or being cancelled: `code` says which."""


@dataclass(slots=True)
class _Waiting:
    entry: Entry
    settled: Event = field(default_factory=Event)
    verdict: str = ""
    error: OctofleetError | None = None


class Journal:
    """The journal as the threads of one process write it. `stopped` says that it is no use to wait for the database any longer; `away` hears that
    it does not answer."""

    def __init__(
        self,
        store: Store,
        *,
        wait: Callable[[float], None] = time.sleep,
        stopped: Callable[[], bool] = lambda: False,
        away: Callable[[OctofleetError], None] = lambda error: None,
    ) -> None:
        self._away = away
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
                verdicts = self._commit([item.entry for item in batch])
                for item, verdict in zip(batch, verdicts, strict=True):
                    item.verdict = verdict
            except OctofleetError as error:
                for item in batch:
                    item.error = error
            finally:
                for item in batch:
                    item.settled.set()

    def _commit(self, entries: list[Entry]) -> list[str]:
        while True:
            try:
                began = time.monotonic()
                with held(), self._store.write(alone=False) as connection:
                    verdicts = write(connection, entries)
                happened("journal-committed", entries=len(entries), seconds=time.monotonic() - began)
                return verdicts
            except Unavailable as error:
                self._away(error)
                if self._stopped():
                    raise
                self._sleep(PAUSE_S)
