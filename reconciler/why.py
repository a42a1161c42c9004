"""Why something waits, is put off, is blocked or has failed, and what to do about it: for each a reason with a stable code.

In: the database, the settings and what drivers there are. Out: values; how they look is the command's business. Many things with one reason are one
`Why`, so that three and three thousand are told alike. Changes nothing.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from reconciler.apply.task import GATE
from reconciler.drivers.breaker import BreakerState, State
from reconciler.settings import Apply
from reconciler.store.backoff import Backoff, backing_off
from reconciler.store.engine import Connection
from reconciler.store.followed import BEGUN, BEHIND, FAILING, NEW, SETTLED, Followed, followed, run_about
from reconciler.store.halt import UNPROMOTED
from reconciler.store.leases import WorkerRow, under_way
from reconciler.store.observations import load_observations, open_addresses
from reconciler.store.phases import Order, PhaseRow, load_phases
from reconciler.store.plans import newest_deferred
from reconciler.store.records import sources
from reconciler.store.rollbacks import WANTED, RollbackRow, load_rollback
from reconciler.store.runs import JournalRun, list_runs, load_run, open_runs
from reconciler.store.waiting import (
    LaneRow,
    OpenStep,
    changes_of,
    ended_badly,
    first_words,
    lanes_of,
    last_words,
    open_steps,
)
from reconciler.types.observation import Absent, Observation, Present, Proposed, Unknown
from reconciler.types.outcome import Status

CODES: Mapping[str, str] = MappingProxyType(
    {
        "under-way": "a worker is at it",
        "operation": "an operation goes on in the world; it is asked about again",
        "retry": "it failed with what may work later",
        "needs": "a change that it depends on is not done",
        "settling": "what was begun may still show up in the world",
        "interrupted": "its worker is gone; the next one looks, and goes on",
        "due": "a worker takes it as soon as it has a place",
        "gated": "a maintenance window is closed, a freeze is on, or a person paused it",
        "held": "a part of a rollout waits for a person",
        "soaking": "a part of a rollout waits until what went before has soaked",
        "stopped": "a rollout was stopped, as too many hosts have failed",
        "earlier-phase": "an earlier part of its rollout is not over",
        "earlier-wave": "changes of an earlier wave of the same tenant are not done",
        "no-worker": "no worker lives",
        "no-driver": "the driver is not here",
        "driver-limit": "the setting `apply.driver_limits` is reached",
        "tenant-limit": "the setting `apply.tenant_limit` is reached",
        "paused": "a person paused the run",
        "cancelling": "a person cancelled the run; what has begun is brought to its end",
        "failed": "the driver could not do it",
        "partial": "it was done in part, or the world is not as desired afterwards",
        "stale": "the world had changed since the plan was made",
        "expired": "its operation took longer than `apply.deadline_s`",
        "unpromoted": "it waited for a person longer than its rollout's `promoteWithin`",
        "cancelled": "it was not begun",
        "superseded": "a newer commit wants something else",
        "backing-off": "it failed, and the loop leaves it alone for a while",
        "gone": "it was recorded and is not there",
        "differs": "it is not as recorded",
        "proposed": "its engine would change something",
        "unknown": "it could not be looked at",
        "deferred": "the newest plan puts it off",
        "failing": "a followed repository cannot be looked at or planned",
        "approval": "the plan of a followed repository waits for a person",
        "refused": "the plan of a followed repository may not be applied",
        "reported": "the changes of a followed repository are only reported, as its settings say",
        "behind": "a newer commit of a followed repository waits for a run",
        "no-server": "repositories are followed, and no server runs",
        "breaker-open": "its provider has failed too often and is left alone for a while",
    }
)
"""Every code, and what it means."""
SAID = {"paused": "paused: ", "cancelling": "cancelled: "}
"""How the line begins with which a person brought a run into a state."""
TURN = frozenset({"earlier-phase", "earlier-wave"})
"""Codes of what only waits its turn: told last."""
SEEN = frozenset({"gone", "differs", "proposed", "unknown"})
"""Codes of what was seen: `since` is when."""
PLAN_AGAIN = "octofleet plan shows what is left, octofleet apply does it"
DEFERRED_NEXT = {
    "desired-unknown": "octofleet validate names what is wrong in the repository",
    "deletes-stopped": "octofleet validate names what is wrong in the repository",
    "access-lockout": "name a super-admin in a RoleMapping without tenant; octofleet validate names the line",
    "input-unknown": "make the secret readable; octofleet doctor checks the stores",
    "secret-in-file": "give the boot file a hash instead of the secret",
    "dependency-deferred": "see to the resource that it needs",
    "owned-elsewhere": "let the other Fleet go of it, or take it out of this one",
}
OBSERVE_NEXT = "see whether the system answers, then octofleet plan --refresh"
ENDED_NEXT = {
    Status.FAILED: f"mend what the error says; {PLAN_AGAIN}",
    Status.PARTIAL: f"look at it in the world; {PLAN_AGAIN}",
    Status.STALE: "octofleet plan looks at the world again",
    Status.EXPIRED: f"see whether the operation still goes on in the world; {PLAN_AGAIN}",
    Status.CANCELLED: PLAN_AGAIN,
    Status.SUPERSEDED: "nothing: a newer run does what is wanted now",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Why:
    """One reason of many things. `what`: addresses, or steps as people name them; `text`: why; `next`: what to do. Times in seconds since the epoch:
    `since` when the first began, `again` when the first is tried next, `deadline` when the first is given up; None if there is none."""

    code: str
    text: str
    next: str
    what: tuple[str, ...]
    number: int
    since: float | None = None
    again: float | None = None
    deadline: float | None = None


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
class SourceWhy:
    """A source: what ended badly in its last run, whether that is taken back by itself, what was last seen otherwise than recorded, and what its newest
    plan puts off."""

    name: str
    last_run: JournalRun | None
    rollback: RollbackRow | None
    failed: tuple[Why, ...]
    unsettled: tuple[Why, ...]
    deferred: tuple[Why, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryWhy:
    """A followed repository. `text`: how it stands now; `why`: what has to be done, None if nothing has. `run`: the one that this is about, or None."""

    followed: Followed
    text: str
    run: JournalRun | None
    why: Why | None


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
    last: dict[str, JournalRun] = {}
    for run in list_runs(connection, limit=1000):
        if run.ended_at is not None:
            last.setdefault(run.source, run)
    return Whys(
        now=now,
        workers=tuple(living),
        runs=tuple(asked.run(run) for run in opened),
        sources=tuple(_source(connection, str(item["name"]), str(item["commit"]), last, busy_sources) for item in sources(connection)),
        backoff=_together(_backing_off(found) for found in backing_off(connection)),
        breakers=_together(_breaker(state) for state in breakers if state.state is not State.CLOSED),
    )


def repository_why(connection: Connection, found: Followed) -> RepositoryWhy:
    """How a repository stands: what the loop left, and what has become since of the run that this is about."""
    about = run_about(connection, found)
    run = load_run(connection, about) if about else None
    if run is not None and run.ended_at is not None:
        return RepositoryWhy(followed=found, text=f"run {run.id} has ended: {run.state}", run=run, why=None)
    if run is not None and found.code != BEHIND:
        return RepositoryWhy(followed=found, text=f"run {run.id} is {run.state}", run=run, why=None)
    text = (found.note or "not looked at yet") + (f", which is {run.state}" if run is not None else "")
    if found.code in (NEW, SETTLED, BEGUN):
        return RepositoryWhy(followed=found, text=text, run=run, why=None)
    tries = f" (failed {found.failures} times in a row)" if found.failures > 1 else ""
    again = found.due_at if found.code == FAILING else None
    why = Why(code=found.code, text=text + tries, next=found.next, what=(found.location,), number=1, since=found.at, again=again)
    return RepositoryWhy(followed=found, text=text + tries, run=run, why=why)


def unserved(connection: Connection, living: Sequence[WorkerRow]) -> Why | None:
    """Why no repository is looked at, or None if a server runs or nothing is followed."""
    locations = tuple(found.location for found in followed(connection))
    if not locations or any(worker.role == "serve" for worker in living):
        return None
    then = "octofleet serve looks at those of the settings, and with --repo at others"
    return Why(code="no-server", text="no server runs: nobody looks at the repositories", next=then, what=locations, number=len(locations))


def _together(found: Iterable[Why]) -> tuple[Why, ...]:
    """Those with the same code, text and next step as one, the most frequent first; what only waits its turn last."""
    kinds: dict[tuple[str, str, str], list[Why]] = {}
    for one in found:
        kinds.setdefault((one.code, one.text, one.next), []).append(one)
    made = [
        Why(
            code=code,
            text=text,
            next=then,
            what=tuple(sorted({what for one in ones for what in one.what})),
            number=sum(one.number for one in ones),
            since=_least(one.since for one in ones),
            again=_least(one.again for one in ones),
            deadline=_least(one.deadline for one in ones),
        )
        for (code, text, then), ones in kinds.items()
    ]
    return tuple(sorted(made, key=lambda why: (why.code in TURN, -why.number, why.code, why.text)))


def _least(times: Iterable[float | None]) -> float | None:
    return min((time for time in times if time is not None), default=None)


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

    def run(self, run: JournalRun) -> RunWhy:
        """One open run."""
        lanes = lanes_of(self._connection, run.id)
        phases = load_phases(self._connection, run.id)
        order = Order(phases, self._now)
        ready = {(lane.tenant, lane.wave) for lane in lanes if order.is_next(lane.tenant, lane.wave)}
        steps = list(open_steps(self._connection, run.id))
        reached = [step for step in steps if (step.tenant, step.wave) in ready]
        told = Counter((step.wave, step.driver, step.tenant) for step in reached)
        rest = [(lane, lane.open - told[lane.wave, lane.driver, lane.tenant]) for lane in lanes]
        bad = list(ended_badly(self._connection, run.id))
        return RunWhy(
            run=run,
            since=self._since(run),
            said=self._said(run),
            rollback=load_rollback(self._connection, run.id),
            lanes=tuple(lanes),
            changes=changes_of(self._connection, run.id),
            waits=_together([*self._steps(run, reached), *self._lanes(run, rest, ready, phases)]),
            failed=_together(_ended(*item) for item in bad),
        )

    def _steps(self, run: JournalRun, steps: Iterable[OpenStep]) -> Iterator[Why]:
        for step in steps:
            what = (f"step {step.seq} ({step.driver or 'record'}{f', {step.tenant}' if step.tenant else ''})",)
            deadline = step.started_at + self._settings.deadline_s if step.started_at is not None else None
            code, text, then = self._step(run, step)
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


def _ended(address: str, status: Status, error: str) -> Why:
    """A change that ended badly."""
    if error.startswith(UNPROMOTED):
        return Why(code="unpromoted", text=error, next=PLAN_AGAIN, what=(address,), number=1)
    return Why(code=status.value, text=error or CODES[status.value], next=ENDED_NEXT[status], what=(address,), number=1)


def _source(connection: Connection, name: str, commit: str, last: Mapping[str, JournalRun], busy: Collection[str]) -> SourceWhy:
    run = last.get(name)
    seen = load_observations(connection, open_addresses(connection, name))
    put_off = newest_deferred(connection, name, commit)
    return SourceWhy(
        name=name,
        last_run=run,
        rollback=load_rollback(connection, run.id) if run is not None else None,
        failed=_together(_ended(*item) for item in ended_badly(connection, run.id)) if run is not None else (),
        unsettled=_together(_otherwise(address, found, busy=name in busy) for address, found in seen.items()),
        deferred=_together(
            Why(
                code="deferred",
                text=f"{item.reason} ({item.code})",
                next=DEFERRED_NEXT.get(item.code, OBSERVE_NEXT),
                what=(item.address,),
                number=1,
            )
            for item in put_off
        ),
    )


def _otherwise(address: str, seen: Observation, *, busy: bool) -> Why:
    code, then = _seen(seen)
    if busy and then == PLAN_AGAIN:
        then = "first the open run, told below; what it leaves shows in octofleet plan"
    return Why(code=code, text=reason(seen), next=then, what=(address,), number=1, since=seen.at)


def _seen(seen: Observation) -> tuple[str, str]:
    match seen:
        case Unknown():
            return "unknown", OBSERVE_NEXT
        case Absent():
            return "gone", PLAN_AGAIN
        case Proposed():
            return "proposed", PLAN_AGAIN
        case Present():
            return "differs", PLAN_AGAIN


def reason(seen: Observation) -> str:
    """Why a resource is not settled, for people."""
    match seen:
        case Unknown():
            return f"unknown ({seen.code}): {seen.reason}"
        case Absent():
            return "it is gone"
        case Proposed():
            return f"its engine would change {len(seen.fields)} thing{'s' if len(seen.fields) != 1 else ''}"
        case _:
            return "it is not as recorded"


def _backing_off(found: Backoff) -> Why:
    text = f"failed {found.failures} time{'s' if found.failures != 1 else ''}: {found.reason}"
    then = "mend what the error says; octofleet apply does not wait, only the loop does"
    return Why(code="backing-off", text=text, next=then, what=(found.address,), number=1, again=found.until)


def _breaker(state: BreakerState) -> Why:
    text = f"failed {state.failures} times in a row; the last error was: {state.last_error}"
    then = "see whether it answers; one call tries it then"
    return Why(code="breaker-open", text=text, next=then, what=(state.key,), number=1, since=state.since, again=state.next_try)
