"""Runs: which there were, and which of them a caller sees what of."""

from collections import Counter
from collections.abc import Iterator, Mapping

from reconciler.errors import Refused
from reconciler.identity.sight import Sight
from reconciler.reading.call import Call
from reconciler.reading.outline import Kept
from reconciler.reading.paging import Document, Paged, after, cursor_of
from reconciler.store.engine import Connection
from reconciler.store.plans import plan_row
from reconciler.store.runs import JournalRun, find_runs, runs_before, statuses_by_tenant


class RunsAsk(Paged, frozen=True, kw_only=True):
    """`state`: only those in it (`running`, `done`, ...)."""

    state: str = ""


class RunDocument(Document, frozen=True, kw_only=True):
    """A run. `changes`: how many of those that the caller sees ended how, `open` for those that have not. `whole`: he sees all of it."""

    run: str
    source: str
    state: str
    plan: str
    commit: str
    started_at: float
    ended_at: float | None
    reason: str
    changes: dict[str, int]
    whole: bool


class Runs(Document, frozen=True, kw_only=True):
    """Newest first."""

    items: list[RunDocument]
    next: str = ""


def runs(call: Call, ask: RunsAsk) -> Runs:
    """A page of the runs that the caller sees something of."""
    key, sight = after(ask.cursor, float, str), call.sight
    found: list[RunDocument] = []
    with call.installation.store.read() as connection:
        for run in runs_before(connection, key):
            if ask.state in ("", run.state) and (seen := _seen(connection, sight, run)) is not None:
                found.append(seen)
            if len(found) > ask.limit:
                last = found[ask.limit - 1]
                return Runs(items=found[: ask.limit], next=cursor_of(last.started_at, last.run))
    return Runs(items=found)


def found(call: Call) -> tuple[JournalRun, RunDocument]:
    """The run that the path names by its id or the beginning of it. Raises `Refused` if the caller sees none, or several."""
    prefix, sight = call.path["run"], call.sight
    with call.installation.store.read() as connection:
        seen = [(one, document) for one in find_runs(connection, prefix)[:20] if (document := _seen(connection, sight, one)) is not None]
    if len(seen) != 1:
        text = f"there is no run {prefix}" if not seen else f"{prefix} is the beginning of {len(seen)} runs"
        raise Refused(text, hint="octofleet runs lists them", code="no-run")
    return seen[0]


def _seen(connection: Connection, sight: Sight, one: JournalRun) -> RunDocument | None:
    """What of a run there is to see; None for nothing."""
    known = _numbers(connection, one)
    whole = sight.whole(one.source) or (bool(known) and all(sight.of_tenant(one.source, tenant) for tenant in known))
    changes = Counter[str]()
    for tenant, numbers in known.items():
        if whole or sight.of_tenant(one.source, tenant):
            changes.update(numbers)
        elif sight.some_of(one.source, tenant):
            changes.update(_of_scopes(connection, sight, one, tenant))
    if not whole and not changes:
        return None
    plan = plan_row(connection, one.plan)
    return RunDocument(
        run=one.id,
        source=one.source,
        state=one.state,
        plan=plan.id,
        commit=plan.commit,
        started_at=one.started_at,
        ended_at=one.ended_at,
        reason=one.reason if whole else "",
        changes=dict(changes),
        whole=whole,
    )


Numbers = Mapping[str, Mapping[str, int]]
_ended: Kept[Numbers] = Kept(5_000)
"""Of runs that have ended: they stay as they are, and to count many changes takes long."""


def _numbers(connection: Connection, one: JournalRun) -> Numbers:
    """How many changes of each tenant ended how."""
    if one.ended_at is None:
        return statuses_by_tenant(connection, one.id)
    return _ended.get((one.id, one.plan, one.started_at, one.ended_at), lambda: statuses_by_tenant(connection, one.id))


def _of_scopes(connection: Connection, sight: Sight, one: JournalRun, tenant: str) -> Iterator[str]:
    rows = connection.rows(
        "SELECT item.address, item.status FROM step JOIN item ON item.run = step.run AND item.step = step.seq "
        "WHERE step.run = ? AND step.tenant = ?",
        (one.id, tenant),
    )
    return (status or "open" for address, status in rows if sight.address(one.source, address))
