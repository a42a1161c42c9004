"""From a stored plan to a finished run: checks that it may be applied, journals it, and takes it to its end; continues what was interrupted, and
pauses or cancels by a person's word.

The edge around `apply`. A run belongs to nobody: this process works on it as a worker, together with any others that there are.
"""

import secrets as random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from threading import Lock

from reconciler.apply.alive import gone
from reconciler.apply.attempt import MakeContext, Patience, Told
from reconciler.apply.steps import laid_out
from reconciler.apply.worker import Terms, Worker
from reconciler.drivers.driver import Context
from reconciler.errors import Permanent, Refused, RetryLater
from reconciler.events import happened, held
from reconciler.gate.approvals import missing, rules_of, used
from reconciler.gating import tenants_of, word
from reconciler.history import find_commit
from reconciler.identity.access import Action, Identity, Resource
from reconciler.identity.local import whoami
from reconciler.permitting import access_in_force, glass_broken
from reconciler.source.repository import Repository
from reconciler.store.approvals import serve, standing
from reconciler.store.audit import record, run_ended
from reconciler.store.engine import Connection
from reconciler.store.gates import keep_windows
from reconciler.store.halt import cancel_run, pause_run, resume_run
from reconciler.store.leases import WorkerRow, is_worked_on, next_due, sweep, workers
from reconciler.store.phases import save_phases
from reconciler.store.plans import PlanHead, find_plan, load_plan, plan_head
from reconciler.store.records import applied_commit, fleet_in_force, load_records, save_source
from reconciler.store.runs import JournalRun, create_run, ended_items, load_run, open_drivers, open_runs
from reconciler.types.audit import Entry
from reconciler.types.change import Cause
from reconciler.types.outcome import Status
from reconciler.types.plan import Plan
from reconciler.types.resource import basis
from reconciler.wiring import VERSION, Installation

