"""A plan as lines of text for a terminal. Each line has a style, which the caller may colour or drop."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import NamedTuple

from reconciler.report.view import SIGNS, Fold, View, counted, difference, duration, meaning, previous
from reconciler.types.change import Action, Change, FieldChange
from reconciler.types.plan import OnStop, Phase
from reconciler.types.resource import parts

MOST_NAMES = 6
MOST_FIELDS = 12
MOST_DIFF_LINES = 24


class Line(NamedTuple):
    """Text without its line end. Styles: title, good, bad, warn, add, change, remove, dim, plain."""

    text: str
    style: str = "plain"


STYLES = {"+": "add", "~": "change", "±": "remove", "-": "remove", "»": "change", ">": "change", "o": "warn"}


def plan_lines(view: View) -> Iterator[Line]:
    """The whole plan: header, what is destructive, what forbids it, changes folded over hosts, what is put off, the verdict."""
    yield from _header(view)
    yield from _problems(view)
    yield from _destructive(view)
    yield from _access(view)
    yield from _guards(view)
    for fold in view.folds:
        yield Line("")
        yield from _fold(view, fold)
    yield from _deferred(view)
    yield from _phases(view)
    yield from _approvals(view)
    yield Line("")
    yield from summary_lines(view)


THEN_ON_STOP: Mapping[str, str] = {OnStop.WAIT: "", OnStop.PROPOSE: ", and a branch takes it back", OnStop.REVERT: ", and is taken back"}


def _phases(view: View) -> Iterator[Line]:
    """How hosts go out, track by track."""
    for (tenant, track), phases in groupby(view.plan.phases, key=lambda phase: (phase.tenant, phase.track)):
        parts = list(phases)
        hosts = len({group for phase in parts for group in phase.groups})
        then = THEN_ON_STOP[parts[0].on_stop]
        stop = f"it stops when more than {counted(parts[0].max_failures, 'host')} {'has' if parts[0].max_failures == 1 else 'have'} failed{then}"
        yield Line("")
        yield Line(
            f"ROLLOUT {track} of {tenant}: {counted(hosts, 'host')} in {counted(sum(not p.check for p in parts), 'part')}; {stop}", "title"
        )
        for number, phase in enumerate((phase for phase in parts if not phase.check), 1):
            names = ", ".join(group.rpartition("/")[2] for group in phase.groups[:MOST_NAMES])
            rest = f" and {len(phase.groups) - MOST_NAMES} more" if len(phase.groups) > MOST_NAMES else ""
            waits = [f"after {duration(phase.soak_s)}"] if phase.soak_s else []
            waits += ["when a person promotes it"] if phase.promote else []
            yield Line(f"  {number}. {phase.title}{', ' if waits else ''}{', '.join(waits)}: {names}{rest}{_looked_at(phase, parts)}")


def _looked_at(phase: Phase, parts: Sequence[Phase]) -> str:
    """When the hosts of a part are looked at again, if they are."""
    check = next((other for other in parts if other.check and other.number == phase.number + 1), None)
    if check is None:
        return ""
    return f"; looked at again{f' after {duration(check.soak_s)}' if check.soak_s else ''}"


def _approvals(view: View) -> Iterator[Line]:
    """Who has to say yes before it is applied."""
    if view.approvals:
        yield Line("")
        yield Line("WAITS FOR APPROVAL", "warn")
        yield from (Line(f"  {printable(item.message)}", "warn") for item in view.approvals)


def _header(view: View) -> Iterator[Line]:
    plan = view.plan
    base = f" against {plan.base[:10]}" if plan.base and plan.base != plan.commit else ""
    scope = f", scope {plan.scope}" if plan.scope else ""
    yield Line(f"Plan {plan.id[:12]}: Fleet {plan.source}, commit {plan.commit[:10]}{base}{scope}", "title")
    if plan.observed_from is not None:
        yield Line(f"  relies on observations up to {duration(view.now - plan.observed_from)} old", "dim")


def _problems(view: View) -> Iterator[Line]:
    errors, warnings = view.plan.errors, view.plan.warnings
    if errors:
        yield Line("")
        yield Line(f"Problems in the repository ({len(errors)}); what depends on them is put off, and nothing is deleted:", "bad")
        yield from (Line(f"  {printable(str(problem))}", "bad") for problem in errors)
    if warnings:
        yield Line("")
        yield Line(f"Warnings ({len(warnings)})", "warn")
        yield from (Line(f"  {printable(str(problem))}", "warn") for problem in warnings)


def _destructive(view: View) -> Iterator[Line]:
    if not view.destructive:
        return
    yield Line("")
    yield Line(f"DESTRUCTIVE ({len(view.destructive)})", "remove")
    for change in view.destructive:
        yield Line(f"  {SIGNS[change.action]} {change.action} {change.address}  [{', '.join(sorted(change.risk))}]", "remove")
        if said := meaning(change.address, change.action):
            yield Line(f"      {said}", "remove")


def _access(view: View) -> Iterator[Line]:
    if view.access:
        yield Line("")
        yield Line(f"ACCESS ({len(view.access)})", "warn")
        yield from (Line(f"  {printable(line)}", "add" if line.startswith("+") else "remove") for line in view.access)


def _guards(view: View) -> Iterator[Line]:
    for verdict in view.plan.guards:
        yield Line("")
        said, style = ("REFUSED by", "bad") if verdict.refuses else ("WARNING of", "warn")
        yield Line(f"{said} the guard {verdict.guard}: {printable(verdict.message)}", style)
        if verdict.hint:
            yield Line(f"  next: {printable(verdict.hint)}", "warn")


def _fold(view: View, fold: Fold) -> Iterator[Line]:
    names = ", ".join(fold.groups[:MOST_NAMES]) + (f" and {len(fold.groups) - MOST_NAMES} more" if len(fold.groups) > MOST_NAMES else "")
    count = counted(len(fold.changes), "change")
    same = f"{len(fold.groups)} with the same {count.removeprefix('1 ')}: " if len(fold.groups) > 1 else ""
    yield Line(f"{same}{names}" + ("" if same else f": {count}"), "title")
    if len(fold.groups) > 1:
        yield Line(f"  shown for {fold.groups[0]}", "dim")
    for change in fold.changes:
        yield from change_lines(view, change)


def change_lines(view: View, change: Change) -> Iterator[Line]:
    """One change with its fields, where their values come from, and the difference of its file."""
    driver, kind, _, name = parts(change.address)
    causes = ", ".join(sorted(change.causes))
    risk = f" [{', '.join(sorted(change.risk))}]" if change.risk else ""
    moved = f" from {change.moved_from}" if change.moved_from else ""
    sign = SIGNS[change.action]
    yield Line(f"  {sign} {change.action:<8}{driver}/{kind} {name}{moved}  ({causes}){risk}", STYLES.get(sign, "dim"))
    for item in change.fields[:MOST_FIELDS]:
        yield from _field(view, change, item)
    if len(change.fields) > MOST_FIELDS:
        yield Line(f"      and {len(change.fields) - MOST_FIELDS} more fields", "dim")
    for spot in change.blind_spots:
        yield Line(f"      cannot be foreseen: {spot}", "warn")
    if change.action in (Action.UPDATE, Action.MOVE):
        yield from _diff(view.diff(change))


def _field(view: View, change: Change, item: FieldChange) -> Iterator[Line]:
    origin = view.where(change, item)
    place = f"  {origin}" if origin else ""
    causes = "" if item.causes == change.causes else f"  ({', '.join(sorted(item.causes))})"
    yield Line(f"      {item.path or '/'}: {difference(previous(item), item.after)}{causes}{place}", "change")
    if item.diff:
        yield from _diff(item.diff)


def _diff(text: str) -> Iterator[Line]:
    lines = text.splitlines()
    for number, line in enumerate(lines[:MOST_DIFF_LINES]):
        head = number < 2 and line.startswith(("--- ", "+++ "))
        style = "add" if line.startswith("+") and not head else "bad" if line.startswith("-") and not head else "dim"
        yield Line(f"        {printable(line)}", style)
    if len(lines) > MOST_DIFF_LINES:
        yield Line(f"        ... {len(lines) - MOST_DIFF_LINES} more lines", "dim")


BLANK = frozenset("\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0\u034f") | {
    chr(code) for code in (*range(0x180B, 0x1810), *range(0xFE00, 0xFE10))
}
"""Characters that count as printable and show nothing; the variation selectors of the last planes are told by their number."""


def printable(line: str) -> str:
    """The line without what controls, reorders or hides text, so that nothing observed can move the cursor, colour the screen or pass for something else."""
    if line.isascii() and line.isprintable():
        return line
    return "".join(char if _shows(char) or char == "\t" else "\N{REPLACEMENT CHARACTER}" for char in line)


def _shows(char: str) -> bool:
    return char.isprintable() and char not in BLANK and not "\U000e0000" <= char <= "\U000e0fff"


def brief(text: str, most: int = 300) -> str:
    """The text on one line, cut where it gets long."""
    line = printable(" ".join(text.split()))
    return line if len(line) <= most else f"{line[: most - 3]}..."


def _deferred(view: View) -> Iterator[Line]:
    for fold in view.deferred:
        yield Line("")
        yield Line(f"PUT OFF ({len(fold.addresses)}), {fold.code}: {brief(fold.reason)}", "warn")
        for where in fold.addresses[:MOST_NAMES]:
            yield Line(f"    {where}", "warn")
        if len(fold.addresses) > MOST_NAMES:
            yield Line(f"    and {len(fold.addresses) - MOST_NAMES} more", "warn")


def summary_lines(view: View) -> Iterator[Line]:
    """Counts and the verdict."""
    plan = view.plan
    actions = ", ".join(f"{number} {action}" for action, number in view.by_action.items())
    causes = ", ".join(f"{number} {cause}" for cause, number in view.by_cause.items())
    yield Line(f"{counted(len(plan.changes), 'change')}: {actions}; causes: {causes}" if plan.changes else "no changes", "title")
    put_off = f"; {counted(len(plan.deferred), 'resource')} put off" if plan.deferred else ""
    yield Line(f"{len(view.hosts):,} of {counted(plan.hosts, 'host')} change{'s' if len(view.hosts) == 1 else ''}{put_off}", "plain")
    style = "bad" if any(v.refuses for v in plan.guards) else "good" if plan.complete and not view.approvals else "warn"
    yield Line(f"Verdict: {view.verdict}.", style)
