"""What a driver's call tells of tasks, on its way into the database: neither waits for the other.

In: `PlayTold`, from the thread that hears a playbook run. Out: entries in the journal, written by a thread of its own as long as the attempt lasts. While the
database is slow, results that do not fit are let go of and counted; totals never are.
"""

from collections import Counter, deque
from dataclasses import asdict
from threading import Condition, Thread

from reconciler.apply.journal import Journal
from reconciler.errors import OctofleetError
from reconciler.events import happened
from reconciler.store.journal import Did, Lease
from reconciler.types.task import PlayTold

MOST_WAITING = 20_000
"""Results that wait to be written, for one attempt."""


class Telling:
    """For one attempt; it costs nothing until something is told. `close` returns when all is written, or cannot be."""

    def __init__(self, journal: Journal, lease: Lease, most: int = MOST_WAITING) -> None:
        self._journal, self._lease, self._most = journal, lease, most
        self._waiting: deque[PlayTold] = deque()
        self._changed = Condition()
        self._results, self._lost, self._closed = 0, 0, False
        self._thread: Thread | None = None

    def tell(self, play: PlayTold) -> None:
        """Take it, or leave what does not fit; never waits."""
        if play.totals:
            happened("playbook-ended", run=self._lease.run, step=self._lease.step, seconds=play.seconds, **_counts(play))
        with self._changed:
            if not play.totals and self._results + len(play.tasks) > self._most:
                self._lost += len(play.tasks)
                return
            self._waiting.append(play)
            self._results += len(play.tasks)
            self._changed.notify_all()
        if self._thread is None:
            self._thread = Thread(target=self._write, name="tasks", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Nothing more comes. Says in the run's log what was let go of."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._thread is not None:
            self._thread.join()
        if self._lost:
            text = f"{self._lost} results of tasks were not kept, as the database did not take them in time; the totals count them"
            self._journal.say(self._lease, text)

    def _write(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if not self._waiting:
                    return
                play = self._waiting.popleft()
            try:
                self._journal.write(Did(lease=self._lease, play=play))
            except OctofleetError:  # the lease or the database is gone: the attempt finds out by itself
                self._lost += len(play.tasks)
            finally:
                with self._changed:
                    self._results -= len(play.tasks)


def _counts(play: PlayTold) -> dict[str, int]:
    """Results by how they ended, over all hosts."""
    found = Counter[str]()
    for total in play.totals:
        found.update(asdict(total.counted))
    return {status: number for status, number in found.items() if number}
