"""One host with all its values: layers merged, networks filled in, references to secrets replaced by `Secret`. Pure.

Hosts with the same tenant, profile and roles share one merged base, so the cost of a host is the cost of its own layer.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from ipaddress import ip_address, ip_network
from typing import Any

from reconciler.desired.catalog import Catalog
from reconciler.desired.layers import Unresolved, follow, own_layers, roles, shared_layers
from reconciler.desired.manifest import Manifest
from reconciler.desired.merge import Rules, is_secret, merge
from reconciler.types.host import ResolvedHost, RoleUse
from reconciler.types.values import VAULT_KEY, Secret, SecretRef, Spec

Token = Callable[[SecretRef, str], str]
"""The keyed digest of a secret for a tenant, or `UNKNOWN` and a reason if it could not be read."""

FROM_NETWORK = ("gateway", "nameservers", "search", "vlan", "mtu")


@dataclass(frozen=True, kw_only=True)
class Resolver:
    """Resolves the hosts of one catalog. Remembers merged bases; holds nothing per host."""

    catalog: Catalog
    rules: Rules
    token: Token
    bases: dict[tuple[str, str, tuple[str, ...]], dict[str, Any]] = field(default_factory=dict)

    def resolve(self, host: Manifest) -> ResolvedHost:
        """The host with its values. Raises `Unresolved` for a reference that leads nowhere or an address that does not fit."""
        layers = own_layers(host)
        values = reduce(lambda below, layer: merge(below, layer.settings, self.rules), layers, self._base(host))
        uses = roles(self.catalog, host)
        values["interfaces"] = [self._interface(host, item) for item in values.get("interfaces", ())]
        _check_partitions(host, values)
        values.update(name=host.name, tenant=host.tenant, labels=dict(host.labels), roles=[role.name for role in uses])
        if "profile" in host.spec:
            values["profile"] = host.spec["profile"]
        values["fqdn"] = f"{host.name}.{values['domain']}" if "domain" in values else host.name
        return ResolvedHost(
            name=host.name,
            tenant=host.tenant,
            values=self.sealed(values, host.tenant),
            roles=tuple(RoleUse(name=role.name, tenant=role.tenant, ansible=role.spec.get("ansible")) for role in uses),
            origin=host.origin,
            protect=bool(values.get("protect", False)),
            on_delete=host.on_delete,
            moved_from=host.moved_from,
        )

    def _base(self, host: Manifest) -> dict[str, Any]:
        key = host.tenant, host.spec.get("profile", ""), tuple(host.spec.get("roles", ()))
        if key not in self.bases:
            empty: dict[str, Any] = {}
            self.bases[key] = reduce(
                lambda below, layer: merge(below, layer.settings, self.rules), shared_layers(self.catalog, host), empty
            )
        return self.bases[key]

    def _interface(self, host: Manifest, interface: Spec) -> dict[str, Any]:
        if "network" not in interface:
            return dict(interface)
        pointer = host.pointer("interfaces")
        network = follow(self.catalog, host, "Network", interface["network"], pointer)
        result = {key: network.spec[key] for key in FROM_NETWORK if key in network.spec} | dict(interface)
        cidr = ip_network(network.spec["cidr"], strict=False)
        result["prefix"] = cidr.prefixlen
        if "address" in interface and ip_address(interface["address"]) not in cidr:
            message = f"{interface['address']} is not in network {network.name} ({cidr})"
            raise Unresolved(host, pointer, message, "correct the address or name another network")
        if cidr.num_addresses > 2 and result.get("address") in (str(cidr.network_address), str(cidr.broadcast_address)):
            message = f"{result['address']} is the network's own address or its broadcast address"
            raise Unresolved(host, pointer, message, "give the host another one")
        return result

    def sealed(self, value: Any, tenant: str) -> Any:
        """The tree with every reference to a secret replaced by a `Secret`; parts without one are shared, not copied."""
        if is_secret(value):
            return self._secret(value, tenant)
        if isinstance(value, dict):
            items = {key: self.sealed(item, tenant) for key, item in value.items()}
            return items if any(items[key] is not item for key, item in value.items()) else value
        if isinstance(value, list):
            sealed = [self.sealed(item, tenant) for item in value]
            return sealed if any(new is not old for new, old in zip(sealed, value, strict=True)) else value
        return value

    def _secret(self, value: Mapping[str, Any], tenant: str) -> Secret:
        ref = SecretRef(store="", key=value[VAULT_KEY]) if VAULT_KEY in value else SecretRef(**value["secretRef"])
        return Secret(ref=ref, token=self.token(ref, tenant))


def _check_partitions(host: Manifest, values: Spec) -> None:
    partitions = values.get("disk", {}).get("partitions", ())
    for what, seen in (("size rest", [p for p in partitions if p.get("size") == "rest"]), *_mounts(partitions)):
        if len(seen) > 1:
            raise Unresolved(host, host.pointer("disk"), f"{len(seen)} partitions of the merged disk have {what}", "keep one of them")


def _mounts(partitions: list[Spec]) -> Iterator[tuple[str, list[Spec]]]:
    for mount in {p["mount"] for p in partitions if "mount" in p} - {"swap"}:
        yield f"mount {mount}", [p for p in partitions if p.get("mount") == mount]
