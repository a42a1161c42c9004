"""Manifests that are rules for people: they describe nothing in the world, and are in force as they were last applied."""

from dataclasses import dataclass

from reconciler.types.origin import Origin
from reconciler.types.resource import OnDelete
from reconciler.types.values import Spec

RULES = ("MaintenanceWindow", "Policy", "RoleMapping", "AlertChannel", "Operation")
WHOLE = ("Fleet", "Tenant", *RULES)
"""Kinds besides Host that resources are made of."""
_PREFIXES = tuple(f"{kind.lower()}/" for kind in WHOLE)


def is_whole(group: str) -> bool:
    """Whether a group's manifest is of one of these kinds: `fleet/acme`, `maintenancewindow/shop/nightly`."""
    return group.startswith(_PREFIXES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule as its manifest says it. `tenant` is empty for what holds in all tenants."""

    kind: str
    tenant: str
    name: str
    spec: Spec
    origin: Origin
    on_delete: OnDelete = OnDelete.DELETE

    @property
    def group(self) -> str:
        """The manifest that its resource belongs to: `policy/no-friday`, `policy/shop/no-friday`."""
        return "/".join(filter(None, (self.kind.lower(), self.tenant, self.name)))
