"""A simulated world: the reference driver, for tests, benches and a dry look at a whole fleet before it has machines.

It models the three shapes that drivers have: `config` is a plain resource, `machine` is made by a long operation whose handle outlives the
process, and `role` belongs to an engine that plans natively. The world is an SQLite file, so that every process of an installation sees the same
one. Faults are rows in it too: slow, flaky, lying, partial and unknown, on demand.
"""

import fnmatch
import json
import sqlite3
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from threading import RLock
from typing import Any

from reconciler import wal
from reconciler.drivers.driver import Context, DriverInfo, Inputs, Listed, Results, Step, Target, Work
from reconciler.errors import RetryLater
from reconciler.plan.fields import Versions, field_changes
from reconciler.types.canonical import digest, pack, unpack
from reconciler.types.change import MISSING, Action, Risk
from reconciler.types.host import FleetScope, ResolvedHost
from reconciler.types.kind import Kind
from reconciler.types.observation import Absent, Observation, Present, Proposed, ProposedField, Unknown
from reconciler.types.outcome import Outcome, Pending, Status
from reconciler.types.resource import Dependency, Resource, Rules, address, parts
from reconciler.types.values import Spec

MACHINE_FIELDS = ("os", "firmware", "disk", "interfaces")
CONFIG_FIELDS = ("packages", "users", "timezone", "locale", "keyboard", "ntp", "ssh_pwauth")

TABLES = """
create table if not exists thing(address text primary key, spec blob not null, external_id text not null);
create table if not exists operation(
    id text primary key, address text not null, action text not null, spec blob, moved_from text, ready_at real not null, done int not null
);
create table if not exists fault(pattern text not null, fault text not null, argument real not null);
create table if not exists effect(at real not null, step text not null, action text not null, address text not null);
"""


class Fault(StrEnum):
    """What can go wrong. The argument: seconds for slow; how many times for flaky; ignored for the others."""

    SLOW = "slow"
    FLAKY = "flaky"
    LYING = "lying"
    PARTIAL = "partial"
    UNKNOWN = "unknown"


class World:
    """Things, operations under way, faults, and a log of every effect. Safe for threads and processes."""

    def __init__(self, path: str = ":memory:") -> None:
        self._lock = RLock()
        self._database = wal.opened(path, 30)
        self._database.executescript(TABLES)

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """Alone with the world."""
        with self._lock:
            self._database.execute("begin immediate")
            try:
                yield self._database
            except BaseException:
                self._database.execute("rollback")
                raise
            self._database.execute("commit")

    def put(self, where: str, spec: Spec) -> None:
        """Make or change a thing by hand, behind Octofleet's back."""
        with self.transaction() as database:
            database.execute("insert or replace into thing values(?, ?, ?)", (where, pack(spec), f"id-{digest(where)[:12]}"))

    def remove(self, where: str) -> None:
        """Remove a thing by hand."""
        with self.transaction() as database:
            database.execute("delete from thing where address=?", (where,))

    def things(self) -> dict[str, tuple[Spec, str]]:
        """Everything there is: specification and external id by address."""
        with self.transaction() as database:
            return {where: (unpack(spec), external_id) for where, spec, external_id in database.execute("select * from thing")}

    def effects(self) -> list[tuple[str, str, str]]:
        """Step, action and address of everything that was done, in order."""
        with self.transaction() as database:
            return list(database.execute("select step, action, address from effect order by rowid"))

    def fail(self, pattern: str, fault: Fault, argument: float = 0) -> None:
        """From now on addresses that match the pattern show this fault."""
        with self.transaction() as database:
            database.execute("insert into fault values(?, ?, ?)", (pattern, fault.value, argument))

    def heal(self) -> None:
        """No more faults."""
        with self.transaction() as database:
            database.execute("delete from fault")

    def faults(self, where: str) -> dict[Fault, float]:
        """The faults of one address; a flaky one is used up once by each call."""
        with self.transaction() as database:
            rows = list(database.execute("select rowid, pattern, fault, argument from fault"))
            found = {Fault(fault): argument for _, pattern, fault, argument in rows if fnmatch.fnmatch(where, pattern)}
            if found.get(Fault.FLAKY, 0) > 0:
                hit = [row for row, pattern, fault, left in rows if fault == Fault.FLAKY and left > 0 and fnmatch.fnmatch(where, pattern)]
                database.executemany("update fault set argument = argument - 1 where rowid = ?", [(row,) for row in hit])
            return found


