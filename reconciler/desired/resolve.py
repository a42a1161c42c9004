"""One host with all its values: layers merged, networks filled in, references to secrets replaced by `Secret`. Pure.

Hosts with the same tenant, profile and roles share one merged base, so the cost of a host is the cost of its own layer.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import reduce
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any

from reconciler.desired.catalog import Catalog
from reconciler.desired.clash import of_machine
from reconciler.desired.layers import Unresolved, chosen, follow, own_layers, roles, shared_layers
from reconciler.desired.manifest import Manifest, show
from reconciler.desired.merge import Rules, is_secret, merge
from reconciler.index.file import Damaged
from reconciler.types.canonical import canonical
from reconciler.types.host import ResolvedHost, RoleUse
from reconciler.types.values import VAULT_KEY, Secret, SecretRef, Spec

Token = Callable[[SecretRef, str], str]
"""The keyed digest of a secret for a tenant, or `UNKNOWN` and a reason if it could not be read."""

FROM_NETWORK = ("gateway", "nameservers", "search", "vlan", "mtu")
SECRET = "secret:"  # noqa: S105 - the kind of an input, not a secret
"""Begins the name of an input that is a secret."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolution:
    """A host and what it resolves to, what identifies it in its networks, and the names of everything that it was resolved from besides itself."""

    manifest: Manifest
    host: ResolvedHost
    identities: tuple[str, ...]
    inputs: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Base:
    """What hosts of one tenant, profile and list of roles share."""

    values: dict[str, Any]
    roles: tuple[RoleUse, ...]
    role_names: list[str]
    partitions: str
    inputs: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Net:
    """A network as interfaces need it."""

    values: dict[str, Any]
    cidr: IPv4Network | IPv6Network
    ends: frozenset[Any]
    ref: str
    inputs: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Resolver:
    """Resolves the hosts of one catalog. Remembers merged bases and networks; holds nothing per host."""

    catalog: Catalog
    rules: Rules
    token: Token
    bases: dict[tuple[str, str, tuple[str, ...]], _Base] = field(default_factory=dict)
    nets: dict[tuple[str, str], _Net] = field(default_factory=dict)
    changes: dict[tuple[object, ...], frozenset[str] | None] = field(default_factory=dict)
    unions: dict[tuple[frozenset[str], ...], frozenset[str]] = field(default_factory=dict)

    def resolve(self, host: Manifest) -> ResolvedHost:
        """The host with its values. Raises `Unresolved` for a reference that leads nowhere or an address that does not fit."""
        return self.resolution(host).host

    def resolution(self, host: Manifest) -> Resolution:
        """As `resolve`, with what the host was resolved from."""
        base = self._base(host)
        inputs = [base.inputs]
        values = base.values
        for layer in own_layers(host):
            own = self._own(layer.settings, host.tenant, inputs) if host.secrets else layer.settings
            values = merge(values, own, self.rules)
        identities: list[str] = []
        identities += of_machine(values.get("hardware") or {})
        values["interfaces"] = [self._interface(host, item, identities, inputs) for item in values.get("interfaces", ())]
        if values.get("disk") is not base.values.get("disk"):
            _check_partitions(host, values)
        elif base.partitions:
            raise Unresolved(host, host.pointer("disk"), base.partitions, "keep one of them")
        values.update(name=host.name, tenant=host.tenant, labels=dict(host.labels), roles=base.role_names)
        if "profile" in host.spec:
            values["profile"] = host.spec["profile"]
        values["fqdn"] = f"{host.name}.{values['domain']}" if "domain" in values else host.name
        resolved = ResolvedHost(
            name=host.name,
            tenant=host.tenant,
            values=values,
            roles=base.roles,
            origin=host.origin,
            protect=bool(values.get("protect", False)),
            on_delete=host.on_delete,
            moved_from=host.moved_from,
        )
        return Resolution(manifest=host, host=resolved, identities=tuple(dict.fromkeys(identities)), inputs=self._union(tuple(inputs)))

    def changed(self, host: Manifest, former: "Resolver") -> frozenset[str] | None:
        """The top-level names of values that another resolver's layers may give the same host otherwise; None: any. Networks are not compared."""
        key = (*self._layers(host), *former._layers(host)[2:])
        if key not in self.changes:
            try:
                old, new = former._base(host), self._base(host)
            except Unresolved:
                return None
            names = {name for name in {*old.values, *new.values} if not _same(old.values.get(name), new.values.get(name))}
            names |= {"fqdn"} if "domain" in names else set()
            self.changes[key] = frozenset(names) if old.roles == new.roles else None
        return self.changes[key]

    def _own(self, settings: Spec, tenant: str, inputs: list[frozenset[str]]) -> Spec:
        self.catalog.asked.clear()
        sealed: Spec = self.sealed(settings, tenant)
        inputs.append(frozenset(self.catalog.asked))
        return sealed

    def _union(self, inputs: tuple[frozenset[str], ...]) -> frozenset[str]:
        """One set for all hosts with the same inputs."""
        if inputs not in self.unions:
            self.unions[inputs] = frozenset().union(*inputs)
        return self.unions[inputs]

    def _layers(self, host: Manifest) -> tuple[str, str, tuple[str, ...]]:
        """What its base follows from. The Roles that choose it come after those that it names."""
        return host.tenant, host.spec.get("profile", ""), (*host.spec.get("roles", ()), *(role.key for role in chosen(self.catalog, host)))

    def _base(self, host: Manifest) -> _Base:
        key = self._layers(host)
        if key not in self.bases:
            self.catalog.asked.clear()
            empty: dict[str, Any] = {}
            values = reduce(lambda below, layer: merge(below, layer.settings, self.rules), shared_layers(self.catalog, host), empty)
            uses = roles(self.catalog, host)
            values = self.sealed(values, host.tenant)
            self.bases[key] = _Base(
                values=values,
                roles=tuple(RoleUse(name=role.name, tenant=role.tenant, ansible=role.spec.get("ansible")) for role in uses),
                role_names=[role.name for role in uses],
                partitions=_wrong_partitions(values),
                inputs=frozenset(self.catalog.asked | {"fleet"}),
            )
        return self.bases[key]

    def _interface(self, host: Manifest, interface: Spec, identities: list[str], inputs: list[frozenset[str]]) -> dict[str, Any]:
        net = self._net(host, interface["network"], inputs) if "network" in interface else None
        where = net.ref if net else ""
        if "mac" in interface:
            identities.append(f"MAC {interface['mac'].lower().replace('-', ':')} ")
        address = ip_address(interface["address"]) if "address" in interface else None
        if address is not None:
            identities.append(f"address {address} {where}")
        if net is None:
            return dict(interface)
        if address is not None and address not in net.cidr:
            message = f"{interface['address']} is not in network {interface['network']} ({net.cidr})"
            raise Unresolved(host, host.pointer("interfaces"), message, "correct the address or name another network")
        if address in net.ends:
            message = f"{interface['address']} is the network's own address or its broadcast address"
            raise Unresolved(host, host.pointer("interfaces"), message, "give the host another one")
        return {**net.values, **interface, "prefix": net.cidr.prefixlen}

    def _net(self, host: Manifest, name: str, inputs: list[frozenset[str]]) -> _Net:
        key = host.tenant, name
        if key not in self.nets:
            self.catalog.asked.clear()
            network = follow(self.catalog, host, "Network", name, host.pointer("interfaces"))
            cidr = ip_network(network.spec["cidr"], strict=False)
            ends = frozenset((cidr.network_address, cidr.broadcast_address)) if cidr.num_addresses > 2 else frozenset()
            values = {key: network.spec[key] for key in FROM_NETWORK if key in network.spec}
            values = self.sealed(values, host.tenant)
            self.nets[key] = _Net(
                values=values,
                cidr=cidr,
                ends=ends,
                ref=show(network.ref),
                inputs=frozenset(self.catalog.asked),
            )
        net = self.nets[key]
        inputs.append(net.inputs)
        return net

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
        ref = ref_of(value)
        self.catalog.asked.add(secret_input(ref, tenant))
        return Secret(ref=ref, token=self.token(ref, tenant))


