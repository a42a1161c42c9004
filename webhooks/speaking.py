"""What a comment's command does: asks whether its author may, does it, and says in one line what came of it.

Who may is decided by the recorded rules, for the identity `KIND:LOGIN` of the forge's user; never by what the pull request brings.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from reconciler import gating
from reconciler.beginning import begin
from reconciler.errors import OctofleetError, Refused
from reconciler.gate.closing import Pause
from reconciler.identity.access import Action, Identity, Resource
from reconciler.permitting import permit, to_apply_stored, to_pause, to_steer
from reconciler.report.text import brief
from reconciler.report.view import counted
from reconciler.scope import in_scope
from reconciler.settings import Followed
from reconciler.store.audit import record
from reconciler.store.engine import Connection, Unavailable
from reconciler.store.followed import REPORTED, followed
from reconciler.store.plans import load_plan, newest_plan
from reconciler.store.postings import COMMENT, stands_since
from reconciler.store.pull_locks import locks_of, release, take_locks
from reconciler.store.pulls import NEVER, Command, PullRow, answer, let_go_of, trust_head
from reconciler.store.records import recorded_groups
from reconciler.types.audit import Entry
from reconciler.types.change import Cause, Change
from reconciler.types.duration import utc
from reconciler.types.plan import Plan
from reconciler.wiring import Installation
from webhooks.commands import Misunderstood, Said, help_text, parse
from webhooks.forge import Pull, PullState


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A command in its place: who says it, in which pull request (as it is now, and as it was left), and the Fleet whose rules decide, if there is one.
    `refusal`: why nothing can be done there."""

    installation: Installation
    rules: Followed
    row: PullRow
    pull: Pull
    command: Command
    identity: Identity
    source: str
    refusal: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What came of a command: the answer, whether to look at the world again, and the pull request's row as it stands after it."""

    answer: str
    row: PullRow
    plan_again: bool = False


def heard(asked: Asked) -> Heard:
    """Do what a command says, once: it is answered in the transaction in which it is done. Also where it is refused, its answer is stored. Raises
    `Unavailable`: then it is not answered."""
    try:
        said = parse(asked.command.body)
        if asked.refusal and said.verb != "help":
            raise Refused(asked.refusal, code="not-followed")
        found = VERBS[said.verb](asked, said)
    except Misunderstood as error:
        found = Heard(answer=str(error), row=asked.row)
    except Refused as error:
        found = Heard(answer=_refusal(asked, error), row=asked.row)
    except Unavailable:
        raise
    except OctofleetError as error:
        found = Heard(answer=brief(f"could not be done: {error.message}"), row=asked.row)
    with asked.installation.store.write() as connection:
        answer(connection, asked.command, found.answer)
    return found


def _refusal(asked: Asked, error: Refused) -> str:
    """For everybody who reads the repository: without the names of who may, or of who asked."""
    if error.code == "forbidden":
        kind = asked.identity.name.partition(":")[0]
        return brief(f"{error.message.replace(asked.identity.name, 'its author')} (roles are given by a RoleMapping, to {kind}:LOGIN)")
    return brief(f"{error.message}{f' ({error.hint})' if error.hint else ''}")


def _help(asked: Asked, said: Said) -> Heard:
    del said
    return Heard(answer=help_text(), row=asked.row)


def _plan(asked: Asked, said: Said) -> Heard:
    action = Action.PLAN_UNTRUSTED if asked.pull.fork else Action.PLAN
    permit(asked.installation, asked.identity, asked.source, [(action, Resource(source=asked.source))])
    if not asked.pull.fork:
        return Heard(answer="planned again", row=asked.row, plan_again=True)
    now = f"look at the head {asked.pull.head[:12]}, then octofleet plan {asked.pull.head}"
    if not said.names:
        raise Refused("whoever trusts a fork says which head", hint=now, code="no-head")
    if not asked.pull.head.startswith(said.names):
        raise Refused("it has another head now", hint=now, code="head-changed")
    if asked.pull.head != said.names:
        raise Refused("whoever trusts a head says all of its id: two commits are soon made that begin alike", hint=now, code="short-head")
    text = f"this fork's head {asked.pull.head[:10]} may run engines in its plan"
    with asked.installation.store.write() as connection:
        trust_head(connection, asked.row.key, asked.pull.head)
        answer(connection, asked.command, text)
        record(connection, _entry(asked, "trust", details={"head": asked.pull.head}))
    return Heard(answer=text, row=replace(asked.row, trusted=asked.pull.head), plan_again=True)


