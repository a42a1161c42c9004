"""A host with every value resolved, and what a driver sees of a fleet."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.types.origin import Origin
from reconciler.types.resource import OnDelete
from reconciler.types.rule import Rule
from reconciler.types.values import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleUse:
    """A Role that a host takes: its name, the tenant that it is private to (or empty) and what it says to each engine."""

    name: str
    tenant: str
    ansible: Spec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedHost:
    """`values` is the mapping that docs/decisions/0001-manifest-fields.md describes. It may share parts with other hosts: never change it."""

    name: str
    tenant: str
    values: Mapping[str, Any]
    roles: tuple[RoleUse, ...]
    origin: Origin
    protect: bool = False
    on_delete: OnDelete = OnDelete.DELETE
    moved_from: tuple[str, str] | None = None

    @property
    def group(self) -> str:
        """The manifest that all resources of this host belong to."""
        return f"host/{self.tenant}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedTenant:
    """A tenant and what a driver may want of it."""

    name: str
    spec: Spec
    origin: Origin
    protect: bool = False
    on_delete: OnDelete = OnDelete.DELETE


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetScope:
    """What `resources` works on: some hosts; and the Fleet, its tenants and its rules where `whole` says that they are asked for too.

    `changed`: the top-level names of values that may differ from when the same was asked for last, None: any. A driver that knows that a resource
    depends on none of them may yield its address in place of the resource.
    """

    fleet: str
    fleet_spec: Spec = field(default_factory=dict)
    fleet_origin: Origin = field(default_factory=lambda: Origin(path=""))
    whole: bool = True
    tenants: tuple[ResolvedTenant, ...] = ()
    rules: tuple[Rule, ...] = ()
    hosts: Iterable[ResolvedHost] = ()
    changed: frozenset[str] | None = None
