"""How a change ended, and an operation that has not ended yet."""

from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.types.observation import Observation


class Status(StrEnum):
    """How one change of a step ended."""

    DONE = "done"
    FAILED = "failed"
    PARTIAL = "partial"
    STALE = "stale"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """The end of one change. `observation` is what the driver saw afterwards, if it looked; `error` is for people and holds no secret."""

    status: Status
    observation: Observation | None = None
    external_id: str = ""
    outputs: dict[str, object] = field(default_factory=dict)
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pending:
    """Still going on in the world under the handle `operation`, which outlives this process; ask again after `poll_after_s` seconds."""

    operation: str
    poll_after_s: float = 1.0
