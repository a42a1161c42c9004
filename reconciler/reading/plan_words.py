"""What people say of plans: whose word there is and whose is missing; and plans that are made, approved, rejected and applied over HTTP."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Annotated

import msgspec

from reconciler import gating
from reconciler.approving import authors, missing_of
from reconciler.beginning import begin
from reconciler.errors import Refused
from reconciler.gate.approvals import Approval, ApprovalRule, Missing, rules_of
from reconciler.identity.access import Action, Resource
from reconciler.permitting import Asked, to_apply_stored, to_pause, to_steer
from reconciler.planning import make_plan
from reconciler.reading.call import Call
from reconciler.reading.explain import Rev, Word
from reconciler.reading.kept import Kept
from reconciler.reading.making import PlanRequest, again, made
from reconciler.reading.paging import Ask, Document, Note, Reason
from reconciler.reading.plan_seen import PlanDocument, Seen, found
from reconciler.reading.whose import told_in_sight
from reconciler.report.parts import MissingPart
from reconciler.report.text import printable
from reconciler.scope import is_scope
from reconciler.source.repository import Repository
from reconciler.store.approvals import standing, standing_ids
from reconciler.store.audit import record
from reconciler.store.followed import ask as ask_to_look
from reconciler.store.followed import followed
from reconciler.store.outlines import Row
from reconciler.store.plans import plan_row
from reconciler.store.records import applied_commit, fleet_in_force, locations, mark
from reconciler.types.audit import Entry
from reconciler.types.change import Cause
from reconciler.types.request import Request
from reconciler.wiring import Installation

MOST_NAMED = 20
Place = Annotated[str, msgspec.Meta(max_length=2000, description="A repository, as the server follows it.")]


class ApprovalDocument(Document, frozen=True, kw_only=True):
    """Somebody's word, yes (`approved`) or no, for so many of the plan's changes. `reason` is for who sees all of them."""

    by: str
    approved: bool
    at: float
    expires_at: float
    changes: int
    reason: str = ""


class PlanAsk(Ask, frozen=True, kw_only=True):
    """What to plan: a followed repository (may be left out where there is one), a revision of it, by default its default branch, against a base, by default the
    commit applied last. `scope`: only these: `host/TENANT/NAME`, `tenant/NAME` or `driver/kind/tenant/name`, with * and ?. `request`: of an answer 202, instead
    of all else: wait for that plan."""

    repository: Place = ""
    rev: Rev = ""
    base: Rev = ""
    scope: Word = ""
    request: Word = ""


class ApplyAsk(Ask, frozen=True, kw_only=True):
    """`approve`: also answer for what is lost, as `octofleet apply --approve`."""

    approve: bool = False
    reason: Note = ""


class WordAsk(Ask, frozen=True, kw_only=True):
    """A word for or against all changes of a plan."""

    reason: Reason


class BegunDocument(Document, frozen=True, kw_only=True):
    """The run that applies a plan, or the one that did already."""

    run: str
    plan: str


class LookAsk(Ask, frozen=True, kw_only=True):
    """Which repository to look at; all that the caller may have looked at if it is left out."""

    repository: Place = ""


class LookDocument(Document, frozen=True, kw_only=True):
    """What is looked at now."""

    asked: list[str]


def make(call: Call, ask: PlanAsk) -> PlanDocument | PlanRequest:
    """Plan a revision of a followed repository, and store the plan; of one that takes long, how to ask for it again."""
    if ask.request:
        call.use(Action.PLAN)
        return again(call, ask.request)
    location, source = _one_of(_known(call), ask.repository)
    if ask.scope and not is_scope(ask.scope):
        hint = "host/TENANT/NAME, tenant/NAME or driver/kind/tenant/name, with * and ?"
        raise Refused(f"{ask.scope} is no scope", hint=hint, code="scope")
    call.permit(source, _to_plan(Action.PLAN, source, ask.scope))
    request = Request(rev=ask.rev or None, base=ask.base or None, scope=ask.scope)

    def work(installation: Installation) -> int:
        with told_in_sight(call.sight, source, "the revision cannot be planned"):
            repository = installation.repository(location)
            if not _trusted(repository, ask):
                call.permit(source, _to_plan(Action.PLAN_UNTRUSTED, source, ask.scope))
            return make_plan(installation, repository, request).row

    return made(call, source, work)


def _one_of(known: Sequence[tuple[str, str]], asked: str) -> tuple[str, str]:
    """Place and Fleet of the repository that was asked for, or of the only one. Raises `Refused`."""
    if not asked and len(known) == 1:
        return known[0]
    seen = next((item for item in known if item[0] == asked), None)
    if seen is None:
        text = f"nobody follows {asked}" if asked else "name the repository" if known else "no repository is followed"
        raise Refused(text, hint="octofleet serve --repo follows one", code="no-repository")
    return seen


def _known(call: Call) -> list[tuple[str, str]]:
    """The repositories that are followed, as far as the caller sees anything of their Fleets."""
    sight = call.sight
    with call.installation.store.read() as connection:
        names = {location: name for name, location in locations(connection).items()}
        rows = [(one.location, names.get(one.location, "")) for one in followed(connection)]
    return [(location, source) for location, source in rows if (sight.some(source) if source else sight.whole(source))]


def _to_plan(action: Action, source: str, scope: str) -> Iterable[Asked]:
    """What planning a scope takes: the right in its tenant; for all, in all of the Fleet."""
    for asked, resource in to_pause(action, scope) if scope else [(action, Resource())]:
        yield asked, Resource(source=source, tenant=resource.tenant, group=resource.group)


def _trusted(repository: Repository, ask: PlanAsk) -> bool:
    """Whether somebody who may push to the repository put it there: everybody may push to a fork."""
    return all(repository.is_on_a_branch(repository.commit(rev).id) for rev in (ask.rev, ask.base) if rev)


def approve(call: Call, ask: WordAsk) -> ApprovalDocument:
    """Say yes to the changes of a plan, for one run."""
    return _word(call, ask, yes=True)


def reject(call: Call, ask: WordAsk) -> ApprovalDocument:
    """Say no to the changes of a plan."""
    return _word(call, ask, yes=False)


def _word(call: Call, ask: WordAsk, *, yes: bool) -> ApprovalDocument:
    row, source = _row(call)
    call.permit(source, to_steer(call.installation, Action.APPROVE if yes else Action.REJECT, row))
    spoke = gating.approve(call.installation, row, ask.reason, yes=yes, identity=call.identity)
    return _said(spoke, len(spoke.changes), whole=True)


def apply(call: Call, ask: ApplyAsk) -> BegunDocument:
    """Begin a run of a plan; workers take it up."""
    row, source = _row(call)
    call.permit(source, to_apply_stored(call.installation, row, approve=ask.approve))
    run = begin(call.installation, row, approved=ask.approve, reason=ask.reason, identity=call.identity)
    with call.installation.store.read() as connection:
        return BegunDocument(run=run, plan=plan_row(connection, row).id)


def look(call: Call, ask: LookAsk) -> LookDocument:
    """Have the server look at a repository now."""
    known = _known(call)
    wanted = known if known and not ask.repository else [_one_of(known, ask.repository)]
    for _, source in wanted:
        call.permit(source, [(Action.RECONCILE, Resource(source=source))])
    with call.installation.store.write() as connection:
        for location, _ in wanted:
            ask_to_look(connection, location)
        record(connection, Entry(identity=call.identity, action="reconcile", subjects=tuple(location for location, _ in wanted)))
    return LookDocument(asked=[location for location, _ in wanted])


def _row(call: Call) -> tuple[int, str]:
    """The row and Fleet of the plan that the path names."""
    with call.installation.store.read() as connection:
        seen = found(connection, call)
    return seen.plan.row, seen.plan.source


Spoken = tuple[list[MissingPart], list[ApprovalDocument]]
_spoken: Kept[Spoken] = Kept(500)
"""What was asked last: of many changes it takes long, and holds until somebody speaks or what is recorded changes."""


def spoken(call: Call, seen: Seen) -> Spoken:
    """Whose word is missing for what the caller sees of a plan, and what was said of it."""
    plan = seen.plan
    with call.installation.store.read() as connection:
        now = connection.now()
        stands = (mark(connection, plan.source), applied_commit(connection, plan.source), standing_ids(connection, now))
    return _spoken.get((plan, call.caller.identity, stands), lambda: _asked(call, seen, now))


def _asked(call: Call, seen: Seen, now: float) -> Spoken:
    plan = seen.plan
    drifted = all(kind.causes == {Cause.DRIFT} for kind in seen.outline.columns.kinds)
    by = authors(call.installation, plan.source, plan.commit, plan.location, drifted=drifted)
    with call.installation.store.read() as connection:
        said = standing(connection, now)
        rules = rules_of(fleet_in_force(connection, plan.source))
        digests = _spoken_of(seen, said)
        rows = [seen.outline.columns.row(seq) for seq in _judged(seen, rules, digests)]
        lacking = missing_of(connection, plan.source, rows, by, now, said)
        shown = [_missing(call, seen, rules, rows, item) for item in lacking]
    given = [(item, len(item.changes & digests.keys())) for item in said]
    return shown, [_said(item, number, whole=seen.whole) for item, number in given if number]


def _spoken_of(seen: Seen, said: Iterable[Approval]) -> dict[str, int]:
    """By digest the place of each change that he sees and somebody has said anything of."""
    words = frozenset[str]().union(*(item.changes for item in said))
    digests = seen.outline.columns.digest_of() if words else []
    return {digests[seq]: seq for seq in seen.numbers if digests[seq] in words} if words else {}


def _judged(seen: Seen, rules: Sequence[ApprovalRule], spoken_of: Mapping[str, int]) -> list[int]:
    """The changes that rules may ask about, or that somebody has spoken of, in the plan's order."""
    kinds = (any(not rule.risks or not rule.risks.isdisjoint(kind.risk) for rule in rules) for kind in seen.outline.columns.kinds)
    return sorted({*seen.outline.numbers(seen.choice.narrowed(kinds, None)), *spoken_of.values()})


def _missing(call: Call, seen: Seen, rules: Sequence[ApprovalRule], rows: Sequence[Row], item: Missing) -> MissingPart:
    named = {rule.name: rule for rule in rules}
    about = [row for row in rows if named[item.rule.name].is_about(row)] if item.rule.name in named else []
    return MissingPart(
        rule=item.rule.name,
        message=printable(item.message) if seen.whole or not item.rejected else "somebody has rejected it",
        changes=item.number,
        count=item.rule.count,
        who=list(item.rule.people) or _able(call, seen.plan.source, about),
        given=list(item.have),
        rejected=bool(item.rejected),
    )


def _able(call: Call, source: str, rows: Iterable[Row]) -> list[str]:
    """Who has the role to approve all of these changes."""
    tenants = {row.tenant for row in rows}
    each = [set(call.access.able(source, tenant, Action.APPROVE)) for tenant in tenants]
    return sorted(set.intersection(*each))[:MOST_NAMED] if each else []


def _said(word: Approval, number: int, *, whole: bool) -> ApprovalDocument:
    return ApprovalDocument(
        by=word.identity,
        approved=word.yes,
        at=word.at,
        expires_at=word.expires_at,
        changes=number,
        reason=printable(word.reason) if whole else "",
    )
