"""Who works on what: workers, and the leases on steps that they hold. Functions on a connection; the caller owns the transaction.

A worker is one process. It moves its `until` on while it lives; when that has passed, whoever notices takes all its leases away (`sweep`). A
lease is a step's `owner` together with a `fence`, a number that grows whenever the step is given or taken away: what is written under an
older number is refused (`journal.write`), so that a worker which comes back from a long pause can do no harm.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from heapq import heapify, heappop, heappush

from reconciler.store.engine import Connection, chunks, insert, upsert
from reconciler.store.phases import Order, load_phases, next_opening
from reconciler.store.runs import JournalStep, load_steps

WORKER = ("id", "name", "role", "version", "started_at", "until")
ATTEMPT = ("run", "step", "fence", "worker", "at", "result", "error")
OPEN = "FROM step WHERE run = ? AND wave = ? AND driver = ? AND tenant = ? AND owner = '' AND state <> 'ended'"
BEGUN = " AND state <> 'ready'"
"""Of a paused run, what has begun is brought to its end all the same: an operation goes on in the world, and its deadline passes, whatever a person says."""
MOST_LANES = 32
"""How many lanes are asked for their free steps in one query."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerRow:
    """A process that may hold leases. `name` says to a person where it runs; times are seconds since the epoch, by the database's clock."""

    id: str
    name: str
    role: str
    version: str
    started_at: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """How many steps may be taken: in all, of each driver (one that is not named takes none), and of each driver and tenant in the whole fleet
    at once, where these are limited."""

    slots: int
    drivers: Mapping[str, int]
    driver_limits: Mapping[str, int] = field(default_factory=dict)
    tenant_limit: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Lane:
    """The open steps of one tenant and driver in the wave that a run is at for that tenant. `paused`: only those that have begun may be taken."""

    run: str
    wave: int
    driver: str
    tenant: str
    open: int
    paused: bool = False

    @property
    def free(self) -> str:
        """What follows the columns in a query for those that nobody has."""
        return OPEN + (BEGUN if self.paused else "")


def beat(connection: Connection, worker: WorkerRow) -> bool:
    """Say that the worker lives until then. False if its leases have been taken away, or it is new: it holds none now."""
    known = connection.changed("UPDATE worker SET until = ? WHERE id = ?", (worker.until, worker.id)) == 1
    if not known:
        row = (worker.id, worker.name, worker.role, worker.version, worker.started_at, worker.until)
        connection.run(upsert("worker", WORKER), row)
    return known


def workers(connection: Connection) -> list[WorkerRow]:
    """All workers that are known, the longest running first."""
    rows = connection.rows("SELECT id, name, role, version, started_at, until FROM worker ORDER BY started_at, id")
    return [
        WorkerRow(id=of, name=name, role=role, version=version, started_at=started, until=until)
        for of, name, role, version, started, until in rows
    ]


def leave(connection: Connection, worker: str) -> None:
    """The worker ends; what it still has is free."""
    take_away(connection, [worker], "handed-over")


def sweep(connection: Connection, gone: Callable[[str], bool], *, overdue: bool = True) -> list[str]:
    """Take away the leases of workers that are known to be `gone`, and of those whose time is over if that may be judged: whoever was late himself does not
    know whether it was the database that nobody could reach. Gives their ids."""
    now = connection.now()
    dead = [worker.id for worker in workers(connection) if (overdue and worker.until < now) or gone(worker.id)]
    take_away(connection, dead, "lost")
    return dead


def take_away(connection: Connection, dead: Sequence[str], result: str) -> None:
    """Free every step that these workers have, under a new fence, and forget them."""
    now = connection.now()
    for worker in dead:
        connection.run("DELETE FROM worker WHERE id = ?", (worker,))  # first: a claim of its own that is under way is waited for here
        query = "SELECT run, seq, fence FROM step WHERE owner = ? ORDER BY run, seq FOR UPDATE"
        free(connection, [(run, seq, fence) for run, seq, fence in connection.rows(query, (worker,))], result, now)
        for leased in ("repository", "pull", "forge"):
            connection.run(f"UPDATE {leased} SET owner = '', fence = fence + 1 WHERE owner = ?", (worker,))  # noqa: S608 - names from above


