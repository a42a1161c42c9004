"""The loop: follows repositories, plans when a branch moves, on an interval, and on request, and begins runs of what may be applied.

In: the settings' repositories. Out: runs in the journal, for workers to take up, and a note for each repository that says in words how it stands.
Any number of processes may run it: each repository is looked at by one of them at a time.
"""

import random
import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from threading import Event
from typing import TypedDict

from reconciler.apply.watched import Reach
from reconciler.applying import unfinished
from reconciler.beginning import begin, check_begin, note_applied
from reconciler.errors import InputError, OctofleetError, Refused
from reconciler.events import Repeated, happened
from reconciler.history import find_commit
from reconciler.planning import Planned, make_plan
from reconciler.report.text import brief, printable
from reconciler.report.view import counted
from reconciler.rollback import nothing, take_back
from reconciler.scheduling import begin_due, sources_at
from reconciler.settings import Followed as Rules
from reconciler.source.repository import Commit
from reconciler.source.signatures import Trust, signatures
from reconciler.store.audit import record
from reconciler.store.engine import Unavailable
from reconciler.store.followed import APPROVAL, BEGUN, BEHIND, FAILING, REFUSED, REPORTED, SETTLED, Followed, follow, give_back, take
from reconciler.store.halt import supersede, unpromoted
from reconciler.store.plans import plan_head
from reconciler.store.records import applied_commit
from reconciler.store.retention import prune
from reconciler.store.rollbacks import REVERTED, load_rollback
from reconciler.store.runs import JournalRun
from reconciler.types.audit import LOOP, Entry
from reconciler.types.change import Cause, Change
from reconciler.types.request import Request
from reconciler.wiring import Installation, place, where
from reconciler.witness import keep, keepers

TICK_S = 0.5
DAY_S = 86_400.0
NOT_SETTLED = frozenset({"held", "superseded", "expired"})
"""Why a run was not begun that a new plan may mend."""
FAILED_S, FAILED_MOST_S = 5.0, 600.0
EVENTS_OF = {APPROVAL: "plan-waits", REFUSED: "plan-refused"}


class Standing(TypedDict):
    """How a repository stands, as `Followed` has it."""

    code: str
    about: str
    note: str
    next: str