LEAST_DIGITS = 4
PATIENCE_S = 600.0
"""So long a command waits for a part of a run that begins by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Applied:
    """How a run stands after this process worked on it. `complete`: every change ended; `statuses` by address."""

    run: str
    plan: Plan
    statuses: dict[str, Status]
    complete: bool

    @property
    def done(self) -> bool:
        """Whether every change of the plan is done."""
        return self.complete and all(status is Status.DONE for status in self.statuses.values())


def find(installation: Installation, prefix: str) -> int:
    """The newest plan whose id begins so. Raises `Refused` if there is none or several."""
    if len(prefix) < LEAST_DIGITS:
        raise Refused(f"{prefix!r} is too short for a plan id", hint=f"give at least {LEAST_DIGITS} digits", code="ambiguous-plan")
    with installation.store.read() as connection:
        found = find_plan(connection, prefix)
    if not found:
        raise Refused(f"there is no plan {prefix}", hint="octofleet plan makes one and prints its id", code="no-plan")
    if len({plan_id for _, plan_id in found}) > 1:
        raise Refused(f"{prefix} is the beginning of more than one plan id", hint="give more digits", code="ambiguous-plan")
    return found[0][0]


def check_applyable(plan: Plan, now: float) -> None:
    """Raises `Refused` for a plan that a guard refuses or that has expired."""
    refusals = [verdict for verdict in plan.guards if verdict.refuses]
    if refusals:
        raise Refused(
            f"plan {plan.id[:12]} is refused by the guard {refusals[0].guard}: {refusals[0].message}", hint=refusals[0].hint, code="guard"
        )
    if now > plan.expires_at:
        raise Refused(f"plan {plan.id[:12]} has expired", hint="make a new one with octofleet plan", code="expired")


def _authors(installation: Installation, row: int, plan: Plan) -> frozenset[str] | None:
    """Who made what the plan brings about; None if no rule asks for that. Raises `OctofleetError` if the history cannot be read."""
    with installation.store.read() as connection:
        if not any(rule.not_author for rule in rules_of(fleet_in_force(connection, plan.source))):
            return None
        location = plan_head(connection, row).location
    found = installation.repository(location, fetch=False).authors(plan.base, plan.commit)
    return frozenset(f"email:{address}" for address in found)


def check_approved(connection: Connection, plan: Plan, authors: Collection[str] | None, now: float) -> list[str]:
    """Raises `Refused` for a plan of which somebody has yet to approve something. Gives the ids of the approvals that it goes by. `authors`: None if they
    were not looked up, as no rule asked for them then."""
    said = standing(connection, now)
    rules = rules_of(fleet_in_force(connection, plan.source))
    if authors is None and any(rule.not_author for rule in rules):
        raise Refused(f"the rules for approvals of {plan.source} have just changed", hint="run the same command again", code="superseded")
    access = access_in_force(connection)

    def may(who: str, tenant: str) -> bool:
        return access.decide(Identity.named(who), Action.APPROVE, Resource(source=plan.source, tenant=tenant)).allowed

    def person(who: str) -> str:
        return access.person(plan.source, who)

    wanted = missing(rules, plan.changes, said, now, authors=authors or (), person=person, may=may)
    if wanted:
        raise Refused(
            f"plan {plan.id[:12]} waits for approval: {wanted[0].message}",
            hint=f"look at the plan, then octofleet approve {plan.id[:12]} --reason WHY; or apply it with --approve",
            code="approval",
        )
    return used(plan.changes, said)


def check_begin(installation: Installation, row: int, plan: Plan) -> None:
    """Raises `Refused` as `begin` would, as far as that can be told before."""
    authors = _authors(installation, row, plan)
    with installation.store.read() as connection:
        now = connection.now()
        check_applyable(plan, now)
        check_approved(connection, plan, authors, now)


def check_basis(connection: Connection, plan: Plan) -> None:
    """Raises `Refused` if a record is no longer the one that its change was decided from."""
    places = {change.moved_from or change.address: change for change in plan.changes}
    moved = [change.address for change in plan.changes if change.moved_from]
    records = load_records(connection, [*places, *moved])
    for where, change in places.items():
        taken = change.moved_from is not None and change.address in records
        if basis(records.get(where)) != change.basis or taken:
            raise Refused(
                f"plan {plan.id[:12]} is superseded: since it was made, {change.address} was applied or forgotten",
                hint="make a new one with octofleet plan",
                code="superseded",
            )


def apply_plan(
    installation: Installation,
    row: int,
    *,
    approved: bool,
    break_glass: str = "",
    reason: str = "",
    told: Told | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Applied:
    """Apply a stored plan to the end, or continue its interrupted run. Raises `Refused` before anything is changed."""
    run = begin(installation, row, approved=approved, break_glass=break_glass, reason=reason)
    return _taken_to_its_end(installation, run, told, cancelled)


def begin(
    installation: Installation,
    row: int,
    *,
    approved: bool,
    break_glass: str = "",
    reason: str = "",
    identity: str = "",
    author: str = "",
) -> str:
    """Journal a run of a stored plan, for workers to take up; gives its id, or that of the run of this plan that is open. `approved` by who runs this
    process; `break_glass`: a reason to go on all the same if others have yet to, which is recorded. `identity`: who applies it, by default who runs this
    process; `author`: of the commit, as it says. Raises `Refused`."""
    with installation.store.read() as connection:
        plan = load_plan(connection, row)
    authors = _authors(installation, row, plan)
    steps, phases = laid_out(plan.changes, {name: driver.info for name, driver in installation.drivers.items()}, plan.phases)
    with held(), installation.store.write() as connection:
        open_run = next((run for run in open_runs(connection) if run.plan == row), None)
        if open_run is not None:
            return open_run.id
        now = connection.now()
        check_applyable(plan, now)
        if approved:
            word(connection, plan, reason or "applied with --approve")
        denied, approvals = "", list[str]()
        try:
            approvals = check_approved(connection, plan, authors, now)
        except Refused as refused:
            if not break_glass.strip():
                raise
            denied = refused.message
        run = JournalRun(
            id=time.strftime("%Y%m%d-%H%M%S-", time.gmtime(now)) + random.token_hex(3),
            plan=row,
            source=plan.source,
            state="running",
            started_at=now,
            ended_at=None,
            reason=reason,
        )
        create_run(connection, run, steps, [change.moved_from for change in plan.changes if change.moved_from])
        save_phases(connection, run.id, phases)
        keep_windows(connection, run.id, plan.source, plan.changes)
        serve(connection, approvals, run.id)
        check_basis(connection, plan)
        if applied_commit(connection, plan.source) is None:
            save_source(connection, plan.source, plan_head(connection, row).location, plan.commit, now)
        if denied:
            glass_broken(connection, identity or whoami(), plan.source, denied, break_glass, plan=plan.id, run=run.id)
        record(connection, _applies(plan, run, identity or whoami(), approved=approved, author=author))
        if not steps:
            run_ended(connection, run.id)
    happened("run-begun", run=run.id, source=run.source, plan=plan.id[:12], steps=len(steps), reason=reason)
    return run.id


def _applies(plan: Plan, run: JournalRun, identity: str, *, approved: bool, author: str) -> Entry:
    """That a run of a plan was begun. Of what changes only numbers: the plan's id is a hash over the digests of its changes."""
    causes = Counter(cause.value for change in plan.changes for cause in change.causes)
    details = {
        "approved": approved,
        "base": plan.base,
        "scope": plan.scope,
        "changes": len(plan.changes),
        "actions": dict(Counter(change.action.value for change in plan.changes)),
        "risks": dict(Counter(risk.value for change in plan.changes for risk in change.risk)),
        "causes": dict(causes),
    }
    return Entry(
        identity=identity,
        action="heal" if causes.keys() == {Cause.DRIFT} else "apply",
        tenants=tenants_of(plan),
        source=plan.source,
        plan=plan.id,
        commit=plan.commit,
        run=run.id,
        reason=run.reason,
        details=details | ({"author": author} if author else {}),
    )


