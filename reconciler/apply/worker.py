"""A process that works on runs: takes steps on lease, does them in threads, says that it lives, and takes away the leases of those that do not.

Any number of workers may work on the same runs: what each may do is decided in the database when it takes steps (`store.leases`), and held when it
writes (`store.journal`). Who wakes whom does not matter for what is right, only for how soon something happens.
"""

import os
import secrets as random
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Condition, Event, Lock, Thread

from reconciler.apply.alive import alive, forget, gone
from reconciler.apply.attempt import Attempt, MakeContext, Patience, Told
from reconciler.apply.journal import Fenced, Journal
from reconciler.apply.task import Task, load_tasks
from reconciler.apply.watched import Reach, Watched
from reconciler.drivers.driver import Driver
from reconciler.errors import OctofleetError, Permanent
from reconciler.events import happened
from reconciler.events import held as held_events
from reconciler.store.engine import Connection, Store, Unavailable
from reconciler.store.gates import KnownGates
from reconciler.store.halt import expire_waits, to_stop
from reconciler.store.journal import Ended, Lease
from reconciler.store.leases import Room, WorkerRow, beat, claim, free, held, leave, next_due, sweep
from reconciler.store.phases import overdue
from reconciler.store.plans import PlanHead, plan_head
from reconciler.store.runs import JournalStep, load_run
from reconciler.types.change import Change
from reconciler.types.outcome import Status

RECORD_PLACES = 4
"""Steps that change the record alone, at once."""
MOST_AT_ONCE = 50
IDLE_S = 1.0
GATHER_S = 0.01


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """How a worker works. `slots`: steps at once; `lease_s`: how long it may be silent before its leases are taken away; `driver_limits` and
    `tenant_limit`: most steps at once in the whole fleet; `patience` of a step."""

    role: str = "apply"
    version: str = ""
    slots: int = 16
    lease_s: float = 15.0
    driver_limits: Mapping[str, int] = field(default_factory=dict)
    tenant_limit: int | None = None
    patience: Patience = field(default_factory=Patience)


