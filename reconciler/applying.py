"""A run to its end: applies a stored plan, continues what was interrupted, and pauses or cancels by a person's word.

The edge around `apply`. A run belongs to nobody: this process works on it as a worker, together with any others that there are.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

from reconciler.apply.alive import gone
from reconciler.apply.attempt import Told
from reconciler.beginning import begin
from reconciler.errors import Permanent, Refused
from reconciler.events import held
from reconciler.identity.local import whoami
from reconciler.operating import SCOPE
from reconciler.store.audit import record
from reconciler.store.engine import Connection
from reconciler.store.halt import cancel_run, pause_run, resume_run
from reconciler.store.installs import is_parked
from reconciler.store.leases import WorkerRow, is_worked_on, next_due, sweep, workers
from reconciler.store.plans import load_plan, plan_head
from reconciler.store.runs import JournalRun, ended_items, load_run, open_drivers, open_run, open_runs
from reconciler.types.audit import Entry
from reconciler.types.outcome import Status
from reconciler.types.plan import Plan
from reconciler.wiring import Installation
from reconciler.working import worker

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


def apply_plan(
    installation: Installation,
    row: int,
    *,
    approved: bool,
    glass: str = "",
    reason: str = "",
    told: Told | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Applied:
    """Apply a stored plan to the end, or continue its interrupted run. Raises `Refused` before anything is changed."""
    run = begin(installation, row, approved=approved, glass=glass, reason=reason)
    return _taken_to_its_end(installation, run, told, cancelled)


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
            _note_resumed(connection, run, whoami())
        needed = open_drivers(connection, run_id) - installation.drivers.keys()
    if needed:
        hint = f"install its plugin or enable it in the settings, or give the run up: octofleet cancel {run_id} --reason WHY --give-up"
        raise Permanent(f"run {run_id} needs the driver {min(needed)}, which is not here", hint=hint, code="driver-missing")
    with worker(installation, "apply", told) as one:
        one.work(_Over(installation, run_id), run_id, cancelled)
    with installation.store.read() as connection:
        return _applied(connection, run_id, plan)


def go_on(installation: Installation, run_id: str, *, identity: str = "") -> None:
    """Have workers go on with a paused run. Raises `Refused` if it is not paused."""
    with installation.store.write() as connection:
        run = open_run(connection, run_id)
        if not resume_run(connection, run_id):
            raise Refused(f"run {run_id} is not paused", hint="octofleet status --why says what it waits for", code="not-paused")
        _note_resumed(connection, run, identity or whoami())


def _note_resumed(connection: Connection, run: JournalRun, identity: str) -> None:
    plan = plan_head(connection, run.plan).id
    record(connection, Entry(identity=identity, action="resume", source=run.source, plan=plan, run=run.id))


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


def unfinished(installation: Installation, location: str | None = None, *, beside: bool = True) -> list[JournalRun]:
    """Runs that have not ended, oldest first; of one repository, or of all. Without those that others may begin `beside`: what waits for machines to be
    installed and for nothing else, and operations."""
    with installation.store.read() as connection:
        found = [run for run in open_runs(connection) if location in (None, plan_head(connection, run.plan).location)]
        return [run for run in found if beside or not (is_parked(connection, run.id) or of_operation(connection, run))]


def of_operation(connection: Connection, run: JournalRun) -> bool:
    """Whether a run is of an operation, which is no commit's."""
    return plan_head(connection, run.plan).scope.startswith(SCOPE)


def living(installation: Installation) -> list[WorkerRow]:
    """The workers that live."""
    here = installation.data_dir / "workers"
    with installation.store.read() as connection:
        now = connection.now()
        return [worker for worker in workers(connection) if worker.until >= now and not gone(here, worker.id)]


def cancel(installation: Installation, run_id: str, reason: str, *, stop: bool = False, give_up: bool = False, identity: str = "") -> str:
    """Begin nothing more of a run; what has begun is brought to its end by whoever works on it, or with `stop` is stopped where its driver can. It is given up
    if nobody is left who could, or with `give_up`. Gives the run's state then. What it left undone shows as drift or pending. Raises `Refused`.

    What was given up is looked at by nobody any more, so it cannot be stopped as well.

    A worker that is overdue is not judged by this process: perhaps nobody could reach the database."""
    if stop and give_up:
        raise Refused("what is given up cannot be stopped as well", hint="stop it first, and give up what is left", code="stop-or-give-up")
    here = installation.data_dir / "workers"
    with held(), installation.store.write() as connection:
        source = open_run(connection, run_id).source
        sweep(connection, lambda worker: gone(here, worker), overdue=False)
        cancel_run(connection, run_id, reason, stop=stop, give_up=give_up or not workers(connection))
        run = load_run(connection, run_id)
        details = {"stop": stop, "giveUp": give_up}
        record(connection, Entry(identity=identity or whoami(), action="cancel", source=source, run=run_id, reason=reason, details=details))
    return run.state if run else ""


def pause(installation: Installation, run_id: str, reason: str, *, identity: str = "") -> None:
    """Begin nothing more of a run until it is resumed. Raises `Refused`."""
    with installation.store.write() as connection:
        run = open_run(connection, run_id)
        if run.state == "cancelling":
            raise Refused(f"run {run_id} is being cancelled", hint="what has begun of it is brought to its end", code="no-run")
        pause_run(connection, run_id, reason)
        record(connection, Entry(identity=identity or whoami(), action="pause", source=run.source, run=run_id, reason=reason))
