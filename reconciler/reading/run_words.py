"""What people do to runs: pause, resume, cancel, promote, roll back."""

from typing import Annotated

import msgspec

from reconciler import applying, gating
from reconciler.identity.access import Action
from reconciler.permitting import to_steer
from reconciler.reading.call import Call
from reconciler.reading.paging import Ask, Document, Note, Reason
from reconciler.reading.runs import RunDocument, found
from reconciler.rollback import roll_back
from reconciler.store.runs import JournalRun

Branch = Annotated[
    str, msgspec.Meta(max_length=200, pattern=r"^[A-Za-z0-9._/-]*$", description="Its name; octofleet/rollback-RUN if left out.")
]


class ReasonAsk(Ask, frozen=True, kw_only=True):
    """A word that has a reason."""

    reason: Reason


class NoteAsk(Ask, frozen=True, kw_only=True):
    """A word that needs no reason."""

    reason: Note = ""


class CancelAsk(ReasonAsk, frozen=True, kw_only=True):
    """`stop`: also stop playbooks that run; `giveUp`: also give up what has begun, though nobody knows how it ends."""

    stop: bool = False
    give_up: bool = False


class PromoteAsk(ReasonAsk, frozen=True, kw_only=True):
    """`soaked`: without waiting for the rest of its soak; only the rollouts of this tenant, or only this one."""

    soaked: bool = False
    tenant: str = ""
    track: str = ""


class RollbackAsk(ReasonAsk, frozen=True, kw_only=True):
    """A branch that takes back what the run has applied."""

    branch: Branch = ""


class ProposalDocument(Document, frozen=True, kw_only=True):
    """The branch that was made in a repository, from a commit of it."""

    run: str
    repository: str
    branch: str
    commit: str
    onto: str


def pause(call: Call, ask: ReasonAsk) -> RunDocument:
    """Begin nothing more of a run until it is resumed."""
    applying.pause(call.installation, _steered(call, Action.PAUSE).id, ask.reason, identity=call.identity)
    return found(call)[1]


def resume(call: Call, ask: NoteAsk) -> RunDocument:
    """Go on with a paused run."""
    del ask
    applying.go_on(call.installation, _steered(call, Action.RESUME).id, identity=call.identity)
    return found(call)[1]


def cancel(call: Call, ask: CancelAsk) -> RunDocument:
    """Begin nothing more of a run, and end it."""
    run = _steered(call, Action.CANCEL)
    applying.cancel(call.installation, run.id, ask.reason, stop=ask.stop, give_up=ask.give_up, identity=call.identity)
    return found(call)[1]


def promote(call: Call, ask: PromoteAsk) -> RunDocument:
    """Have rollouts go on that wait for a person, or were stopped by failures."""
    run, tenant, track = _steered(call, Action.PROMOTE), ask.tenant or None, ask.track or None
    gating.promoted(call.installation, run.id, ask.reason, soaked=ask.soaked, tenant=tenant, track=track, identity=call.identity)
    return found(call)[1]


def rollback(call: Call, ask: RollbackAsk) -> ProposalDocument:
    """Propose a branch that takes back what a run has applied; nothing is applied."""
    run = _steered(call, Action.ROLLBACK)
    made, location = roll_back(call.installation, run.id, ask.reason, ask.branch, identity=call.identity)
    return ProposalDocument(run=run.id, repository=location, branch=made.branch, commit=made.commit, onto=made.onto)


def _steered(call: Call, action: Action) -> JournalRun:
    """The run that the path names, which the caller may do this to."""
    run, _ = found(call)
    call.permit(run.source, to_steer(call.installation, action, run.plan))
    return run
