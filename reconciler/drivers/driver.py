"""The contract between Octofleet and a system that it drives.

A driver declares as data what it is (`DriverInfo`) and implements five methods, synchronously. Retries, time limits, concurrency, dry runs,
redaction and logging are wrapped around it (`wrap.py`) and never written in it. The contract suite in `tests/drivers/contract.py` runs against
every driver; the memory driver is the reference.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, TypeAlias

from reconciler.errors import Refused
from reconciler.types.change import Action
from reconciler.types.host import FleetScope
from reconciler.types.kind import Kind
from reconciler.types.observation import Observation
from reconciler.types.outcome import Outcome, Pending
from reconciler.types.resource import Recorded, Resource
from reconciler.types.task import HostTold, PlayTold
from reconciler.types.values import SecretRef, SecretValue, Spec


class Staleness(StrEnum):
    """How a step that has not started makes sure that the world is as the plan saw it."""

    DIGEST = "digest"
    SAVED_PLAN = "saved-plan"
    INPUTS = "inputs"


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverInfo:
    """What a driver is. `batch`: most changes in one step. `concurrency`: most calls at once. `settle_s`: how long a lost creation may hide. `deadline_s`:
    how long an operation may go on in the world, where that is not what the settings say of all."""

    name: str
    version: int
    kinds: tuple[Kind, ...]
    concurrency: int = 4
    batch: int = 1
    settle_s: float = 0.0
    deadline_s: float | None = None
    staleness: Staleness = Staleness.DIGEST


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What to look at. `desired` is absent for a removed resource, `recorded` and `recorded_spec` for a new one."""

    address: str
    desired: Resource | None = None
    recorded: Recorded | None = None
    recorded_spec: Spec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One change of a step: what to do to which target. `moved_from` is the target at the old address of a move."""

    action: Action
    target: Target
    moved_from: Target | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Changes that one call applies together. `id` is the idempotency token towards the world."""

    id: str
    work: tuple[Work, ...]


def no_other_repository(url: str, commit: str, path: str, into: Path) -> None:
    """Where no other repository is allowed."""
    del commit, path, into
    raise Refused(f"the settings do not allow the repository {url}", code="repository-not-allowed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a call may use of the world around it.

    `deadline` is in `time.monotonic()` seconds. `secret` reveals a secret granted to a tenant. `export` writes the Git object with this id (a blob or
    tree of the repository) below a directory, `export_from` a directory of a commit of another repository: its URL, the commit, a path in it, where
    to. `checkpoint` stores the handle of a long operation before any waiting. `scratch` is a private directory that lives as long as the call.
    `commit` of `location`: what is planned or applied, for systems that fetch it themselves. `host_keys`: the SSH host keys that a host's installer
    told, by tenant and name. `told` keeps what a playbook run did, `met` what hosts said of themselves; both take redacted texts alone. `cancelled`:
    this process ends, or has lost its lease, and calls are to return soon; `stopped`: a person wants what is under way stopped, also in the world,
    where the driver can: it then says how far it came. `passwords`: those of the Ansible vault ids granted to a tenant, by name. `gather`: ask hosts
    for facts although nothing else needs them.
    """

    deadline: float
    scratch: Path
    secret: Callable[[SecretRef, str], SecretValue]
    export: Callable[[str, Path], None]
    content: Callable[[str], bytes]
    export_from: Callable[[str, str, str, Path], None] = no_other_repository
    cancelled: Callable[[], bool] = lambda: False
    stopped: Callable[[], bool] = lambda: False
    log: Callable[[str], None] = lambda line: None
    checkpoint: Callable[[str], None] = lambda operation: None
    commit: str = ""
    location: str = ""
    host_keys: Callable[[str, str], Sequence[str]] = lambda tenant, host: ()
    told: Callable[[PlayTold], None] = lambda play: None
    met: Callable[[Sequence[HostTold]], None] = lambda hosts: None
    passwords: Callable[[str], Mapping[str, SecretValue]] = lambda tenant: {}
    gather: bool = False

    @property
    def halted(self) -> bool:
        """Whether a call is to return as soon as it can, for either reason."""
        return self.cancelled() or self.stopped()


Results: TypeAlias = Mapping[str, Outcome | Pending]


@dataclass(frozen=True, slots=True, kw_only=True)
class Listed:
    """One thing that exists in the system, for import: its kind, tenant (if the system knows) and name, and its specification."""

    kind: str
    name: str
    spec: Spec
    external_id: str
    tenant: str = ""


class Inputs(Protocol):
    """What enters desired state besides manifests, by digest."""

    def content(self, path: str) -> str | None:
        """The Git object id of the file or directory at a path of the commit, or None."""


class Driver(Protocol):
    """One system. Methods may raise `RetryLater`, `Permanent` or `Stale` for a whole call; an `Outcome` says how one change ended."""

    @property
    def info(self) -> DriverInfo:
        """What the driver is, as data."""

    def resources(self, scope: FleetScope, inputs: Inputs) -> Iterator[Resource | str]:
        """What should exist for the scope's hosts. Pure: the same arguments give the same resources. An address alone stands for a resource that
        depends on nothing in `scope.changed`; without it, there are none of these.
        """

    def observe(self, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        """One observation for every target, by address."""

    def apply(self, step: Step, context: Context) -> Results:
        """Do it. One outcome or pending operation for every change, by address."""

    def poll(self, operation: str, context: Context) -> Results:
        """How a pending operation stands."""

    def list(self, context: Context) -> Iterator[Listed]:
        """Everything of this driver's kinds that exists."""

    def diff(self, target: Target, context: Context) -> str:
        """A unified diff from what is in the world to desired, for people; empty where the fields say it all."""
