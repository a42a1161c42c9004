"""What was seen of a resource in the world. Unknown is never absent."""

from dataclasses import dataclass
from typing import TypeAlias

from reconciler.types.values import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Present:
    """It exists. `spec` holds only the fields that Octofleet owns, in desired's form: converged means that the digests are equal.

    `external_id` is the world's own name or version of it (a volume id, the SHA-256 of a file's bytes). `at` is seconds since the epoch.
    """

    spec: Spec
    digest: str
    at: float
    external_id: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Absent:
    """It does not exist: the system that would hold it answered and said so."""

    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ProposedField:
    """One thing that an engine's preview would change: where (`path`, RFC 6901), from what, to what, and the engine's own diff."""

    path: str
    before: object
    after: object
    diff: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposed:
    """What an engine's own preview would change; `digest` covers the fields. `blind_spots` name what the preview cannot foresee."""

    fields: tuple[ProposedField, ...]
    digest: str
    at: float
    blind_spots: tuple[str, ...] = ()
    artifact: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unknown:
    """It could not be seen. `code` is stable (`unreachable`), `reason` is for people. It never leads to any change to the world."""

    code: str
    reason: str
    at: float


Observation: TypeAlias = Present | Absent | Proposed | Unknown
