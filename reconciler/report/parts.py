"""Plans and runs as small documents for pages: what is shown is text already, short, redacted by type. Pure; the server's pages and HTML files are made from
these."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import msgspec

from reconciler.report.text import MOST_DIFF_LINES, MOST_FIELDS, MOST_NAMES, brief, printable
from reconciler.report.view import SIGNS, come_and_gone, meaning, pair, previous
from reconciler.types.change import Action, Change, FieldChange
from reconciler.types.origin import Origin
from reconciler.types.plan import GuardVerdict, Phase
from reconciler.types.problem import Problem

MOST_CHANGES = 20
"""Changes of a manifest that are shown; there are rarely more than a handful."""
MOST_CHARS = 200
"""Of a line of a difference."""
Where = Callable[[Change, FieldChange], Origin | None]


class Part(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """A part of a document."""


class FieldPart(Part, frozen=True, kw_only=True):
    """One field, with its values on one line each. `comesAndGoes`: of two lists of plain values what leaves (`- `) and comes (`+ `). `origin`: the place that
    set it, if that is known; `diff`: of a text."""

    path: str
    before: str
    after: str
    comes_and_goes: list[str] = []
    causes: list[str] = []
    origin: str = ""
    diff: list[str] = []


class ChangePart(Part, frozen=True, kw_only=True):
    """One change. `more`: fields that are left out. `diff`: of the file that it makes. `movedFrom`: empty for what does not move, or from where the caller does
    not see."""

    address: str
    action: str
    sign: str
    causes: list[str]
    risk: list[str]
    moved_from: str = ""
    fields: list[FieldPart] = []
    more: int = 0
    blind_spots: list[str] = []
    diff: list[str] = []
    origin: str = ""


class FoldPart(Part, frozen=True, kw_only=True):
    """`number` manifests with the same changes, the first of them by name; `changes` are those of the first, and `more` how many are left out."""

    groups: list[str]
    number: int
    changes: list[ChangePart]
    more: int = 0


class LossPart(Part, frozen=True, kw_only=True):
    """A change by which something is lost or reinstalled, or that reboots. `meaning`: what that does to a machine, where the address does not say it."""

    address: str
    action: str
    risk: list[str]
    meaning: str = ""


class GuardPart(Part, frozen=True, kw_only=True):
    """What a guard says; the message and the hint are empty for who does not see all that it is about."""

    guard: str
    refuses: bool
    message: str = ""
    hint: str = ""


class DeferredPart(Part, frozen=True, kw_only=True):
    """`number` resources put off for one reason, the first of them by name."""

    code: str
    reason: str
    number: int
    addresses: list[str]


class PhasePart(Part, frozen=True, kw_only=True):
    """A part of a rollout, with the first of its hosts by name. `state`, `opensAt`, `deadlineAt`, `note`: how it stands in a run."""

    tenant: str
    track: str
    number: int
    title: str
    hosts: int
    groups: list[str] = []
    soak_s: float = 0.0
    promote: bool = False
    max_failures: int = 0
    on_stop: str = "wait"
    state: str = ""
    opens_at: float | None = None
    deadline_at: float | None = None
    note: str = ""


class MissingPart(Part, frozen=True, kw_only=True):
    """What a rule still wants somebody's word for: of how many changes, who may give it (`who` by name, as far as roles say), how many people it takes, and who
    has given it."""

    rule: str
    message: str
    changes: int
    count: int
    who: list[str] = []
    given: list[str] = []
    rejected: bool = False


class WavePart(Part, frozen=True, kw_only=True):
    """A wave of a run: how many steps it has, and how many of these have not ended or are under way."""

    wave: int
    steps: int
    open: int
    under_way: int


class WhyPart(Part, frozen=True, kw_only=True):
    """One reason of `number` things, the first of them by name; `next`: what to do."""

    code: str
    text: str
    next: str
    what: list[str]
    number: int
    since: float | None = None
    again: float | None = None
    deadline: float | None = None


class ItemPart(Part, frozen=True, kw_only=True):
    """A change of a run, and the step that it is done in: its wave, driver, tenant and state, `note`: what it waits for. `status`: how it ended, or `open`."""

    step: int
    wave: int
    driver: str
    tenant: str
    state: str
    address: str
    action: str
    status: str
    error: str
    ended_at: float | None = None
    note: str = ""


class LinePart(Part, frozen=True, kw_only=True):
    """A line of a run's log; `id` orders them."""

    id: int
    step: int
    at: float
    text: str


