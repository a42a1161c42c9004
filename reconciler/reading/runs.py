"""Runs: which there were, and which of them a caller sees what of."""

import time
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Annotated

from reconciler.errors import Refused
from reconciler.identity.sight import Sight
from reconciler.reading.call import Call
from reconciler.reading.kept import Kept
from reconciler.reading.paging import Document, Paged, after, cursor_of, one_of
from reconciler.store.engine import Connection
from reconciler.store.plans import plan_row
from reconciler.store.runs import JournalRun, find_runs, runs_before, statuses, statuses_of, tenants_of_run

STATES = ("running", "paused", "cancelling", "done", "failed", "cancelled")
LARGE = 1_000
"""Changes of a run that are not counted for each question."""
_counted: Kept[Mapping[str, int]] = Kept(5_000)


class RunsAsk(Paged, frozen=True, kw_only=True):
    """`state`: only those in it."""

    state: Annotated[str, one_of(STATES)] = ""


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
    tenants = tenants_of_run(connection, one.id)
    whole = sight.whole(one.source) or (bool(tenants) and all(sight.of_tenant(one.source, tenant) for tenant in tenants))
    changes = _counts(connection, one) if whole else _changes(connection, sight, one, tenants)
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


def _counts(connection: Connection, one: JournalRun) -> Mapping[str, int]:
    """How many changes of a run ended how: of one that has ended counted once, of a large one once a second, for everybody who sees all of it."""
    ended, second = one.ended_at is not None, int(time.monotonic())
    key = (one.id, one.plan, one.started_at, one.ended_at if ended else second)
    found = _counted.get(key, lambda: statuses(connection, one.id))
    return found if ended or sum(found.values()) >= LARGE else statuses(connection, one.id)


def _changes(connection: Connection, sight: Sight, one: JournalRun, tenants: set[str]) -> Mapping[str, int]:
    """The changes of a run that are seen, by how they ended."""
    found = Counter[str]()
    for tenant in tenants:
        if sight.of_tenant(one.source, tenant):
            found.update(dict(statuses_of(connection, one.id, tenant)))
        elif sight.some_of(one.source, tenant):
            found.update(_of_scopes(connection, sight, one, tenant))
    return found


def _of_scopes(connection: Connection, sight: Sight, one: JournalRun, tenant: str) -> Iterator[str]:
    rows = connection.rows(
        "SELECT item.address, item.status FROM step JOIN item ON item.run = step.run AND item.step = step.seq "
        "WHERE step.run = ? AND step.tenant = ?",
        (one.id, tenant),
    )
    return (status or "open" for address, status in rows if sight.address(one.source, address))