@dataclass(frozen=True, kw_only=True)
class MemoryDriver:
    """Simulates every host of the scope. `operation_s`: how long a machine takes to be made."""

    world: World
    operation_s: float = 0.0
    settle_s: float = 0.0
    batch: int = 20
    concurrency: int = 8

    @property
    def info(self) -> DriverInfo:
        """A machine is replaced when its system or disk changes; its configuration and roles live and die with it."""
        return DriverInfo(
            name="memory",
            version=1,
            kinds=(
                Kind(name="machine", order=10, replace_on=("/values/os", "/values/disk"), risks={"/values/firmware": Risk.REBOOT}),
                Kind(name="config", order=20, destroys=False, risks={"/values/users": Risk.ACCESS, "/values/ssh_pwauth": Risk.ACCESS}),
                Kind(name="role", order=30, engine=True, deletable=False, destroys=False),
            ),
            concurrency=self.concurrency,
            batch=self.batch,
            settle_s=self.settle_s,
        )

    def resources(self, scope: FleetScope, inputs: Inputs) -> Iterator[Resource]:
        """One machine and one configuration for each host, and one role for each that it takes."""
        del inputs
        for host in scope.hosts:
            machine = _resource(host, "machine", host.name, 10, {"values": _part(host, MACHINE_FIELDS)}, ())
            lives_on = (Dependency(address=machine.address, lifetime=True),)
            yield machine
            yield _resource(host, "config", host.name, 20, {"values": _part(host, CONFIG_FIELDS)}, lives_on)
            for role in host.roles:
                spec = {"role": role.name, "vars": host.values.get("vars", {})}
                yield _resource(host, "role", f"{host.name}.{role.name}", 30, spec, lives_on)

    def observe(self, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        """What there is; for a role, what its engine proposes."""
        del context
        with self.world.transaction() as database:
            rows = dict.fromkeys(target.address for target in targets)
            for where in rows:
                rows[where] = database.execute("select spec, external_id from thing where address=?", (where,)).fetchone()
        return {target.address: self._seen(target, rows[target.address]) for target in targets}

    def _seen(self, target: Target, row: tuple[bytes, str] | None) -> Observation:
        now = time.time()
        faults = self.world.faults(target.address)
        if Fault.UNKNOWN in faults:
            return Unknown(code="unreachable", reason="the simulated host does not answer", at=now)
        if faults.get(Fault.FLAKY, 0) > 0:
            raise RetryLater("the simulated world is busy", after_s=0.01)
        if parts(target.address)[1] == "role" and target.desired is not None:
            return _proposal(unpack(row[0]) if row else None, target.desired, now)
        if row is None:
            return Absent(at=now)
        spec = unpack(row[0])
        return Present(spec=spec, digest=digest(spec), at=now, external_id=row[1])

    def apply(self, step: Step, context: Context) -> Results:
        """Do it; machines are under way afterwards when operations take time."""
        results: dict[str, Outcome | Pending] = {}
        for work in step.work:
            results[work.target.address] = self._one(step, work, context)
        return results

    def _one(self, step: Step, work: Work, context: Context) -> Outcome | Pending:
        where = work.target.address
        faults = self.world.faults(where)
        if Fault.SLOW in faults:
            time.sleep(faults[Fault.SLOW])
        if faults.get(Fault.FLAKY, 0) > 0:
            raise RetryLater("the simulated world is busy", after_s=0.01)
        if Fault.UNKNOWN in faults:
            return Outcome(status=Status.FAILED, error="the simulated host does not answer")
        if Fault.LYING in faults:
            return Outcome(status=Status.DONE)
        spec = work.target.desired.spec if work.target.desired else None
        if Fault.PARTIAL in faults and spec is not None:
            some = {key: spec[key] for key in sorted(spec)[:1]} | {"values": {}}
            self._effect(step.id, work, some)
            return Outcome(status=Status.PARTIAL, error="only a part was applied")
        if parts(where)[1] == "machine" and self.operation_s:
            operation = self._begin(step.id, work, spec)
            context.checkpoint(operation)
            return Pending(operation=operation, poll_after_s=min(1.0, self.operation_s / 4))
        self._effect(step.id, work, spec)
        return Outcome(status=Status.DONE)

    def _begin(self, step: str, work: Work, spec: Spec | None) -> str:
        """All machines of a step are one operation; beginning it again finds the one that is under way."""
        with self.world.transaction() as database:
            body = None if spec is None else pack(spec)
            moved_from = work.moved_from.address if work.moved_from else None
            ready_at = time.time() + self.operation_s
            row = (f"{step}/{work.target.address}", work.target.address, work.action.value, body, moved_from, ready_at)
            database.execute("insert or ignore into operation values(?, ?, ?, ?, ?, ?, 0)", row)
        return json.dumps({"step": step})

    def poll(self, operation: str, context: Context) -> Results:
        """Finish what is ready of a step's operations; they may have been begun by a process that is gone."""
        del context
        step = json.loads(operation)["step"]
        results: dict[str, Outcome | Pending] = {}
        with self.world.transaction() as database:
            columns = "id, address, action, spec, moved_from, ready_at, done"
            for key, where, action, spec, moved_from, ready_at, done in list(
                database.execute(f"select {columns} from operation where id like ? || '/%'", (step,))  # noqa: S608 - our own columns
            ):
                if ready_at > time.time():
                    results[where] = Pending(operation=operation, poll_after_s=max(0.01, ready_at - time.time()))
                    continue
                if not done:
                    _change(database, step, Action(action), where, unpack(spec) if spec else None, moved_from)
                    database.execute("update operation set done=1 where id=?", (key,))
                results[where] = Outcome(status=Status.DONE)
        return results

    def _effect(self, step: str, work: Work, spec: Spec | None) -> None:
        with self.world.transaction() as database:
            moved_from = work.moved_from.address if work.moved_from else None
            _change(database, step, work.action, work.target.address, spec, moved_from)

    def list(self, context: Context) -> Iterator[Listed]:
        """Everything there is, but for roles, which only an engine knows."""
        del context
        for where, (spec, external_id) in sorted(self.world.things().items()):
            _, kind, tenant, name = parts(where)
            if kind != "role":
                yield Listed(kind=kind, tenant=tenant, name=name, spec=spec, external_id=external_id)

    def diff(self, target: Target, context: Context) -> str:
        """The fields say it all."""
        del target, context
        return ""


def _change(database: sqlite3.Connection, step: str, action: Action, where: str, spec: Spec | None, moved_from: str | None) -> None:
    """One effect. What runs on a machine goes with it."""
    before = [database.execute("select spec from thing where address=?", (a,)).fetchone() for a in (where, moved_from)]
    if moved_from is not None:
        database.execute("delete from thing where address=?", (moved_from,))
    if action is Action.DELETE:
        database.execute("delete from thing where address=?", (where,))
        _, kind, tenant, name = parts(where)
        if kind == "machine":
            database.execute("delete from thing where address=?", (address("memory", "config", tenant, name),))
            database.execute("delete from thing where address like ?", (address("memory", "role", tenant, f"{name}.%"),))
    elif spec is not None:
        database.execute("insert or replace into thing values(?, ?, ?)", (where, pack(spec), f"id-{digest(where)[:12]}"))
    after = [None if spec is None else (pack(spec),), None]
    if before != after:
        database.execute("insert into effect values(?, ?, ?, ?)", (time.time(), step, action.value, where))


def _part(host: ResolvedHost, fields: Sequence[str]) -> dict[str, Any]:
    return {name: host.values[name] for name in fields if name in host.values}


def _resource(host: ResolvedHost, kind: str, name: str, order: int, spec: Spec, depends_on: tuple[Dependency, ...]) -> Resource:
    moved = host.moved_from
    return Resource(
        address=address("memory", kind, host.tenant, name),
        spec=spec,
        rules=Rules(tenant=host.tenant, order=order, protect=host.protect, on_delete=host.on_delete, depends_on=depends_on),
        group=host.group,
        origin=host.origin,
        moved_from=address("memory", kind, moved[0], moved[1] + name.removeprefix(host.name)) if moved else None,
    )


def _proposal(applied: Spec | None, desired: Resource, now: float) -> Observation:
    seen: Any = MISSING if applied is None else applied
    changes = field_changes(Versions(desired=desired.spec, base=None, recorded=MISSING, observed=seen, known=False))
    if not changes:
        return Present(spec=desired.spec, digest=desired.digest, at=now)
    fields = tuple(
        ProposedField(
            path=item.path, before=None if item.before is MISSING else item.before, after=None if item.after is MISSING else item.after
        )
        for item in changes
    )
    return Proposed(fields=fields, digest=digest([[f.path, f.before, f.after] for f in fields]), at=now)
