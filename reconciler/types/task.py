"""What a playbook run tells of its tasks and its hosts, apart from what it means for a change."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTold:
    """One task on one host. `status`: `ok`, `changed`, `failed`, `ignored` (it failed, and that was ignored), `skipped` or `unreachable`. `place`: a file of
    the repository and a line. `at`: when it ended, in seconds since the epoch; `seconds`: how long it took there. `message` is redacted."""

    tenant: str
    host: str
    name: str
    place: str
    status: str
    at: float
    seconds: float = 0.0
    message: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Counted:
    """How often a task ended how: over hosts, or over the tasks of a host."""

    ok: int = 0
    changed: int = 0
    failed: int = 0
    ignored: int = 0
    skipped: int = 0
    unreachable: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class TaskTotal:
    """One task, by name and place, over all hosts of a playbook run and all times that it ran there. `number`: its place in the order in which tasks began;
    `seconds`: of all hosts together; `most_s`: of the `slowest`."""

    tenant: str
    number: int
    name: str
    place: str
    counted: Counted
    seconds: float = 0.0
    most_s: float = 0.0
    slowest: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTotal:
    """All tasks of a playbook run on one host."""

    tenant: str
    host: str
    counted: Counted
    seconds: float
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayTold:
    """What is told of one playbook run: some of its tasks as they end, and at its end the totals. `part`: which playbook run of the
    call, counted from 0; `seconds`: how long it took, with the totals."""

    part: int = 0
    seconds: float = 0.0
    tasks: Sequence[TaskTold] = ()
    totals: Sequence[TaskTotal] = ()
    hosts: Sequence[HostTotal] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class HostTold:
    """What a host said of itself. `answered`: whether it could be reached at all; `facts`: those that do not change by themselves, empty if it was not asked;
    `why`: what was in the way."""

    tenant: str
    host: str
    at: float
    answered: bool
    facts: Mapping[str, Any] = field(default_factory=dict)
    why: str = ""
