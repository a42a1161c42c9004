"""Taking back what a run has applied: by a person's word as a branch, and by itself where its rollout says so (`onStop`) and has stopped.

The edge around `source/proposal` and `store/rollbacks`. What is taken back by itself is wanted in the transaction that stopped the rollout. Whoever follows
the repository then does it: the commit's id is written before it is pushed, and a push moves a branch only from where it was seen, so that whoever is
interrupted, or comes second, finds what there is.
"""

from dataclasses import dataclass, replace

from reconciler.errors import Permanent, Refused
from reconciler.events import happened, held
from reconciler.history import find_commit
from reconciler.identity.local import whoami
from reconciler.settings import Followed as Rules
from reconciler.source.git_program import ACCESS_REFUSED, PUSH_REFUSED
from reconciler.source.proposal import Author, Proposal, move_on, propose, undo
from reconciler.source.repository import Commit, Repository
from reconciler.store.audit import record
from reconciler.store.halt import supersede
from reconciler.store.plans import load_plan, plan_head
from reconciler.store.rollbacks import LEFT, PROPOSED, REVERTED, RollbackRow, begin_rollback, end_rollback, took_back, wanted
from reconciler.store.runs import load_run, write_log
from reconciler.types.audit import ROLLBACK, Entry
from reconciler.types.change import Change
from reconciler.types.plan import OnStop, Plan
from reconciler.wiring import Installation, place

TRAILER = "Octofleet-Rollback"
"""By this line of its message a commit is known to take back a run."""


def branch_for(run_id: str) -> str:
    """The name of the branch that is proposed."""
    return f"octofleet/rollback-{run_id}"


def _message(run_id: str, reason: str) -> str:
    return f"Take back what run {run_id} applied\n\n{reason}\n\n{TRAILER}: {run_id}\n"


def nothing(change: Change) -> bool:
    """Of a run that is taken back no change is kept."""
    return False


def roll_back(installation: Installation, run_id: str, reason: str, branch: str = "", *, identity: str = "") -> tuple[Proposal, str]:
    """Propose a branch that takes back what a run has applied; gives it and the place of its repository. Nothing is applied. `identity`: who says so, by
    default who runs this process. Raises `Refused`."""
    by = identity or whoami()
    with installation.store.read() as connection:
        run = load_run(connection, run_id)
        if run is None:
            raise Refused(f"there is no run {run_id}", hint="octofleet runs lists them", code="no-run")
        plan, location = load_plan(connection, run.plan), plan_head(connection, run.plan).location
    if plan.base is None or plan.base == plan.commit:
        raise Refused(f"run {run_id} {BROUGHT_NONE}", hint="octofleet logs tells what it did", code="nothing-to-undo")
    repository = installation.repository(location)
    onto, name = repository.commit(None), branch or branch_for(run_id)
    made = undo(repository, since=plan.base, until=plan.commit, onto=onto, author=Author(name=by), message=_message(run_id, reason))
    propose(repository, made, name)
    with installation.store.write() as connection:
        details = {"branch": name, "proposed": made, "base": plan.base}
        entry = Entry(identity=by, action="rollback", source=plan.source, commit=plan.commit, run=run_id, reason=reason, details=details)
        record(connection, entry)
    return Proposal(branch=name, commit=made, onto=onto.id), location


BROUGHT_NONE = "brought no commit: it began the fleet, or put right what had drifted"


def take_back(installation: Installation, repository: Repository, rules: Rules) -> int:
    """Do what is wanted of a repository, which has just been fetched and nobody else follows meanwhile; gives how many runs that were. Raises `RetryLater` if
    the repository does not answer; what was not done is wanted still."""
    with installation.store.read() as connection:
        rows = wanted(connection, place(repository))
    for row in rows:
        _TakingBack(installation, repository, rules, row).go()
    return len(rows)


