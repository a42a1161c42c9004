"""A plan as Markdown (GitHub's flavour), and the pieces that comments on pull requests are made of, too."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from reconciler.plan.fields import same
from reconciler.report.markup import block, cell, code, details, html, names, prose
from reconciler.report.text import MOST_FIELDS, MOST_NAMES, brief
from reconciler.report.view import SIGNS, Fold, View, come_and_gone, counted, meaning, pair, previous, shown
from reconciler.types.change import MISSING, Action, Change, FieldChange
from reconciler.types.plan import GuardVerdict
from reconciler.types.resource import parts

COLUMNS = (Action.CREATE, Action.UPDATE, Action.DELETE, Action.REPLACE, Action.RUN, Action.MOVE)
ALWAYS = 3
"""So many of these columns stand in every table, and their signs say enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """`observed`: whether values that were seen in the world may be shown; `folding`: whether HTML's `<details>` may be used."""

    observed: bool = True
    folding: bool = True


def plan_markdown(view: View) -> str:
    """The whole plan."""
    return "\n".join(_lines(view)) + "\n"


def _lines(view: View) -> Iterator[str]:
    plan, style = view.plan, Style()
    yield f"## Octofleet plan {code(plan.id[:12])}"
    yield ""
    base = f" against {code(plan.base[:10])}" if plan.base and plan.base != plan.commit else ""
    yield f"Fleet {code(plan.source)}, commit {code(plan.commit[:10])}{base}. **{view.verdict[0].upper()}{view.verdict[1:]}.**"
    yield ""
    for name, problems in (("Problems", plan.errors), ("Warnings", plan.warnings)):
        if problems:
            yield f"### {name} ({len(problems)})"
            yield from (f"- {code(str(problem))}" for problem in problems)
            yield ""
    if view.destructive:
        yield f"### Destructive ({len(view.destructive)})"
        yield from map(lost, view.destructive)
        yield ""
    if view.access:
        yield f"### Access ({len(view.access)})"
        yield from map(grant, view.access)
        yield ""
    for verdict in plan.guards:
        yield guard(verdict)
        yield ""
    if view.approvals:
        yield "### Waits for approval"
        yield from (f"- {code(item.message)}" for item in view.approvals)
        yield ""
    yield from table(plan.changes)
    yield ""
    for fold in view.folds:
        yield from whole(view, fold, style)
    yield from (put_off(item.addresses, item.code, item.reason) for item in view.deferred)


def lost(change: Change) -> str:
    """What is lost, on one line."""
    said = meaning(change.address, change.action)
    return f"- **{change.action}** {code(change.address)} ({', '.join(sorted(change.risk))}){f': {said}' if said else ''}"


def lost_alike(changes: Sequence[Change]) -> str:
    """The same of many with one action, kind, tenant and risk."""
    first = changes[0]
    if len(changes) == 1:
        return lost(first)
    driver, kind, tenant, _ = parts(first.address)
    said = ", ".join(sorted(first.risk))
    where = names([parts(change.address)[3] for change in changes])
    means = meaning(first.address, first.action)
    return (
        f"- **{first.action} {len(changes):,}** {code(f'{driver}/{kind}/{tenant}')} ({said}){f', each: {means}' if means else ''}: {where}"
    )


def grant(line: str) -> str:
    """Who gains or loses what."""
    return f"- **{'gained' if line.startswith('+') else 'lost'}**: {code(line[2:])}"


def guard(verdict: GuardVerdict) -> str:
    """What a guard or a policy says against the plan."""
    said = "Refused by" if verdict.refuses else "Warning of"
    quoted = code if verdict.guard.startswith("policy/") else prose  # a policy's words are its author's
    then = f" Next: {quoted(verdict.hint, 1000)}." if verdict.hint else ""
    return f"> **{said} the guard {code(verdict.guard)}**: {quoted(verdict.message, 2000)}.{then}"


def put_off(addresses: Sequence[str], why: str, reason: str) -> str:
    """What is put off for one reason; without the reason if it is empty."""
    then = f", {prose(brief(reason))}" if reason else ""
    return f"- **put off** ({len(addresses):,}), {code(why)}{then}: {names(addresses)}"


