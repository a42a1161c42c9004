"""Why runs wait, sources differ, resources back off and providers are left alone, and what to do about each.

In: the database, the settings and what drivers there are. Out: values; how they look is the command's business. Changes nothing.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reconciler.apply.task import GATE
from reconciler.drivers.breaker import BreakerState, State
from reconciler.reason import CODES, Why, ended, together
from reconciler.settings import Apply
from reconciler.store.backoff import Backoff, backing_off
from reconciler.store.engine import Connection
from reconciler.store.installs_listed import open_of_operation
from reconciler.store.leases import WorkerRow, under_way
from reconciler.store.phases import Order, PhaseRow, load_phases
from reconciler.store.records import sources
from reconciler.store.rollbacks import WANTED, RollbackRow, load_rollback
from reconciler.store.runs import JournalRun, open_runs
from reconciler.store.waiting import LaneRow, OpenStep, changes_of, ended_badly, first_words, lanes_of, last_words, open_steps
from reconciler.types.resource import tenant_of
from reconciler.why_machines import machines
from reconciler.why_source import SourceWhy, source_why

SAID = {"paused": "paused: ", "cancelling": "cancelled: "}
"""How the line begins with which a person brought a run into a state."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunWhy:
    """An open run: its open lanes, how many of its changes stand how (`open`, or as a status), why what is open waits, and why what ended badly did.
    `since` when it stands so; `said`: when and why a person paused or cancelled it; `rollback`: whether it is taken back by itself."""

    run: JournalRun
    since: float
    said: tuple[float, str] | None
    rollback: RollbackRow | None
    lanes: tuple[LaneRow, ...]
    changes: Mapping[str, int]
    waits: tuple[Why, ...]
    failed: tuple[Why, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Whys:
    """Everything. `breakers` are those of the process that asked: another one's are told by its own metrics."""

    now: float
    workers: tuple[WorkerRow, ...]
    runs: tuple[RunWhy, ...]
    sources: tuple[SourceWhy, ...]
    backoff: tuple[Why, ...]
    breakers: tuple[Why, ...]


def whys(
    connection: Connection,
    *,
    settings: Apply,
    living: Sequence[WorkerRow],
    drivers: Callable[[], Iterable[str]],
    breakers: Iterable[BreakerState] = (),
) -> Whys:
    """Every reason now. `drivers` gives the names of those that are here; asked only if a run is open."""
    now = connection.now()
    opened = open_runs(connection)
    known = frozenset(drivers()) if opened else frozenset[str]()
    busy = under_way(connection) if opened else {}
    busy_sources = {run.source for run in opened}
    asked = _Asked(connection, settings, {worker.id: worker for worker in living}, known, busy, now)
    return Whys(
        now=now,
        workers=tuple(living),
        runs=tuple(asked.run(run) for run in opened),
        sources=tuple(
            source_why(connection, str(item["name"]), str(item["commit"]), busy=item["name"] in busy_sources)
            for item in sources(connection)
        ),
        backoff=together(_backing_off(found) for found in backing_off(connection)),
        breakers=together(_breaker(state) for state in breakers if state.state is not State.CLOSED),
    )


def run_why(
    connection: Connection,
    run: JournalRun,
    *,
    settings: Apply,
    living: Sequence[WorkerRow],
    drivers: Iterable[str],
    tenants: Collection[str] | None = None,
) -> RunWhy:
    """The same of one open run; with `tenants` of these alone."""
    busy = under_way(connection)
    asked = _Asked(connection, settings, {worker.id: worker for worker in living}, frozenset(drivers), busy, connection.now())
    return asked.run(run, tenants)


class _Asked:
    """What the reasons of runs are found from."""

    def __init__(
        self,
        connection: Connection,
        settings: Apply,
        living: Mapping[str, WorkerRow],
        drivers: frozenset[str],
        busy: Mapping[tuple[str, str], int],
        now: float,
    ) -> None:
        self._connection, self._settings, self._living, self._known, self._now = connection, settings, living, drivers, now
        self._drivers, self._tenants = Counter[str](), Counter[str]()
        for (driver, tenant), number in busy.items():
            self._drivers[driver] += number
            self._tenants[tenant] += number

    def run(self, run: JournalRun, tenants: Collection[str] | None = None) -> RunWhy:
        """One open run; of some tenants, or of all."""
        lanes = [lane for lane in lanes_of(self._connection, run.id) if tenants is None or lane.tenant in tenants]
        phases = load_phases(self._connection, run.id)
        order = Order(phases, self._now)
        ready = {(lane.tenant, lane.wave) for lane in lanes if order.is_next(lane.tenant, lane.wave)}
        steps = [step for step in open_steps(self._connection, run.id) if tenants is None or step.tenant in tenants]
        reached = [step for step in steps if (step.tenant, step.wave) in ready]
        told = Counter((step.wave, step.driver, step.tenant) for step in reached)
        rest = [(lane, lane.open - told[lane.wave, lane.driver, lane.tenant]) for lane in lanes]
        return RunWhy(
            run=run,
            since=self._since(run),
            said=self._said(run),
            rollback=load_rollback(self._connection, run.id),
            lanes=tuple(lanes),
            changes=changes_of(self._connection, run.id),
            waits=together([*self._steps(run, reached), *self._lanes(run, rest, ready, phases)]),
            failed=together(
                ended(*item) for item in ended_badly(self._connection, run.id) if tenants is None or tenant_of(item[0]) in tenants
            ),
        )

    def _steps(self, run: JournalRun, steps: Iterable[OpenStep]) -> Iterator[Why]:
        for step in steps:
            code, text, then = self._step(run, step)
            if code == "operation" and (waited := open_of_operation(self._connection, f"{run.id}.{step.seq}")):
                yield from machines(waited, self._now)
                continue
            what = (f"step {step.seq} ({step.driver or 'record'}{f', {step.tenant}' if step.tenant else ''})",)
            deadline = step.started_at + self._settings.deadline_s if step.started_at is not None else None
            again = step.due_at if not step.owner and step.due_at > self._now else None
            since = step.leased_at if step.owner else step.started_at
            yield Why(code=code, text=text, next=then, what=what, number=1, since=since, again=again, deadline=deadline)

    def _step(self, run: JournalRun, step: OpenStep) -> tuple[str, str, str]:
        """Code, text and next step of a step that somebody has, that has begun, or that was put off."""
        if step.owner in self._living:
            return "under-way", f"worker {self._living[step.owner].name} is at it", f"wait; octofleet logs {run.id} shows how far it is"
        if step.owner:
            return "interrupted", "the worker that had it is gone; its lease is about to be taken away", self._resume(run)
        if step.note.startswith(GATE) and step.due_at > self._now and run.state == "running":
            text, _, then = step.note.removeprefix(GATE).partition("; ")
            return "gated", text, then
        if blocked := self._blocked(run, step.driver, step.tenant, begun=step.state != "ready"):
            code, text, then = blocked
            return code, f"{text}; {step.note}" if step.note else text, then
        if step.note.startswith("waits for "):
            return "needs", f"it {step.note}", "wait for that change, or see above why it waits itself"
        if step.due_at > self._now and step.attempts:
            return "retry", f"it may work later: {step.note}", "wait, or mend what the error says"
        if step.state == "waiting":
            return "operation", step.note or CODES["operation"], f"wait; octofleet cancel {run.id} --reason WHY gives it up"
        if step.due_at > self._now:
            return "settling", step.note or CODES["settling"], "wait"
        return "interrupted", CODES["interrupted"], "wait; a worker takes it up by itself"

    def _lanes(
        self, run: JournalRun, lanes: Iterable[tuple[LaneRow, int]], ready: Collection[tuple[str, int]], phases: Sequence[PhaseRow]
    ) -> Iterator[Why]:
        """Steps that have not begun, by tenant, driver and wave: they have no story of their own."""
        for lane, number in lanes:
            if number <= 0:
                continue
            what = (f"{lane.driver or 'record'}{f' of {lane.tenant}' if lane.tenant else ''}, wave {lane.wave}: {number}",)
            again, deadline = None, None
            if (lane.tenant, lane.wave) in ready:
                found = self._blocked(run, lane.driver, lane.tenant, begun=False) or ("due", CODES["due"], "wait, or start more workers")
            elif (phase := _phase_of(lane, phases)) is not None and not phase.is_open(self._now):
                found = self._phase(run, phase)
                again = phase.opens_at if phase.opens_at is not None and phase.opens_at > self._now else None
                deadline = phase.deadline_at
            else:
                found = ("earlier-wave", CODES["earlier-wave"], "wait; the first wave that is open says why it waits")
            yield Why(code=found[0], text=found[1], next=found[2], what=what, number=number, again=again, deadline=deadline)

    def _phase(self, run: JournalRun, phase: PhaseRow) -> tuple[str, str, str]:
        """Why a part of a rollout may not begin, and who or what moves it."""
        whole = f"the rollout {phase.track} of {phase.tenant}"
        part = f"{phase.title} of {whole}"
        promote = f"octofleet promote {run.id} --reason WHY"
        if phase.state == "stopped":
            back = load_rollback(self._connection, run.id)
            asked = " keeps it and goes on" if back is not None and back.state == WANTED else " goes on"
            then = f"see what has failed below; {promote}{asked}, octofleet cancel {run.id} --reason WHY gives it up"
            return "stopped", f"{whole} was stopped: {phase.note}", then
        if phase.state == "waiting":
            return "earlier-phase", f"the next parts of {whole} come after one that is not over", "wait; that part says why it waits"
        if phase.opens_at is not None and phase.opens_at > self._now:
            then = f"{promote} too, as it waits for a person then" if phase.promote else f"wait; {promote} --now goes on at once"
            return "soaking", f"{part} waits until what went before has soaked", then
        return "held", f"{part} waits for a person", f"see whether all is well, then {promote}"

    def _since(self, run: JournalRun) -> float:
        """Since when a person has it paused or cancelled, or when it began."""
        words = SAID.get(run.state)
        return (first_words(self._connection, run.id, words, "resumed") if words else None) or run.started_at

    def _said(self, run: JournalRun) -> tuple[float, str] | None:
        """The line of the log with which a person paused or cancelled it. Whoever that was is not recorded."""
        words = SAID.get(run.state)
        return last_words(self._connection, run.id, words) if words else None

    def _blocked(self, run: JournalRun, driver: str, tenant: str, *, begun: bool) -> tuple[str, str, str] | None:
        """Why nobody may take a step of this driver and tenant, or None. What has begun of a cancelled run is still brought to its end."""
        if run.state == "paused":
            return "paused", "the run is paused", f"octofleet resume {run.id} goes on"
        if run.state == "cancelling" and not begun:
            return "cancelling", "the run is cancelled", "wait until what has begun has ended"
        if not self._living:
            return "no-worker", "no worker lives", self._resume(run)
        if driver and driver not in self._known:
            then = f"install its plugin or enable it in the settings, or octofleet cancel {run.id} --reason WHY"
            return "no-driver", f"the driver {driver} is not in this installation; a worker that has it could still take them", then
        limit = self._settings.driver_limits.get(driver)
        if limit is not None and self._drivers[driver] >= limit:
            text = f"{limit} steps of the driver {driver} are under way, as many as apply.driver_limits allows"
            return "driver-limit", text, "wait, or raise the setting"
        if 0 < self._settings.tenant_limit <= self._tenants[tenant]:
            text = f"{self._settings.tenant_limit} steps of the tenant {tenant} are under way, as many as apply.tenant_limit allows"
            return "tenant-limit", text, "wait, or raise the setting"
        return None

    def _resume(self, run: JournalRun) -> str:
        return f"octofleet resume {run.id} goes on" if not self._living else "wait; another worker takes it up"


def _phase_of(lane: LaneRow, phases: Iterable[PhaseRow]) -> PhaseRow | None:
    return next((p for p in phases if p.tenant == lane.tenant and p.first_wave <= lane.wave <= p.last_wave), None)


def _backing_off(found: Backoff) -> Why:
    text = f"failed {found.failures} time{'s' if found.failures != 1 else ''}: {found.reason}"
    then = "mend what the error says; octofleet apply does not wait, only the loop does"
    return Why(code="backing-off", text=text, next=then, what=(found.address,), number=1, again=found.until)


def _breaker(state: BreakerState) -> Why:
    text = f"failed {state.failures} times in a row; the last error was: {state.last_error}"
    then = "see whether it answers; one call tries it then"
    return Why(code="breaker-open", text=text, next=then, what=(state.key,), number=1, since=state.since, again=state.next_try)
