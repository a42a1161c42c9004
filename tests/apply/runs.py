"""Plans and runs without Git: changes straight to steps, a store in a directory, chosen drivers."""

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.apply.attempt import Patience
from reconciler.apply.steps import laid_out
from reconciler.apply.worker import Terms, Worker
from reconciler.drivers.driver import Context, Driver, Target
from reconciler.drivers.memory import MemoryDriver, World
from reconciler.observe import observe
from reconciler.plan.build import Frame, build
from reconciler.plan.decide import Case
from reconciler.plan.guard import GuardRules
from reconciler.store.engine import Store, sqlite_url
from reconciler.store.observations import save_observations
from reconciler.store.plans import save_plan
from reconciler.store.records import load_records, load_specs, save_specs
from reconciler.store.runs import JournalRun, create_run, ended_items, load_run
from reconciler.types.change import Action
from reconciler.types.host import FleetScope, ResolvedHost
from reconciler.types.outcome import Status
from reconciler.types.plan import Plan
from reconciler.types.resource import Resource, parts
from tests.drivers.contract import NoInputs


class Bench:
    """One driver, one store: `plan` and `apply` as the edges of the product do, without a repository."""

    def __init__(self, path: Path, driver: Driver | None = None, url: str | None = None, **memory: Any) -> None:
        self.path = path
        self.world = World(str(path / "memory.db"))
        self.driver: Driver = driver or MemoryDriver(world=self.world, **memory)
        self.store = Store(url or sqlite_url(path))
        self.told: list[tuple[str, Status, str]] = []

    def context(self, log: Any = lambda line: None, checkpoint: Any = lambda operation: None) -> Context:
        scratch = self.path / "scratch"
        scratch.mkdir(exist_ok=True)
        return Context(
            deadline=time.monotonic() + 60, scratch=scratch, secret=lambda ref, tenant: (_ for _ in ()).throw(KeyError), export=lambda a, b: None,
            content=lambda blob: b"", log=log, checkpoint=checkpoint,
        )  # fmt: skip

    def resources(self, *hosts: ResolvedHost) -> list[Resource]:
        return list(self.driver.resources(FleetScope(fleet="f", hosts=list(hosts)), NoInputs()))

    def plan(self, *hosts: ResolvedHost, gone: Iterable[str] = ()) -> Plan:
        """Observe everything and plan it; saves specifications, observations and the plan."""
        resources = {r.address: r for r in self.resources(*hosts)}
        moves = {r.address: r.moved_from for r in resources.values() if r.moved_from}
        addresses = [*resources, *gone]
        with self.store.read() as connection:
            records = load_records(connection, [*addresses, *moves.values()])
            specs = load_specs(connection, [record.digest for record in records.values()])
        of = {a: moves[a] if a in moves and moves[a] in records else a for a in addresses}
        targets = {
            a: Target(
                address=of[a],
                desired=resources.get(a),
                recorded=records.get(of[a]),
                recorded_spec=specs.get(records[of[a]].digest) if of[a] in records else None,
            )
            for a in addresses
        }
        found = observe({self.driver.info.name: self.driver}, list(targets.values()), self.context)
        kinds = {(self.driver.info.name, kind.name): kind for kind in self.driver.info.kinds}
        cases = [
            Case(
                address=a, kind=kinds[parts(a)[:2]], observation=found[of[a]], desired=resources.get(a), recorded=records.get(of[a]),
                recorded_spec=targets[a].recorded_spec,
            )
            for a in addresses
        ]  # fmt: skip
        now = time.time()
        frame = Frame(
            source="f", scope="", commit="c", base=None, created_at=now, expires_at=now + 60, kinds=kinds, rules=GuardRules(max_delete_percent=100),
            counts={}, hosts=len(hosts),
        )  # fmt: skip
        made = build(frame, cases)
        with self.store.write() as connection:
            save_specs(connection, [r.spec for r in resources.values()])
            settled = {a: a in records and getattr(found[a], "digest", "") == records[a].digest for a in found}
            save_observations(connection, found, settled)
            self.row = save_plan(connection, made, "nowhere")
        return made

    def begin(self, plan: Plan, run: str = "run-1") -> JournalRun:
        made = JournalRun(id=run, plan=self.row, source="f", state="running", started_at=time.time(), ended_at=None, reason="")
        with self.store.write() as connection:
            create_run(connection, made, laid_out(plan.changes, {self.driver.info.name: self.driver.info})[0])
        return made

    @contextmanager
    def worker(self, **more: Any) -> Iterator[Worker]:
        said = {
            "told": lambda change, status, error: self.told.append((change.address, status, error)),
            "drivers": {self.driver.info.name: self.driver},
            "terms": Terms(patience=Patience(attempts=2)),
        } | more
        made = Worker(store=self.store, contexts=lambda plan: nullcontext(self.context), here=self.path / "workers", **said)  # type: ignore[arg-type]
        with made.working():
            yield made

    def go(self, run: str = "run-1", cancelled: Callable[[], bool] = lambda: False, **more: Any) -> dict[str, Status]:
        """Take a run to its end; gives how each address ended."""
        with self.worker(**more) as worker:
            worker.work(lambda: self.state(run) not in ("running", "cancelling"), run, cancelled)
        with self.store.read() as connection:
            return ended_items(connection, run)

    def apply(self, plan: Plan, run: str = "run-1", **more: Any) -> dict[str, Status]:
        self.begin(plan, run)
        return self.go(run, **more)

    def state(self, run: str = "run-1") -> str:
        with self.store.read() as connection:
            found = load_run(connection, run)
        assert found is not None
        return found.state


def only(plan: Plan, *actions: Action) -> Plan:
    """The plan with these actions alone."""
    return replace(plan, changes=tuple(change for change in plan.changes if change.action in actions))
