"""What a real run tells of its tasks: results one by one, in batches while it goes on, and totals at its end.

In: how tasks ended on hosts, cleaned by the listener. Out: `PlayTold`. Memory is bounded by tasks and hosts, not by their product: results are told and let
go of, and each result is counted once, under its task and under its host. A task is its name and its place, so that one that runs in a loop of
includes, as a handler twice, or under the strategy `free` is still one task.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reconciler.types.task import Counted, HostTotal, PlayTold, TaskTold, TaskTotal

BATCH, BATCH_S = 500, 1.0
"""Results that are told at once, and the longest that one waits for others while events come, in seconds."""
KEPT = frozenset({"changed", "failed", "ignored", "unreachable"})
"""What is told one by one, unless all is."""


def times(data: Mapping[str, Any], now: float) -> tuple[float, float]:
    """When a result came, in seconds since the epoch, and how long the task took on its host, from an event's `end` and `duration`; `now` and 0 where it
    does not say. Never after now."""
    try:
        at = datetime.fromisoformat(str(data["end"])).timestamp()
    except (KeyError, ValueError, OverflowError):
        at = now
    took = data.get("duration")
    return min(max(0.0, at), now), min(max(0.0, float(took)), now) if isinstance(took, int | float) else 0.0


@dataclass(slots=True)
class _Tally:
    statuses: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    most_s: float = 0.0
    slowest: str = ""
    at: float = 0.0

    def add(self, status: str, at: float, seconds: float, host: str) -> None:
        self.statuses[status] += 1
        self.seconds += seconds
        self.at = max(self.at, at)
        if seconds > self.most_s:
            self.most_s, self.slowest = seconds, host

    @property
    def counted(self) -> Counted:
        return Counted(**self.statuses)


@dataclass(slots=True, kw_only=True)
class Telling:
    """Of one playbook run for one tenant. `part`: which run of the call; `keep`: `changes` (what changed or failed is told one by one) or `all`;
    `told` takes what is told and may not fail."""

    tenant: str
    told: Callable[[PlayTold], None]
    part: int = 0
    keep: str = "changes"
    now: Callable[[], float] = time.monotonic
    _waiting: list[TaskTold] = field(default_factory=list)
    _since: float = 0.0
    _began: float = field(init=False)
    _tasks: dict[tuple[str, str], _Tally] = field(default_factory=dict)
    _hosts: dict[str, _Tally] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._began = self.now()

    def begun(self, name: str, place: str) -> None:
        """A task begins: its number is the order of this."""
        self._tasks.setdefault((name, place), _Tally())

    def ended(self, host: str, task: TaskTold) -> None:
        """A task has ended on a host, with all items of its loop and all its retries."""
        self._tasks.setdefault((task.name, task.place), _Tally()).add(task.status, task.at, task.seconds, host)
        self._hosts.setdefault(host, _Tally()).add(task.status, task.at, task.seconds, host)
        if self.keep == "all" or task.status in KEPT:
            self._since = self._since if self._waiting else self.now()
            self._waiting.append(task)
        self.pass_on()

    def hidden(self, host: str, changes: int) -> None:
        """So many results of a host that came as `ok` had changed something: its own count says so at the end, and no event says which."""
        statuses = self._hosts.setdefault(host, _Tally()).statuses
        moved = min(changes, statuses["ok"])
        statuses["ok"] -= moved
        statuses["changed"] += moved

    def pass_on(self) -> None:
        """Tell what waits, if it is enough or has waited long."""
        if len(self._waiting) >= BATCH or (self._waiting and self.now() >= self._since + BATCH_S):
            self._tell()

    def _tell(self) -> None:
        tasks, self._waiting = tuple(self._waiting), []
        self.told(PlayTold(part=self.part, tasks=tasks))

    def close(self) -> None:
        """The run is over, however: tell what is left, and the totals of what was seen."""
        if self._waiting:
            self._tell()
        totals = tuple(
            TaskTotal(
                tenant=self.tenant,
                number=number,
                name=name,
                place=place,
                counted=tally.counted,
                seconds=tally.seconds,
                most_s=tally.most_s,
                slowest=tally.slowest,
            )
            for number, ((name, place), tally) in enumerate((key, tally) for key, tally in self._tasks.items() if tally.statuses)
        )
        hosts = tuple(
            HostTotal(tenant=self.tenant, host=host, counted=tally.counted, seconds=tally.seconds, at=tally.at)
            for host, tally in self._hosts.items()
        )
        if totals:
            self.told(PlayTold(part=self.part, seconds=self.now() - self._began, totals=totals, hosts=hosts))
