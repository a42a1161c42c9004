"""What people see of the work: an attempt as a span, ids on its log lines and one event at its end; and whether the database answers.

Decides nothing, and may be left out of everything that decides.
"""

import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Lock
from typing import Any

from reconciler.apply.journal import Fenced
from reconciler.errors import OctofleetError
from reconciler.events import AGAIN_S, happened
from reconciler.logs import bound
from reconciler.stages import stage
from reconciler.store.engine import Unavailable
from reconciler.store.journal import Lease
from reconciler.store.runs import JournalStep
from reconciler.types.outcome import Outcome

RECORD = "record"
"""Stands for the driver of steps that change the record alone."""


class Watched:
    """One attempt at a step by a worker."""

    def __init__(self, lease: Lease, step: JournalStep, worker: str) -> None:
        self._lease, self._step, self._worker = lease, step, worker
        self._statuses: Counter[str] = Counter()
        self._said: dict[str, Any] = {"result": "ended"}

    @contextmanager
    def going(self) -> Iterator["Watched"]:
        """While the attempt goes on, in its thread. At the end: `attempt-ended`, with what became of it."""
        step, lease = self._step, self._lease
        ids = {"run": lease.run, "step": lease.step, "driver": step.driver or RECORD, "worker": self._worker}
        about: dict[str, object] = ids | {"tenant": step.tenant, "wave": step.wave, "fence": lease.fence}
        began, began_at = time.monotonic(), time.time()
        with bound(**ids), stage("attempt", about):
            try:
                yield self
            except Fenced:
                happened("lease-lost", **ids)
                self._said = {"result": "lost"}
                raise
            except Unavailable as error:
                happened("step-let-go", **ids, error=error.message)
                self._said = {"result": "let-go", "error": error.message}
                raise
            except Exception as error:
                text = error.message if isinstance(error, OctofleetError) else type(error).__name__
                self._said = {"result": "given-up", "error": text}
                raise
            finally:
                now = time.monotonic()
                whole = (
                    {"step_s": now - began + max(0.0, began_at - (step.started_at or began_at))} if self._said["result"] == "ended" else {}
                )
                told = {"seconds": now - began} | whole | self._said | dict(self._statuses)
                about |= self._said
                happened("attempt-ended", **ids, tenant=step.tenant, **_short(told))

    def ended(self, address: str, action: str, outcome: Outcome) -> None:
        """A change of the step ended."""
        self._statuses[outcome.status.value] += 1
        if outcome.error:
            self._said.setdefault("error", outcome.error)
        driver = self._step.driver or RECORD
        happened("change-ended", driver=driver, address=address, action=action, status=outcome.status.value, error=outcome.error)

    def freed(self, result: str, after_s: float, note: str) -> None:
        """The step was given back, to be taken again then."""
        self._said |= {"result": result, "again_s": after_s} | ({"note": note} if note else {})


def _short(fields: dict[str, Any]) -> dict[str, Any]:
    return {key: round(value, 3) if isinstance(value, float) else value for key, value in fields.items()}


class Reach:
    """Whether the database answers, as this process found last; tells when that changes, and once a minute while it does not. Safe for threads."""

    def __init__(self) -> None:
        self.away_since: float | None = None
        self._told_at = 0.0
        self._lock = Lock()

    def away(self, error: OctofleetError) -> None:
        """It did not answer."""
        now = time.time()
        with self._lock:
            new, since = self.away_since is None, self.away_since or now
            again = not new and not 0 <= now - self._told_at < AGAIN_S
            self.away_since, self._told_at = since, now if new or again else self._told_at
        if new:
            happened("database-away", error=error.message)
        elif again:
            happened("database-still-away", error=error.message, away_s=round(now - since, 3))

    def back(self) -> None:
        """It answered."""
        if self.away_since is None:
            return
        with self._lock:
            since, self.away_since = self.away_since, None
        if since is not None:
            happened("database-back", away_s=round(time.time() - since, 3))