def free(connection: Connection, leases: Iterable[tuple[str, int, int]], result: str, now: float) -> None:
    """Take these leases (run, step, fence) away; whoever had them cannot write any more."""
    taken = list(leases)
    connection.run_many(
        "UPDATE step SET owner = '', fence = fence + 1 WHERE run = ? AND seq = ? AND fence = ?",
        [(run, seq, fence) for run, seq, fence in taken],
    )
    query = "UPDATE attempt SET ended_at = ?, result = ? WHERE run = ? AND step = ? AND fence = ?"
    connection.run_many(query, [(now, result, run, seq, fence) for run, seq, fence in taken])


def held(connection: Connection, worker: str) -> set[tuple[str, int, int]]:
    """The leases (run, step, fence) of a worker."""
    return set(connection.rows("SELECT run, seq, fence FROM step WHERE owner = ?", (worker,)))


def claim(connection: Connection, worker: str, room: Room, run: str | None = None) -> dict[str, list[JournalStep]]:
    """Give a worker steps that are due, by run; only of one run if it is named. Nothing to a worker that is not known.

    The tenant that has the fewest steps under way comes first, so that the many of one do not keep another waiting.
    """
    now = connection.now()
    if connection.row("SELECT id FROM worker WHERE id = ? FOR KEY SHARE", (worker,)) is None:
        return {}
    taken: dict[str, list[JournalStep]] = {}
    for of, seqs in _shares(connection, room, run, now).items():
        connection.run_in("UPDATE step SET owner = ?, fence = fence + 1 WHERE run = ? AND seq IN (...)", seqs, (worker, of))
        taken[of] = load_steps(connection, of, seqs)
    leases = [(of, step.seq, step.fence, worker, now, "", "") for of, steps in taken.items() for step in steps]
    connection.run_many(insert("attempt", ATTEMPT), leases)
    return taken


