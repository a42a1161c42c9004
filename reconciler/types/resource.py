"""What should exist (`Resource`), and what was last applied (`Recorded`)."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any

from reconciler.types.canonical import canonical, digest_bytes
from reconciler.types.origin import Origin
from reconciler.types.values import RESERVED_PREFIX, Spec

RESERVED = RESERVED_PREFIX.encode()


class OnDelete(StrEnum):
    """What happens to the thing in the world when its manifest goes."""

    DELETE = "delete"
    FORGET = "forget"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Dependency:
    """Needs `address` first. With `lifetime`, a replaced or reinstalled target voids this resource's record: it is made anew."""

    address: str
    lifetime: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What governs a resource apart from its specification; it is recorded, so that a removed resource still obeys it."""

    tenant: str
    provider: str = ""
    order: int = 0
    protect: bool = False
    on_delete: OnDelete = OnDelete.DELETE
    depends_on: tuple[Dependency, ...] = ()

    def stated(self) -> dict[str, object]:
        """As plain JSON: for digests, for the store and for telling which rule changed."""
        return {
            "tenant": self.tenant,
            "provider": self.provider,
            "order": self.order,
            "protect": self.protect,
            "onDelete": self.on_delete.value,
            "dependsOn": [[item.address, item.lifetime] for item in self.depends_on],
        }

    @classmethod
    def revived(cls, stated: Mapping[str, Any]) -> "Rules":
        """The rules that `stated` gave."""
        return cls(
            tenant=stated["tenant"],
            provider=stated["provider"],
            order=stated["order"],
            protect=stated["protect"],
            on_delete=OnDelete(stated["onDelete"]),
            depends_on=tuple(Dependency(address=where, lifetime=lifetime) for where, lifetime in stated["dependsOn"]),
        )


@dataclass(frozen=True, kw_only=True)
class Resource:
    """One thing that should exist. `address` is `driver/kind/tenant/name`; `group` names the manifest it belongs to (`host/shop/web-01`)."""

    address: str
    spec: Spec
    rules: Rules
    group: str
    origin: Origin
    moved_from: str | None = None

    @cached_property
    def _form(self) -> tuple[str, bool, int]:
        form = canonical(self.spec)
        return digest_bytes(form), RESERVED in form, len(form)

    @property
    def digest(self) -> str:
        """Of the specification alone: neither rules nor origin are in it."""
        return self._form[0]

    @property
    def has_leaves(self) -> bool:
        """Whether a `Secret` or `KnownAfter` may stand in the specification."""
        return self._form[1]

    @property
    def size(self) -> int:
        """Of the specification's canonical form, in bytes."""
        return self._form[2]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recorded:
    """A resource as last applied. `source` is the name of the Fleet that owns it; `digest` that of the specification applied."""

    address: str
    source: str
    digest: str
    rules: Rules
    group: str
    external_id: str
    observed_digest: str
    commit: str


def basis(record: Recorded | None) -> str:
    """What a change supposes of the record: equal as long as owner, specification and rules are; empty for no record."""
    return basis_of(record.source, record.digest, canonical(record.rules.stated())) if record is not None else ""


def basis_of(source: str, digest_: str, rules: bytes) -> str:
    """The same of an owner, a digest and rules as canonical JSON."""
    return digest_bytes(b'["%s","%s",%s]' % (source.encode(), digest_.encode(), rules))


def address(driver: str, kind: str, tenant: str, name: str) -> str:
    """`driver/kind/tenant/name`; a resource of no tenant has `-` for it."""
    return f"{driver}/{kind}/{tenant or '-'}/{name}"


def parts(of: str) -> tuple[str, str, str, str]:
    """The driver, kind, tenant and name of an address."""
    driver, kind, tenant, name = of.split("/", 3)
    return driver, kind, tenant, name


def host_of(of: str) -> str:
    """The group of the Host that a resource with this address belongs to."""
    _, _, tenant, name = parts(of)
    return f"host/{tenant}/{name.partition('.')[0]}"


def is_operation(of: str) -> bool:
    """Whether an address is that of something which is done once, so that nothing is recorded or remembered of it; the manifest that says so is a rule."""
    driver, kind, *_ = parts(of)
    return kind == "operation" and driver != "fleet"


def tenant_of(where: str) -> str:
    """The tenant of an address, empty for none."""
    tenant = parts(where)[2]
    return "" if tenant == "-" else tenant