@dataclass(frozen=True)
class _TakingBack:
    installation: Installation
    repository: Repository
    rules: Rules
    row: RollbackRow

    def go(self) -> None:
        """Take the run back, or leave it to a person and say why."""
        with self.installation.store.read() as connection:
            run = load_run(connection, self.row.run)
            if run is None:
                return
            plan = load_plan(connection, run.plan)
            before = took_back(connection, plan.source, plan.base or "")
        if self._finished(plan):
            return
        cancelled = run.state in ("cancelling", "cancelled") and not self.row.made
        why = "the run was cancelled" if cancelled else self._unfit(plan, before)
        if why:
            self._end(plan, LEFT, why)
            return
        head = self.repository.tip(self.rules.branch)
        try:
            made = undo(
                self.repository,
                since=plan.base or "",
                until=plan.commit,
                onto=head,
                author=Author(name=ROLLBACK, at=self.row.at),
                message=_message(self.row.run, self.row.why),
            )
        except (Refused, Permanent) as error:
            self._end(plan, LEFT, error.message)
            return
        against = self._against(plan, head) or self._reverted(plan, made, head)
        if against:
            self._propose(plan, made, "" if self.row.mode == OnStop.PROPOSE else f"the branch itself is left as it is: {against}")

    def _finished(self, plan: Plan) -> bool:
        """Whether what was begun before is there; then it is done."""
        head, branches = self.repository.tip(self.rules.branch), self.repository.branches()
        if self.row.made and self.row.branch == self.repository.branch_of(self.rules.branch or None):
            if find_commit(self.repository, self.row.made) is None or not self.repository.is_ancestor(self.row.made, head.id):
                return False
            self._end(plan, REVERTED, "", self.row.branch, self.row.made)
            return True
        there = branches.get(branch_for(self.row.run))
        if there is None or find_commit(self.repository, plan.commit) is None:
            return False
        if self.row.run not in self.repository.trailers(plan.commit, there, TRAILER):
            return False
        note = "" if there == self.row.made else "a person had proposed it before"
        self._end(plan, PROPOSED, note, branch_for(self.row.run), there)
        return True

    def _unfit(self, plan: Plan, before: str) -> str:
        """Why the run cannot be taken back by itself, whatever the branch is at."""
        if plan.base is None or plan.base == plan.commit:
            return f"the run {BROUGHT_NONE}"
        if None in (find_commit(self.repository, plan.base), find_commit(self.repository, plan.commit)):
            return "its commits are not in the repository any more"
        if not self.repository.is_ancestor(plan.base, plan.commit):
            return "the run went back in the history, or to another one"
        if before:
            return f"that would bring back what was taken back of run {before}"
        taken = self.repository.trailers(plan.base, plan.commit, TRAILER)
        return f"what the run brought takes back run {taken[0]} itself" if taken else ""

    def _against(self, plan: Plan, head: Commit) -> str:
        """Why no more than a proposal is made."""
        if self.row.mode == OnStop.PROPOSE:
            return "its rollout says so"
        if head.id != plan.commit:
            return f"it has moved on to {head.id[:10]} since"
        if plan.scope:
            return f"only a part of its commit was applied ({plan.scope})"
        return "" if self.rules.apply else "this server only reports what is merged there (apply = false)"

    def _reverted(self, plan: Plan, made: str, head: Commit) -> str:
        """Move the followed branch on; why that was refused, or empty."""
        branch = self.repository.branch_of(self.rules.branch or None)
        if branch is None:
            return f"{self.rules.branch or 'HEAD'} is no branch"
        if not self._begun(branch, made):
            return ""
        try:
            move_on(self.repository, made, branch, head.id)
        except Permanent as error:
            if error.code not in (PUSH_REFUSED, ACCESS_REFUSED):
                raise
            return error.message
        self._end(plan, REVERTED, "", branch, made)
        return ""

    def _propose(self, plan: Plan, made: str, note: str) -> None:
        branch = branch_for(self.row.run)
        if not self._begun(branch, made):
            return
        try:
            propose(self.repository, made, branch)
        except (Refused, Permanent) as error:
            self._end(plan, LEFT, "; ".join(filter(None, (note, error.message))))
            return
        self._end(plan, PROPOSED, note, branch, made)

    def _begun(self, branch: str, made: str) -> bool:
        with self.installation.store.write(alone=False) as connection:
            return begin_rollback(connection, self.row.run, branch, made)

    def _end(self, plan: Plan, how: str, note: str, branch: str = "", made: str = "") -> None:
        """Note how it ended and tell everybody; what has not begun of a run that is taken back ends."""
        ended = replace(self.row, state=how, branch=branch, made=made, note=note)
        with held(), self.installation.store.write() as connection:
            run = self.row.run
            connection.row("SELECT id FROM run WHERE id = ? FOR UPDATE", (run,))
            if not end_rollback(connection, ended):
                return
            write_log(connection, run, [(0, connection.now(), f"{ended.text}; {ended.why}")])
            if how == REVERTED:
                supersede(connection, run, nothing, f"commit {made[:10]} takes the run back")
            details = {"mode": self.row.mode, "how": how, "branch": branch, "made": made, "base": plan.base, "note": note}
            entry = Entry(
                identity=ROLLBACK,
                action="rollback",
                source=plan.source,
                commit=plan.commit,
                run=run,
                reason=self.row.why,
                details=details,
            )
            record(connection, entry)
            happened("rolled-back", run=run, how=how, branch=branch, commit=made, why=self.row.why, note=note)
