"""The life of one installation: a generation of a host, from when it is armed to its end. Pure.

    armed -> booting -> installing -> installed
      |         |            |-----> failed -> armed (while attempts are left, with another token)
      |---------|------------|-----> expired, cancelled

A host without an open installation is `registered`. `booting` is not written: it is armed, and the machine has fetched its boot script (`claimed_at`). So
fetching changes no state; what installers say (`Stage`) and time do.
"""

from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """How an installation stands."""

    ARMED = "armed"
    INSTALLING = "installing"
    INSTALLED = "installed"
    FAILED = "failed"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


OPEN = (State.ARMED, State.INSTALLING)
"""In these its files are handed out, and its token counts."""


class Stage(StrEnum):
    """What an installer says."""

    BOOTED = "booted"
    PARTITIONED = "partitioned"
    INSTALLED = "installed"
    FAILED = "failed"


class Power(StrEnum):
    """Whether its machine was told to boot from the network: by nobody but a person, not yet, done, or in vain."""

    NONE = "none"
    LATER = "later"
    STARTED = "started"
    REFUSED = "refused"


AFTER = {Stage.BOOTED: State.INSTALLING, Stage.PARTITIONED: State.INSTALLING, Stage.INSTALLED: State.INSTALLED, Stage.FAILED: State.FAILED}
"""The state that a stage brings an open installation to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installation:
    """As the table has it. Times are seconds since the epoch; `token` is the digest of what its URLs hold."""

    id: str
    tenant: str
    host: str
    source: str
    generation: int
    attempt: int
    attempts: int
    state: State
    operation: str
    run: str
    token: str
    armed_at: float
    expires_at: float
    claimed_at: float | None = None
    claimed_by: str = ""
    released_at: float | None = None
    released_to: str = ""
    stage: str = ""
    stage_at: float | None = None
    ended_at: float | None = None
    log: str = ""
    facts: bytes = b""
    seq: int = 0
    power: Power = Power.NONE

    @property
    def label(self) -> str:
        """The state, for people."""
        return "booting" if self.state is State.ARMED and self.claimed_at is not None else self.state.value

    @property
    def waits_for_power(self) -> bool:
        """Whether its machine is to be switched, and has not come."""
        return self.state is State.ARMED and self.claimed_at is None and self.power is Power.LATER

    @property
    def open(self) -> bool:
        """Whether it goes on."""
        return self.state in OPEN


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """The highest generation that a host was installed with. Not `sure` after a restore: more may have happened since the backup."""

    tenant: str
    host: str
    generation: int
    at: float
    sure: bool = True
    keys: str = ""
    why: str = ""


def said(state: State, stage: Stage) -> State | None:
    """The state after an installer has said so; None where that changes nothing any more: what has ended has ended, and what is repeated is no news."""
    return AFTER[stage] if state in OPEN else None
