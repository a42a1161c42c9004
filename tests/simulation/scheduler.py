"""The only source of order and time of a simulation: greenlets that hand control back wherever something else could happen.

A task belongs to a process. A process may die (nothing of it runs again) or be held up (nothing of it runs for a while); the others go on. Which
task goes on next, and what happens to its process meanwhile, is drawn from one seeded generator: the same seed is the same history.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from random import Random
from typing import Any

from greenlet import getcurrent, greenlet

MOST_SWITCHES = 60_000


class Died(BaseException):
    """Unwinds what a dead process was doing. Nothing that it does on the way out is seen by anybody."""


class Violation(AssertionError):
    """A promise was broken."""


@dataclass(eq=False, slots=True)
class Process:
    """What lives and dies together. `machine`: who runs there learns at once that it died."""

    name: str
    machine: str = ""
    dead: bool = False
    held_until: float = 0.0
    offset: float = 0.0
    calls: dict[str, int] = field(default_factory=dict)


@dataclass(eq=False, slots=True)
class Task:
    name: str
    process: Process
    body: greenlet
    until: Callable[[], bool] | None = None
    wake: float | None = None


class Scheduler:
    """`between` is asked before a task goes on, and may let its process die or hold it up."""

    def __init__(self, rng: Random) -> None:
        self.rng, self.now, self.switches, self.seq = rng, 1_000_000.0, 0, 0
        self.tasks: list[Task] = []
        self.violations: list[str] = []
        self.trace: list[tuple[float, str, str]] = []
        self.between: Callable[[Task], None] = lambda task: None
        self.people, self.outside = Process("people"), Process("world")
        self._current: Task | None = None
        self._main = getcurrent()

    @property
    def process(self) -> Process | None:
        """Whose task runs now."""
        return self._current.process if self._current else None

    def note(self, text: str) -> None:
        """A line of the trace."""
        self.trace.append((self.now, self._current.name if self._current else "", text))

    def violated(self, text: str) -> None:
        """Product code swallows exceptions, so this is raised when the task hands back."""
        self.note(f"VIOLATED: {text}")
        self.violations.append(text)

    def count(self) -> int:
        """A number that grows with whatever is worth an order."""
        self.seq += 1
        return self.seq

    def start(self, name: str, process: Process, run: Callable[[], Any]) -> Task:
        """A new task; it begins when it is chosen."""

        def body() -> None:
            try:
                run()
            except Died:
                pass
            except SystemExit:
                self.violated(f"{name} was left by SystemExit: an executor keeps that to itself, and nobody knows how its step ended")
            except Exception as error:  # noqa: BLE001 - a thread: it is told of and found
                self.violated(f"{name} ended with {type(error).__name__}: {error}")

        task = Task(name, process, greenlet(body, self._main))
        self.tasks.append(task)
        return task

    def switch(self, wake: float | None = None, until: Callable[[], bool] | None = None) -> None:
        """Let others run; go on at `wake`, or when `until` holds, or when chosen."""
        task = self._current
        if task is None:
            return
        if task.process.dead:
            raise Died
        task.wake, task.until = wake, until
        self._main.switch()
        task.wake = task.until = None

    def sleep(self, seconds: float) -> None:
        """By the true clock."""
        self.switch(wake=self.now + seconds)

    def kill(self, process: Process) -> None:
        """Nothing of it runs again."""
        process.dead = True
        self.note(f"{process.name} dies")

    def run(self, over: Callable[[], bool]) -> None:
        """Until it is over. Raises `Violation`."""
        while not over():
            self._bury()
            if self.violations:
                raise Violation(self.violations[0])
            task = self._next()
            if task is None:
                raise Violation("nothing is left that could run")
            self.between(task)
            if task.process.dead or task.process.held_until > self.now:
                continue
            self.switches += 1
            if self.switches > MOST_SWITCHES:
                raise Violation(f"it is still going on after {MOST_SWITCHES} switches")
            self._current = task
            task.body.switch()
            self._current = None
            if task.body.dead:
                self.tasks.remove(task)
        if self.violations:
            raise Violation(self.violations[0])

    def _next(self) -> Task | None:
        """A task that may go on; if all wait, the time of the first that does comes."""
        now = self.now
        ready = [task for task in self.tasks if self._ready(task, now)]
        if ready:
            return ready[0] if len(ready) == 1 else ready[self.rng.randrange(len(ready))]
        times = [at for task in self.tasks if (at := self._earliest(task)) is not None]
        if not times:
            return None
        self.now = max(now, min(times))
        return self._next()

    def _ready(self, task: Task, now: float) -> bool:
        if task.process.held_until > now:
            return False
        return (task.wake is not None and task.wake <= now) or (task.until() if task.until is not None else task.wake is None)

    def _earliest(self, task: Task) -> float | None:
        """When it could go on if nothing else did."""
        if task.until is not None and task.until():
            return task.process.held_until
        return None if task.wake is None else max(task.wake, task.process.held_until)

    def _bury(self) -> None:
        for task in [task for task in self.tasks if task.process.dead]:
            self.tasks.remove(task)
            self._unwind(task)

    def _unwind(self, task: Task) -> None:
        if task.body:  # it has begun
            self._current = task
            task.body.throw(Died)
            self._current = None

    def close(self) -> None:
        """Let go of whatever still waits."""
        for task in self.tasks:
            task.process.dead = True
        self._bury()


class Lock:
    """Of the tasks of a process."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler, self._taken = scheduler, False

    def acquire(self, *, blocking: bool = True) -> bool:
        """Take it; not `blocking`: if nobody has it."""
        if self._taken and not blocking:
            return False
        if self._taken:
            self._scheduler.switch(until=lambda: not self._taken)
        self._taken = True
        return True

    def release(self) -> None:
        assert self._taken, "nobody has it"
        self._taken = False

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: object) -> None:
        self._taken = False


class Condition(Lock):
    """As `threading.Condition`, as far as the worker needs it."""

    def notify_all(self) -> None:
        """Whoever waits looks for himself."""

    def wait_for(self, holds: Callable[[], bool], timeout: float) -> None:
        """Without the lock."""
        self._taken = False
        self._scheduler.switch(wake=self._scheduler.now + timeout, until=holds)
        self.__enter__()


class Event:
    """As `threading.Event`, as far as the worker needs it."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler, self._set = scheduler, False

    def set(self) -> None:
        self._set = True

    def clear(self) -> None:
        self._set = False

    def wait(self, timeout: float | None = None) -> bool:
        if timeout is None:
            self._scheduler.switch(until=lambda: self._set)
        else:
            self._scheduler.switch(wake=self._scheduler.now + timeout, until=lambda: self._set)
        return self._set


class Pool:
    """As an executor: each call is a task."""

    def __init__(self, scheduler: Scheduler, process: Process) -> None:
        self._scheduler, self._process, self._number = scheduler, process, 0

    def submit(self, call: Callable[..., None], *arguments: Any) -> Task:
        self._number += 1
        return self._scheduler.start(f"{self._process.name}/{self._number}", self._process, lambda: call(*arguments))
