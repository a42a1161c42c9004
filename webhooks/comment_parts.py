"""The parts of a comment around its changes: the header, what is destroyed, what is in the way, what can be done. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby

from reconciler.report.markdown import grant, guard, lost, lost_alike
from reconciler.report.markup import block, code, details, names, prose
from reconciler.report.view import View, counted, duration
from reconciler.source.signatures import Signature, Trust
from reconciler.types.change import Change
from reconciler.types.plan import Phase
from reconciler.types.problem import Problem, Severity
from reconciler.types.resource import parts
from webhooks.fit import Part, units
from webhooks.said import TAG, Answer, Applied, Requirement, Said

GOOD, WAITS, BAD = "🟢", "🟡", "🔴"
OUTCOMES = {
    Applied.GOES_ON: (WAITS, "merged, and being applied"),
    Applied.WAITS: (WAITS, "merged, and not applied yet"),
    Applied.DONE: (GOOD, "merged and applied"),
    Applied.FAILED: (BAD, "merged, and not all of it could be applied"),
}
MOST_CAPS = 20
MOST_WARNINGS = 20
MOST_ROWS = 500
"""No part of a comment has room for more rows."""


def header(said: Said) -> Part:
    """The verdict in a line, then what it is about."""
    sign, verdict = _verdict(said)
    lines = [TAG, "", f"## {sign} Octofleet: {verdict}", ""]
    if said.view is not None:
        lines += [f"{_hosts(said.view)}.", ""]
    lines.append(" · ".join(_about(said)))
    if said.outcome is not None:
        then = f"; next: {code(said.outcome.next)}" if said.outcome.next else ""
        lines += ["", f"{prose(said.outcome.text)}{then}"]
    return Part(head="\n".join(lines))


def _verdict(said: Said) -> tuple[str, str]:
    """The sign and the words of the first thing that matters."""
    if said.outcome is not None:
        return OUTCOMES[said.outcome.applied]
    branch, view = code(said.pull.base_branch, 80), said.view
    unmet = sum(not item.met for item in said.requirements)
    firm = next((item for item in said.requirements if item.firm and not item.met), None)
    refused = view is not None and any(item.refuses for item in view.plan.guards)
    changes = bool(view and view.plan.changes)
    found = (
        (bool(said.failure), BAD, "this could not be planned"),
        (bool(said.conflicts), BAD, f"this does not merge with {branch}"),
        (view is None and bool(said.problems), BAD, f"{counted(len(said.problems), 'problem')} in the repository"),
        (said.pending, WAITS, "being planned"),
        (view is None, WAITS, "not planned"),
        (refused, BAD, "refused, nothing will be applied"),
        (bool(said.locks), BAD, "others hold what this changes"),
        (firm is not None, BAD, prose(firm.message) if firm else ""),
        (said.untrusted is not None, WAITS, "a fork, whose head somebody has to trust"),
        (changes and unmet > 0, WAITS, f"waits for {counted(unmet, 'requirement')}"),
        (bool(view) and changes and not (view and view.plan.complete), WAITS, "can be applied in part"),
        (bool(view and view.destructive), WAITS, "can be applied, and destroys"),
        (changes, GOOD, "can be applied"),
        (bool(view) and not (view and view.plan.complete), WAITS, "nothing can be done now"),
    )
    return next(((sign, words) for holds, sign, words in found if holds), (GOOD, "nothing to do"))


def _hosts(view: View) -> str:
    found = view.numbers
    reached = f"{found.reached:,} reached by this pull request, **{found.changed:,} change**"
    those_that_go_too = counted(found.changed + found.unchanged + found.unknown, "host")
    return f"{those_that_go_too}: {reached}, {found.unchanged:,} stay as they are, {found.unknown:,} unknown"


def _about(said: Said) -> Iterator[str]:
    merged = f", as the merge {code(said.merged[:10])}" if said.merged and said.merged != said.pull.head else ""
    yield f"{code(said.pull.head[:10])} onto {code(said.pull.base_branch, 80)} at {code(said.base[:10])}{merged}"
    if said.view is not None:
        plan = said.view.plan
        yield f"plan {code(plan.id[:12])} of the Fleet {code(plan.source)}, until {at(plan.expires_at)}"
    if said.signatures is not None:
        yield _signed(said.signatures, named=said.shows.names)


def _signed(found: Sequence[Signature], *, named: bool) -> str:
    """What the signatures are worth, in a few words."""
    good = [item for item in found if item.trust is Trust.GOOD]
    if len(good) == len(found):
        who = f" by {names(sorted({item.signer for item in good}), 3)}" if named and good else ""
        return f"{counted(len(found), 'commit')} signed{who}"
    kinds = Counter(item.trust.value for item in found if item.trust is not Trust.GOOD)
    first = next(item for item in found if item.trust is not Trust.GOOD)
    why = f": {code(first.reason, 120)}" if first.reason else ""
    words = ", ".join(f"{number:,} {kind}" for kind, number in sorted(kinds.items()))
    return f"**signatures of {counted(len(found), 'commit')}: {words}** (first {code(first.commit[:10])}{why})"


def at(seconds: float) -> str:
    """A time as people read it."""
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M} UTC"


def no_plan(said: Said) -> Part:
    """Why there is no plan, or no whole one."""
    lines, rows = [], [f"- {code(path)}" for path in said.conflicts]
    if said.failure:
        lines.append(f"An error of Octofleet, not of this pull request: {code(said.failure)}. It is tried again.")
    if said.conflicts:
        lines.append(f"Merge {code(said.pull.base_branch, 80)} into it, or rebase it; both change:")
    if said.untrusted is not None:
        left, what, who = said.untrusted.left_out, "Nothing of it was run", prose(said.untrusted.who)
        lines.append(f"This pull request comes from a fork. {what}{f'; left out: {names(left, 20)}' if left else ''}.")
        lines.append(
            f"{who[:1].upper()}{who[1:]} can have this very head planned as a whole, with the comment {code(said.untrusted.command)}."
        )
    problems = [problem for problem in _problems(said) if problem.severity is Severity.ERROR]
    if problems:
        lines.append(f"### Problems: {len(problems):,}\n")
        rows += [f"- {code(str(problem), 600)}" for problem in problems]
    return _listed("\n\n".join(lines), rows)


def _problems(said: Said) -> Sequence[Problem]:
    return said.problems or (said.view.plan.problems if said.view is not None else ())


def warnings(said: Said) -> Part:
    """What is only told of the files that it changes, the first ones."""
    found = [problem for problem in _problems(said) if problem.severity is Severity.WARNING]
    rows = [(f"- {code(str(problem.origin), 200)}: {code(problem.message, 300)}",) for problem in found[:MOST_WARNINGS]]
    return Part(head=f"### Warnings: {len(found):,}\n" if rows else "", rows=rows, left=len(found) - len(rows))


def destructive(said: Said, room: int) -> Part:
    """What is lost, one row each; only if that is more than there is room for, what is alike together. Never folded away."""
    view = said.view
    if view is None or not (view.destructive or said.shares):
        return Part()
    found = view.destructive
    rows = [lost(change) for change in found]
    if sum(map(units, rows)) > room:
        rows = [lost_alike(changes) for changes in _alike(found)]
    caps = [
        f"**{share.number:,} of {share.known:,}** recorded {code(f'{share.driver}/{share.kind}')}"
        f"{f' ({share.number / share.known:.1%})' if share.known else ''} would be removed; the cap is {share.limit:,}."
        for share in said.shares[:MOST_CAPS]
    ]
    head = [f"### 🛑 Destructive: {counted(len(found), 'change')}\n"] if found else []
    return _listed("\n".join([*head, *(f"{cap}\n" for cap in caps[:-1]), *caps[-1:], *([""] if caps and rows else [])]), rows)


def _alike(changes: Sequence[Change]) -> list[list[Change]]:
    same: dict[tuple[object, ...], list[Change]] = {}
    for change in changes:
        same.setdefault((change.action, parts(change.address)[:3], change.risk), []).append(change)
    return sorted(same.values(), key=lambda found: (-len(found), found[0].address))


def access(view: View) -> Part:
    """Who gains and loses what. Never folded away."""
    return _listed(f"### 🔑 Access: {counted(len(view.access), 'grant')}\n" if view.access else "", [grant(line) for line in view.access])


def guards(view: View) -> Part:
    """What guards and policies say; where there is no room, only which ones."""
    rows = [
        (f"{guard(item)}\n", f"> **{'Refused by' if item.refuses else 'Warning of'} {code(item.guard)}**\n") for item in view.plan.guards
    ]
    return Part(rows=rows, more=lambda number: f"> and {number:,} more guards and policies")


def required(said: Said) -> Part:
    """What has to be before this may be applied, and who can bring it about."""
    rows = [_required(item, named=said.shows.names) for item in sorted(said.requirements, key=lambda item: item.met)]
    return _listed("### Requirements\n" if rows else "", rows)


def _required(item: Requirement, *, named: bool) -> str:
    have = f" (so far {names(item.have)})" if named and item.have else ""
    who = f"; who can: {prose(item.who)}" if item.who and not item.met else ""
    return f"- {'☑' if item.met else '☐'} {code(item.name)}: {prose(item.message)}{have}{who}"


def held(said: Said) -> Part:
    """The pull requests that hold what this one changes."""
    rows = []
    for by, locks in groupby(
        sorted(said.locks, key=lambda lock: (lock.by, lock.identity, lock.address)), key=lambda lock: (lock.by, lock.identity)
    ):
        found = list(locks)
        who = f" by {code(by[1])}" if by[1] and said.shows.names else " by somebody's word" if by[1] else ""
        why = f" ({code(found[0].reason)})" if found[0].reason else ""
        since = at(min(lock.at for lock in found))
        what = names([lock.address for lock in found])
        rows.append(f"- {code(str(by[0]))} holds {counted(len(found), 'resource')} since {since}{who}{why}: {what}")
    freed = "They are free when that one is closed or applied, or with `octofleet unlock` there.\n"
    return _listed(f"### 🔒 Locks\n\n{freed}" if rows else "", rows)


def ahead(said: Said) -> Part:
    """How it will go out: rollouts, windows, freezes, pauses."""
    rows = list(_rollouts(said.view)) if said.view is not None else []
    for gate in said.ahead:
        why = "somebody's pause" if gate.name.startswith("pause/") and not said.shows.names else code(gate.reason)
        waits = f" until {at(gate.opens_at)}" if gate.opens_at is not None else ""
        wait = f" {'waits' if gate.number == 1 else 'wait'}{waits}" if waits else ""
        rows.append(f"- {counted(gate.number, 'change')}{wait}, {code(gate.name)}: {why}")
    return _listed("### When it is applied\n" if rows else "", rows)


def _rollouts(view: View) -> Iterator[str]:
    for (tenant, track), found in groupby(view.plan.phases, key=lambda phase: (phase.tenant, phase.track)):
        phases = list(found)
        hosts = len({group for phase in phases for group in phase.groups})
        most = counted(phases[0].max_failures, "host")
        yield f"- the rollout {code(track)} of {code(tenant)}, {counted(hosts, 'host')}; it stops after more than {most} failed:"
        yield from (f"  {number}. {_phase(phase)}" for number, phase in enumerate(phases, 1))


def _phase(phase: Phase) -> str:
    waits = [f"after {duration(phase.soak_s)}"] if phase.soak_s else []
    waits += ["when a person promotes it"] if phase.promote else []
    what = "looks at " if phase.check else ""
    return (
        f"{code(phase.title)}{''.join(f', {wait}' for wait in waits)}: {what}{counted(len(phase.groups), 'host')}, {names(phase.groups, 3)}"
    )


def answers(said: Said) -> Part:
    """What came of commands."""
    named = said.shows.names
    rows = [tuple(_answer(item, text, named=named) for text in (item.text, item.text.strip().partition("\n")[0])) for item in said.answers]
    return Part(head="### Answers\n" if rows else "", rows=rows)


def _answer(item: Answer, text: str, *, named: bool) -> str:
    who = f" of {code(item.author, 80)}" if named else ""
    begin = f"- {code(item.command, 120)}{who}, {at(item.at)}:"
    if "\n" not in text.strip():
        return f"{begin} {code(text)}"
    return "\n".join([begin, "", *(f"  {line}" for line in block(text.strip(), "text").splitlines()), ""])


def commands(said: Said) -> Part:
    """What can be written in a comment now, ready to copy."""
    if not said.commands:
        return Part()
    lines = [line for command, what in said.commands for line in (f"{what[0].upper()}{what[1:]}:", "", block(command, "text"), "")]
    return Part(rows=[("\n".join(details("Commands", lines, folding=said.folding)),)], more=lambda number: "")


def _listed(head: str, rows: Sequence[str]) -> Part:
    return Part(head=head, rows=[(row,) for row in rows[:MOST_ROWS]], left=max(0, len(rows) - MOST_ROWS))
