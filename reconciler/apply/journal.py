"""Group commit: what many threads have to write goes into one transaction, and each goes on when it is durable.

There is no thread for it: whoever finds nobody writing writes for all that wait. While the database cannot be reached everybody waits; what they
would write stays valid as long as nobody has taken their leases away.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock

from reconciler.errors import OctofleetError
from reconciler.events import happened, held
from reconciler.store.engine import Store, Unavailable
from reconciler.store.gates import KnownGates
from reconciler.store.journal import Entry, Lease, Said, write

MOST_AT_ONCE = 500
PAUSE_S = 0.5
GATHER_S = 0.001
MOST_GATHERED = 10
"""Whoever writes waits so long for more to write, and so many times if more has come."""


class Fenced(OctofleetError):
    """The lease was taken away: another worker may be at the step by now, and this one has to let go of it."""


class Halted(OctofleetError):
    """The step was not begun, because its run is paused or being cancelled: `code` says which."""


NOT_WRITTEN = Unavailable("it was not written", hint="run the same command again")
"""Stands until the contrary is known, so that nobody takes for durable what another thread failed to write for him."""


@dataclass(slots=True)
class _Waiting:
    """`turn`: a thread waits for this lock, which is released when the entry is settled, or when it is that thread's turn to write; None: nobody waits."""

    entry: Entry
    turn: "Lock | None"
    settled: bool = False
    verdict: str = ""
    error: Exception | None = NOT_WRITTEN


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
        lock: Callable[[], Lock] = Lock,
    ) -> None:
        self._away, self._new_lock = away, lock
        self._store, self._sleep, self._stopped = store, wait, stopped
        self._waiting: list[_Waiting] = []
        self._lock, self._writing, self._gates = Lock(), False, KnownGates()

    def write(self, entry: Entry) -> None:
        """Write one entry; it is durable when this returns. Raises `Fenced`, `Halted`, or `OctofleetError` if the database refuses."""
        turn = self._new_lock()
        turn.acquire()
        mine = _Waiting(entry, turn)
        with self._lock:
            self._waiting.append(mine)
            my_turn, self._writing = not self._writing, True
        while not mine.settled:
            if my_turn:
                self._write_waiting()
            if not mine.settled:
                turn.acquire()
                my_turn = not mine.settled
        if mine.error is not None:
            raise mine.error
        if mine.verdict == "lost":
            raise Fenced(f"the lease of step {entry.lease.step} of run {entry.lease.run} was taken away", code="fenced")
        if mine.verdict:
            raise Halted(f"run {entry.lease.run} is {mine.verdict}", code=mine.verdict)

    def say(self, lease: Lease, text: str) -> None:
        """A line for the log; it is written with what is written next (`flush`)."""
        with self._lock:
            self._waiting.append(_Waiting(Said(lease=lease, text=text), None))

    def flush(self) -> None:
        """Write the lines that nobody waits for."""
        with self._lock:
            if self._writing or not self._waiting:
                return
            self._writing = True
        self._write_waiting()

    def _write_waiting(self) -> None:
        """Write what waits, and pass the turn on to the thread that waits longest."""
        try:
            self._gather()
            with self._lock:
                batch, self._waiting = self._waiting[:MOST_AT_ONCE], self._waiting[MOST_AT_ONCE:]
            try:
                self._settle(batch)
            finally:
                for item in batch:
                    item.settled = True
                    if item.turn is not None:
                        item.turn.release()
        finally:
            with self._lock:
                heir = next((item.turn for item in self._waiting if item.turn is not None), None)
                self._writing = heir is not None
            if heir is not None:
                heir.release()

    def _gather(self) -> None:
        """Wait for more to write, as long as more comes."""
        for _ in range(MOST_GATHERED):
            before = len(self._waiting)
            self._sleep(GATHER_S)
            if len(self._waiting) == before:
                return

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
                began = time.monotonic()
                with held(), self._store.write(alone=False) as connection:
                    verdicts = write(connection, entries, self._gates)
                happened("journal-committed", entries=len(entries), seconds=time.monotonic() - began)
                return verdicts
            except Unavailable as error:
                self._away(error)
                if self._stopped():
                    raise
                self._sleep(PAUSE_S)