def resume(installation: Installation, run_id: str, *, told: Told | None = None, cancelled: Callable[[], bool] = lambda: False) -> Applied:
    """Take a run to its end, together with whoever else works on it. Raises `Refused` if it has ended."""
    run_of(installation, run_id)
    return _taken_to_its_end(installation, run_id, told, cancelled, resumed=True)


def run_of(installation: Installation, run_id: str) -> JournalRun:
    """A run that can be resumed. Raises `Refused` if there is none, or it has ended."""
    with installation.store.read() as connection:
        run = load_run(connection, run_id)
    if run is None:
        raise Refused(f"there is no run {run_id}", hint="octofleet runs lists them", code="no-run")
    if run.ended_at is not None:
        raise Refused(f"run {run_id} has ended ({run.state})", hint="make a new plan", code="run-ended")
    return run


def _taken_to_its_end(
    installation: Installation, run_id: str, told: Told | None, cancelled: Callable[[], bool], *, resumed: bool = False
) -> Applied:
    with installation.store.write() as connection:
        run = load_run(connection, run_id)
        if run is None:
            raise Permanent(f"run {run_id} was removed meanwhile", hint="octofleet runs lists what there is", code="no-run")
        plan = load_plan(connection, run.plan)
        if run.ended_at is not None:  # there was nothing to do, or others have done it
            return _applied(connection, run_id, plan)
        if resume_run(connection, run_id) or resumed:
            record(connection, Entry(identity=whoami(), action="resume", source=run.source, plan=plan.id, run=run_id))
        needed = open_drivers(connection, run_id) - installation.drivers.keys()
    if needed:
        hint = f"install its plugin or enable it in the settings, or give the run up: octofleet cancel {run_id} --reason WHY --give-up"
        raise Permanent(f"run {run_id} needs the driver {min(needed)}, which is not here", hint=hint, code="driver-missing")
    with worker(installation, "apply", told) as one:
        one.work(_Over(installation, run_id), run_id, cancelled)
    with installation.store.read() as connection:
        return _applied(connection, run_id, plan)


def _applied(connection: Connection, run_id: str, plan: Plan) -> Applied:
    return Applied(run=run_id, plan=plan, statuses=ended_items(connection, run_id), complete=_ended(connection, run_id))


class _Over:
    """Whether a run has ended, or nothing of it can go on for a while: a part of it waits for a person, or for a window."""

    def __init__(self, installation: Installation, run_id: str) -> None:
        self._installation, self._run, self._look_at = installation, run_id, 0.0

    def __call__(self) -> bool:
        with self._installation.store.read() as connection:
            if _ended(connection, self._run):
                return True
            if time.monotonic() < self._look_at:
                return False
            self._look_at = time.monotonic() + 1.0
            due = next_due(connection, self._run)
            return not is_worked_on(connection, self._run) and (due is None or due > connection.now() + PATIENCE_S)


def _ended(connection: Connection, run_id: str) -> bool:
    run = load_run(connection, run_id)
    return run is None or run.ended_at is not None


