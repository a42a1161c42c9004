"""What playbooks did, task by task: of a run, of a host, and which take longest.

Results are seen by who sees their host; numbers over hosts by who sees all of their tenant.
"""

import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Annotated

import msgspec

from reconciler.errors import Refused
from reconciler.identity.sight import Sight
from reconciler.reading.call import Call
from reconciler.reading.paging import Ask, Document, Limit, Paged, after, cursor_of, one_of
from reconciler.reading.runs import RunDocument, found
from reconciler.report.text import printable
from reconciler.store.engine import Connection
from reconciler.store.tasks import COUNTS, SlowRow, TaskRow, TotalRow, slow_tasks, slowest_hosts, tasks_before, totals_of_run

DAY_S = 86_400.0
MOST_READ, MOST_CHARS, LATEST = 5_000, 500, 20
Days = Annotated[int, msgspec.Meta(ge=1, le=366, description="So many days back.")]


class TasksAsk(Paged, frozen=True, kw_only=True):
    """`run`: only of this run, by its id or the beginning of it; `host`: `TENANT/NAME`; `status`; `search`: a text in the name of the task or the host, or in
    the message."""

    run: Annotated[str, msgspec.Meta(max_length=100)] = ""
    host: Annotated[str, msgspec.Meta(max_length=300)] = ""
    status: Annotated[str, one_of(COUNTS)] = ""
    search: Annotated[str, msgspec.Meta(max_length=200)] = ""
    days: Days = 30


class SlowestAsk(Ask, frozen=True, kw_only=True):
    """`by`: `total` seconds over all hosts, or the `longest` on one. `run`: of this run alone."""

    by: Annotated[str, one_of(("total", "longest"))] = "total"
    run: Annotated[str, msgspec.Meta(max_length=100)] = ""
    days: Days = 7
    limit: Limit = 50


class TaskDocument(Document, frozen=True, kw_only=True):
    """One task on one host. `place`: a file of the repository and a line."""

    run: str
    step: int
    source: str
    tenant: str
    host: str
    name: str
    place: str
    status: str
    at: float
    seconds: float
    message: str


class Tasks(Document, frozen=True, kw_only=True):
    """Newest first. `asked`: what the list was narrowed to."""

    items: list[TaskDocument]
    asked: dict[str, str]
    next: str = ""


class TotalDocument(Document, frozen=True, kw_only=True):
    """One task over the hosts of a run: how often it ended how, the seconds of all of them, and the longest."""

    tenant: str
    name: str
    place: str
    counts: dict[str, int]
    seconds: float
    most_s: float
    slowest: str


class RunTasks(Document, frozen=True, kw_only=True):
    """What did not go well first, then in the order in which tasks began. `latest`: the newest results that are kept one by one."""

    run: RunDocument
    items: list[TotalDocument]
    latest: list[TaskDocument]
    next: str = ""


class SlowDocument(Document, frozen=True, kw_only=True):
    """A task over runs. `times`: how often it ran on a host; `seconds`: of all of them; `most_s`: the longest."""

    source: str
    tenant: str
    name: str
    place: str
    runs: int
    times: int
    seconds: float
    most_s: float


class Slowest(Document, frozen=True, kw_only=True):
    """What takes longest first."""

    items: list[SlowDocument]
    asked: dict[str, str]


def tasks(call: Call, ask: TasksAsk) -> Tasks:
    """Results of tasks that are kept."""
    run = found(replace(call, path={"run": ask.run}))[0].id if ask.run else ""
    before = after(ask.cursor, int)
    asked = {name: text for name in ("run", "host", "status", "search") if (text := getattr(ask, name))} | {"days": str(ask.days)}
    with call.installation.store.read() as connection:
        rows = tasks_before(
            connection,
            before[0] if before else None,
            run=run,
            of=host_of(ask.host) if ask.host else None,
            status=ask.status,
            text=ask.search.strip(),
            since=time.time() - ask.days * DAY_S,
        )
        items, last = _seen(call.sight, rows, ask.limit)
    return Tasks(items=items, asked=asked, next=cursor_of(last) if last is not None else "")


