"""Leases and the journal against a small model: whatever is said by whomever in any order, the database does what the model does."""

from dataclasses import dataclass, field, replace
from random import Random
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reconciler.store.halt import cancel_run, pause_run, resume_run, supersede
from reconciler.store.journal import Begun, Ended, Entry, Freed, Lease, Waits, write
from reconciler.store.leases import Room, WorkerRow, beat, claim, leave, sweep
from reconciler.store.plans import save_plan
from reconciler.store.runs import Item, JournalRun, JournalStep, create_run, load_run, load_steps
from reconciler.types.canonical import NOTHING
from reconciler.types.change import Action, Change
from reconciler.types.origin import Origin
from reconciler.types.outcome import Status
from reconciler.types.plan import Plan
from reconciler.types.resource import Rules
from tests.simulation.database import Database, SimulatedStore
from tests.simulation.scheduler import Scheduler

WORKERS, DRIVERS, TENANTS, LEASE_S = ("w1", "w2", "w3"), ("d", "e"), ("a", "b"), 10.0


def change(where: str) -> Change:
    return Change(
        address=where, action=Action.CREATE, fields=(), before_digest=NOTHING, after_digest="d", desired_digest="d", rules=Rules(tenant=""),
        group="host/a/x", origin=Origin(path="x"),
    )  # fmt: skip


PLAN = Plan(source="f", scope="", commit="c", base=None, created_at=0.0, expires_at=0.0, changes=())
STATUSES = st.sampled_from([Status.DONE, Status.FAILED, Status.PARTIAL, Status.STALE, Status.EXPIRED])


@dataclass
class Step:
    wave: int
    driver: str
    tenant: str
    open: set[str]
    state: str = "ready"
    owner: str = ""
    fence: int = 0
    due: float = 0.0
    attempts: int = 0

    def end(self, addresses: set[str]) -> None:
        self.open -= addresses
        if not self.open and self.state != "ended":
            self.state, self.owner = "ended", ""

    def take_away(self) -> None:
        self.owner, self.fence = "", self.fence + 1


@dataclass
class Run:
    steps: list[Step]
    word: str = "running"

    @property
    def over(self) -> bool:
        return all(step.state == "ended" for step in self.steps)

    def ripe(self, now: float) -> list[int]:
        """What may be taken: of each tenant's first open wave, what nobody has."""
        first: dict[str, int] = {}
        for step in self.steps:
            if step.state != "ended":
                first[step.tenant] = min(step.wave, first.get(step.tenant, step.wave))
        return [
            number
            for number, step in enumerate(self.steps)
            if step.state != "ended" and not step.owner and step.due <= now and step.wave == first[step.tenant]
            and (self.word != "paused" or step.state != "ready")
        ]  # fmt: skip


@dataclass
class Model:
    runs: dict[str, Run] = field(default_factory=dict)
    until: dict[str, float] = field(default_factory=dict)


