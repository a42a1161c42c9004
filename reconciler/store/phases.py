"""Phases of rollouts within runs: which may begin, and what ends or stops one. Functions on a connection; the caller owns the transaction, and
has locked the run.

    waiting --(the one before has ended)--> due --(soaked, promoted)--> ended
       a phase that is due, or waits, is `stopped` when more hosts of its track have failed than may: until a person promotes it, or it is taken back

What waits for a person has a deadline, `deadline_at`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import groupby

from reconciler.store.engine import Connection, insert
from reconciler.store.rollbacks import drop, want
from reconciler.store.versions import touch
from reconciler.types.plan import WAIT_S, OnStop
from reconciler.types.resource import parts

PHASE = (
    "run",
    "tenant",
    "track",
    "number",
    "title",
    "first_wave",
    "last_wave",
    "hosts",
    "state",
    "soak_s",
    "promote",
    "max_failures",
    "opens_at",
    "note",
    "on_stop",
    "wait_s",
    "deadline_at",
)
READ = PHASE[1:]
ASIDE = -1
"""The wave of steps that wait for a gate beside the others."""
BAD = ("failed", "partial", "stale", "expired")
"""How a change ends that counts against its host."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PhaseRow:
    """See the table. `opens_at`: when it has soaked, in seconds since the epoch, once the phase before has ended."""

    tenant: str
    track: str
    number: int
    title: str
    first_wave: int
    last_wave: int
    hosts: int
    state: str = "waiting"
    soak_s: float = 0.0
    promote: bool = False
    max_failures: int = 0
    opens_at: float | None = None
    note: str = ""
    on_stop: str = OnStop.WAIT.value
    wait_s: float = WAIT_S
    deadline_at: float | None = None

    def is_open(self, now: float) -> bool:
        """Whether its steps may begin."""
        return self.state == "due" and not self.promote and (self.opens_at is None or self.opens_at <= now)


def save_phases(connection: Connection, run: str, rows: Iterable[PhaseRow]) -> None:
    """Write the phases of a new run; the first of each track is due."""
    made = [(run, *(getattr(row, name) for name in READ)) for row in rows]
    connection.run_many(insert("phase", PHASE), made)
    if made:
        first = "number = (SELECT min(number) FROM phase AS other WHERE other.run = phase.run AND other.tenant = phase.tenant AND other.track = phase.track)"
        connection.run(f"UPDATE phase SET state = 'due' WHERE run = ? AND {first}", (run,))  # noqa: S608 - from above


def load_phases(connection: Connection, run: str) -> list[PhaseRow]:
    """The phases of a run, track by track in their order."""
    query = f"SELECT {', '.join(READ)} FROM phase WHERE run = ? ORDER BY tenant, track, number"  # noqa: S608 - names from above
    return [PhaseRow(**dict(zip(READ, row, strict=True))) for row in connection.rows(query, (run,))]


def in_track(connection: Connection, run: str, tenant: str, wave: int) -> bool:
    """Whether a wave of a tenant is part of a rollout."""
    query = "SELECT number FROM phase WHERE run = ? AND tenant = ? AND track <> '' AND ? BETWEEN first_wave AND last_wave"
    return connection.row(query, (run, tenant, wave)) is not None


class Order:
    """Which waves of a run come next. It is asked about all that have open steps, in their order. Waves that are in no phase come before all phases of
    their tenant, or after them; without phases each waits for the one before."""

    def __init__(self, phases: Iterable[PhaseRow], now: float) -> None:
        self._of: dict[str, list[PhaseRow]] = {}
        for phase in phases:
            self._of.setdefault(phase.tenant, []).append(phase)
        self._now = now
        self._first: dict[tuple[str, str], int] = {}
        self._ahead: dict[str, int] = {}

    def is_next(self, tenant: str, wave: int) -> bool:
        """Whether this wave, which has open steps, may be worked on."""
        if wave == ASIDE:
            return True
        mine = self._of.get(tenant, ())
        phase = next((phase for phase in mine if phase.first_wave <= wave <= phase.last_wave), None)
        ahead = self._ahead.setdefault(tenant, wave)
        if phase is None:
            return ahead == wave
        if ahead != wave and not any(p.first_wave <= ahead <= p.last_wave for p in mine):
            return False
        return self._first.setdefault((tenant, phase.track), wave) == wave and phase.is_open(self._now)


def next_opening(connection: Connection, run: str | None) -> float | None:
    """When the next phase has soaked, of one run or of all that are open."""
    query = (
        "SELECT min(opens_at) FROM phase JOIN run ON run.id = phase.run "
        "WHERE run.ended_at IS NULL AND phase.state = 'due' AND NOT promote AND opens_at > ?"
    )
    values: tuple[object, ...] = (connection.now(),)
    found: float | None = connection.scalar(f"{query} AND run.id = ?" if run else query, (*values, run) if run else values)
    return found


def overdue(connection: Connection, now: float) -> list[str]:
    """Runs of which a part has waited too long for a person; not those that a person has paused or cancelled."""
    query = (
        "SELECT DISTINCT run.id FROM run JOIN phase ON phase.run = run.id WHERE run.ended_at IS NULL AND run.state = 'running' "
        "AND phase.state IN ('due', 'stopped') AND deadline_at <= ? ORDER BY run.id"
    )
    return [run for (run,) in connection.rows(query, (now,))]