def _apply(asked: Asked, said: Said) -> Heard:
    del said
    if asked.pull.state is not PullState.MERGED:
        raise Refused("what is not merged is not applied", hint="merge it first", code="not-merged")
    if asked.rules.apply_on != "comment":
        raise Refused("what is merged here is applied without a word", hint="octofleet status --why tells how it stands", code="applied")
    with asked.installation.store.read() as connection:
        stands = next((found for found in followed(connection) if found.location == asked.row.location), None)
        row = newest_plan(connection, stands.about, stands.location) if stands is not None and stands.code == REPORTED else None
    if stands is None or row is None:
        note = stands.note if stands is not None else "the branch was not looked at yet"
        raise Refused(
            f"there is no plan of the branch that waits to be applied: {note}", hint="octofleet reconcile looks again", code="no-plan"
        )
    with asked.installation.store.read() as connection:
        source = load_plan(connection, row).source
    permit(asked.installation, asked.identity, source, to_apply_stored(asked.installation, row, approve=False))
    run = begin(asked.installation, row, approved=False, reason=f"{asked.row.key}", identity=asked.identity.name)
    return Heard(answer=f"run {run} applies plan {stands.about[:12]}", row=asked.row)


def _approve(asked: Asked, said: Said) -> Heard:
    return _word(asked, said, yes=True)


def _reject(asked: Asked, said: Said) -> Heard:
    return _word(asked, said, yes=False)


def _word(asked: Asked, said: Said, *, yes: bool) -> Heard:
    plan = shown_plan(asked, said)
    row = asked.row.plan or 0
    action = Action.APPROVE if yes else Action.REJECT
    permit(asked.installation, asked.identity, plan.source, to_steer(asked.installation, action, row))
    text = (
        f"{counted(len({change.digest for change in plan.changes}), 'change')} of plan {plan.id[:12]} {'approved' if yes else 'rejected'}"
    )
    also = _answering(asked, lambda made: text)
    gating.approve(asked.installation, row, said.reason or f"{asked.row.key}", yes=yes, identity=asked.identity.name, also=also)
    return Heard(answer=text, row=asked.row)


def shown_plan(asked: Asked, said: Said) -> Plan:
    """The plan that the author of a command has seen: the one that he names, or the one that the comment showed when he wrote. Raises `Refused`."""
    with asked.installation.store.read() as connection:
        plan = _plan_of(connection, asked)
        shown_at = stands_since(connection, asked.row.key, COMMENT)
    now = f"now it is {plan.id[:12]}: look at it, then octofleet {said.verb} {plan.id[:12]}"
    if said.names and not plan.id.startswith(said.names):
        raise Refused(f"the plan has changed; {now}", code="plan-changed")
    if not said.names and not max(asked.row.planned_at or NEVER, shown_at or NEVER) < asked.command.at:
        raise Refused(f"a newer plan was made meanwhile; {now}", code="plan-changed")
    return plan


def _plan_of(connection: Connection, asked: Asked) -> Plan:
    """The plan that the comment shows. Raises `Refused` if there is none."""
    if asked.row.plan is None:
        raise Refused("there is no plan", hint="above stands why", code="no-plan")
    return load_plan(connection, asked.row.plan)


def brought(changes: tuple[Change, ...]) -> list[Change]:
    """The changes that a pull request causes, apart from drift and what was pending."""
    return [change for change in changes if Cause.COMMIT in change.causes]


