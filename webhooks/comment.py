"""The comment on a pull request: from `Said` to Markdown of at most so many characters. Pure and deterministic.

What is destroyed, and who gains or loses access, stands first and is never folded. What does not fit is left out in a fixed order, counted, and named by a
link to the full plan: differences of files, then rows, then what stands around them; never the header.
"""

from reconciler.report.markdown import Style, table
from reconciler.report.markup import code, link
from reconciler.report.view import View
from webhooks.changes_part import caused, deferred, stood_before
from webhooks.comment_parts import access, ahead, answers, commands, destructive, guards, header, held, no_plan, required, warnings
from webhooks.fit import GONE, Part, fit, units
from webhooks.said import Said

LIMIT = 32_000
"""What the narrowest forge takes."""
WITHOUT_DIFFS, IN_ONE_LINE, SHORT = 1, 2, 1
"""Levels of rows."""
CUTS = (
    ("beside", WITHOUT_DIFFS), ("own", WITHOUT_DIFFS), ("beside", IN_ONE_LINE), ("own", IN_ONE_LINE), ("beside", GONE), ("own", GONE), ("table", GONE),
    ("warnings", GONE), ("answers", SHORT), ("answers", GONE), ("deferred", GONE), ("ahead", GONE), ("locks", GONE), ("no plan", GONE), ("required", GONE),
    ("guards", SHORT), ("guards", GONE), ("commands", GONE), ("access", GONE), ("lost", GONE),
)  # fmt: skip
"""What is shortened, the first one first."""


def comment(said: Said, limit: int = LIMIT) -> str:
    """The text, at most `limit` UTF-16 units long (8,000 at least)."""
    parts = _parts(said, limit)
    text = fit([*parts.values(), _footer(said, shortened=False)], (), limit)
    if units(text) <= limit:
        return text
    return fit([*parts.values(), _footer(said, shortened=True)], [(parts[name], level) for name, level in CUTS], limit)


def _parts(said: Said, limit: int) -> dict[str, Part]:
    """All parts, in their order."""
    view, style, none = said.view, Style(observed=said.shows.observed_values, folding=said.folding), Part()
    return {
        "header": header(said),
        "no plan": no_plan(said),
        "lost": destructive(said, limit // 2),
        "access": access(view) if view else none,
        "guards": guards(view) if view else none,
        "required": required(said),
        "locks": held(said),
        "warnings": warnings(said),
        "table": _table(view) if view else none,
        "own": caused(view, style, limit) if view else none,
        "beside": stood_before(view, style, limit) if view else none,
        "deferred": deferred(view, style) if view else none,
        "ahead": ahead(said),
        "answers": answers(said),
        "commands": commands(said),
    }


def _table(view: View) -> Part:
    lines = table(*view.parted)
    return Part(head="\n".join(lines[:2]), rows=[(line,) for line in lines[2:]], more=lambda number: f"| and {number:,} more | |")


def _footer(said: Said, *, shortened: bool) -> Part:
    where = link("the full plan", said.full) if said.full else f"the full plan ({code(said.full_file)})" if said.full_file else ""
    if shortened:
        return Part(foot=f"**This comment is shortened so that it fits**{f': all is in {where}' if where else ''}.")
    return Part(foot=f"See {where}." if where else "")