class _Places:
    """How many steps may be taken yet of a lane, given what is under way."""

    def __init__(self, room: Room, lanes: Collection[Lane], under_way: Mapping[tuple[str, str], int]) -> None:
        self.left, self._room = room.slots, room
        self._share = max(1, room.slots // max(1, len({lane.tenant for lane in lanes})))
        self.tenants, self._drivers, self._own = Counter[str](), Counter[str](), Counter[str]()
        for (driver, tenant), number in under_way.items():
            self.tenants[tenant] += number
            self._drivers[driver] += number

    def of(self, lane: Lane) -> int:
        """At most a tenant's share."""
        room, driver = self._room, lane.driver
        return min(
            self._share,
            self.left,
            room.drivers[driver] - self._own[driver],
            room.driver_limits[driver] - self._drivers[driver] if driver in room.driver_limits else self.left,
            room.tenant_limit - self.tenants[lane.tenant] if room.tenant_limit is not None else self.left,
        )

    def take(self, lane: Lane, number: int) -> None:
        """So many are taken; less than 0: they are not."""
        self.left -= number
        for counter, key in ((self.tenants, lane.tenant), (self._drivers, lane.driver), (self._own, lane.driver)):
            counter[key] += number


def _shares(connection: Connection, room: Room, run: str | None, now: float) -> dict[str, list[int]]:
    """Numbers of free steps, by run. All lanes are asked at once, as if each had as many as it may give; what some lack is shared among the others.

    Runs are locked meanwhile, so that two workers never take the same step, and limits hold.
    """
    lanes = list(current(connection, lock=True))
    lanes = [lane for lane in lanes if run in (None, lane.run) and room.drivers.get(lane.driver, 0) > 0]
    places = _Places(room, lanes, under_way(connection))
    taken: dict[Lane, list[int]] = {lane: [] for lane in lanes}
    while wanted := _wanted(lanes, places):
        for lane, seqs in _free(connection, {lane: (number, len(taken[lane])) for lane, number in wanted.items()}, now).items():
            taken[lane] += seqs
            wanted[lane] -= len(seqs)
        short = {lane: number for lane, number in wanted.items() if number}
        for lane, number in short.items():
            places.take(lane, -number)
        lanes = [lane for lane in lanes if lane not in short] if short else []
    runs: dict[str, list[int]] = {}
    for lane, seqs in taken.items():
        if seqs:
            runs.setdefault(lane.run, []).extend(seqs)
    return runs


def _wanted(lanes: Sequence[Lane], places: _Places) -> dict[Lane, int]:
    """How many steps to take of each lane; they are taken from the places."""
    wanted = Counter[Lane]()
    queue = [(places.tenants[lane.tenant], lane.open, lane.run, number) for number, lane in enumerate(lanes)]
    heapify(queue)
    while queue and places.left > 0:
        *_, number = heappop(queue)
        lane = lanes[number]
        if (most := places.of(lane)) > 0:
            places.take(lane, most)
            wanted[lane] += most
            heappush(queue, (places.tenants[lane.tenant], lane.open, lane.run, number))
    return wanted


def _free(connection: Connection, wanted: Mapping[Lane, tuple[int, int]], now: float) -> dict[Lane, list[int]]:
    """The free steps of lanes that have been due the longest: at most so many of each, after so many that are known already."""
    found: dict[Lane, list[int]] = {lane: [] for lane in wanted}
    for lanes in chunks(list(wanted), MOST_LANES):
        query = _free_query(tuple(lane.paused for lane in lanes))
        values = [value for lane in lanes for value in (lane.run, lane.wave, lane.driver, lane.tenant, now, *wanted[lane])]
        for number, seq in connection.rows(query, values):
            found[lanes[number]].append(seq)
    return found


@lru_cache(maxsize=256)
def _free_query(paused: tuple[bool, ...]) -> str:
    parts = (
        f"SELECT {number} AS number, seq FROM (SELECT seq {OPEN}{BEGUN if only_begun else ''} AND due_at <= ? "  # noqa: S608 - see above
        f"ORDER BY due_at, seq LIMIT ? OFFSET ?) AS lane{number}"
        for number, only_begun in enumerate(paused)
    )
    return " UNION ALL ".join(parts)


def under_way(connection: Connection) -> dict[tuple[str, str], int]:
    """How many steps are on lease, by driver and tenant."""
    query = "SELECT driver, tenant, count(*) FROM step WHERE owner <> '' GROUP BY driver, tenant"
    return {(driver, tenant): number for driver, tenant, number in connection.rows(query)}


def current(connection: Connection, *, lock: bool = False) -> Iterable[Lane]:
    """The lanes that may be worked on: of each open run and each tenant, those of the first wave that has open steps; where there are rollouts, those of the
    first wave of each track, as far as its phase may begin."""
    query = "SELECT id, state, EXISTS (SELECT 1 FROM phase WHERE phase.run = run.id) FROM run WHERE ended_at IS NULL ORDER BY id"
    for run, state, phased in list(connection.rows(f"{query} FOR UPDATE" if lock else query)):
        order = Order(load_phases(connection, run), connection.now()) if phased else Order((), 0.0)
        lanes = "SELECT wave, driver, tenant, open FROM lane WHERE run = ? AND open > 0 ORDER BY wave"
        for wave, driver, tenant, number in connection.rows(lanes, (run,)):
            if order.is_next(tenant, wave):
                yield Lane(run=run, wave=wave, driver=driver, tenant=tenant, open=number, paused=state == "paused")


def due(connection: Connection, most: int) -> int:
    """How many steps can be taken now; counts no further than `most`."""
    number = 0
    for lane in current(connection):
        values = (lane.run, lane.wave, lane.driver, lane.tenant, connection.now(), most - number)
        number += len(list(connection.rows(f"SELECT seq {lane.free} AND due_at <= ? LIMIT ?", values)))
        if number >= most:
            break
    return number


def is_worked_on(connection: Connection, run: str) -> bool:
    """Whether a worker has a step of the run."""
    return connection.row("SELECT seq FROM step WHERE run = ? AND owner <> '' LIMIT 1", (run,)) is not None


def next_due(connection: Connection, run: str | None = None, after: float = -1.0) -> float | None:
    """When the next step that nobody has can be taken, in seconds since the epoch; None if there is none. Only what is due later than `after`: what
    somebody could not take by then, for want of a driver or of room, does not become ripe by waiting."""
    lanes = [lane for lane in current(connection) if run in (None, lane.run)]
    query = "SELECT min(due_at) {} AND due_at > ?"
    times = [connection.scalar(query.format(lane.free), (lane.run, lane.wave, lane.driver, lane.tenant, after)) for lane in lanes]
    times.append(next_opening(connection, run))
    return min((at for at in times if at is not None), default=None)