def _same(old: Any, new: Any) -> bool:
    """Missing is not null: a name whose value is null counts as changed."""
    return old is not None and new is not None and canonical(old) == canonical(new)


def ref_of(value: Mapping[str, Any]) -> SecretRef:
    """What a map that stands for a secret (`merge.is_secret`) refers to."""
    return SecretRef(store="", key=value[VAULT_KEY]) if VAULT_KEY in value else SecretRef(**value["secretRef"])


def secret_input(ref: SecretRef, tenant: str) -> str:
    """A secret of a tenant as the name of an input."""
    return SECRET + json.dumps([ref.store, ref.key, tenant])


def secret_of(name: str) -> tuple[SecretRef, str]:
    """The secret and the tenant that an input's name stands for. Raises `Damaged`."""
    try:
        store, key, tenant = json.loads(name.removeprefix(SECRET))
    except ValueError as error:
        raise Damaged(f"{name} is not the name of a secret") from error
    return SecretRef(store=store, key=key), tenant


def _check_partitions(host: Manifest, values: Spec) -> None:
    if wrong := _wrong_partitions(values):
        raise Unresolved(host, host.pointer("disk"), wrong, "keep one of them")


def _wrong_partitions(values: Spec) -> str:
    """What the partitions of a merged disk have twice, in words, or nothing."""
    partitions = values.get("disk", {}).get("partitions", ())
    for what, seen in (("size rest", [p for p in partitions if p.get("size") == "rest"]), *_mounts(partitions)):
        if len(seen) > 1:
            return f"{len(seen)} partitions of the merged disk have {what}"
    return ""


def _mounts(partitions: list[Spec]) -> Iterator[tuple[str, list[Spec]]]:
    for mount in {p["mount"] for p in partitions if "mount" in p} - {"swap"}:
        yield f"mount {mount}", [p for p in partitions if p.get("mount") == mount]
