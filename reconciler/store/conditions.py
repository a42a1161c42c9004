"""What there is to see that alerts are about, as rows. Functions on a connection; the caller owns the transaction.

Each reads what is open, or what has ended since, by an index: never all runs, all steps or all hosts.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reconciler.store.engine import Connection
from reconciler.store.observations import NOT_SETTLED
from reconciler.types.resource import tenant_of

OF_MACHINES = (
    "observation.address < 'boot/' OR observation.address >= 'boot0' AND observation.address < 'fleet/' OR observation.address >= 'fleet0'"
)
"""What is seen by asking a machine, or another system: not the record and boot files. In the words of the index `observation_of_machines`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedRun:
    """A run that is over. Times are seconds since the epoch."""

    id: str
    source: str
    state: str
    ended_at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsettled:
    """A resource that was last seen otherwise than recorded, or could not be seen, and that no run holds."""

    source: str
    group: str
    address: str
    kind: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PutOff:
    """Steps of a tenant in an open run that have not begun, with the same words about why. `since`: when the first was tried first, else when its run
    began."""

    run: str
    source: str
    tenant: str
    note: str
    steps: int
    since: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Halted:
    """A part of a rollout in an open run that waits for a person: `held` or `stopped`."""

    run: str
    source: str
    tenant: str
    track: str
    title: str
    state: str
    note: str


def ended_since(connection: Connection, after: float) -> list[EndedRun]:
    """Runs that ended after a time, the first that did first."""
    query = "SELECT id, source, state, ended_at FROM run WHERE ended_at > ? ORDER BY ended_at, id"
    return [EndedRun(id=run, source=source, state=state, ended_at=at) for run, source, state, at in connection.rows(query, (after,))]


def tenants_of_run(connection: Connection, run: str) -> set[str]:
    """The tenants that a run was about; empty for what is across them."""
    return {tenant for (tenant,) in connection.rows("SELECT DISTINCT tenant FROM lane WHERE run = ?", (run,))}


def known_runs(connection: Connection, runs: Iterable[str]) -> set[str]:
    """Those of the runs that there still are."""
    return {run for (run,) in connection.rows_in("SELECT id FROM run WHERE id IN (...)", sorted(set(runs)))}


def unsettled(connection: Connection) -> list[Unsettled]:
    """Every such resource. What is only to be looked at again, as a run may have touched it, does not count while it was seen as recorded."""
    query = (
        'SELECT record.source, record."group", observation.address, observation.kind, observation.at FROM observation CROSS JOIN record '  # noqa: S608 - from above
        f"WHERE {NOT_SETTLED} AND record.address = observation.address "
        "AND (observation.kind <> 'present' OR observation.digest <> record.observed_digest) "
        "AND NOT EXISTS (SELECT 1 FROM hold WHERE hold.address = observation.address) ORDER BY observation.address"
    )
    return [
        Unsettled(source=source, group=group, address=address, kind=kind, at=at)
        for source, group, address, kind, at in connection.rows(query)
    ]


def groups_unseen(connection: Connection, before: float) -> set[tuple[str, str]]:
    """Source and group of the hosts of which something was last looked at before a time. What needs no machine to be seen does not count."""
    query = (
        f'SELECT DISTINCT record.source, record."group" FROM observation CROSS JOIN record WHERE observation.at < ? AND ({OF_MACHINES}) '  # noqa: S608
        "AND record.address = observation.address AND record.\"group\" >= 'host/' AND record.\"group\" < 'host0'"
    )
    return set(connection.rows(query, (before,)))


def seen_of(connection: Connection, groups: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[tuple[bool, float]]]:
    """Of hosts (source and group) what was last looked at of each resource that needs its machine: whether it could be seen, and when."""
    query = (
        'SELECT record.source, record."group", observation.address, observation.kind, observation.at FROM (...) AS these '
        'JOIN record ON record.source = column1 AND record."group" = column2 JOIN observation ON observation.address = record.address'
    )
    found: dict[tuple[str, str], list[tuple[bool, float]]] = {}
    for source, group, address, kind, at in connection.rows_in(query, groups):
        if not address.startswith(("fleet/", "boot/")):
            found.setdefault((source, group), []).append((kind != "unknown", at))
    return found


def put_off(connection: Connection, beginning: str) -> list[PutOff]:
    """What open runs put off with words that begin so."""
    query = (
        "SELECT run.id, run.source, step.tenant, step.note, count(*), "
        "min(coalesce((SELECT min(attempt.at) FROM attempt WHERE attempt.run = step.run AND attempt.step = step.seq), run.started_at)) "
        "FROM run CROSS JOIN step WHERE run.ended_at IS NULL AND step.run = run.id AND step.state = 'ready' AND step.note <> '' "
        "GROUP BY run.id, run.source, step.tenant, step.note ORDER BY run.id, step.tenant, step.note"
    )
    return [
        PutOff(run=run, source=source, tenant=tenant, note=note, steps=steps, since=since)
        for run, source, tenant, note, steps, since in connection.rows(query)
        if note.startswith(beginning)
    ]


def halted(connection: Connection) -> list[Halted]:
    """Every part of a rollout that waits for a person."""
    query = (
        "SELECT run.id, run.source, phase.tenant, phase.track, phase.title, phase.state, phase.note FROM run CROSS JOIN phase "
        "WHERE run.ended_at IS NULL AND phase.run = run.id AND phase.state IN ('held', 'stopped') "
        "ORDER BY run.id, phase.tenant, phase.track, phase.number"
    )
    return [
        Halted(run=run, source=source, tenant=tenant, track=track, title=title, state=state, note=note)
        for run, source, tenant, track, title, state, note in connection.rows(query)
    ]


def plan_about(connection: Connection, plan: str) -> tuple[str, set[str]] | None:
    """The source of the newest plan with this id, and the tenants that its changes are about."""
    row = connection.row('SELECT "row", source FROM plan WHERE id = ? ORDER BY "row" DESC LIMIT 1', (plan,))
    if row is None:
        return None
    return str(row[1]), {tenant_of(address) for (address,) in connection.rows("SELECT address FROM change WHERE plan = ?", (row[0],))}