class Worker:
    """Use it as a context: inside, it is known and lives. `contexts` gives, for a plan, a maker of contexts for driver calls, open as long as an
    attempt; `here` is the directory where workers of this machine show that they live; `now` tells the time since the epoch. `pulses`: when its threads moved
    last, in `time.monotonic()` seconds."""

    def __init__(
        self,
        *,
        store: Store,
        drivers: Mapping[str, Driver],
        contexts: Callable[[PlanHead], AbstractContextManager[MakeContext]],
        here: Path,
        terms: Terms,
        told: Told | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.id, self.terms, self.drivers = random.token_hex(8), terms, drivers
        self.running: dict[Lease, str] = {}
        self.trouble: OctofleetError | None = None
        self._lives_until = 0.0
        self._to_stop, self._lost = frozenset[str](), frozenset[Lease]()
        self.reach = Reach()
        self.pulses: dict[str, float] = {}
        self._looked_at = -1.0
        self._store, self._contexts, self._here, self._told, self._now = store, contexts, here, told, now
        self._stopping, self._changed, self._news = Event(), Condition(), 0
        self._claiming = Lock()
        """Whoever has it knows that this worker's leases in the database are those in `running`, or have just ended."""
        self._ended: SimpleQueue[tuple[Change, Status, str]] = SimpleQueue()
        self._places = {name: driver.info.concurrency for name, driver in drivers.items()} | {"": RECORD_PLACES}
        self._plans: dict[str, tuple[int, PlanHead]] = {}
        self._gates = KnownGates()
        self._pool = ThreadPoolExecutor(max_workers=terms.slots, thread_name_prefix="step")
        self.journal = Journal(store, stopped=lambda: self._stopping.is_set() or self.trouble is not None, away=self.reach.away)
        self.row = WorkerRow(
            id=self.id,
            name=f"{socket.gethostname()}:{os.getpid()}",
            role=terms.role,
            version=terms.version,
            started_at=now(),
            until=0.0,
        )

    @contextmanager
    def working(self) -> Iterator["Worker"]:
        """Live: beat now and then, and leave at the end."""
        with alive(self._here, self.id):
            self.beat()
            happened("worker-begun", worker=self.id, name=self.row.name, role=self.terms.role)
            ended = Event()
            beats = Thread(target=self._beat_until, args=(ended,), name="beat", daemon=True)
            beats.start()
            try:
                yield self
            finally:
                self.stop()
                ended.set()
                beats.join()
                self._pool.shutdown(wait=False, cancel_futures=True)
                self._leave()
                happened("worker-ended", worker=self.id, trouble=str(self.trouble or ""))

    def work(self, done: Callable[[], bool], run: str | None = None, cancelled: Callable[[], bool] = lambda: False) -> None:
        """Take steps and do them until `done`, or until cancelled or stopped: then what has begun is brought to its next rest. Raises `OctofleetError`
        if the database refuses what has to be written."""
        while not self._is(done):
            self.pulses["work"] = time.monotonic()
            self._gather()
            self.tell()
            if cancelled():
                self.stop()
            if self.trouble is not None or (self.stopping and not self.running):
                break
            news = self._news
            if not self.take(run):
                self._rest(run, news)
        self.pulses.pop("work", None)
        self.tell()
        if self.trouble is not None:
            raise self.trouble

    def _gather(self) -> None:
        """Where steps are quick, wait a moment for more of them to end, so that several are taken at once."""
        with self._changed:
            self._changed.wait_for(lambda: len(self.running) < self.terms.slots / 4, GATHER_S)

    def _is(self, done: Callable[[], bool]) -> bool:
        """While the database cannot be reached nobody knows, and it goes on."""
        try:
            return done()
        except Unavailable:
            return False

    def take(self, run: str | None = None) -> list[Future[None]]:
        """Take as many due steps as there is room for, and begin to do them."""
        with self._claiming:
            room = self._room()
            if room.slots <= 0 or self._stopping.is_set():
                return []
            try:
                with self._store.write(alone=False) as connection:
                    taken = claim(connection, self.id, room, run)
                    self._to_stop = to_stop(connection) if taken else self._to_stop
                    looked_at = connection.now()
            except Unavailable as error:
                self.reach.away(error)
                return []
            except Exception as error:  # noqa: BLE001 - whoever calls may be a queue that drops it
                self._in_trouble(error)
                return []
            self._looked_at = looked_at
            works = [(Lease(run=of, step=step.seq, fence=step.fence), step) for of, steps in taken.items() for step in steps]
            with self._changed:
                self.running.update((lease, step.driver) for lease, step in works)
        loaded = self._load(taken)
        return [self._pool.submit(self._attempt, lease, step, loaded.get(lease)) for lease, step in works]

    def _load(self, taken: Mapping[str, Sequence[JournalStep]]) -> dict[Lease, Task]:
        """The tasks, as far as they can be loaded at once; what cannot is looked at one by one."""
        try:
            with self._store.read() as connection:
                gates = self._gates.now(connection)
                tasks = [t for run, steps in taken.items() for t in load_tasks(connection, run, self._plan(connection, run), steps, gates)]
            return {task.lease: task for task in tasks}
        except OctofleetError:
            return {}

    def _plan(self, connection: Connection, run: str) -> tuple[int, PlanHead]:
        if run not in self._plans:
            found = load_run(connection, run)
            if found is None:
                raise Permanent(f"there is no run {run}", code="no-run")
            self._plans[run] = found.plan, plan_head(connection, found.plan)
        return self._plans[run]

    def _attempt(self, lease: Lease, step: JournalStep, task: Task | None) -> None:
        try:
            with Watched(lease, step, self.id).going() as watched:
                if task is None:
                    with self._store.read() as connection:
                        (task,) = load_tasks(connection, lease.run, self._plan(connection, lease.run), [step], self._gates.now(connection))
                with self._contexts(task.plan) as context:
                    self._made(task, watched, context).go()
        except (Fenced, Unavailable):
            pass  # somebody else has the step, or will have it
        except OctofleetError as error:
            self._give_up(lease, step, error)
        except Exception as error:  # noqa: BLE001 - a thread
            self._in_trouble(error)
        finally:
            with self._changed:
                del self.running[lease]
            self.wake()

    def _made(self, task: Task, watched: Watched, context: MakeContext) -> Attempt:
        return Attempt(
            task=task,
            drivers=self.drivers,
            journal=self.journal,
            context=context,
            patience=self.terms.patience,
            now=self._now,
            stopping=self._stopping.is_set,
            stopped=lambda: task.lease.run in self._to_stop,
            lost=lambda: task.lease in self._lost,
            told=self._hear,
            watched=watched,
        )

    def _hear(self, change: Change, status: Status, error: str) -> None:
        if self._told is not None:
            self._ended.put((change, status, error))

    def _give_up(self, lease: Lease, step: JournalStep, error: OctofleetError) -> None:
        """A step that cannot be loaded has failed; a database that does not take this either ends the worker."""
        if error.code == "store":
            self.trouble = error
            return
        try:
            statuses = {item.address: (Status.FAILED, str(error)) for item in step.open}
            lines = [f"{item.action} {item.address}: failed: {error}" for item in step.open]
            self.journal.write(Ended(lease=lease, statuses=statuses, lines=lines))
        except OctofleetError as worse:
            self.trouble = None if isinstance(worse, Fenced | Unavailable) else worse

    def stop(self) -> None:
        """Take nothing more. What has begun goes on to its next rest."""
        self._stopping.set()
        self.wake()

    def finish(self, seconds: float) -> bool:
        """Take nothing more, and wait that long for what has begun; whether all of it has come to a rest."""
        self.stop()
        with self._changed:
            return self._changed.wait_for(lambda: not self.running, seconds)

    def wake(self) -> None:
        """There may be something to do."""
        with self._changed:
            self._news += 1
            self._changed.notify_all()

    def _rest(self, run: str | None, news: int) -> None:
        """Wait until something has changed here since then, or a step is due, or for a second."""
        pause = IDLE_S
        try:
            with self._store.read() as connection:
                due = next_due(connection, run, self._looked_at) if self._room().slots > 0 else None
                pause = IDLE_S if due is None else min(max(due - connection.now(), 0.005), IDLE_S)
        except Unavailable as error:
            self.reach.away(error)
        with self._changed:
            self._changed.wait_for(lambda: self._news != news, pause)

    @property
    def stopping(self) -> bool:
        """Whether it takes nothing more."""
        return self._stopping.is_set()

    def tell(self) -> None:
        """Tell of the changes that have ended here, in the thread that calls."""
        while self._told is not None:
            try:
                self._told(*self._ended.get_nowait())
            except Empty:
                return

    def beat(self) -> None:
        """Say that this worker lives, and take away the leases of those that do not; let go of leases that nobody here works on. What works without a lease,
        as this worker was overdue, or on a run that a person wants stopped, is told so."""
        with self._changed:
            running = frozenset(self.running)
        with self._store.write(alone=False) as connection:
            now = connection.now()
            in_time, self._lives_until = now <= self._lives_until, now + self.terms.lease_s
            beat(connection, replace(self.row, until=self._lives_until))
            dead = sweep(connection, lambda worker: worker != self.id and gone(self._here, worker), overdue=in_time)
            late = overdue(connection, now)
            self._to_stop, mine = to_stop(connection), held(connection, self.id)
        self._lost = frozenset(lease for lease in running if (lease.run, lease.step, lease.fence) not in mine)
        for worker in dead:
            if gone(self._here, worker):  # one that was only held up still shows by its lock when it dies
                forget(self._here, worker)
            happened("takeover", worker=self.id, gone=worker)
        for run in late:
            with held_events(), self._store.write() as connection:
                expire_waits(connection, run)
        self.reach.back()
        self.journal.flush()
        if self._let_go_of_strays() or dead:
            self.wake()

    def _let_go_of_strays(self) -> bool:
        """Free the leases that this worker has and does not know of, as the answer to a claim was lost. Not while it claims: that may take long."""
        if not self._claiming.acquire(blocking=False):
            return False
        try:
            with self._changed:
                mine = {(lease.run, lease.step, lease.fence) for lease in self.running}
            with self._store.write(alone=False) as connection:
                stray = sorted(held(connection, self.id) - mine)
                free(connection, stray, "handed-over", connection.now())
            return bool(stray)
        finally:
            self._claiming.release()

    def _beat_until(self, ended: Event) -> None:
        self.pulses["beat"] = time.monotonic()
        while not ended.wait(self.terms.lease_s / 3):
            self.pulses["beat"] = time.monotonic()
            try:
                self.beat()
            except Unavailable as error:
                self.reach.away(error)
            except Exception as error:  # noqa: BLE001 - without its heartbeat a process gets nothing to do
                self._in_trouble(error)

    def _in_trouble(self, error: Exception) -> None:
        """What nobody expected, or what the database refuses, ends the worker, aloud."""
        internal = Permanent(f"internal error: {type(error).__name__}: {error}", code="internal")
        self.trouble = error if isinstance(error, OctofleetError) else internal
        self.wake()

    def _leave(self) -> None:
        try:
            with self._claiming, self._store.write(alone=False) as connection:
                leave(connection, self.id)
        except OctofleetError as error:
            happened("worker-leave-failed", worker=self.id, error=error.message)

    def _room(self) -> Room:
        with self._changed:
            busy = Counter(self.running.values())
        return Room(
            slots=min(self.terms.slots - busy.total(), MOST_AT_ONCE),
            drivers={name: places - busy[name] for name, places in self._places.items()},
            driver_limits=self.terms.driver_limits,
            tenant_limit=self.terms.tenant_limit,
        )
