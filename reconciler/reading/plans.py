"""Plans: which there are, and one of them as far as the caller sees it."""

from bisect import bisect_right
from typing import Annotated, Any

from reconciler.reading.call import Call
from reconciler.reading.outline import Choice
from reconciler.reading.paging import Document, Limit, Paged, after, cursor_of, one_of
from reconciler.reading.plan_seen import PlanDocument, Seen, found, summed
from reconciler.report.as_json import change_document
from reconciler.report.parts import (
    size,
)
from reconciler.store.plans import load_changes, plans_before
from reconciler.types.change import Action, Cause, Change, Risk

MOST_BYTES = 80_000
"""Of changes, as JSON."""


class Plans(Document, frozen=True, kw_only=True):
    """Newest first."""

    items: list[PlanDocument]
    next: str = ""


class PlansAsk(Paged, frozen=True, kw_only=True):
    """`source`: those of one Fleet; `applyable`: only those that could be applied when they were made."""

    source: str = ""
    applyable: bool = False


class ChangesAsk(Paged, frozen=True, kw_only=True):
    """Only changes of this tenant, driver, action, cause or risk, or of manifests whose name has `host` in it."""

    limit: Limit = 20
    tenant: str = ""
    driver: str = ""
    action: Annotated[str, one_of(Action)] = ""
    cause: Annotated[str, one_of(Cause)] = ""
    risk: Annotated[str, one_of(Risk)] = ""
    host: str = ""


class Changes(Document, frozen=True, kw_only=True):
    """Changes as `octofleet plan --json` has them, in the plan's order. `asked`: what the list was narrowed to."""

    plan: str
    items: list[dict[str, Any]]
    asked: dict[str, str]
    next: str = ""


def plans(call: Call, ask: PlansAsk) -> Plans:
    """A page of the plans that the caller sees something of."""
    key, sight = after(ask.cursor, int), call.sight
    items: list[PlanDocument] = []
    last = 0
    with call.installation.store.read() as connection:
        for plan in plans_before(connection, key[0] if key else None):
            if ask.source not in ("", plan.source) or (ask.applyable and not plan.applyable) or not sight.some(plan.source):
                continue
            if (seen := summed(connection, call, plan)) is not None:
                if len(items) == ask.limit:
                    return Plans(items=items, next=cursor_of(last))
                items.append(seen)
                last = plan.row
    return Plans(items=items)


def asked(ask: ChangesAsk) -> dict[str, str]:
    """What a list was narrowed to, by name."""
    names = ("tenant", "driver", "action", "cause", "risk", "host")
    return {name: getattr(ask, name) for name in names if getattr(ask, name)}


def changes(call: Call, ask: ChangesAsk) -> Changes:
    """A page of the changes of a plan, as they are."""
    key = after(ask.cursor, int)
    with call.installation.store.read() as connection:
        seen = found(connection, call)
        numbers = seen.outline.numbers(chosen(seen, ask))
        rest = numbers[bisect_right(numbers, key[0]) :] if key else numbers
        loaded = load_changes(connection, seen.plan.row, rest[: ask.limit])
    items: list[dict[str, Any]] = []
    used = 0
    for seq in rest[: ask.limit]:
        item = _masked(seen, loaded[seq])
        used += size(item)
        if items and used > MOST_BYTES:
            break
        items.append(item)
    further = cursor_of(rest[len(items) - 1]) if len(items) < len(rest) else ""
    return Changes(plan=seen.plan.id, items=items, asked=asked(ask), next=further)


def _masked(seen: Seen, change: Change) -> dict[str, Any]:
    """A change without names of what the caller does not see."""
    said = change_document(change)
    moved = change.moved_from if change.moved_from and seen.address(change.moved_from) else None
    return said | {"movedFrom": moved, "dependsOn": [where for where in change.depends_on if seen.address(where)]}


def chosen(seen: Seen, ask: ChangesAsk) -> Choice:
    """The changes that were asked for."""
    host = ask.host.lower()
    kinds = (
        ask.tenant in ("", kind.tenant)
        and ask.driver in ("", kind.driver)
        and ask.action in ("", kind.action)
        and (not ask.cause or ask.cause in kind.causes)
        and (not ask.risk or ask.risk in kind.risk)
        for kind in seen.outline.columns.kinds
    )
    return seen.choice.narrowed(kinds, (lambda tenant, group: host in group.lower()) if host else None)
