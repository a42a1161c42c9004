"""What playbook runs did, task by task: written as it is told, read in parts.

In: `PlayTold` of a step under lease. Out: rows of `task`, `task_total` and `host_total`. A step that is taken up again tells under other parts: its fence goes
into them. All reads are bounded: lists by a limit, sums by a period.
"""

from collections.abc import Iterable, Sequence
from dataclasses import astuple, dataclass
from typing import Any

from reconciler.store.engine import Connection
from reconciler.store.sql import chunks, insert, upsert, within
from reconciler.types.task import Counted, PlayTold

COUNTS = ("ok", "changed", "failed", "ignored", "skipped", "unreachable")
PARTS = 1000
"""Of one call at most; the fence of the lease counts in these."""
AT_ONCE = 50
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
    """One task of a playbook run over its hosts."""

    step: int
    part: int
    number: int
    tenant: str
    name: str
    place: str
    counted: Counted
    seconds: float
    most_s: float
    slowest: str


@dataclass(frozen=True, slots=True)
class SlowRow:
    """A task by name and place, over playbook runs. `times`: results; `most_s`: the longest on one host, which is `slowest` in `run`."""

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
    _insert_tasks(connection, tasks)
    connection.run_many(upsert("task_total", TOTAL, key=4), sorted(totals))
    connection.run_many(upsert("host_total", HOST, key=5), sorted(hosts))


def _insert_tasks(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    connection.run_many(insert("task", TASK), rows)