def _lock(asked: Asked, said: Said) -> Heard:
    with asked.installation.store.read() as connection:
        plan = _plan_of(connection, asked)
    permit(asked.installation, asked.identity, plan.source, to_steer(asked.installation, Action.LOCK, asked.row.plan or 0))
    addresses = [change.address for change in brought(plan.changes)]
    with asked.installation.store.write() as connection:
        others = take_locks(connection, asked.row.key, plan.source, addresses, identity=asked.identity.name, reason=said.reason)
        rest = f"; {counted(len(others), 'resource')} held by others" if others else ""
        text = f"{counted(len(addresses) - len(others), 'resource')} locked{rest}"
        let_go_of(connection, asked.row.key, "")
        answer(connection, asked.command, text)
        record(connection, _entry(asked, "lock", plan=plan, reason=said.reason, details={"resources": len(addresses) - len(others)}))
    return Heard(answer=text, row=replace(asked.row, let_go=""))


def _unlock(asked: Asked, said: Said) -> Heard:
    del said
    if asked.row.plan is not None:
        permit(asked.installation, asked.identity, asked.source, to_steer(asked.installation, Action.UNLOCK, asked.row.plan))
    else:
        permit(asked.installation, asked.identity, asked.source, [(Action.UNLOCK, Resource(source=asked.source))])
    with asked.installation.store.write() as connection:
        held = locks_of(connection, asked.row.key)
        release(connection, asked.row.key)
        text = f"{counted(len(held), 'resource')} unlocked, until something is pushed"
        let_go_of(connection, asked.row.key, asked.pull.head)
        answer(connection, asked.command, text)
        record(connection, _entry(asked, "unlock", details={"resources": len(held)}))
    return Heard(answer=text, row=replace(asked.row, let_go=asked.pull.head))


def _pause(asked: Asked, said: Said) -> Heard:
    permit(asked.installation, asked.identity, asked.source, _here(asked, to_pause(Action.PAUSE, said.scope)))
    with asked.installation.store.read() as connection:
        groups = [group for group in recorded_groups(connection, asked.source) if group.startswith("host/")]
    hosts = counted(sum(said.scope == "fleet" or in_scope(group, said.scope) for group in groups), "host")

    def text(made: Pause) -> str:
        return f"nothing begins in {said.scope} ({hosts}) until {utc(made.until)}"

    also = _answering(asked, text)
    made = gating.pause(asked.installation, said.scope, said.for_s, said.reason, asked.source, identity=asked.identity.name, also=also)
    return Heard(answer=text(made), row=asked.row)


def _resume(asked: Asked, said: Said) -> Heard:
    permit(asked.installation, asked.identity, asked.source, _here(asked, to_pause(Action.RESUME, said.scope)))

    def text(ended: list[Pause]) -> str:
        return f"{counted(len(ended), 'pause')} of {said.scope} ended"

    also = _answering(asked, text)
    ended = gating.unpause(asked.installation, said.scope, identity=asked.identity.name, source=asked.source, also=also)
    return Heard(answer=text(ended), row=asked.row)


def _answering(asked: Asked, text: Callable[[Any], str]) -> Callable[[Connection, Any], object]:
    """Has the transaction in which something is made answer the command too: who dies between the two would do it again."""
    return lambda connection, made: answer(connection, asked.command, text(made))


def _here(asked: Asked, wanted: Iterable[tuple[Action, Resource]]) -> list[tuple[Action, Resource]]:
    """The same of this Fleet alone."""
    return [(action, replace(resource, source=asked.source)) for action, resource in wanted]


def _entry(asked: Asked, action: str, *, plan: Plan | None = None, reason: str = "", details: Mapping[str, object]) -> Entry:
    """A line of the audit trail for what only a pull request can ask for."""
    return Entry(
        identity=asked.identity.name,
        action=action,
        subjects=(str(asked.row.key),),
        source=asked.source,
        plan=plan.id if plan else "",
        commit=asked.pull.head,
        reason=reason,
        details=details,
    )


VERBS: Mapping[str, Callable[[Asked, Said], Heard]] = {
    "plan": _plan,
    "apply": _apply,
    "approve": _approve,
    "reject": _reject,
    "lock": _lock,
    "unlock": _unlock,
    "pause": _pause,
    "resume": _resume,
    "help": _help,
}