def left_waiting(connection: Connection, run: str, now: float) -> list[list[PhaseRow]]:
    """Of each track that has waited too long for a person, the phases that are left."""
    tracks = [[phase for phase in track if phase.state != "ended"] for track in tracks_of(load_phases(connection, run))]
    return [left for left in tracks if left and left[0].deadline_at is not None and left[0].deadline_at <= now]


def advance(connection: Connection, run: str, now: float) -> None:
    """After changes have ended: end phases that have no open step, have the next ones soak, and stop tracks that have too many failures."""
    phases = load_phases(connection, run)
    if not phases:
        return
    open_waves = {wave for (wave,) in connection.rows("SELECT DISTINCT wave FROM lane WHERE run = ? AND open > 0", (run,))}
    for track in tracks_of(phases):
        _advance(connection, run, track, open_waves, now)


def tracks_of(phases: Iterable[PhaseRow]) -> list[list[PhaseRow]]:
    """Each track's phases; they come track by track."""
    return [list(group) for _, group in groupby(phases, key=lambda phase: (phase.tenant, phase.track))]


def _advance(connection: Connection, run: str, track: Sequence[PhaseRow], open_waves: set[int], now: float) -> None:
    before: PhaseRow | None = None
    for phase in track:
        if phase.state == "ended":
            before = phase
            continue
        over = not any(phase.first_wave <= wave <= phase.last_wave for wave in open_waves)
        first = before is None or before.state == "ended"
        if first and phase.state == "waiting":
            opens_at = now + phase.soak_s
            _set(connection, run, phase, "due", opens_at=opens_at, deadline_at=opens_at + phase.wait_s if phase.promote else None)
        if not (first and over):
            break
        _set(connection, run, phase, "ended")
        before = replace(phase, state="ended")
    left = [phase for phase in track if phase.state not in ("ended", "stopped")]
    if not left:
        return
    failed = failed_hosts(connection, run, track)
    if len(failed) > track[0].max_failures:
        touch(connection)
        note = f"{len(failed)} host{'s have' if len(failed) > 1 else ' has'} failed, and {track[0].max_failures} may: {', '.join(sorted(failed)[:5])}"
        connection.run(
            "UPDATE phase SET state = 'stopped', note = ?, deadline_at = ? WHERE run = ? AND tenant = ? AND track = ? AND state IN ('due', 'waiting')",
            (note, now + track[0].wait_s, run, track[0].tenant, track[0].track),
        )
        if track[0].on_stop != OnStop.WAIT:
            want(connection, run, track[0].on_stop, now, f"the rollout {track[0].track} of {track[0].tenant} was stopped: {note}")


def _set(
    connection: Connection, run: str, phase: PhaseRow, state: str, opens_at: float | None = None, deadline_at: float | None = None
) -> None:
    query = "UPDATE phase SET state = ?, opens_at = coalesce(?, opens_at), deadline_at = ? WHERE run = ? AND tenant = ? AND track = ? AND number = ?"
    connection.run(query, (state, opens_at, deadline_at, run, phase.tenant, phase.track, phase.number))


def failed_hosts(connection: Connection, run: str, track: Sequence[PhaseRow]) -> set[str]:
    """The hosts of a track of which a change has failed."""
    first, last = min(phase.first_wave for phase in track), max(phase.last_wave for phase in track)
    query = (
        "SELECT DISTINCT item.address FROM item JOIN step ON step.run = item.run AND step.seq = item.step "
        "WHERE item.run = ? AND step.tenant = ? AND step.wave BETWEEN ? AND ? AND item.status IN (...)"
    )
    rows = connection.rows_in(query, BAD, (run, track[0].tenant, first, last))
    return {parts(address)[3].partition(".")[0] for (address,) in rows}


def promote(
    connection: Connection, run: str, now: float, *, soaked: bool, tenant: str | None = None, track: str | None = None
) -> list[PhaseRow]:
    """A person says that tracks go on: what waits for that, or was stopped, need not any more; with `soaked` it does not wait out its soak either.
    Failures so far count no more: as many as may can come again. The run is that person's then, and not taken back by itself. Gives the phases that were
    moved."""
    moved = []
    asked = (p for p in load_phases(connection, run) if tenant in (None, p.tenant) and track in (None, p.track))
    for phases in tracks_of(asked):
        of_tenant, of_track = phases[0].tenant, phases[0].track
        at = next((phase for phase in phases if phase.state != "ended"), None)
        if at is None or at.state == "waiting" or at.is_open(now):
            continue
        if at.state == "stopped":
            most = len(failed_hosts(connection, run, phases)) + at.max_failures
            rest = "WHERE run = ? AND tenant = ? AND track = ?"
            connection.run(f"UPDATE phase SET max_failures = ?, note = '', deadline_at = NULL {rest}", (most, run, of_tenant, of_track))  # noqa: S608 - from above
            connection.run(f"UPDATE phase SET state = 'waiting' {rest} AND state = 'stopped'", (run, of_tenant, of_track))  # noqa: S608 - from above
        opens_at = now if soaked or at.opens_at is None else at.opens_at
        query = "UPDATE phase SET state = 'due', promote = ?, opens_at = ?, deadline_at = NULL WHERE run = ? AND tenant = ? AND track = ? AND number = ?"
        connection.run(query, (False, opens_at, run, of_tenant, of_track, at.number))
        moved.append(at)
    if moved:
        drop(connection, run, "a person promoted it")
    return moved