class ProblemPart(Part, frozen=True, kw_only=True):
    """A problem in the repository."""

    code: str
    severity: str
    message: str
    hint: str
    place: str


def lines_of(diff: str) -> list[str]:
    """The text of a difference, cut where it gets long."""
    lines = [printable(line)[:MOST_CHARS] for line in diff.splitlines()]
    rest = len(lines) - MOST_DIFF_LINES
    return [*lines[:MOST_DIFF_LINES], f"... {rest} more lines"] if rest > 0 else lines


def field_part(item: FieldChange, origin: Origin | None = None, *, of_change: Collection[str] = frozenset()) -> FieldPart:
    """One field; causes that all of the change has (`of_change`) are not said again."""
    before, after = pair(previous(item), item.after)
    lines = come_and_gone(previous(item), item.after)
    return FieldPart(
        path=printable(item.path or "/"),
        before=brief(before),
        after=brief(after),
        comes_and_goes=[brief(line) for line in lines[:MOST_FIELDS]]
        + ([f"and {len(lines) - MOST_FIELDS} more"] if len(lines) > MOST_FIELDS else []),
        causes=[] if item.causes == of_change else sorted(item.causes),
        origin=printable(str(origin)) if origin else "",
        diff=lines_of(item.diff),
    )


def change_part(
    change: Change, where: Where = lambda change, item: None, diff: str = "", sees: Callable[[str], bool] = lambda address: True
) -> ChangePart:
    """One change; `sees` tells which other addresses may be named."""
    return ChangePart(
        address=change.address,
        action=change.action.value,
        sign=SIGNS[change.action],
        causes=sorted(change.causes),
        risk=sorted(change.risk),
        moved_from=change.moved_from if change.moved_from and sees(change.moved_from) else "",
        fields=[field_part(item, where(change, item), of_change=change.causes) for item in change.fields[:MOST_FIELDS]],
        more=max(0, len(change.fields) - MOST_FIELDS),
        blind_spots=[brief(spot) for spot in change.blind_spots[:MOST_FIELDS]],
        diff=lines_of(diff),
        origin=printable(str(change.origin)) if change.origin.path else "",
    )


def diff_of(change: Change, diff: Callable[[Change], str]) -> str:
    """The difference of the file that a change makes, if it changes one."""
    return diff(change) if change.action in (Action.UPDATE, Action.MOVE) else ""


def loss_part(address: str, action: str, risk: Iterable[str]) -> LossPart:
    """What is lost."""
    return LossPart(address=address, action=action, risk=sorted(risk), meaning=meaning(address, action))


def guard_part(verdict: GuardVerdict, *, whole: bool = True) -> GuardPart:
    """What a guard says, without its words if not all of what it is about may be seen."""
    message, hint = (printable(verdict.message), printable(verdict.hint)) if whole else ("", "")
    return GuardPart(guard=verdict.guard, refuses=verdict.refuses, message=message, hint=hint)


def problem_part(problem: Problem) -> ProblemPart:
    """One problem of the repository."""
    return ProblemPart(
        code=problem.code,
        severity=problem.severity.value,
        message=printable(problem.message),
        hint=printable(problem.hint),
        place=printable(str(problem.origin)),
    )


def deferred_part(code: str, reason: str, addresses: Sequence[str], most: int = MOST_CHANGES) -> DeferredPart:
    """Resources put off for one reason."""
    return DeferredPart(code=code, reason=brief(reason), number=len(addresses), addresses=list(addresses[:most]))


def size(part: Any) -> int:
    """How many bytes a part takes, as JSON."""
    return len(msgspec.json.encode(part))


def phase_part(phase: Phase) -> PhasePart:
    """A part of a rollout of a plan."""
    return PhasePart(
        tenant=phase.tenant,
        track=phase.track,
        number=phase.number,
        title=phase.title,
        hosts=len(phase.groups),
        groups=list(phase.groups[:MOST_NAMES]),
        soak_s=phase.soak_s,
        promote=phase.promote,
        max_failures=phase.max_failures,
        on_stop=phase.on_stop,
    )
