"""What playbook runs did, task by task: written as it is told, read in parts.

In: `PlayTold` of a step under lease. Out: rows of `task`, `task_total` and `host_total`. A step that is taken up again tells under other parts: its fence goes
into them. All reads are bounded: lists by a limit, sums by a period.
"""

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import Any

from reconciler.store.engine import Connection
from reconciler.store.sql import insert, upsert, within
from reconciler.types.task import Counted, PlayTold

COUNTS = ("ok", "changed", "failed", "ignored", "skipped", "unreachable")
PARTS = 1000
"""Of one call at most; the fence of the lease counts in these."""
AT_ONCE, LAST = 500, 2**62
APART_S = 3600.0
"""How far the clocks of a worker, which says when a task was, and of the database, which says when its run ended, may be apart."""
FIRST = (
    "SELECT min((SELECT min(task.id) FROM task WHERE task.run = late.id)) FROM "
    "(SELECT id FROM run WHERE ended_at IS NULL UNION ALL SELECT id FROM run WHERE ended_at >= ?) AS late"
)
"""The first result of the runs that had not ended at a time: what was later is not before it."""
TASK = ("run", "step", "tenant", "host", "name", "place", "status", "at", "seconds", "message")
TOTAL = ("run", "step", "part", "number", "tenant", "name", "place", *COUNTS, "seconds", "most_s", "slowest")
HOST = ("run", "step", "part", "tenant", "host", *COUNTS, "seconds", "at")


@dataclass(frozen=True, slots=True)
class TaskRow:
    """A result that was kept."""

    id: int
    run: str
    step: int
    tenant: str
    host: str
    name: str
    place: str
    status: str
    at: float
    seconds: float
    message: str


@dataclass(frozen=True, slots=True)
class TotalRow:
    """One task of a run over its hosts."""

    tenant: str
    name: str
    place: str
    counted: Counted
    seconds: float
    most_s: float


@dataclass(frozen=True, slots=True)
class SlowRow:
    """A task by name and place, over runs. `times`: how often it ran on a host; `most_s`: the longest there."""

    tenant: str
    name: str
    place: str
    runs: int
    times: int
    seconds: float
    most_s: float


def save_tasks(connection: Connection, told: Iterable[tuple[str, int, int, PlayTold]]) -> None:
    """Add what was told: run, step, fence and what. Totals that come again replace what was said before."""
    tasks, totals, hosts = list[tuple[Any, ...]](), list[tuple[Any, ...]](), list[tuple[Any, ...]]()
    for run, step, fence, play in told:
        part = fence * PARTS + play.part
        tasks += [(run, step, t.tenant, t.host, t.name, t.place, t.status, t.at, t.seconds, t.message) for t in play.tasks]
        totals += [
            (run, step, part, t.number, t.tenant, t.name, t.place, *astuple(t.counted), t.seconds, t.most_s, t.slowest) for t in play.totals
        ]
        hosts += [(run, step, part, t.tenant, t.host, *astuple(t.counted), t.seconds, t.at) for t in play.hosts]
    connection.run_many(insert("task", TASK), tasks)
    connection.run_many(upsert("task_total", TOTAL, key=4), sorted(totals))
    connection.run_many(upsert("host_total", HOST, key=5), sorted(hosts))


def tasks_before(
    connection: Connection,
    before: int | None,
    *,
    run: str = "",
    of: tuple[str, str] | None = None,
    status: str = "",
    text: str = "",
    since: float = 0.0,
) -> Iterator[tuple[str, TaskRow]]:
    """Kept results of the time since then with the source of their run, newest first, after the one with a number; of a run, of a host (tenant and name), of a
    status, or with a text in the task's name, the host's name or the message."""
    conditions: list[tuple[str, list[object]]] = [("task.at >= ?", [since])]
    if since and not run and of is None:
        conditions += [("task.id >= ?", [connection.scalar(FIRST, (since - APART_S,)) or LAST])]
    conditions += [("task.run = ?", [run])] if run else []
    conditions += [("task.tenant = ? AND task.host = ?", list(of))] if of else []
    conditions += [("task.status = ?", [status])] if status else []
    if text:
        like = "LIKE ? ESCAPE '/'"
        conditions.append((f"(lower(task.name) {like} OR lower(task.host) {like} OR lower(task.message) {like})", [within(text)] * 3))
    where = " AND ".join(condition for condition, _ in conditions)
    params = [value for _, values in conditions for value in values]
    columns = ", ".join(f"task.{name}" for name in ("id", *TASK))
    query = (
        f"SELECT run.source, {columns} FROM task JOIN run ON run.id = task.run "  # noqa: S608 - names from here
        f"WHERE task.id < ? AND {where} ORDER BY task.id DESC LIMIT {AT_ONCE}"
    )
    last = LAST if before is None else before
    while part := list(connection.rows(query, (last, *params))):
        for source, *row in part:
            yield source, TaskRow(*row)
        last = part[-1][1]


def totals_of_run(connection: Connection, run: str) -> list[TotalRow]:
    """Each task of a run, over its steps: what did not go well first, then in the order in which they began."""
    sums = ", ".join(f"sum({name})" for name in COUNTS)
    query = (
        f"SELECT tenant, name, place, {sums}, sum(seconds), max(most_s) FROM task_total WHERE run = ? "  # noqa: S608 - names from here
        "GROUP BY tenant, name, place ORDER BY CASE WHEN sum(failed + unreachable) > 0 THEN 0 ELSE 1 END, min(step), min(part), min(number), tenant, place"
    )
    return [
        TotalRow(tenant, name, place, Counted(**dict(zip(COUNTS, counts, strict=False))), counts[6], counts[7])
        for tenant, name, place, *counts in connection.rows(query, (run,))
    ]


def slowest_hosts(connection: Connection, run: str, most: Iterable[float]) -> dict[tuple[str, str, str, float], str]:
    """By tenant, name, place and time the host that a task took so long on."""
    query = "SELECT tenant, name, place, most_s, slowest FROM task_total WHERE run = ? AND most_s IN (...)"
    return {(tenant, name, place, took): host for tenant, name, place, took, host in connection.rows_in(query, sorted(set(most)), (run,))}


def slow_tasks(connection: Connection, since: float, *, by_most: bool = False, run: str = "") -> Iterator[tuple[str, SlowRow]]:
    """Tasks of runs that began since then, by source, tenant, name and place, with what took longest first: on all hosts together, or on one."""
    order = "max(most_s)" if by_most else "sum(seconds)"
    query = (
        "SELECT run.source, tenant, name, place, count(DISTINCT run.id), sum(ok + changed + failed + ignored), sum(seconds), max(most_s) "  # noqa: S608
        f"FROM run JOIN task_total ON task_total.run = run.id WHERE run.started_at >= ?{' AND run.id = ?' if run else ''} "
        f"GROUP BY run.source, tenant, name, place ORDER BY {order} DESC, tenant, name, place"
    )
    for source, *row in connection.rows(query, (since, run) if run else (since,)):
        yield source, SlowRow(*row)
