"""Whether this process does its work, and whether it can serve now. In: what it is. Out: reasons why not, none if all is well.

The two differ: a database that is away is no reason to restart a process that waits for it, so it counts for `unready` alone.
"""

import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Protocol

from reconciler.apply.worker import Worker
from reconciler.drivers.breaker import BreakerState
from reconciler.errors import OctofleetError
from reconciler.store.engine import HEAD, Store

PERIODS = 3
"""A thread that has not moved for so many of its periods stands still."""
WORK_PERIOD_S = 10.0
"""How long a worker may take over taking steps: the database may keep it waiting for a while."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pulse:
    """A thread that has to move: how long ago it last did, and how often it should, in seconds."""

    name: str
    age_s: float
    period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why something is not well: a stable code, and what that is for a person."""

    code: str
    text: str


class State(Protocol):
    """What a process is. `worker` is None if it takes no steps; `stopping` as soon as it is asked to end."""

    @property
    def role(self) -> str:
        """Such as `serve` or `worker`."""

    @property
    def version(self) -> str:
        """Octofleet's."""

    @property
    def store(self) -> Store:
        """Its database. May raise `OctofleetError` if it cannot be opened; asked in a thread that may wait."""

    @property
    def worker(self) -> Worker | None:
        """What takes steps in this process."""

    @property
    def stopping(self) -> bool:
        """Whether it is on its way to its end."""

    def pulses(self) -> Iterable[Pulse]:
        """Its threads besides the worker's, such as the loop."""

    def breakers(self) -> Iterable[BreakerState]:
        """How it stands to each provider that it called."""


def document(state: State, reasons: list[Reason]) -> dict[str, object]:
    """What an endpoint answers."""
    return {"ok": not reasons, "role": state.role, "version": state.version, "reasons": [asdict(reason) for reason in reasons]}


def unhealthy(state: State) -> Iterator[Reason]:
    """Why this process does not do its work. Asks nobody but the process itself."""
    worker = state.worker
    if worker is not None and worker.trouble is not None:
        yield Reason(code="trouble", text=f"the worker has given up: {worker.trouble}")
    for pulse in (*_of(worker), *state.pulses()):
        if pulse.age_s > PERIODS * pulse.period_s:
            text = f"the thread {pulse.name} has not moved for {pulse.age_s:.1f} s; it should every {pulse.period_s:g} s"
            yield Reason(code="standing-still", text=text)


def _of(worker: Worker | None) -> list[Pulse]:
    """The heartbeat and, while it takes steps, the worker's main thread."""
    if worker is None:
        return []
    now = time.monotonic()
    periods = {"beat": worker.terms.lease_s / 3, "work": WORK_PERIOD_S}
    return [Pulse(name=name, age_s=now - at, period_s=periods[name]) for name, at in sorted(dict(worker.pulses).items())]


def stopping(state: State) -> Iterator[Reason]:
    """Why it begins nothing more."""
    if state.stopping or (state.worker is not None and state.worker.stopping):
        yield Reason(code="stopping", text="the process is stopping")


def unready(state: State) -> list[Reason]:
    """Why the database cannot be used: asked in a thread that may wait (`asking.Asking`). Writes nothing, but as whoever is to write."""
    try:
        with state.store.write(alone=False) as connection:
            version = str(connection.scalar("SELECT version_num FROM alembic_version"))
            readable_from = connection.scalar("SELECT value FROM about WHERE key = 'readable_from'")
            connection.run("UPDATE about SET value = value WHERE key = ''")  # refused where nothing can be written
    except OctofleetError as error:
        return [Reason(code="database", text=str(error))]
    if version > HEAD and (readable_from is None or readable_from > HEAD):
        text = f"the database is at migration {version}, which this version of Octofleet, that knows {HEAD}, may not use"
        return [Reason(code="migration", text=text)]
    return []