def table(changes: Iterable[Change], beside: Iterable[Change] = ()) -> list[str]:
    """How many changes of each action there are, a row for each tenant and driver; `beside` are told in a column of their own. Two lines of head."""
    told = Counter((tuple(change.address.split("/", 3)[:3]), change.action.value) for change in changes)
    told.update((tuple(change.address.split("/", 3)[:3]), "beside") for change in beside)
    if not told:
        return []
    rows: dict[tuple[str, str], Counter[str]] = {}
    for ((driver, _, tenant), name), number in told.items():
        rows.setdefault((tenant, driver), Counter())[name] += number
    total = sum(rows.values(), Counter[str]())
    used = [action.value for number, action in enumerate(COLUMNS) if number < ALWAYS or total[action.value]]
    columns = {name: [name] for name in used}
    columns |= {"record only": [a.value for a in Action if a not in COLUMNS and total[a.value]]} | {"before": ["beside"]}
    columns = {title: of for title, of in columns.items() if title in used or any(total[name] for name in of)}
    head = [" ".join([SIGNS[Action(title)], *([title] if title in used[ALWAYS:] else [])]) if title in used else title for title in columns]
    lines = [f"| tenant | driver | {' | '.join(head)} |", f"|---|---|{'--:|' * len(head)}"]
    for (tenant, driver), row in sorted(rows.items()):
        numbers = (sum(row[name] for name in of) for of in columns.values())
        lines.append(f"| {cell(tenant)} | {cell(driver)} | {' | '.join(f'{n:,}' if n else '' for n in numbers)} |")
    return lines


def whole(view: View, fold: Fold, style: Style, *, diffs: bool = True) -> Iterator[str]:
    """Manifests with the same changes: the changes of the first of them, those that read the same together, with the differences of files."""
    lines = [names(fold.groups), ""] if len(fold.groups) > 1 else []
    same: dict[tuple[str, ...], list[Change]] = {}
    for change in fold.changes:
        same.setdefault((_text(view, change, style) if diffs else "", *_said(view, change, style)), []).append(change)
    for (text, action, why, *fields), changes in same.items():
        lines += [f"- **{action}** {names([change.address for change in changes])}{why}", *fields]
        lines += ["", block(text), ""] if text else []
    yield from details(title(fold, html if style.folding else code), lines, folding=style.folding)


def title(fold: Fold, quoted: Callable[[str], str] = code) -> str:
    """What a fold is about, on one line; `quoted` gives names."""
    count, first = counted(len(fold.changes), "change"), quoted(fold.groups[0])
    if len(fold.groups) == 1:
        return f"{first}: {count}"
    all_hosts = all(group.startswith("host/") for group in (fold.groups[0], fold.groups[-1]))
    many = counted(len(fold.groups), "host" if all_hosts else "manifest")
    return f"{many}, the same {count.removeprefix('1 ')}, shown for {first}"


def _text(view: View, change: Change, style: Style) -> str:
    if not style.observed and any(is_observed(change, item) for item in change.fields):
        return ""
    return view.diff(change) or "\n".join(filter(None, (item.diff for item in change.fields)))


def is_observed(change: Change, item: FieldChange) -> bool:
    """Whether what a field is now was seen in the world only, and is not on record."""
    return item.before is not MISSING and not same(item.before, item.recorded)


def _said(view: View, change: Change, style: Style) -> Iterator[str]:
    """The action, why, and a line for each field; nothing with the change's own address."""
    yield change.action.value
    risk = f", **{', '.join(sorted(change.risk))}**" if change.risk else ""
    moved = f" from {code(change.moved_from)}" if change.moved_from else ""
    yield f"{moved} ({', '.join(sorted(change.causes))}{risk})"
    for item in change.fields[:MOST_FIELDS]:
        origin = view.where(change, item)
        place = f", set at {code(str(origin))}" if origin else ""
        why = "" if item.causes == change.causes else f" ({', '.join(sorted(item.causes))})"
        yield f"  - {code(item.path or '/')}: {_difference(change, item, style)}{why}{place}"
    if len(change.fields) > MOST_FIELDS:
        yield f"  - and {len(change.fields) - MOST_FIELDS} more fields"
    yield from (f"  - cannot be foreseen: {code(spot)}" for spot in change.blind_spots[:MOST_NAMES])
    if len(change.blind_spots) > MOST_NAMES:
        yield f"  - and {len(change.blind_spots) - MOST_NAMES} more that cannot be foreseen"


def _difference(change: Change, item: FieldChange, style: Style) -> str:
    if not style.observed and is_observed(change, item):
        by_engine = change.action is Action.RUN and item.recorded is MISSING
        return "its engine would change it" if by_engine else f"what was observed, then {code(shown(item.after))}"
    before = previous(item)
    old, new = pair(before, item.after)
    return ", ".join(map(code, come_and_gone(before, item.after))) or f"{code(old)} → {code(new)}"
