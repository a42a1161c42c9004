"""The layers that a host's values come from, in the documented order, and which of them set a value.

Fleet defaults, Tenant defaults, the Profile chain (farthest `extends` first), Roles in order, Host. See docs/concepts.md.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from reconciler.desired.catalog import CHOOSING, Catalog, input_of
from reconciler.desired.manifest import ANY, Manifest, show
from reconciler.scope import in_scope
from reconciler.types.values import Spec

NOT_SETTINGS = frozenset({"profile", "roles", "extends", "ansible", "match"})
"""Fields of a Profile, Role or Host that are not machine settings."""


class Unresolved(Exception):
    """A reference that leads nowhere. `known_bad`: its target is there but wrong, which has been told already."""

    def __init__(self, owner: Manifest, pointer: str, message: str, hint: str, *, known_bad: bool = False) -> None:
        super().__init__(message)
        self.owner, self.pointer, self.message, self.hint, self.known_bad = owner, pointer, message, hint, known_bad


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One layer: the manifest that it stands in, the pointer of its settings in that document, and the settings."""

    manifest: Manifest
    pointer: str
    settings: Spec

    def __str__(self) -> str:
        return show(self.manifest.ref)


def follow(catalog: Catalog, owner: Manifest, kind: str, name: str, pointer: str) -> Manifest:
    """The manifest that a reference means. Raises `Unresolved`."""
    found = catalog.find(kind, owner.tenant, name)
    hidden = found is not None and found.tenant != owner.tenant and catalog.is_wrong((kind, owner.tenant, name))
    if found is not None and not hidden:
        return found
    if catalog.is_unknown(kind, owner.tenant, name):
        raise Unresolved(owner, pointer, f"{kind.lower()} {name} has problems of its own", "", known_bad=True)
    hint = "one file could not be read: it may be in there" if catalog.broken else catalog.near(kind, owner.tenant, name)
    if "/" in name:
        hint = "write the bare name: a tenant's manifests can be used by that tenant alone"
    raise Unresolved(
        owner, pointer, f"there is no {kind} {name} for tenant {owner.tenant}" if owner.tenant else f"there is no {kind} {name}", hint
    )


def chain(catalog: Catalog, profile: Manifest) -> list[Manifest]:
    """A Profile and what it extends, farthest first. Raises `Unresolved`, on a circle too."""
    found = [profile]
    while (name := found[-1].spec.get("extends")) is not None:
        last = found[-1]
        above = follow(catalog, last, "Profile", name, "/spec/extends")
        if above in found:
            circle = " -> ".join(manifest.name for manifest in [*found[found.index(above) :], above])
            raise Unresolved(last, "/spec/extends", f"profiles extend each other in a circle: {circle}", "remove one of these extends")
        found.append(above)
    return found[::-1]


def shared_layers(catalog: Catalog, host: Manifest) -> Iterator[Layer]:
    """Every layer below the host's own. Raises `Unresolved`."""
    for fleet in catalog.of("Fleet"):
        yield Layer(manifest=fleet, pointer="/spec/defaults", settings=fleet.spec.get("defaults", {}))
    tenant = catalog.find("Tenant", "", host.tenant)
    if tenant is None:
        known_bad = catalog.is_unknown("Tenant", "", host.tenant)
        raise Unresolved(
            host, "/metadata/tenant", f"there is no Tenant {host.tenant}", catalog.near("Tenant", "", host.tenant), known_bad=known_bad
        )
    yield Layer(manifest=tenant, pointer="/spec/defaults", settings=tenant.spec.get("defaults", {}))
    if (profile := host.spec.get("profile")) is not None:
        for manifest in chain(catalog, follow(catalog, host, "Profile", profile, host.pointer("profile"))):
            yield Layer(manifest=manifest, pointer="/spec", settings=settings(manifest.spec))
    for role in roles(catalog, host):
        yield Layer(manifest=role, pointer="/spec", settings=settings(role.spec))


def own_layers(host: Manifest) -> Iterator[Layer]:
    """The host's own settings; a member of a HostSet has the template's below them."""
    for pointer, spec in host.own:
        yield Layer(manifest=host, pointer=pointer, settings=settings(spec))


def roles(catalog: Catalog, host: Manifest) -> list[Manifest]:
    """The Roles of a host in its order, then those that choose it, by name. Raises `Unresolved`, also where a Role that may choose it is not known."""
    pointer = host.pointer("roles")
    named = [follow(catalog, host, "Role", name, f"{pointer}/{index}") for index, name in enumerate(host.spec.get("roles", ()))]
    catalog.asked.add(CHOOSING)
    if catalog.is_unknown("Role", host.tenant, ANY):
        text = "a Role that has problems chooses its hosts by `match`, and may choose this one"
        raise Unresolved(host, pointer, text, "", known_bad=True)
    found = chosen(catalog, host)
    catalog.asked.update(input_of("Role", role.name) for role in found)
    return [*named, *found]


def chosen(catalog: Catalog, host: Manifest) -> list[Manifest]:
    """The Roles that choose a host and that it does not name itself. A tenant's own goes before the shared one of its name."""
    found: dict[str, Manifest] = {}
    for role in catalog.choosing:
        if role.name not in host.spec.get("roles", ()) and role.tenant in ("", host.tenant) and _chooses(role.spec["match"], host):
            found.setdefault(role.name, role)
    return list(found.values())


def _chooses(match: Spec, host: Manifest) -> bool:
    return (
        match.get("labels", {}).items() <= host.labels.items()
        and ("profiles" not in match or host.spec.get("profile") in match["profiles"])
        and ("scopes" not in match or any(in_scope(host.key, scope) for scope in match["scopes"]))
    )


def settings(spec: Spec) -> dict[str, Any]:
    """The machine settings in a specification."""
    return {key: value for key, value in spec.items() if key not in NOT_SETTINGS}
