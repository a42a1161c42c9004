"""A plan as Markdown (GitHub's flavour). Text from the repository or the world stands in code spans and blocks that it cannot leave."""

from collections.abc import Iterator, Sequence
from html import escape

from reconciler.report.text import MOST_FIELDS, MOST_NAMES, brief, printable
from reconciler.report.view import SIGNS, Fold, View, counted, difference, previous
from reconciler.types.change import Change
from reconciler.types.resource import parts


def plan_markdown(view: View) -> str:
    """The whole plan."""
    return "\n".join(_lines(view)) + "\n"


def code(text: str) -> str:
    """A code span that holds any text: fenced by more backticks than it has in a row."""
    clean = printable(text).replace("\n", " ").replace("|", "\\|")
    fence = "`" * (_longest_run(clean) + 1)
    pad = " " if clean.startswith("`") or clean.endswith("`") or not clean else ""
    return f"{fence}{pad}{clean}{pad}{fence}"


def _longest_run(text: str) -> int:
    longest = run = 0
    for char in text:
        run = run + 1 if char == "`" else 0
        longest = max(longest, run)
    return longest


def block(text: str, language: str = "diff") -> str:
    """A code block that holds any text."""
    clean = "\n".join(map(printable, text.splitlines()))
    fence = "`" * max(3, _longest_run(clean) + 1)
    return f"{fence}{language}\n{clean}\n{fence}"


def _lines(view: View) -> Iterator[str]:
    plan = view.plan
    yield f"## Octofleet plan {code(plan.id[:12])}"
    yield ""
    base = f" against {code(plan.base[:10])}" if plan.base and plan.base != plan.commit else ""
    yield f"Fleet {code(plan.source)}, commit {code(plan.commit[:10])}{base}. **{view.verdict[0].upper()}{view.verdict[1:]}.**"
    yield ""
    if plan.problems:
        yield f"### Problems ({len(plan.problems)})"
        yield from (f"- {code(str(problem))}" for problem in plan.problems)
        yield ""
    if view.destructive:
        yield f"### Destructive ({len(view.destructive)})"
        yield from (f"- {SIGNS[c.action]} **{c.action}** {code(c.address)} ({', '.join(sorted(c.risk))})" for c in view.destructive)
        yield ""
    if view.access:
        yield f"### Access ({len(view.access)})"
        yield from (f"- {code(line)}" for line in view.access)
        yield ""
    for verdict in plan.guards:
        said = "Refused by" if verdict.refuses else "Warning of"
        yield f"> **{said} the guard {code(verdict.guard)}**: {code(verdict.message)}. Next: {code(verdict.hint)}"
        yield ""
    if view.approvals:
        yield "### Waits for approval"
        yield from (f"- {code(item.message)}" for item in view.approvals)
        yield ""
    yield from _table(view)
    for fold in view.folds:
        yield from _fold(view, fold)
    for put_off in view.deferred:
        yield f"- **put off** ({len(put_off.addresses)}), {code(put_off.code)}: {code(brief(put_off.reason))}: {_names(put_off.addresses)}"


def _names(names: Sequence[str]) -> str:
    more = f" and {len(names) - MOST_NAMES} more" if len(names) > MOST_NAMES else ""
    return ", ".join(map(code, names[:MOST_NAMES])) + more


def _table(view: View) -> Iterator[str]:
    rows: dict[tuple[str, str], dict[str, int]] = {}
    for change in view.plan.changes:
        driver, _, tenant, _ = parts(change.address)
        row = rows.setdefault((tenant, driver), {})
        sign = SIGNS[change.action]
        row[sign] = row.get(sign, 0) + 1
    if not rows:
        return
    yield "| tenant | driver | + | ~ | » | - | other |"
    yield "|---|---|---|---|---|---|---|"
    for (tenant, driver), row in sorted(rows.items()):
        known = [row.pop(sign, 0) for sign in ("+", "~", "»", "-")]
        yield f"| {code(tenant)} | {code(driver)} | {' | '.join(str(n or '') for n in known)} | {sum(row.values()) or ''} |"
    yield ""


def _fold(view: View, fold: Fold) -> Iterator[str]:
    names = _names(fold.groups)
    count = counted(len(fold.changes), "change")
    many = f"{len(fold.groups)} with the same {count.removeprefix('1 ')}, shown for " if len(fold.groups) > 1 else ""
    after = "" if many else f": {count}"
    yield f"<details><summary>{many}<code>{escape(printable(fold.groups[0]))}</code>{after}</summary>"
    yield ""
    if many:
        yield names
        yield ""
    for change in fold.changes:
        yield from _change(view, change)
    yield ""
    yield "</details>"
    yield ""


def _change(view: View, change: Change) -> Iterator[str]:
    causes = ", ".join(sorted(change.causes))
    yield f"- {SIGNS[change.action]} {change.action} {code(change.address)} ({causes})"
    for item in change.fields[:MOST_FIELDS]:
        origin = view.where(change, item)
        place = f", set at {code(str(origin))}" if origin else ""
        yield f"  - {code(item.path or '/')}: {code(difference(previous(item), item.after))}{place}"
    if len(change.fields) > MOST_FIELDS:
        yield f"  - and {len(change.fields) - MOST_FIELDS} more fields"
    yield from (f"  - cannot be foreseen: {code(spot)}" for spot in change.blind_spots)
    text = view.diff(change) or "\n".join(filter(None, (item.diff for item in change.fields)))
    if text:
        yield ""
        yield block(text)
        yield ""