class Loop:
    """`worker` is the id under which this process is known; `wake` tells workers that there may be something to do; `reach` is told when the database
    is away. `moved_at`: when it last went round,
    in seconds of `time.monotonic()`."""

    def __init__(
        self, installation: Installation, rules: Sequence[Rules], worker: str, wake: Callable[[], None], reach: Reach | None = None
    ) -> None:
        self._installation, self._worker, self._wake = installation, worker, wake
        self._reach, self._trouble = reach or Reach(), Repeated()
        self._rules = {where(rule.location): rule for rule in rules}
        self._followed = False
        self._prune_at = time.monotonic() + random.uniform(600, 3600)  # noqa: S311 - jitter
        self._head_at = time.monotonic()
        self.moved_at = time.monotonic()

    def run(self, stop: Event) -> None:
        """Go round until told to stop. A database that is away is waited for."""
        while not stop.is_set():
            try:
                self.once(stop)
            except Unavailable as error:
                self._reach.away(error)
            except Exception as error:  # noqa: BLE001 - the loop goes on, whatever happened in one round
                self._trouble.happened("round-failed", error=f"{type(error).__name__}: {error}")
            self.moved_at = time.monotonic()
            self._prune()
            self._keep_head()
            stop.wait(TICK_S)

    def _prune(self) -> None:
        """Once a day let go of what is old."""
        if time.monotonic() < self._prune_at:
            return
        self._prune_at = time.monotonic() + DAY_S * random.uniform(0.9, 1.1)  # noqa: S311 - jitter
        try:
            prune(self._installation.store, self._installation.blobs, self._installation.settings.retention, self._now())
        except OctofleetError as error:
            happened("prune-failed", error=error.message)

    def _keep_head(self) -> None:
        """Now and then have the head of the audit trail kept where the settings say."""
        said = self._installation.settings.audit
        if time.monotonic() < self._head_at or not (said.head_file or said.head_git):
            return
        self._head_at = time.monotonic() + said.head_every_s
        try:
            for keeper in keepers(said):
                keep(self._installation.store, keeper)
        except OctofleetError as error:
            if error.code == "audit-broken":
                happened("audit-broken", text=error.message)
            else:
                happened("audit-head-failed", error=error.message)

    def once(self, stop: Event | None = None) -> None:
        """Look at every repository that is due."""
        store = self._installation.store
        if not self._followed:
            with store.write() as connection:
                for location in self._rules:
                    follow(connection, location)
            self._followed = True
        for location, rules in self._rules.items():
            if stop is not None and stop.is_set():
                return
            with store.write(alone=False) as connection:
                found = take(connection, location, self._worker)
            if found is None:
                continue
            left = self._look(found, rules)
            self._begin_due(location, rules)
            with store.write(alone=False) as connection:
                give_back(connection, left)
            self.moved_at = time.monotonic()

    def _begin_due(self, location: str, rules: Rules) -> None:
        """Begin the operations that are due of the Fleets that were applied from a repository."""
        try:
            with self._installation.store.read() as connection:
                sources = sources_at(connection, location)
            if sources and begin_due(self._installation, location, sources, apply=rules.apply):
                self._wake()
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - the loop goes on, whatever is wrong with an operation
            self._trouble.happened("operation-failed", repository=location, error=f"{type(error).__name__}: {error}")

    def _look(self, found: Followed, rules: Rules) -> Followed:
        """See where the branch is, and plan if need be; gives what to remember. Whatever goes wrong is told and tried again later."""
        try:
            left = self._reconciled(found, rules)
        except Unavailable:
            raise
        except Exception as unexpected:  # noqa: BLE001 - one repository's trouble is its own
            internal = OctofleetError(f"internal error: {type(unexpected).__name__}: {unexpected}")
            error = unexpected if isinstance(unexpected, OctofleetError) else internal
            failures = found.failures + 1
            wait_s = min(FAILED_S * 2.0 ** min(failures - 1, 20), FAILED_MOST_S)
            then = _next_after(error, found.location, rules)
            happened("repository-failed", repository=found.location, error=brief(error.message), failures=failures, next=then)
            note, due_at = brief(error.message), self._in(wait_s)
            return replace(found, failures=failures, note=note, due_at=due_at, code=FAILING, about="", next=then)
        if left.code in EVENTS_OF and (left.code, left.about) != (found.code, found.about):
            happened(EVENTS_OF[left.code], repository=left.location, plan=left.about[:12], commit=left.head, why=left.note, next=left.next)
        return left

    def _reconciled(self, found: Followed, rules: Rules) -> Followed:
        repository = self._installation.repository(found.location)
        if take_back(self._installation, repository, rules):
            repository = self._installation.repository(found.location)
        commit = repository.tip(rules.branch)
        left = replace(found, head=commit.id, due_at=self._in(rules.poll_s), failures=0)
        late = found.at is None or self._now() - found.at >= rules.interval_s * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
        running = unfinished(self._installation, place(repository), beside=False)
        if commit.id == found.planned and running:
            at = found.at if found.asked_at is None else None  # what somebody asks for meanwhile is done when the run has ended
            return replace(left, at=at, **_standing(BEGUN, running[0].id, f"run {running[0].id} was begun"))
        if commit.id == found.planned and not late and found.asked_at is None and not found.failures:
            return left
        reported = frozenset[Cause]() if rules.heal else frozenset({Cause.DRIFT})
        request = Request(oldest=rules.observe if late else 0, unattended=True, reported=reported)
        planned = make_plan(self._installation, repository, request, commit=commit)
        if running and rules.apply and rules.apply_on == "merge" and self._may_be_applied(planned):
            self._supersede(running, planned)
        if running and unfinished(self._installation, place(repository), beside=False):
            then = f"octofleet status --why tells what run {running[0].id} waits for"
            return replace(left, **_standing(BEHIND, running[0].id, f"{commit.id[:10]} waits for run {running[0].id}", then))
        stands, settled = self._decided(planned, commit, rules)
        return replace(left, planned=commit.id if settled else found.planned, at=self._now(), **stands)

    def _may_be_applied(self, planned: Planned) -> bool:
        try:
            check_begin(self._installation, planned.row, planned.plan)
        except Refused:
            return False
        return True

    def _supersede(self, running: Sequence[JournalRun], planned: Planned) -> None:
        """End what runs under way have not begun and the newer commit wants otherwise."""
        wanted = {(change.address, change.desired_digest) for change in planned.plan.changes}
        alone = {item.address for item in planned.plan.deferred}

        def kept(change: Change) -> bool:
            return change.address in alone or (change.address, change.desired_digest) in wanted

        for run in running:
            with self._installation.store.write() as connection:
                back = load_rollback(connection, run.id)
                keep_none = back is not None and back.state == REVERTED
                number = supersede(
                    connection, run.id, nothing if keep_none else kept, f"commit {planned.commit.id[:10]} wants something else"
                )
                if number:
                    record(connection, _supersedes(planned, run, number))
            if number:
                happened("changes-superseded", run=run.id, changes=number)

    def _decided(self, planned: Planned, commit: Commit, rules: Rules) -> tuple[Standing, bool]:
        """Begin a run of the plan if it may be; what was decided, and whether nothing is left to do for this commit."""
        plan, name = planned.plan, f"plan {planned.plan.id[:12]}"
        rest = f"; {len(plan.deferred)} put off" if plan.deferred else ""
        if not plan.changes:
            note_applied(self._installation, planned.row, plan)
            return _standing(SETTLED, "", f"nothing to do{rest}"), True
        if not rules.apply or rules.apply_on == "comment":
            then = f"octofleet apply {plan.id[:12]}{'' if self._may_be_applied(planned) else ' --approve'}"
            why = "waits for octofleet apply in its pull request" if rules.apply_on == "comment" else "is only reported"
            return _standing(REPORTED, plan.id, f"{name} has {counted(len(plan.changes), 'change')}, and {why}{rest}", then), True
        with self._installation.store.read() as connection:
            waited = unpromoted(connection, plan_head(connection, planned.row).location, commit.id)
        if waited:
            note = f"nobody promoted run {waited} of this commit in time: what is left of it waits for a person, or a newer commit"
            return _standing(APPROVAL, plan.id, note, f"octofleet apply {plan.id[:12]} goes on"), True
        if rules.signed and (unsigned := self._unsigned(planned, commit, rules)):
            return _standing(REFUSED, plan.id, unsigned, f"octofleet apply {plan.id[:12]} applies it by a person's word"), True
        try:
            run = begin(
                self._installation,
                planned.row,
                approved=False,
                reason=f"commit {commit.id[:10]}",
                identity=LOOP,
                author=printable(commit.author),
            )
        except Refused as error:
            if error.code == "approval":
                stands = _standing(APPROVAL, plan.id, brief(error.message), f"octofleet apply {plan.id[:12]} --approve")
            else:
                stands = _standing(REFUSED, plan.id, brief(error.message), error.hint)
            return stands, error.code not in NOT_SETTLED
        self._wake()
        return _standing(BEGUN, run, f"run {run} applies {counted(len(plan.changes), 'change')}{rest}"), True

    def _unsigned(self, planned: Planned, commit: Commit, rules: Rules) -> str:
        """Which commits since the one applied last are not signed by a key that is known; empty if none is."""
        repository = self._installation.repository(rules.location, fetch=False)
        with self._installation.store.read() as connection:
            applied = applied_commit(connection, planned.plan.source)
        since = applied[0] if applied is not None and find_commit(repository, applied[0]) is not None else None
        wrong = [item for item in signatures(repository, since, commit.id, Path(rules.signers)) if item.trust is not Trust.GOOD]
        first = f", the first is {wrong[0].commit[:10]} ({wrong[0].trust})" if wrong else ""
        return f"{counted(len(wrong), 'commit')} not signed by a known key{first}" if wrong else ""

    def _now(self) -> float:
        with self._installation.store.read() as connection:
            return connection.now()

    def _in(self, seconds: float) -> float:
        return self._now() + seconds


def _standing(code: str, about: str, note: str, then: str = "") -> Standing:
    return {"code": code, "about": about, "note": note, "next": then}


def _next_after(error: OctofleetError, location: str, rules: Rules) -> str:
    """What a person is to do about a repository that cannot be looked at or planned."""
    at = f"--repo {shlex.quote(location)}" + (f" --rev {shlex.quote(rules.branch)}" if rules.branch else "")
    if error.code == "history-rewritten":
        return f"octofleet plan {at} --accept-history shows what would change, octofleet apply {at} --accept-history --approve does it"
    if isinstance(error, InputError):
        return f"octofleet validate {at} names every problem"
    return error.hint or f"octofleet plan {at} tries it at once"


def _supersedes(planned: Planned, run: JournalRun, number: int) -> Entry:
    """That changes of a run which had not begun were ended for a newer commit."""
    plan, author = planned.plan, printable(planned.commit.author)
    details = {"changes": number, "author": author}
    return Entry(identity=LOOP, action="supersede", source=run.source, plan=plan.id, commit=plan.commit, run=run.id, details=details)