def host_of(text: str) -> tuple[str, str]:
    """Tenant and name. Raises `Refused`."""
    tenant, slash, name = text.removeprefix("host/").partition("/")
    if not slash or not tenant or not name:
        raise Refused(f"{printable(text)} is no host", hint="name it as TENANT/NAME", code="usage")
    return tenant, name


def _seen(sight: Sight, rows: Iterator[tuple[str, TaskRow]], limit: int) -> tuple[list[TaskDocument], int | None]:
    """Those that somebody sees, at most so many; and the number of the last one looked at, if there may be more."""
    items: list[TaskDocument] = []
    for number, (source, row) in enumerate(rows, 1):
        if sight.sees(source, row.tenant, f"host/{row.tenant}/{row.host}"):
            items.append(task_document(source, row))
        if len(items) == limit or number == MOST_READ:
            return items, row.id
    return items, None


def task_document(source: str, row: TaskRow) -> TaskDocument:
    """A result as it is shown."""
    return TaskDocument(
        run=row.run,
        step=row.step,
        source=source,
        tenant=row.tenant,
        host=row.host,
        name=printable(row.name),
        place=printable(row.place),
        status=row.status,
        at=row.at,
        seconds=row.seconds,
        message=printable(row.message)[:MOST_CHARS],
    )


def run_tasks(call: Call, ask: Paged) -> RunTasks:
    """The tasks of a run."""
    run, document = found(call)
    start = (after(ask.cursor, int) or [0])[0]
    with call.installation.store.read() as connection:
        items, more = totals(connection, call, run.source, run.id, start, ask.limit)
        latest = [] if start else latest_tasks(connection, call, run=run.id)
    return RunTasks(run=document, items=items, latest=latest, next=cursor_of(start + ask.limit) if more else "")


def totals(connection: Connection, call: Call, source: str, run: str, start: int, limit: int) -> tuple[list[TotalDocument], bool]:
    """Some of the tasks of a run, of the tenants of which the caller sees all; and whether there are more."""
    rows = [row for row in totals_of_run(connection, run) if call.sight.of_tenant(source, row.tenant)]
    part = rows[start : start + limit]
    hosts = slowest_hosts(connection, run, (row.most_s for row in part))
    return [total_document(row, hosts.get((row.tenant, row.name, row.place, row.most_s), "")) for row in part], len(rows) > start + limit


def total_document(row: TotalRow, slowest: str) -> TotalDocument:
    """A task over the hosts of a run, as it is shown."""
    return TotalDocument(
        tenant=row.tenant,
        name=printable(row.name),
        place=printable(row.place),
        counts={name: number for name in COUNTS if (number := getattr(row.counted, name))},
        seconds=row.seconds,
        most_s=row.most_s,
        slowest=slowest,
    )


def latest_tasks(connection: Connection, call: Call, *, run: str = "", of: tuple[str, str] | None = None) -> list[TaskDocument]:
    """The newest results of a run or a host that the caller sees."""
    return _seen(call.sight, tasks_before(connection, None, run=run, of=of), LATEST)[0]


def slowest(call: Call, ask: SlowestAsk) -> Slowest:
    """Tasks by how long they take."""
    run = found(replace(call, path={"run": ask.run}))[0].id if ask.run else ""
    asked = {"by": ask.by or "total", "days": str(ask.days)} | ({"run": ask.run} if ask.run else {})
    since = 0.0 if run else time.time() - ask.days * DAY_S
    items, sight = list[SlowDocument](), call.sight
    with call.installation.store.read() as connection:
        for source, row in slow_tasks(connection, since, by_most=ask.by == "longest", run=run):
            if len(items) == ask.limit:
                break
            if sight.of_tenant(source, row.tenant):
                items.append(slow_document(source, row))
    return Slowest(items=items, asked=asked)


def slow_document(source: str, row: SlowRow) -> SlowDocument:
    """A task over runs, as it is shown."""
    return SlowDocument(
        source=source,
        tenant=row.tenant,
        name=printable(row.name),
        place=printable(row.place),
        runs=row.runs,
        times=row.times,
        seconds=row.seconds,
        most_s=row.most_s,
    )