@contextmanager
def worker(installation: Installation, role: str, told: Told | None = None) -> Iterator[Worker]:
    """This process as a worker of an installation."""
    settings = installation.settings.apply
    terms = Terms(
        role=role,
        version=VERSION,
        slots=settings.slots,
        lease_s=settings.lease_s,
        driver_limits=settings.driver_limits,
        tenant_limit=settings.tenant_limit or None,
        patience=Patience(attempts=settings.attempts, deadline_s=settings.deadline_s),
    )
    contexts = _Contexts(installation)
    made = Worker(
        store=installation.store,
        drivers=installation.drivers,
        contexts=contexts,
        here=installation.data_dir / "workers",
        terms=terms,
        told=told,
    )
    contexts.worker = made
    with made.working():
        yield made


class _Contexts:
    """Makers of contexts for driver calls, each for one attempt: what the calls leave in their scratch directories goes with it."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self._locks: defaultdict[str, Lock] = defaultdict(Lock)
        self._repositories: dict[str, Repository] = {}
        self.worker: Worker | None = None

    @contextmanager
    def __call__(self, plan: PlanHead) -> Iterator[MakeContext]:
        """The repository is opened when it is needed, so that one out of reach is the step's trouble: then the maker raises `RetryLater`."""
        made: list[MakeContext] = []
        with ExitStack() as stack:

            def make(log: Callable[[str], None], checkpoint: Callable[[str], None]) -> Context:
                if not made:
                    made.append(stack.enter_context(self._installation.contexts(self._repository(plan), self._stopping)))
                return made[0](log, checkpoint)

            yield make

    def _stopping(self) -> bool:
        return self.worker is not None and self.worker.stopping

    def _repository(self, plan: PlanHead) -> Repository:
        """One that has the plan's commit; fetched if it has not."""
        try:
            with self._locks[plan.location]:  # others of this repository wait while it is fetched
                found = self._repositories.get(plan.location) or self._installation.repository(plan.location, fetch=False)
                if find_commit(found, plan.commit) is None:
                    found = self._installation.repository(plan.location)
                self._repositories[plan.location] = found
                return found
        except Permanent as error:
            raise RetryLater(error.message, after_s=5.0, hint=error.hint, code=error.code) from error


def note_applied(installation: Installation, row: int, plan: Plan) -> None:
    """A whole plan without changes counts as applied: the fleet is as its commit wants it."""
    if plan.complete and not plan.changes and not plan.scope:
        with installation.store.write() as connection:
            save_source(connection, plan.source, plan_head(connection, row).location, plan.commit, time.time())


def unfinished(installation: Installation, location: str | None = None) -> list[JournalRun]:
    """Runs that have not ended, oldest first; of one repository, or of all."""
    with installation.store.read() as connection:
        return [run for run in open_runs(connection) if location in (None, plan_head(connection, run.plan).location)]


def living(installation: Installation) -> list[WorkerRow]:
    """The workers that live."""
    here = installation.data_dir / "workers"
    with installation.store.read() as connection:
        now = connection.now()
        return [worker for worker in workers(connection) if worker.until >= now and not gone(here, worker.id)]


def cancel(installation: Installation, run_id: str, reason: str, *, give_up: bool = False, identity: str = "") -> str:
    """Begin nothing more of a run; what has begun is brought to its end by whoever works on it. It is given up if nobody is left who could, or with
    `give_up`. Gives the run's state then. What it left undone shows as drift or pending. Raises `Refused`.

    A worker that is overdue is not judged by this process: perhaps nobody could reach the database."""
    here = installation.data_dir / "workers"
    with held(), installation.store.write() as connection:
        source = _open(connection, run_id).source
        sweep(connection, lambda worker: gone(here, worker), overdue=False)
        cancel_run(connection, run_id, reason, give_up=give_up or not workers(connection))
        run = load_run(connection, run_id)
        details = {"giveUp": give_up}
        record(connection, Entry(identity=identity or whoami(), action="cancel", source=source, run=run_id, reason=reason, details=details))
    return run.state if run else ""


def pause(installation: Installation, run_id: str, reason: str, *, identity: str = "") -> None:
    """Begin nothing more of a run until it is resumed. Raises `Refused`."""
    with installation.store.write() as connection:
        run = _open(connection, run_id)
        if run.state == "cancelling":
            raise Refused(f"run {run_id} is being cancelled", hint="what has begun of it is brought to its end", code="no-run")
        pause_run(connection, run_id, reason)
        record(connection, Entry(identity=identity or whoami(), action="pause", source=run.source, run=run_id, reason=reason))


def _open(connection: Connection, run_id: str) -> JournalRun:
    run = load_run(connection, run_id)
    if run is None or run.ended_at is not None:
        raise Refused(f"run {run_id} is not open", hint="octofleet runs lists them", code="no-run")
    return run
