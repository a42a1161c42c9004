"""How all work stands, in numbers: for whoever watches from outside. Functions on a connection; the caller owns the transaction.

The cost follows what is open: one pass over the steps of open runs by their index, and counts of what is unsettled or backs off. What has ended is
never read; of hosts that playbooks were run on, each is counted.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from reconciler.alert.condition import Event
from reconciler.store.alerts import failing
from reconciler.store.engine import Connection
from reconciler.store.hosts import by_age
from reconciler.store.installs_listed import numbers
from reconciler.store.leases import current
from reconciler.store.observations import NOT_SETTLED

RUN_STATES = ("running", "paused", "cancelling")
STEP_STATES = ("ready", "started", "waiting", "ended")
DUE = (
    "SELECT wave, driver, tenant, count(*), min(due_at) FROM step WHERE run = ? AND owner = '' AND state <> 'ended' AND due_at <= ? "
    "GROUP BY wave, driver, tenant"
)
UNSETTLED = (
    "SELECT record.source, count(*) FROM observation CROSS JOIN record "  # noqa: S608 - from above
    f"WHERE {NOT_SETTLED} AND record.address = observation.address "
    "AND (observation.kind <> 'present' OR observation.digest <> record.digest) GROUP BY record.source"
)

POSTINGS = "SELECT forge.name, count(posting.forge) FROM forge LEFT JOIN posting ON posting.forge = forge.name AND wanted <> posted GROUP BY forge.name"


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """`runs` and `steps`: open runs, and the steps of these, by state. `due`: steps that a worker could take now, and for how many seconds the longest of
    them has been due, or its run open if that is shorter. `workers`: those that live. `backing_off`: resources that are left alone for a while. By
    source: `applied_at` (seconds since the epoch) and `unsettled`, resources last seen otherwise than recorded. `alerts`: how many are open, by event;
    `alerts_failing`: receivers that could not be told the last time. `installs`: installations that go on, by
    state. `hosts`: those of which something is known, by `answered` or `converged` and how long ago.
    `postings`: what is to stand at each forge and does not yet."""

    runs: Mapping[str, int]
    steps: Mapping[str, int]
    due: int
    oldest_due_s: float
    workers: int
    backing_off: int
    applied_at: Mapping[str, float]
    unsettled: Mapping[str, int]
    alerts: Mapping[str, int]
    alerts_failing: int
    postings: Mapping[str, int]
    installs: Mapping[str, int]
    hosts: Mapping[tuple[str, ...], int]


def standing(connection: Connection) -> Standing:
    """How everything stands now."""
    now = connection.now()
    runs = list(connection.rows("SELECT id, state, started_at FROM run WHERE ended_at IS NULL ORDER BY started_at"))
    steps = Counter[str]()
    for run, _, _ in runs:
        steps.update(dict(connection.rows("SELECT state, count(*) FROM step WHERE run = ? GROUP BY state", (run,))))
    ages, due = [0.0], 0
    lanes = {(lane.run, lane.wave, lane.driver, lane.tenant) for lane in current(connection) if not lane.paused}
    for run, _, started_at in runs:
        for wave, driver, tenant, number, due_at in connection.rows(DUE, (run, now)):
            if (run, wave, driver, tenant) in lanes:
                due += number
                ages.append(now - max(due_at, started_at))
    applied_at = dict(connection.rows("SELECT name, at FROM source"))
    return Standing(
        runs=_each(RUN_STATES, Counter(state for _, state, _ in runs)),
        steps=_each(STEP_STATES, steps),
        due=due,
        oldest_due_s=max(ages),
        workers=connection.scalar("SELECT count(*) FROM worker WHERE until >= ?", (now,)),
        backing_off=connection.scalar("SELECT count(*) FROM backoff WHERE until > ?", (now,)),
        applied_at=applied_at,
        unsettled=dict.fromkeys(applied_at, 0) | dict(connection.rows(UNSETTLED)),
        alerts=_each(tuple(Event), dict(connection.rows("SELECT event, count(*) FROM alert GROUP BY event"))),
        alerts_failing=len(failing(connection)),
        postings=dict(connection.rows(POSTINGS)),
        installs=numbers(connection),
        hosts=by_age(connection, now),
    )


def _each(names: tuple[str, ...], found: Mapping[str, int]) -> dict[str, int]:
    """Every name with its number, also where that is 0."""
    return dict.fromkeys(names, 0) | dict(found)
