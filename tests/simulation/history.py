"""One history: workers, people and trouble around some runs, until all has ended; and every promise held against what happens."""

import random
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from unittest import mock

import reconciler.apply.journal as journal_module
import reconciler.apply.worker as worker_module
from reconciler.apply.attempt import Patience
from reconciler.apply.journal import Journal
from reconciler.apply.steps import laid_out
from reconciler.apply.worker import Terms, Worker
from reconciler.drivers.driver import Context
from reconciler.gate.closing import Pause
from reconciler.store.backoff import BAD
from reconciler.store.engine import Connection, Unavailable
from reconciler.store.gates import KnownGates, end_pauses, load_gates, save_pause
from reconciler.store.halt import cancel_run, pause_run, resume_run, supersede
from reconciler.store.journal import Begun, Ended, Entry, Freed, Lease, Parted, Said, Waits, write
from reconciler.store.leases import sweep, workers
from reconciler.store.plans import load_plan, plan_head, save_plan
from reconciler.store.records import applied_commit, load_records, save_records, save_source, save_specs
from reconciler.store.runs import JournalRun, create_run
from reconciler.types.canonical import NOTHING
from reconciler.types.change import REMOVALS, WORLD, Action
from reconciler.types.outcome import Status
from reconciler.types.resource import parts
from tests.simulation.database import Database, SimulatedStore
from tests.simulation.scenario import Fleet, addresses_of, draw_fleet, plan_of
from tests.simulation.scheduler import Condition, Event, Lock, Pool, Process, Scheduler, Task
from tests.simulation.world import INFOS, SimulatedDriver, Watch, Watched, World

TROUBLE_S, CALM_S = 15.0, 900.0
"""How long faults go on, and how long all may take after that, in seconds of the simulation."""
LEASE_S = 9.0
FAULTS = {
    "crash": 0.012, "hold": 0.012, "lost before commit": 0.02, "lost after commit": 0.02, "away": 0.002, "clock": 0.003, "retry": 0.06, "unknown": 0.02,
    "silent": 0.01, "slow": 0.05, "permanent": 0.02, "lying": 0.02, "partial": 0.03, "says": 0.3, "forgot": 0.1, "op fails": 0.05, "endless": 0.1,
    "exit": 0.003, "cut": 0.1, "by hand": 0.2, "word": 0.3, "hint": 0.2, "gate": 0.3,
}  # fmt: skip
"""How often each is drawn where it may happen, in the histories that have it."""
IN_VAIN = 60
"""How often in a second a worker may look for something to take though nothing has happened: each step that falls due meanwhile is a reason."""
ALLOWED = {status.value for status in Status}


class SimulatedWorker(Worker):
    """The real worker; what waits and what runs beside it is the scheduler's."""

    def __init__(self, scheduler: Scheduler, process: Process, store: Any, **more: Any) -> None:
        super().__init__(store=store, here=Path(process.machine), now=lambda: scheduler.now + process.offset, **more)
        self.id, self.process, self._scheduler = process.name, process, scheduler
        self._looks, self._heard = list[float](), -1
        self.row = replace(self.row, id=process.name, name=process.name)
        self._changed = Condition(scheduler)  # type: ignore[assignment]
        self._pool = Pool(scheduler, process)  # type: ignore[assignment]
        self._claiming = Lock(scheduler)  # type: ignore[assignment]
        self.journal = Journal(
            store,
            wait=scheduler.sleep,
            stopped=lambda: self._stopping.is_set() or self.trouble is not None,
            lock=lambda: Lock(scheduler),  # type: ignore[arg-type,return-value]
        )

    def _rest(self, run: str | None, news: int) -> None:
        """As the worker does; who spins does it too often."""
        now = self._scheduler.now
        self._looks = [at for at in self._looks if at > now - 1.0] + [now] if news == self._heard else []
        self._heard = news
        if len(self._looks) > IN_VAIN:
            self._scheduler.violated(f"{self.id} has looked {len(self._looks)} times in a second for what it cannot take")
        super()._rest(run, news)

    def live(self, scheduler: Scheduler, over: Any, run: str | None) -> None:
        """As `working` and `work` do it."""
        while True:
            try:
                self.beat()
                break
            except Unavailable:
                scheduler.sleep(0.5)
        ended = Event(scheduler)
        scheduler.start(f"{self.id}/beat", self.process, lambda: self._beat_until(ended))  # type: ignore[arg-type]
        try:
            self.work(over, run)
        finally:
            self.stop()
            ended.set()
            self._leave()


