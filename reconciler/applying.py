"""From a stored plan to a finished run: checks that it may be applied, journals it, and takes it to its end; continues what was interrupted.

The edge around `apply`. One process works on a run at a time: it holds an operating system lock that the kernel drops when the process dies.
"""

import fcntl
import os
import secrets as random
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.apply.execute import Execution
from reconciler.apply.steps import steps_of
from reconciler.errors import Permanent, Refused
from reconciler.files import private_directory
from reconciler.store.engine import Connection
from reconciler.store.plans import find_plan, load_plan, plan_location
from reconciler.store.records import applied_commit, load_records, save_source
from reconciler.store.runs import JournalRun, create_run, end_run, list_runs, load_run, write_log
from reconciler.types.change import Change, Risk
from reconciler.types.outcome import Status
from reconciler.types.plan import Plan
from reconciler.types.resource import basis
from reconciler.wiring import Installation

LEAST_DIGITS = 4
Ended = Callable[[Change, Status, str], None]


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


def check_applyable(plan: Plan, *, approved: bool, now: float) -> None:
    """Raises `Refused` for a plan that a guard refuses, that has expired, or that loses something and was not approved."""
    refusals = [verdict for verdict in plan.guards if verdict.refuses]
    if refusals:
        raise Refused(
            f"plan {plan.id[:12]} is refused by the guard {refusals[0].guard}: {refusals[0].message}", hint=refusals[0].hint, code="guard"
        )
    if now > plan.expires_at:
        raise Refused(f"plan {plan.id[:12]} has expired", hint="make a new one with octofleet plan", code="expired")
    lost = [change for change in plan.changes if change.risk & {Risk.DESTRUCTIVE, Risk.REINSTALL}]
    if lost and not approved:
        raise Refused(
            f"plan {plan.id[:12]} destroys or reinstalls {len(lost)} resource{'s' if len(lost) > 1 else ''}, the first is {lost[0].address}",
            hint="look at the plan, then apply it with --approve",
            code="approval",
        )


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
    reason: str = "",
    told: Ended = lambda *_: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Applied:
    """Apply a stored plan to the end, or continue its interrupted run. Raises `Refused` before anything is changed."""
    with installation.store.read() as connection:
        plan = load_plan(connection, row)
        open_run = next((run for run in list_runs(connection, state="running", limit=1000) if run.plan == row), None)
    if open_run is not None:
        return resume(installation, open_run.id, told=told, cancelled=cancelled)
    now = time.time()
    check_applyable(plan, approved=approved, now=now)
    run = JournalRun(
        id=time.strftime("%Y%m%d-%H%M%S-", time.gmtime(now)) + random.token_hex(3),
        plan=row,
        source=plan.source,
        state="running",
        started_at=now,
        ended_at=None,
        reason=reason,
    )
    steps = steps_of(plan.changes, {name: driver.info for name, driver in installation.drivers.items()})
    with _alone(installation, run.id):
        with installation.store.write() as connection:
            check_basis(connection, plan)
            create_run(connection, run, steps, [change.moved_from for change in plan.changes if change.moved_from])
            if applied_commit(connection, plan.source) is None:
                save_source(connection, plan.source, plan_location(connection, row), plan.commit, now)
        return _work(installation, run, plan, told, cancelled)


def resume(
    installation: Installation, run_id: str, *, told: Ended = lambda *_: None, cancelled: Callable[[], bool] = lambda: False
) -> Applied:
    """Take an interrupted run to its end. Raises `Refused` if another process is at it, or it has ended."""
    with _alone(installation, run_id):
        with installation.store.read() as connection:
            run = load_run(connection, run_id)
            if run is None:
                raise Refused(f"there is no run {run_id}", hint="octofleet runs lists them", code="no-run")
            if run.state != "running":
                raise Refused(f"run {run_id} has ended ({run.state})", hint="make a new plan", code="run-ended")
            plan = load_plan(connection, run.plan)
        return _work(installation, run, plan, told, cancelled)


def note_applied(installation: Installation, row: int, plan: Plan) -> None:
    """A whole plan without changes counts as applied: the fleet is as its commit wants it."""
    if plan.complete and not plan.changes and not plan.scope:
        with installation.store.write() as connection:
            save_source(connection, plan.source, plan_location(connection, row), plan.commit, time.time())


def interrupted(installation: Installation, location: str | None = None) -> list[JournalRun]:
    """Runs that are open and that no living process works on, oldest first; of one repository, or of all."""
    with installation.store.read() as connection:
        runs = list_runs(connection, state="running", limit=1000)
        runs = [run for run in runs if location in (None, plan_location(connection, run.plan))]
    return [run for run in reversed(runs) if not _held(installation, run.id)]


def cancel(installation: Installation, run_id: str, reason: str) -> None:
    """Close an interrupted run without finishing it; its resources are free, and what it left shows as drift or pending. Raises `Refused`."""
    with _alone(installation, run_id), installation.store.write() as connection:
        run = load_run(connection, run_id)
        if run is None or run.state != "running":
            raise Refused(f"run {run_id} is not open", hint="octofleet runs lists them", code="no-run")
        write_log(connection, run_id, [(0, time.time(), f"cancelled: {reason}")])
        end_run(connection, run_id, "cancelled", time.time())


def _work(installation: Installation, run: JournalRun, plan: Plan, told: Ended, cancelled: Callable[[], bool]) -> Applied:
    with installation.store.read() as connection:
        location = plan_location(connection, run.plan)
    repository = installation.repository(location, fetch=False)
    with installation.contexts(repository, cancelled) as context:
        execution = Execution(
            store=installation.store,
            drivers=installation.drivers,
            plan=plan,
            run=run,
            context=context,
            cancelled=cancelled,
            told=told,
            deadline_s=installation.settings.apply.deadline_s,
            location=location,
        )
        statuses = execution.go()
    with installation.store.write() as connection:
        ended = load_run(connection, run.id)
        complete = ended is not None and ended.state != "running"
    return Applied(run=run.id, plan=plan, statuses=dict(statuses), complete=complete)


@contextmanager
def _alone(installation: Installation, run_id: str) -> Iterator[None]:
    path = _lock_path(installation, run_id)
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _same(file.fileno(), path):
                raise BlockingIOError
        except OSError as error:
            raise Refused(f"another process works on run {run_id}", hint="wait for it: octofleet status", code="held") from error
        try:
            yield
        finally:
            path.unlink(missing_ok=True)


def _same(handle: int, path: Path) -> bool:
    """Whether the open file is still the one at the path: whoever held the lock removes it when done."""
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _held(installation: Installation, run_id: str) -> bool:
    path = _lock_path(installation, run_id)
    try:
        handle = os.open(path, os.O_RDWR)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _lock_path(installation: Installation, run_id: str) -> Path:
    directory = private_directory(installation.data_dir / "runs")
    path = directory / f"{run_id}.lock"
    if path.parent != directory:
        raise Permanent(f"{run_id!r} is not the id of a run", hint="octofleet runs lists them")
    return path
