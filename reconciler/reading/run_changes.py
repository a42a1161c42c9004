"""The changes of a run, with the steps that they are done in and how they ended."""

from collections.abc import Iterator, Sequence
from typing import Annotated, Any

from reconciler.reading.call import Call
from reconciler.reading.paging import Document, Paged, Step, after, cursor_of, one_of
from reconciler.reading.runs import RunDocument, found
from reconciler.report.parts import ItemPart, size
from reconciler.report.text import brief
from reconciler.store.engine import Connection
from reconciler.store.runs import Item, JournalRun, JournalStep, run_items, tenants_of_run
from reconciler.store.sql import within
from reconciler.types.outcome import Status

MOST_BYTES, MOST_CHARS = 150_000, 1_000
OPEN, BAD = "open", "bad"
OUTCOMES = (OPEN, BAD, *(status.value for status in Status))


class RunChangesAsk(Paged, frozen=True, kw_only=True):
    """Only those whose address has `host` in it, of one step (-1: of all), or that ended so: a status, `open` for those that have not, `bad` for those that
    are not done."""

    host: str = ""
    step: Step = -1
    outcome: Annotated[str, one_of(OUTCOMES)] = ""


class RunChanges(Document, frozen=True, kw_only=True):
    """In the order of the steps. `asked`: what the list was narrowed to."""

    run: RunDocument
    items: list[ItemPart]
    asked: dict[str, str]
    next: str = ""


def changes(call: Call, ask: RunChangesAsk) -> RunChanges:
    """A page of the changes of a run that the caller sees."""
    run, document = found(call)
    key = after(ask.cursor, int, str)
    items: list[ItemPart] = []
    used = 0
    with call.installation.store.read() as connection:
        for item in _items(connection, call, run, ask, key, whole=document.whole):
            used += size(item)
            if items and (len(items) == ask.limit or used > MOST_BYTES):
                return RunChanges(run=document, items=items, asked=asked(ask), next=cursor_of(items[-1].step, items[-1].address))
            items.append(item)
    return RunChanges(run=document, items=items, asked=asked(ask))


def asked(ask: RunChangesAsk) -> dict[str, str]:
    """What the list was narrowed to, by name."""
    step = {"step": str(ask.step)} if ask.step >= 0 else {}
    return step | {name: text for name, text in (("host", ask.host), ("outcome", ask.outcome)) if text}


def _items(
    connection: Connection, call: Call, run: JournalRun, ask: RunChangesAsk, key: Sequence[Any] | None, *, whole: bool
) -> Iterator[ItemPart]:
    sight, conditions = call.sight, list[tuple[str, Sequence[object]]]()
    if not whole:
        tenants = sorted(tenant for tenant in tenants_of_run(connection, run.id) if sight.some_of(run.source, tenant))
        conditions.append((f"step.tenant IN ({', '.join('?' * len(tenants))})", tenants))
    if ask.step >= 0:
        conditions.append(("item.step = ?", [ask.step]))
    if ask.host:
        conditions.append(("lower(item.address) LIKE ? ESCAPE '/'", [within(ask.host)]))
    if ask.outcome == BAD:
        conditions.append(("item.status NOT IN ('', 'done')", []))
    elif ask.outcome:
        conditions.append(("item.status = ?", ["" if ask.outcome == OPEN else ask.outcome]))
    for step, item, ended_at in run_items(connection, run.id, conditions, key):
        if whole or sight.address(run.source, item.address):
            yield item_part(step, item, ended_at, whole=whole)


def item_part(step: JournalStep, item: Item, ended_at: float | None, *, whole: bool = True) -> ItemPart:
    """A change of a run; what its step waits for may name others, and is for who sees all of the run."""
    return ItemPart(
        step=step.seq,
        wave=step.wave,
        driver=step.driver,
        tenant=step.tenant,
        state=step.state,
        note=brief(step.note) if whole else "",
        address=item.address,
        action=item.action.value,
        status=item.status.value if item.status else OPEN,
        error=brief(item.error, MOST_CHARS),
        ended_at=ended_at,
    )
