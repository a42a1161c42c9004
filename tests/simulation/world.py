"""A world in memory and drivers of it, which fail in every way that the contract allows, and some that it does not.

Whatever a driver is asked to do is held against the promises: that it was approved, that what it needs is done, that the lease was looked at just
before, and that nothing is done again without looking.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from reconciler.apply.attempt import Attempt
from reconciler.drivers.driver import Context, DriverInfo, Results, Step, Target, Work
from reconciler.errors import Permanent, RetryLater
from reconciler.store.journal import Lease
from reconciler.types.canonical import NOTHING, digest
from reconciler.types.change import Action, Change
from reconciler.types.kind import Kind
from reconciler.types.observation import Absent, Observation, Present, Proposed, ProposedField, Unknown
from reconciler.types.outcome import Outcome, Pending, Status
from reconciler.types.resource import parts
from reconciler.types.values import Spec
from tests.simulation.database import Database
from tests.simulation.scheduler import Process, Scheduler

INFOS = {
    "metal": DriverInfo(name="metal", version=1, kinds=(Kind(name="machine", order=10, replace_on=("/size",)),), concurrency=2, batch=3),
    "cloud": DriverInfo(name="cloud", version=1, kinds=(Kind(name="volume", order=15, replace_on=("/size",)),), batch=2, settle_s=6.0),
    "conf": DriverInfo(name="conf", version=1, kinds=(Kind(name="config", order=20, destroys=False),), concurrency=3, batch=4),
    "play": DriverInfo(name="play", version=1, kinds=(Kind(name="role", order=30, engine=True, deletable=False, destroys=False),), batch=1),
}
KINDS = {(name, kind.name): kind for name, info in INFOS.items() for kind in info.kinds}
SLOW = "metal"
"""The driver whose work goes on after its call has returned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Watched(Context):
    """The context of a call, with the attempt that makes it."""

    watch: "Watch"


@dataclass(slots=True, kw_only=True)
class Watch:
    """What one attempt has seen and when: by address, the digest (empty: it was not told) and a number in the order of all events."""

    lease: Lease
    process: Process
    seen: dict[str, tuple[int, str]] = field(default_factory=dict)
    fresh: bool = False


@dataclass(slots=True, kw_only=True)
class Operation:
    step: str
    work: Work
    lease: Lease
    ready_at: float
    ended: Outcome | None = None
    known: bool = False
    """Whether the journal has its handle."""


@dataclass(kw_only=True)
class World:
    """Things by address. `hidden`: until when what was made does not show."""

    scheduler: Scheduler
    database: Database
    chance: Callable[[str], bool]
    things: dict[str, Spec] = field(default_factory=dict)
    lives_on: dict[str, list[str]] = field(default_factory=dict)
    hidden: dict[str, float] = field(default_factory=dict)
    effects: dict[tuple[str, str, str], tuple[int, Lease, bool]] = field(default_factory=dict)
    operations: dict[str, Operation] = field(default_factory=dict)
    watches: dict[Lease, Watch] = field(default_factory=dict)
    plans: dict[str, dict[tuple[int, str], tuple[Action, Change]]] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    """Addresses whose work never succeeds."""
    set_at: float = -1e9
    """When the database's clock was set last: for a while nobody can tell how long ago something was."""

    def watch(self, attempt: Attempt, process: Process) -> Watch:
        """Of this attempt, the same whenever it asks."""
        return self.watches.setdefault(attempt.lease, Watch(lease=attempt.lease, process=process))

    def lost(self, lease: Lease) -> bool:
        """Whether somebody has taken the lease away. Then nobody can keep what is under way from reaching the world."""
        return self.database.rows("SELECT fence FROM step WHERE run = ? AND seq = ?", *lease.key) != [(lease.fence,)]

    def done(self, run: str, address: str, action: Action | None = None) -> bool:
        """Whether this change of a run is done, in all its parts."""
        rows = self.database.rows("SELECT action, status FROM item WHERE run = ? AND address = ?", run, address)
        return all(status == "done" for found, status in rows if action in (None, found))

    def needs_done(self, lease: Lease, address: str) -> bool:
        """Whether all that a change needs is done."""
        action, change = self.plans[lease.run][lease.step, address]
        after = action is not Action.CREATE or change.action is not Action.REPLACE or self.done(lease.run, address, Action.DELETE)
        return after and all(self.done(lease.run, needed) for needed in change.depends_on)

    def put(self, address: str, spec: Spec | None) -> None:
        """Make, change or remove a thing, with what lives on it."""
        if spec is None:
            self.things.pop(address, None)
            for where in self.lives_on.get(address, ()):
                self.put(where, None)
        else:
            self.things[address] = spec

    def effect(self, step: str, work: Work, lease: Lease, spec: Spec | None) -> None:
        """Do it, unless it changes nothing; and see whether it may be done."""
        where, moved = work.target.address, work.moved_from.address if work.moved_from else None
        key, lost = (lease.run, str(lease.step), where), self.lost(lease)
        at, by, left = self.effects.get(key, (0, lease, True))
        if not lost and not left and work.action is Action.CREATE and self.hidden.get(where, 0.0) > self.scheduler.now > self.set_at + 60:
            self.scheduler.violated(f"{where} was made again while it may still show up")
        before = self.things.get(where), moved and self.things.get(moved)
        if moved is not None:
            self.put(moved, None)
        self.put(where, spec)
        if before == (spec, None):
            return
        self.scheduler.note(f"EFFECT {work.action} {where} for step {step} under fence {lease.fence}")
        if not lost and not left and max(self.watches[lease].seen.get(a, (0, ""))[0] for a in (where, moved) if a) < at:
            self.scheduler.violated(f"{where} was changed again under {lease} without a look after what was done under {by}")
        self.effects[key] = self.scheduler.count(), lease, lost