class Leases(RuleBasedStateMachine):
    """Every rule does one thing to both."""

    @initialize(seed=st.integers(0, 2**20))
    def begin_runs(self, seed: int) -> None:
        self.scheduler = Scheduler(Random(0))
        self.database = Database(self.scheduler)
        self.store, self.model, self.leases = SimulatedStore(self.database, self.scheduler.people), Model(), []
        rng = Random(seed)
        with self.store.write() as connection:
            for run in ("r1", "r2"):
                made: list[JournalStep] = []
                changes: list[Change] = []
                for seq in range(rng.randint(1, 6)):
                    tenant, driver = rng.choice(TENANTS), rng.choice(DRIVERS)
                    where = [f"{driver}/k/{tenant}/{run}-{seq}-{number}" for number in range(rng.randint(1, 2))]
                    items = tuple(Item(address=a, change=len(changes) + n, action=Action.CREATE) for n, a in enumerate(where))
                    changes += [change(address) for address in where]
                    made.append(JournalStep(seq=seq, wave=rng.randint(0, 1), driver=driver, tenant=tenant, items=items))
                row = save_plan(connection, replace(PLAN, changes=tuple(changes)), "nowhere")
                started = JournalRun(id=run, plan=row, source="f", state="running", started_at=0.0, ended_at=None, reason="")
                create_run(connection, started, made)
                steps = [Step(step.wave, step.driver, step.tenant, {item.address for item in step.items}) for step in made]
                self.model.runs[run] = Run(steps)

    def step(self, lease: Lease) -> Step:
        return self.model.runs[lease.run].steps[lease.step]

    def write(self, entry: Entry) -> str:
        with self.store.write() as connection:
            (verdict,) = write(connection, [entry])
        lost = self.step(entry.lease).fence != entry.lease.fence
        gone = lost or (isinstance(entry, Begun | Waits) and self.step(entry.lease).state == "ended")
        assert (verdict == "lost") == gone
        return verdict

    def lease(self, data: Any) -> Lease:
        return data.draw(st.sampled_from(self.leases))  # type: ignore[no-any-return]

    @rule(worker=st.sampled_from(WORKERS))
    def beats(self, worker: str) -> None:
        with self.store.write() as connection:
            until = connection.now() + LEASE_S
            known = beat(connection, WorkerRow(id=worker, name="", role="", version="", started_at=0.0, until=until))
        assert known == (worker in self.model.until)
        self.model.until[worker] = until

    @rule(
        worker=st.sampled_from(WORKERS), slots=st.integers(0, 4), drivers=st.sets(st.sampled_from(DRIVERS)),
        limit=st.sampled_from([None, 1, 2]), tenant_limit=st.sampled_from([None, 1, 3]), only=st.sampled_from([None, "r1"]),
    )  # fmt: skip
    def claims(self, worker: str, slots: int, drivers: set[str], limit: int | None, tenant_limit: int | None, only: str | None) -> None:
        limits = {} if limit is None else dict.fromkeys(DRIVERS, limit)
        room = Room(slots=slots, drivers=dict.fromkeys(drivers, 4), driver_limits=limits, tenant_limit=tenant_limit)
        now = self.database.clock()
        with self.store.write() as connection:
            taken = claim(connection, worker, room, only)
        ripe = {
            (run, number): made.steps[number]
            for run, made in self.model.runs.items() if only in (None, run)
            for number in made.ripe(now) if made.steps[number].driver in drivers
        }  # fmt: skip
        got = [(run, step) for run, steps in taken.items() for step in steps]
        assert {(run, step.seq) for run, step in got} <= ripe.keys() and len(got) <= slots
        assert worker in self.model.until or not got
        for run, step in got:
            known = self.model.runs[run].steps[step.seq]
            known.owner, known.fence = worker, known.fence + 1
            assert step.fence == known.fence
            self.leases.append(Lease(run=run, step=step.seq, fence=step.fence))
        owned = [step for made in self.model.runs.values() for step in made.steps if step.owner]
        for (_, step), name, most in [(g, n, m) for g in got for n, m in (("driver", limit), ("tenant", tenant_limit)) if m is not None]:
            assert sum(getattr(other, name) == getattr(step, name) for other in owned) <= most
        if limit is None and tenant_limit is None and worker in self.model.until:
            assert len(got) == min(slots, len(ripe), 4 * len(drivers)) or len(got) == slots, "as many as there is room for"

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def begins(self, data: Any) -> None:
        lease = self.lease(data)
        step, run = self.step(lease), self.model.runs[lease.run]
        verdict = self.write(Begun(lease=lease))
        if verdict != "lost":
            assert verdict == (run.word if step.state == "ready" and run.word != "running" else "")
            step.state = step.state if verdict else "started"

    @precondition(lambda self: self.leases)
    @rule(data=st.data())
    def waits(self, data: Any) -> None:
        lease = self.lease(data)
        if self.step(lease).state != "ready" and not self.write(Waits(lease=lease, operations=("op",))):
            self.step(lease).state = "waiting"

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), result=st.sampled_from(["waiting", "retry", "handed-over"]), after=st.sampled_from([0.0, 5.0]))
    def gives_back(self, data: Any, result: str, after: float) -> None:
        lease = self.lease(data)
        step = self.step(lease)
        if not self.write(Freed(lease=lease, result=result, after_s=after)) and step.owner:
            step.owner, step.due = "", self.database.clock() + after
            step.attempts = step.attempts + 1 if result == "retry" else 0

    @precondition(lambda self: self.leases)
    @rule(data=st.data(), status=STATUSES)
    def ends(self, data: Any, status: Status) -> None:
        lease = self.lease(data)
        step = self.step(lease)
        if not step.open or (status is Status.STALE and step.state != "ready"):
            return
        some = data.draw(st.sets(st.sampled_from(sorted(step.open)), min_size=1))
        if not self.write(Ended(lease=lease, statuses=dict.fromkeys(some, (status, "")))):
            step.end(some)

    @rule(seconds=st.sampled_from([0.5, 4.0, LEASE_S + 1]))
    def time_passes(self, seconds: float) -> None:
        self.scheduler.now += seconds

    def lose(self, worker: str) -> None:
        for made in self.model.runs.values():
            for step in made.steps:
                if step.owner == worker:
                    step.take_away()
        del self.model.until[worker]

    @rule(gone=st.sets(st.sampled_from(WORKERS), max_size=1))
    def sweeps(self, gone: set[str]) -> None:
        with self.store.write() as connection:
            dead = sweep(connection, lambda worker: worker in gone)
        assert set(dead) == {worker for worker, until in self.model.until.items() if until < self.database.clock() or worker in gone}
        for worker in dead:
            self.lose(worker)

    @rule(worker=st.sampled_from(WORKERS))
    def leaves(self, worker: str) -> None:
        with self.store.write() as connection:
            leave(connection, worker)
        if worker in self.model.until:
            self.lose(worker)

    @rule(run=st.sampled_from(["r1", "r2"]), word=st.sampled_from(["pause", "resume", "cancel"]))
    def speaks(self, run: str, word: str) -> None:
        made = self.model.runs[run]
        if made.over:
            return
        with self.store.write() as connection:
            if word == "cancel":
                cancel_run(connection, run, "why", give_up=not self.model.until)
            else:
                (pause_run(connection, run, "why") if word == "pause" else resume_run(connection, run))
        if word == "cancel":
            made.word = "cancelling"
            for step in made.steps:
                if not self.model.until or (step.state == "ready" and not step.owner):
                    step.end(set(step.open))
        elif made.word != "cancelling":
            made.word = "paused" if word == "pause" else "running"

    @rule(run=st.sampled_from(["r1", "r2"]), kept=st.sets(st.integers(0, 1)))
    def is_superseded(self, run: str, kept: set[int]) -> None:
        made = self.model.runs[run]
        if made.over:
            return
        with self.store.write() as connection:
            supersede(connection, run, lambda change: int(change.address[-1]) in kept, "newer")
        for step in made.steps:
            if step.state == "ready" and not step.owner:
                step.end({address for address in step.open if int(address[-1]) not in kept})

    @invariant()
    def both_are_the_same(self) -> None:
        if not hasattr(self, "model"):
            return
        self.database.check()
        assert not self.scheduler.violations
        with self.store.read() as connection:
            for run, made in self.model.runs.items():
                for known, step in zip(load_steps(connection, run), made.steps, strict=True):
                    assert (known.state, known.owner, known.fence) == (step.state, step.owner, step.fence)
                    assert {item.address for item in known.open} == step.open
                    assert step.state == "ended" or known.attempts == step.attempts
                found = load_run(connection, run)
                assert found is not None and (found.ended_at is not None) == made.over
                assert made.over or found.state == made.word

    def teardown(self) -> None:
        if hasattr(self, "database"):
            self.database.raw.close()


Leases.TestCase.settings = settings(
    max_examples=60, stateful_step_count=40, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
TestLeases = Leases.TestCase
