"""An immutable plan: what would change, what is put off, and what forbids it."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from reconciler.types.canonical import digest
from reconciler.types.change import Change
from reconciler.types.problem import Problem, Severity


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Deferred:
    """A resource that the plan leaves alone. `code` is stable; `reason` says to a person why, and what would move it."""

    address: str
    code: str
    reason: str
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class GuardVerdict:
    """What one guard says of the whole plan. A guard that refuses makes the plan not applicable."""

    guard: str
    refuses: bool
    message: str
    hint: str = ""
    addresses: tuple[str, ...] = ()


class OnStop(StrEnum):
    """What happens by itself when too many hosts of a rollout have failed: nothing, a branch that takes it back, or a commit on the followed branch that
    does."""

    WAIT = "wait"
    PROPOSE = "propose"
    REVERT = "revert"


WAIT_S = 7 * 86_400.0
"""How long a rollout waits for a person, in seconds, where it says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """A part of a rollout: hosts (`groups`) of one tenant that go out together, after the phase before in their track. `soak_s`: how long it waits then;
    `promote`: it waits for a person, too; `check`: it changes nothing, and looks whether those hosts are as desired. With more than `max_failures` hosts
    of the track failed, nothing more of it begins; `on_stop` happens then. It waits for a person for `wait_s` seconds at most."""

    tenant: str
    track: str
    number: int
    title: str
    groups: tuple[str, ...]
    soak_s: float = 0.0
    promote: bool = False
    check: bool = False
    max_failures: int = 0
    on_stop: str = OnStop.WAIT.value
    wait_s: float = WAIT_S

    def stated(self) -> list[object]:
        """What a plan's id covers."""
        said = [self.tenant, self.track, self.number, list(self.groups), self.soak_s, self.promote, self.check, self.max_failures]
        return said if (self.on_stop, self.wait_s) == (OnStop.WAIT, WAIT_S) else [*said, self.on_stop, self.wait_s]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """`source` is the Fleet's name; `scope` a pattern or empty; `base` the commit that causes are told against. Times are seconds since the epoch.

    `phases`: how hosts that have a rollout go out; the others go out at once.

    `observed_from` is the age limit of what the plan relied on: the time of the oldest observation it used, or None.
    """

    source: str
    scope: str
    commit: str
    base: str | None
    created_at: float
    expires_at: float
    changes: tuple[Change, ...]
    deferred: tuple[Deferred, ...] = ()
    problems: tuple[Problem, ...] = ()
    guards: tuple[GuardVerdict, ...] = ()
    hosts: int = 0
    observed_from: float | None = None
    phases: tuple[Phase, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems because of which something is put off."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """What is only told."""
        return tuple(problem for problem in self.problems if problem.severity is Severity.WARNING)

    @cached_property
    def id(self) -> str:
        """SHA-256 over source, scope, sorted change digests, deferrals, guard verdicts and phases: not commit, base, origin or time."""
        return self.id_with(change.digest for change in self.changes)

    def id_with(self, digests: Iterable[str]) -> str:
        """The id, with changes of these digests."""
        rollout = {"phases": [phase.stated() for phase in self.phases]} if self.phases else {}
        return digest(
            rollout
            | {
                "source": self.source,
                "scope": self.scope,
                "changes": sorted(digests),
                "deferred": sorted([item.address, item.code] for item in self.deferred),
                "guards": sorted([item.guard, item.refuses] for item in self.guards),
            }
        )

    @property
    def complete(self) -> bool:
        """Nothing was put off and every document could be read."""
        return not self.deferred and not self.errors

    @property
    def applyable(self) -> bool:
        """There is something to apply and no guard refuses."""
        return bool(self.changes) and not any(verdict.refuses for verdict in self.guards)