@dataclass(frozen=True, kw_only=True)
class SimulatedDriver:
    """One driver in one process."""

    info: DriverInfo
    world: World
    process: Process

    def resources(self, scope: Any, inputs: Any) -> Iterator[Any]:
        raise NotImplementedError

    def list(self, context: Context) -> Iterator[Any]:
        raise NotImplementedError

    def diff(self, target: Target, context: Context) -> str:
        return ""

    def observe(self, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        """What there is, unless it cannot be seen."""
        assert isinstance(context, Watched)
        world, watch, found = self.world, context.watch, {}
        self._pause()
        watch.fresh = False
        if world.chance("retry"):
            world.scheduler.note("observe: retry later")
            raise RetryLater("busy", after_s=world.scheduler.rng.choice((0.1, 2.0)))
        for target in targets:
            where = target.address
            if world.chance("silent"):
                continue
            if world.chance("unknown"):
                found[where] = Unknown(code="unreachable", reason="no answer", at=self._now())
                watch.seen[where] = world.scheduler.count(), ""
                continue
            found[where] = seen = look(world, target, self._now())
            watch.seen[where] = world.scheduler.count(), NOTHING if isinstance(seen, Absent) else getattr(seen, "digest", "")
            world.scheduler.note(f"saw {where}: {type(seen).__name__} {watch.seen[where][1][:6]}")
        self._pause()
        return found

    def apply(self, step: Step, context: Context) -> Results:
        """One by one; what was done of a call that did not return may stay hidden for a while."""
        assert isinstance(context, Watched)
        self._may(step, context.watch)
        results: dict[str, Outcome | Pending] = {}
        self._enter(1)
        made: list[str] = []
        try:
            for work in step.work:
                result = self._one(step, work, context, made)
                if result is not None:
                    results[work.target.address] = result
            self._pause()
            if self.world.chance("cut"):
                self.world.scheduler.note("the reply of the whole call is lost")
                raise RetryLater("the line is cut", after_s=0.1)
        finally:
            self._enter(-1)
        for where in made:
            self.world.hidden.pop(where, None)
        return results

    def _may(self, step: Step, watch: Watch) -> None:
        world, lease = self.world, watch.lease
        if not watch.fresh:
            world.scheduler.violated(f"{lease} was not looked at before the driver was called")
        watch.fresh = False
        planned = world.plans[lease.run]
        for work in step.work:
            where = work.target.address
            action, change = planned.get((lease.step, where), (None, None))
            desired = work.target.desired.digest if work.target.desired else NOTHING
            wanted = NOTHING if action is Action.DELETE else change.desired_digest if change else ""
            if change is None or (work.action, desired, work.moved_from and work.moved_from.address) != (action, wanted, change.moved_from):
                world.scheduler.violated(f"{work.action} {where} was not approved")
            elif not world.needs_done(lease, where):
                world.scheduler.violated(f"{where} was begun before what it needs was done")
            for handle, operation in world.operations.items():
                same = operation.step == step.id and operation.work.target.address == where and operation.ended is None
                if same and operation.known and not world.lost(lease):
                    world.scheduler.violated(f"{where} was begun again while the operation {handle} goes on")

    def _one(self, step: Step, work: Work, context: Watched, made: "list[str]") -> Outcome | Pending | None:
        world, where, lease = self.world, work.target.address, context.watch.lease
        spec = None if work.action is Action.DELETE else work.target.desired.spec if work.target.desired else None
        self._pause()
        if world.chance("slow"):
            world.scheduler.sleep(world.scheduler.rng.choice((2.0, 20.0)))
        if world.chance("retry"):
            raise RetryLater("busy", after_s=0.1)
        if world.chance("exit"):
            raise SystemExit(3)
        if world.chance("permanent") or where in world.broken:
            raise Permanent("no", hint="pay")
        if world.chance("lying"):
            return Outcome(status=Status.DONE)
        if world.chance("partial") and spec is not None:
            world.effect(step.id, work, lease, {"half": 1})
            return Outcome(status=Status.PARTIAL, error="a part")
        if self.info.name == SLOW:
            return self._begin(step, work, context)
        new = where not in world.things
        world.effect(step.id, work, lease, spec)
        if self.info.settle_s and new:
            world.hidden[where] = world.scheduler.now + self.info.settle_s * 0.9
            made.append(where)
        self._pause()
        if world.chance("retry"):
            world.scheduler.note("a reply is lost")
            raise RetryLater("the reply was lost", after_s=0.1)
        if world.chance("silent"):
            return None
        if world.chance("says"):
            return Outcome(status=Status.DONE, observation=self._told(work, context.watch))
        return Outcome(status=Status.DONE)

    def _told(self, work: Work, watch: Watch) -> Observation:
        """What the driver saw afterwards."""
        seen = look(self.world, work.target, self._now(), hidden=False)
        number = NOTHING if isinstance(seen, Absent) else getattr(seen, "digest", "")
        watch.seen[work.target.address] = self.world.scheduler.count(), number
        return seen

    def _begin(self, step: Step, work: Work, context: Watched) -> Pending:
        """The step's id is the token by which one that is under way is found."""
        world, where = self.world, work.target.address
        wanted = step.id, where, work.action
        under_way = (
            h for h, op in world.operations.items() if (op.step, op.work.target.address, op.work.action, op.ended) == (*wanted, None)
        )
        handle = next(under_way, "")
        if not handle:
            handle = f"op-{len(world.operations) + 1}"
            lasts = world.scheduler.rng.choice((0.5, 3.0, 10.0, 400.0 if world.chance("endless") else 6.0))
            world.operations[handle] = Operation(step=step.id, work=work, lease=context.watch.lease, ready_at=world.scheduler.now + lasts)
            world.scheduler.note(f"{handle} begins: {work.action} {where}, {lasts} s")
            world.scheduler.start(handle, world.scheduler.outside, partial(self._finish, handle, lasts))
        self._pause()
        context.checkpoint(handle)
        world.operations[handle].known = True
        return Pending(operation=handle, poll_after_s=world.scheduler.rng.choice((0.2, 1.0, 4.0)))

    def _finish(self, handle: str, lasts: float) -> None:
        """In the world, whoever lives."""
        world = self.world
        world.scheduler.sleep(lasts)
        operation = world.operations[handle]
        if world.chance("op fails"):
            operation.ended = Outcome(status=Status.FAILED, error="it broke")
            return
        target = operation.work.target
        spec = None if operation.work.action is Action.DELETE or target.desired is None else target.desired.spec
        moved = operation.work.moved_from
        if moved is not None:
            world.put(moved.address, None)
        world.put(target.address, spec)
        operation.ended = Outcome(status=Status.DONE)
        key = (operation.lease.run, str(operation.lease.step), target.address)
        unseen = not operation.known  # one that nobody can ask about may end between a look and what is done after it
        world.effects[key] = world.scheduler.count(), operation.lease, unseen
        world.scheduler.note(f"EFFECT {handle} ends: {operation.work.action} {target.address}")

    def poll(self, operation: str, context: Context) -> Results:
        """How it stands; or that it cannot be asked about, or is not known here."""
        assert isinstance(context, Watched)
        world = self.world
        context.watch.fresh = False
        self._pause()
        if world.chance("retry"):
            raise RetryLater("busy", after_s=0.5)
        if world.chance("forgot"):
            world.scheduler.note(f"{operation} is not known")
            world.operations[operation].known = False
            return {}
        known = world.operations[operation]
        where = known.work.target.address
        if known.ended is None:
            return {where: Pending(operation=operation, poll_after_s=world.scheduler.rng.choice((0.2, 1.0, 4.0)))}
        return {where: known.ended}

    def _pause(self) -> None:
        self.world.scheduler.switch()

    def _now(self) -> float:
        return self.world.scheduler.now + self.process.offset

    def _enter(self, number: int) -> None:
        calls = self.process.calls
        calls[self.info.name] = calls.get(self.info.name, 0) + number
        if calls[self.info.name] > self.info.concurrency:
            self.world.scheduler.violated(f"{calls[self.info.name]} calls of {self.info.name} at once in {self.process.name}")


def look(world: World, target: Target, now: float, *, hidden: bool = True) -> Observation:
    """What there is at an address; for a role, what its engine proposes."""
    where = target.address
    spec = world.things.get(where)
    if hidden and world.hidden.get(where, 0.0) > world.scheduler.now:
        spec = None
    if parts(where)[1] == "role" and target.desired is not None and spec != target.desired.spec:
        field_ = ProposedField(path="/v", before=spec and spec.get("v"), after=target.desired.spec["v"])
        return Proposed(fields=(field_,), digest=digest([spec and spec.get("v"), target.desired.spec["v"]]), at=now)
    if spec is None:
        return Absent(at=now)
    return Present(spec=spec, digest=digest(spec), at=now, external_id=f"id-{parts(where)[3]}")
