"""A process that serves (`serving.Serving`) as what its endpoints tell of it."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from threading import Event

from reconciler.apply.worker import Worker
from reconciler.drivers.breaker import BreakerState
from reconciler.server.health import Pulse
from reconciler.serving import Serving
from reconciler.store.engine import Store
from reconciler.wiring import VERSION

LOOP_PERIOD_S = 300.0
"""How long the loop may take over one repository, fetching and planning included: a third of what makes it count as standing still."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """`health.State` of these parts; `stop` is set when it is told to stop."""

    parts: Serving
    stop: Event
    version: str = VERSION

    @property
    def role(self) -> str:
        """`serve` or `worker`."""
        return self.parts.worker.terms.role

    @property
    def store(self) -> Store:
        """Its database."""
        return self.parts.installation.store

    @property
    def worker(self) -> Worker:
        """What takes steps in it."""
        return self.parts.worker

    @property
    def stopping(self) -> bool:
        """Whether it was told to stop."""
        return self.stop.is_set()

    def pulses(self) -> Iterable[Pulse]:
        """The loop, if it follows repositories, and what plugins do beside it."""
        now, loop = time.monotonic(), self.parts.loop
        if loop is not None:
            yield Pulse(name="loop", age_s=now - loop.moved_at, period_s=LOOP_PERIOD_S)
        for part in self.parts.parts:
            if part.moved_at is not None:
                yield Pulse(name=part.name, age_s=now - part.moved_at(), period_s=part.pulse_s)

    def breakers(self) -> Iterable[BreakerState]:
        """Those of every driver."""
        return [state for driver in self.parts.installation.drivers.values() for state in driver.states().values()]