class History:
    """All that a seed decides."""

    def __init__(self, seed: int) -> None:
        self.seed, self.rng = seed, Random(seed)
        self.scheduler = Scheduler(self.rng)
        self.rates = {name: rate * self.rng.choice((0.5, 1, 2)) if self.rng.random() < 0.5 else 0.0 for name, rate in FAULTS.items()}
        self.trouble = True
        self.database = Database(self.scheduler)
        self.database.chance = self.chance
        self.world = World(scheduler=self.scheduler, database=self.database, chance=self.chance)
        self.scheduler.between = self._between
        self.processes: list[Process] = []
        self.workers: dict[str, SimulatedWorker] = {}
        self.fleets: list[Fleet] = []
        self.runs: list[str] = []
        self.bad: Counter[str] = Counter()
        self.commits: dict[str, tuple[str, str]] = {}
        self.to_come = 0
        self.pauses = 0
        self.terms = Terms(
            slots=self.rng.choice((1, 2, 5, 16)),
            lease_s=LEASE_S,
            driver_limits={name: self.rng.randint(1, 3) for name in INFOS if self.rng.random() < 0.3},
            tenant_limit=self.rng.choice((None, None, 1, 3)),
            patience=Patience(attempts=3, deadline_s=120.0),
        )
        self.database.limits, self.database.tenant_limit = dict(self.terms.driver_limits), self.terms.tenant_limit

    def chance(self, fault: str) -> bool:
        """Whether this fault happens now. Not to people: they try again."""
        return self.scheduler.process not in (None, self.scheduler.people) and self._drawn(fault)

    def _drawn(self, fault: str) -> bool:
        rate = self.rates[fault]
        return self.trouble and rate > 0.0 and self.rng.random() < rate

    def play(self) -> None:
        """From the first plan until all has ended. Raises `Violation`."""
        state, tracer = random.getstate(), sys.gettrace()
        sys.settrace(None)  # coverage does not follow greenlets
        random.seed(self.seed)
        try:
            with self._patched():
                self._prepare()
                self.scheduler.start("people", self.scheduler.people, self._people)
                for number in range(self.rng.randint(1, 4)):
                    self._join(all_drivers=number == 0 or self.rng.random() < 0.6)
                self.scheduler.run(self._ended)
                self._judge()
        finally:
            self.scheduler.close()
            self.database.raw.close()
            random.setstate(state)
            sys.settrace(tracer)

    @contextmanager
    def _patched(self) -> Iterator[None]:
        with (
            mock.patch.object(journal_module, "write", self._write),
            mock.patch.object(worker_module, "gone", self._gone),
            mock.patch.object(worker_module, "forget", lambda here, worker: None),
            mock.patch.object(worker_module, "happened", lambda *_, **__: None),
            mock.patch.object(worker_module, "IDLE_S", 3.0),  # fewer looks in vain make more histories
        ):
            yield

    def _gone(self, here: Path, worker: str) -> bool:
        found = next((process for process in self.processes if process.name == worker), None)
        return found is not None and found.dead and Path(found.machine) == here

    def _ended(self) -> bool:
        late = self.scheduler.now > 1_000_000.0 + TROUBLE_S + CALM_S
        if late:
            rows = self.database.rows("SELECT run, seq, driver, tenant, wave, state, owner, due_at, note FROM step WHERE state <> 'ended'")
            self.scheduler.violated(f"it has not ended: {rows}; the clock says {self.database.clock()}")
        return late or (not self.trouble and not self.to_come and not self._open())

    def _open(self) -> list[str]:
        return [str(run) for (run,) in self.database.rows("SELECT id FROM run WHERE ended_at IS NULL ORDER BY id")]

    # what a history begins with

    def _prepare(self) -> None:
        tenants = ["t0", "t1", "t2"][: self.rng.randint(1, 3)]
        for name in ("f", "g")[: self.rng.choice((1, 1, 2))]:
            fleet = draw_fleet(self.rng, self.world, name, tenants, self.rng.randint(1, 5))
            self.fleets.append(fleet)
            with self._direct() as connection:
                save_specs(connection, fleet.specs)
                save_records(connection, fleet.recorded.values())
        for fleet in self.fleets:
            addresses = addresses_of(fleet)
            if self.rng.random() < 0.3:  # two runs of one source
                hosts = sorted({parts(where)[3] for where in addresses})
                some = set(hosts[::2])
                self._begin(fleet, [where for where in addresses if parts(where)[3] in some])
                addresses = [where for where in addresses if parts(where)[3] not in some]
            self._begin(fleet, addresses)
        if self.rng.random() < 0.2:
            everything = sorted({where for plan in self.world.plans.values() for _, where in plan})
            self.world.broken |= set(self.rng.sample(everything, min(2, len(everything))))

    @contextmanager
    def _direct(self) -> Iterator[Connection]:
        with SimulatedStore(self.database, self.scheduler.people).write() as connection:
            yield connection

    def _begin(self, fleet: Fleet, addresses: Sequence[str]) -> None:
        """As `beginning.begin` does it."""
        number = len(self.runs) + 1
        plan = plan_of(self.world, fleet, list(addresses), f"c{number}", self.database.clock())
        if not plan.changes:
            return
        run = f"run-{number}"
        steps = laid_out(plan.changes, INFOS)[0]
        self.world.plans[run] = {
            (step.seq, item.address): (item.action, plan.changes[item.change]) for step in steps for item in step.items
        }
        self.runs.append(run)
        with self._direct() as connection:
            row = save_plan(connection, plan, "nowhere")
            made = JournalRun(
                id=run, plan=row, source=fleet.name, state="running", started_at=connection.now() + number, ended_at=None, reason=""
            )
            create_run(connection, made, steps, [change.moved_from for change in plan.changes if change.moved_from])
            assert load_plan(connection, row).id == plan.id
            if applied_commit(connection, fleet.name) is None:
                save_source(connection, fleet.name, plan_head(connection, row).location, plan.commit, connection.now())
        self.scheduler.note(f"{run}: " + "; ".join(f"{s.seq}/{s.wave} {[f'{i.action} {i.address}' for i in s.items]}" for s in steps))

    # processes

    def _join(self, *, all_drivers: bool) -> None:
        name = f"w{len(self.processes) + 1}"
        process = Process(name, machine=self.rng.choice(("here", "there")), offset=self.rng.choice((0.0, 0.0, -40.0, 40.0, 4000.0)))
        self.processes.append(process)
        names = list(INFOS) if all_drivers else self.rng.sample(list(INFOS), 2)
        drivers = {of: SimulatedDriver(info=INFOS[of], world=self.world, process=process) for of in names}
        store = SimulatedStore(self.database, process)

        def contexts(plan: object) -> Any:
            return nullcontext(lambda log, checkpoint: self._context(process, log, checkpoint))

        worker = SimulatedWorker(self.scheduler, process, store, drivers=drivers, contexts=contexts, terms=self.terms)
        self.workers[name] = worker
        run = self.rng.choice(self.runs) if self.runs and not all_drivers and self.rng.random() < 0.3 else None

        def over() -> bool:
            with store.read() as connection:
                return connection.row("SELECT id FROM run WHERE ended_at IS NULL") is None

        self.scheduler.note(f"{name} joins on {process.machine} with {names}, clock {process.offset:+g}")
        self.scheduler.start(name, process, lambda: worker.live(self.scheduler, over, run))

    def _context(self, process: Process, log: Any, checkpoint: Any) -> Context:
        attempt = checkpoint.__self__
        return Watched(
            deadline=0.0, scratch=Path(), secret=_nothing, export=_nothing, content=_nothing, log=log, checkpoint=checkpoint,
            watch=self.world.watch(attempt, process),
        )  # fmt: skip

    def _between(self, task: Task) -> None:
        process = task.process
        if process in (self.scheduler.people, self.scheduler.outside) or not self.trouble:
            return
        if self._drawn("crash"):
            self.scheduler.kill(process)
        elif self._drawn("hold"):
            process.held_until = self.scheduler.now + self.rng.choice((1.0, LEASE_S * 1.5, LEASE_S * 4))
            self.scheduler.note(f"{process.name} is held up until {process.held_until - 1_000_000:.1f}")
        elif self._drawn("away"):
            self.database.away_until = self.scheduler.now + self.rng.choice((0.3, 3.0, 12.0))
            self.scheduler.note("the database is away")
        elif self._drawn("clock"):
            self.database.offset += self.rng.choice((-30.0, -3.0, 3.0, 30.0))
            self.world.set_at = self.scheduler.now
            self.scheduler.note(f"the database's clock is set to {self.database.offset:+g}")

    # people, and whoever starts processes

    def _people(self) -> None:
        until = self.scheduler.now + TROUBLE_S
        while self.scheduler.now < until and (self._open() or self.rng.random() < 0.5):
            self.scheduler.sleep(self.rng.choice((0.0, 0.0, 0.1, 1.0, 3.0)))
            for chance, act in (("word", self._speak), ("by hand", self._meddle), ("hint", self._hint), ("gate", self._gate)):
                if self.trouble and self.rng.random() < self.rates[chance]:
                    act()
            if sum(not process.dead for process in self.processes) < 2 and self.rng.random() < 0.5:
                self._join(all_drivers=self.rng.random() < 0.6)
        self.trouble, self.database.away_until = False, 0.0
        self.scheduler.note("no more trouble")
        self.world.broken.clear()
        with self._direct() as connection:
            for run in self.runs:
                resume_run(connection, run)
            for scope in sorted({pause.scope for pause in load_gates(connection).pauses}):
                end_pauses(connection, scope)
        if self._open():
            self._join(all_drivers=True)

    def _speak(self) -> None:
        run = self.rng.choice(self.runs) if self.runs else ""
        word = self.rng.choice(("pause", "pause", "resume", "resume", "cancel", "supersede"))
        if run not in self._open():
            return
        self.scheduler.note(f"a person says: {word} {run}")
        with self._direct() as connection:
            if word == "pause":
                pause_run(connection, run, "why")
            elif word == "resume":
                resume_run(connection, run)
            elif word == "cancel":
                sweep(connection, lambda worker: self._gone(Path("here"), worker))
                cancel_run(connection, run, "why", give_up=not workers(connection))
            else:
                kept = {where for _, where in self.world.plans[run] if self.rng.random() < 0.5}
                supersede(connection, run, lambda item: item.address in kept, "a newer commit")

    def _gate(self) -> None:
        """Somebody pauses everything, a host or a resource for a while, or ends such a pause."""
        addresses = sorted({where for plan in self.world.plans.values() for _, where in plan})
        if not addresses:
            return
        where = self.rng.choice(addresses)
        scope = self.rng.choice(("fleet", "host/{2}/{3}".format(*parts(where)), where))
        for_s = self.rng.choice((0.0, 1.0, 8.0, 40.0, 5_000.0))
        self.scheduler.note(f"a person pauses {scope} for {for_s:g} s" if for_s else f"a person ends pauses of {scope}")
        with self._direct() as connection:
            now = connection.now()
            if for_s:
                self.pauses += 1
                made = Pause(id=f"pause-{self.pauses}", source="", scope=scope, identity="x", at=now, until=now + for_s, reason="why")
                save_pause(connection, made)
            else:
                end_pauses(connection, scope)

    def _meddle(self) -> None:
        everything = sorted({where for plan in self.world.plans.values() for _, where in plan})
        if everything:
            where = self.rng.choice(everything)
            self.world.hidden.pop(where, None)
            self.world.put(where, self.rng.choice((None, {"size": 7, "v": 7, "by": "hand"})))
            self.scheduler.note(f"{where} is changed by hand")

    def _hint(self) -> None:
        """Somebody says that there may be something to do: once, twice, or at the wrong time."""
        living = [worker for worker in self.workers.values() if not worker.process.dead]
        if living:
            worker = self.rng.choice(living)
            for number in range(self.rng.randint(1, 2)):
                self.scheduler.start(f"{worker.id}/hint{number}", worker.process, worker.take)

    # promises

    def _write(self, connection: Connection, entries: Sequence[Entry], known: KnownGates | None = None) -> list[str]:
        """The real `write`, looked at from both sides."""
        before = [self._standing(connection, entry.lease) for entry in entries]
        holds = dict(connection.rows("SELECT address, run FROM hold"))
        verdicts = write(connection, entries, known)
        for entry, stood, verdict in zip(entries, before, verdicts, strict=True):
            self.scheduler.note(f"{entry_text(entry)} {verdict and '-> ' + verdict}")
            if verdict:
                continue
            fence, state, owner, run_state = stood
            process = self.scheduler.process
            again = isinstance(entry, Freed | Said) or (
                isinstance(entry, Ended) and state == "ended"
            )  # it was written before, or says nothing
            if fence != entry.lease.fence or (owner != (process.name if process else "") and not (again and not owner)):
                self.scheduler.violated(f"{entry_text(entry)} was written though {owner or 'nobody'} has it under {fence}")
            watch = self.world.watches.get(entry.lease)
            if watch is not None:
                watch.fresh = True
            if isinstance(entry, Parted):
                self._parted(connection, entry)
            if isinstance(entry, Begun):
                self._begun(connection, entry.lease, state, run_state, watch)
            if isinstance(entry, Ended):
                self._ends(connection, entry, state, owner, watch, holds)
        return verdicts

    def _parted(self, connection: Connection, entry: Parted) -> None:
        """What waits for a gate is in a step of its own now."""
        plan = self.world.plans[entry.lease.run]
        query = "SELECT step FROM item WHERE run = ? AND address = ? AND status = ''"
        for where in entry.addresses:
            for (step,) in list(connection.rows(query, (entry.lease.run, where))):
                plan.setdefault((step, where), plan[entry.lease.step, where])

    def _standing(self, connection: Connection, lease: Lease) -> tuple[int, str, str, str]:
        query = "SELECT fence, step.state, owner, run.state FROM step JOIN run ON run.id = step.run WHERE run = ? AND seq = ?"
        found = connection.row(query, lease.key)
        assert found is not None
        return found[0], found[1], found[2], found[3]

    def _begun(self, connection: Connection, lease: Lease, state: str, run_state: str, watch: Watch | None) -> None:
        if state != "ready":
            return
        if run_state != "running":
            self.scheduler.violated(f"{lease} began though its run is {run_state}")
        query = (
            "SELECT b.seq FROM step AS a JOIN step AS b ON b.run = a.run AND b.tenant = a.tenant AND b.wave < a.wave AND b.wave <> -1 AND b.state <> 'ended' "
            "WHERE a.run = ? AND a.seq = ?"
        )
        if (early := connection.scalar(query, lease.key)) is not None:
            self.scheduler.violated(f"{lease} began before step {early} of an earlier wave had ended")
        query = "SELECT address FROM item WHERE run = ? AND step = ? AND status = ''"
        pauses = dict(connection.rows("SELECT scope, until FROM pause WHERE ended_at IS NULL AND until > ?", (connection.now(),)))
        for (where,) in list(connection.rows(query, lease.key)):
            closed = {"fleet", where, "host/{2}/{3}".format(*parts(where))} & pauses.keys()
            if closed and self.world.plans[lease.run][lease.step, where][1].action in WORLD:
                self.scheduler.violated(f"{where} began though {closed} is paused until {pauses}")
            action, change = self.world.plans[lease.run][lease.step, where]
            anew = action is Action.CREATE and change.action is Action.REPLACE
            place = where if change.moved_from is None or anew else change.moved_from
            _, seen = watch.seen.get(place, (0, "nothing")) if watch else (0, "nothing")
            before = NOTHING if anew else change.before_digest
            proposed = before == NOTHING and parts(where)[1] == "role" and seen not in ("", "nothing")
            if seen != before and not proposed:
                self.scheduler.violated(f"{action} {where} began at {seen[:6]}, not at {before[:6]} as the plan saw it")

    def _ends(self, connection: Connection, entry: Ended, state: str, owner: str, watch: Watch | None, holds: Mapping[str, str]) -> None:
        lease = entry.lease
        if state == "ended" or not owner:
            return
        records = load_records(connection, list(entry.statuses))
        for where, (status, error) in entry.statuses.items():
            action, change = self.world.plans[lease.run][lease.step, where]
            self.bad[where] += status in BAD
            if status.value not in ALLOWED:
                self.scheduler.violated(f"{where} ended {status}")
            if status is Status.STALE and state != "ready":
                self.scheduler.violated(f"{where} was begun, and ended stale")
            if status is Status.CANCELLED and state != "ready":
                self.scheduler.violated(f"{where} was begun, and ended cancelled")
            if status is Status.CANCELLED and "needs" in error and self.world.needs_done(lease, where):
                self.scheduler.violated(f"{where} was cancelled, but what it needs is done")
            if holds.get(where) != lease.run:
                self.scheduler.violated(f"{where} was written by {lease.run} while {holds.get(where)} holds it")
            if status is not Status.DONE:
                continue
            if not self.world.needs_done(lease, where):
                self.scheduler.violated(f"{where} was done before what it needs")
            _, seen = watch.seen.get(where, (0, "nothing")) if watch else (0, "nothing")
            if change.action in WORLD and seen != (NOTHING if action is Action.DELETE else change.desired_digest):
                self.scheduler.violated(f"{action} {where} is said to be done, but {seen[:6]} was seen")
            record = records.get(where)
            if (record is None) != (action in REMOVALS) or (record is not None and record.digest != change.desired_digest):
                self.scheduler.violated(f"{action} {where} is done, and the record is {record}")

    def _judge(self) -> None:
        """When all has ended."""
        rows = self.database.rows
        for run in self.runs:
            ((state,),) = rows("SELECT state FROM run WHERE id = ?", run)
            statuses = Counter(status for (status,) in rows("SELECT status FROM item WHERE run = ?", run))
            expected = {"done"} if set(statuses) == {"done"} else {"failed", "cancelled"}
            if state not in expected | {"cancelled"} or not set(statuses) <= ALLOWED:
                self.scheduler.violated(f"{run} ended {state} with {statuses}")
        for where, failures in rows("SELECT address, failures FROM backoff"):
            if int(str(failures)) > self.bad[str(where)]:
                self.scheduler.violated(f"{where} failed {self.bad[str(where)]} times, counted {failures}")
        for fleet in self.fleets:
            applied = [
                run
                for (run,) in rows(
                    "SELECT DISTINCT run.id FROM run JOIN item ON item.run = run.id WHERE status = 'done' AND source = ?", fleet.name
                )
            ]
            ((commit,),) = rows("SELECT applied_commit FROM source WHERE name = ?", fleet.name) or [("",)]
            newest = max((int(str(run).removeprefix("run-")) for run in applied), default=0)
            if newest and commit != f"c{newest}":
                self.scheduler.violated(f"{fleet.name} has applied c{newest}, but {commit} is noted")
        for worker in self.workers.values():
            if worker.trouble is not None:
                self.scheduler.violated(f"{worker.id} ended: {worker.trouble}")
        self.scheduler.run(lambda: True)


def _nothing(*_: object) -> Any:
    raise KeyError


def entry_text(entry: Entry) -> str:
    """An entry as the trace has it."""
    lease = f"{entry.lease.run}.{entry.lease.step} under {entry.lease.fence}"
    match entry:
        case Ended():
            return f"Ended {lease}: " + ", ".join(f"{where} {status}" for where, (status, _) in sorted(entry.statuses.items()))
        case Waits():
            return f"Waits {lease}: {list(entry.operations)}"
        case Begun():
            return f"Begun {lease}"
        case _:
            return f"{type(entry).__name__} {lease} {getattr(entry, 'result', '')} {getattr(entry, 'note', '')}"


def replay(seed: int) -> tuple[str, list[str]]:
    """Play a seed: what was broken (empty if nothing), and the trace, line by line."""
    history = History(seed)
    broken = ""
    try:
        history.play()
    except AssertionError as error:
        broken = str(error)
    return broken, [f"{at - 1_000_000:9.3f}  {task:<12} {text}" for at, task, text in history.scheduler.trace]
