"""The loop: follows repositories, plans when a branch moves, on an interval, and on request, and begins runs of what may be applied.

In: the settings' repositories. Out: runs in the journal, for workers to take up, and a note for each repository that says in words how it stands.
Any number of processes may run it: each repository is looked at by one of them at a time.
"""

import random
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from threading import Event

from reconciler.applying import begin, check_applyable, note_applied, unfinished
from reconciler.errors import OctofleetError, Refused
from reconciler.events import happened
from reconciler.logs import logger
from reconciler.planning import Planned, Request, make_plan
from reconciler.report.text import brief, printable
from reconciler.settings import Followed as Rules
from reconciler.source.mirror import is_remote
from reconciler.source.repository import Commit
from reconciler.store.audit import record
from reconciler.store.followed import Followed, follow, give_back, take
from reconciler.store.halt import supersede
from reconciler.store.retention import prune
from reconciler.store.runs import JournalRun, load_run
from reconciler.types.audit import LOOP, Entry
from reconciler.types.change import Cause, Change
from reconciler.wiring import Installation, place, placed
from reconciler.witness import keep, keepers

TICK_S = 0.5
DAY_S = 86_400.0
NOT_SETTLED = frozenset({"held", "superseded", "expired"})
"""Why a run was not begun that a new plan may mend."""
FAILED_S, FAILED_MOST_S = 5.0, 600.0


_SECRET = re.compile(r"^https?://[^/]*@|^[a-z+]+://[^/@]*:[^/]*@|\?", re.IGNORECASE)
"""A user of http(s), a password of any scheme, or a query."""


class Loop:
    """`worker` is the id under which this process is known; `wake` tells workers that there may be something to do. `moved_at`: when it last went round,
    in seconds of `time.monotonic()`."""

    def __init__(self, installation: Installation, rules: Sequence[Rules], worker: str, wake: Callable[[], None]) -> None:
        self._installation, self._worker, self._wake = installation, worker, wake
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
            except Exception as error:  # noqa: BLE001 - the loop goes on, whatever happened in one round
                logger("octofleet.loop").warning("could not look", error=f"{type(error).__name__}: {error}")
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
            logger("octofleet.loop").warning("could not prune", error=error.message)

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
                logger("octofleet.loop").warning("could not keep the head of the audit trail", error=error.message)

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
            with store.write(alone=False) as connection:
                give_back(connection, left)
            self.moved_at = time.monotonic()

    def _look(self, found: Followed, rules: Rules) -> Followed:
        """See where the branch is, and plan if need be; gives what to remember. Whatever goes wrong is told and tried again later."""
        try:
            return self._reconciled(found, rules)
        except Exception as unexpected:  # noqa: BLE001 - one repository's trouble is its own
            internal = OctofleetError(f"internal error: {type(unexpected).__name__}: {unexpected}")
            error = unexpected if isinstance(unexpected, OctofleetError) else internal
            failures = found.failures + 1
            wait_s = min(FAILED_S * 2.0 ** min(failures - 1, 20), FAILED_MOST_S)
            logger("octofleet.loop").warning("could not reconcile", repository=found.location, error=error.message)
            return replace(found, failures=failures, note=brief(error.message), due_at=self._in(wait_s))

    def _reconciled(self, found: Followed, rules: Rules) -> Followed:
        repository = self._installation.repository(found.location)
        commit = repository.commit(rules.branch or None)
        left = replace(found, head=commit.id, due_at=self._in(rules.poll_s), failures=0)
        late = found.at is None or self._now() - found.at >= rules.interval_s * random.uniform(0.8, 1.2)  # noqa: S311 - jitter
        running = unfinished(self._installation, place(repository))
        if commit.id == found.planned and running:
            at = found.at if found.asked_at is None else None  # what somebody asks for meanwhile is done when the run has ended
            return replace(left, note=self._of_run(found.note, running), at=at)
        if commit.id == found.planned and not late and found.asked_at is None:
            return replace(left, note=self._of_run(found.note, running))
        reported = frozenset[Cause]() if rules.heal else frozenset({Cause.DRIFT})
        request = Request(oldest=rules.observe if late else 0, unattended=True, reported=reported)
        planned = make_plan(self._installation, repository, request, commit=commit)
        if running and rules.apply and self._may_be_applied(planned):
            self._supersede(running, planned)
        if running and unfinished(self._installation, place(repository)):
            return replace(left, note=f"{commit.id[:10]} waits for run {running[0].id}, which is {running[0].state}")
        note, settled = self._decided(planned, commit, rules)
        return replace(left, planned=commit.id if settled else found.planned, note=note, at=self._now())

    def _of_run(self, note: str, running: Sequence[JournalRun]) -> str:
        """How the run stands that was begun, or what else was said."""
        if running:
            return f"run {running[0].id} is {running[0].state}"
        if not note.startswith("run "):
            return note
        with self._installation.store.read() as connection:
            run = load_run(connection, note.split()[1])
        return f"run {run.id} has ended: {run.state}" if run is not None and run.ended_at is not None else note

    def _may_be_applied(self, planned: Planned) -> bool:
        try:
            check_applyable(planned.plan, approved=False, now=self._now())
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
                number = supersede(connection, run.id, kept, f"commit {planned.commit.id[:10]} wants something else")
                if number:
                    record(connection, _supersedes(planned, run, number))
            if number:
                logger("octofleet.loop").info("superseded", run=run.id, changes=number)

    def _decided(self, planned: Planned, commit: Commit, rules: Rules) -> tuple[str, bool]:
        """Begin a run of the plan if it may be; in words what was decided, and whether nothing is left to do for this commit."""
        plan, name = planned.plan, f"plan {planned.plan.id[:12]}"
        rest = f"; {len(plan.deferred)} put off" if plan.deferred else ""
        if not plan.changes:
            note_applied(self._installation, planned.row, plan)
            return f"nothing to do{rest}", True
        if not rules.apply:
            return f"{name} has {len(plan.changes)} changes, and is only reported{rest}", True
        try:
            check_applyable(plan, approved=False, now=self._now())
            run = begin(
                self._installation,
                planned.row,
                approved=False,
                reason=f"commit {commit.id[:10]}",
                identity=LOOP,
                author=printable(commit.author),
            )
        except Refused as error:
            return f"{brief(error.message)}: {error.hint}", error.code not in NOT_SETTLED
        logger("octofleet.loop").info("run begun", run=run, commit=commit.id, changes=len(plan.changes))
        self._wake()
        return f"run {run} applies {len(plan.changes)} changes{rest}", True

    def _now(self) -> float:
        with self._installation.store.read() as connection:
            return connection.now()

    def _in(self, seconds: float) -> float:
        return self._now() + seconds


def _supersedes(planned: Planned, run: JournalRun, number: int) -> Entry:
    """That changes of a run which had not begun were ended for a newer commit."""
    plan, author = planned.plan, printable(planned.commit.author)
    details = {"changes": number, "author": author}
    return Entry(identity=LOOP, action="supersede", source=run.source, plan=plan.id, commit=plan.commit, run=run.id, details=details)


def where(location: str) -> str:
    """A repository as it is remembered: its URL, or its absolute path. Raises `Refused` for a URL that may hold a secret: it would be kept, and shown."""
    if is_remote(location) and _SECRET.search(location):
        hint = "name it without; git.token_env in the settings names the variable that holds a token"
        raise Refused("the URL of a followed repository holds a password, a token or a query", hint=hint, code="settings")
    return placed(location)
