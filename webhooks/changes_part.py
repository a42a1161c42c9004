"""The parts of a comment that tell a plan's changes: what this pull request causes, what was there before it, and what is not known. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator

from reconciler.report.markdown import Style, put_off, title, whole
from reconciler.report.markup import OPEN_LINES, code
from reconciler.report.text import MOST_NAMES
from reconciler.report.view import OLD_S, Fold, View, counted, duration, folds
from reconciler.types.change import Change
from webhooks.fit import Part, units

LEAST = 40
"""No row that tells changes is shorter."""
OURS = frozenset(
    {
        "deletes-stopped", "dependency-deferred", "desired-unknown", "driver-missing", "input-unknown", "not-observed", "not-ours", "other-causes",
        "owned-elsewhere", "report-only", "secret-in-file",
    }
)  # fmt: skip
"""Why a plan puts things off by itself; any other reason is the world's, in its own words."""


def caused(view: View, style: Style, limit: int) -> Part:
    """What the commits of this pull request cause."""
    own, beside = view.parted
    if not own:
        return Part(head="**This pull request changes nothing**, apart from what was there before it." if beside else "")
    return _folds(view, own, style, limit, f"### This pull request: {counted(len(own), 'change')}")


def stood_before(view: View, style: Style, limit: int) -> Part:
    """Drift, and what was wanted before: it is applied with this plan, and would be without it."""
    _, beside = view.parted
    if not beside:
        return Part()
    causes = Counter(cause for change in beside for cause in change.causes)
    why = ", ".join(f"{number:,} {cause}" for cause, number in sorted(causes.items()))
    heading = f"{counted(len(beside), 'change')} not of this pull request ({why})"
    made = _folds(view, beside, style, limit, "")
    if not style.folding:
        return Part(head=f"### There before: {heading}\n", rows=made.rows, left=made.left)
    few = not made.left and sum(row[0].count("\n") + 1 for row in made.rows) <= OPEN_LINES
    head = f"### There before\n\n<details{' open' if few else ''}><summary>{heading}</summary>\n"
    return Part(head=head, rows=made.rows, left=made.left, foot="\n</details>")


def _folds(view: View, changes: Iterable[Change], style: Style, limit: int, heading: str) -> Part:
    """Manifests with the same changes as rows: whole, without the differences of files, or in one line. What cannot fit anyway is not made."""
    found = folds(changes)
    shown = found[: limit // LEAST]
    rows: list[tuple[str, ...]] = []
    used = [0, 0]
    for fold in shown:
        short = _in_one_line(fold)
        bare = "\n".join(whole(view, fold, style, diffs=False)) if used[1] <= limit else short
        full = "\n".join(whole(view, fold, style)) if used[0] <= limit else bare
        used = [used[0] + units(full), used[1] + units(bare)]
        rows.append((full, bare, short))
    return Part(head=f"{heading}\n" if heading else "", rows=rows, left=len(found) - len(shown))


def _in_one_line(fold: Fold) -> str:
    actions = Counter(change.action.value for change in fold.changes)
    return f"- {title(fold)} ({', '.join(f'{number:,} {action}' for action, number in sorted(actions.items()))})"


def deferred(view: View, style: Style) -> Part:
    """What is put off, what was seen long ago, and what cannot be foreseen."""
    rows = [put_off(item.addresses, item.code, item.reason if style.observed or item.code in OURS else "") for item in view.deferred]
    rows += _stale(view)
    spots = Counter(spot for change in view.plan.changes for spot in change.blind_spots)
    rows += [f"- **cannot be foreseen** ({number:,}): {code(spot)}" for spot, number in spots.most_common(MOST_NAMES)]
    if len(spots) > MOST_NAMES:
        rows.append(f"- and {len(spots) - MOST_NAMES:,} more that cannot be foreseen")
    return Part(head="### Unknown\n" if rows else "", rows=[(row,) for row in rows])


def _stale(view: View) -> Iterator[str]:
    plan = view.plan
    age = plan.created_at - plan.observed_from if plan.observed_from is not None else 0.0
    if age >= OLD_S:
        yield f"- **stale**: the plan relies on what was last seen up to {duration(age)} before it was made"
