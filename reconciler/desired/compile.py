"""A commit's tree in, everything that it wants out, with all problems in one pass.

Reads through the `Tree` it is given and does no other I/O. A document that is wrong is unknown, never absent: `Desired.blocked` names the
manifests that depend on one, and `Desired.sound` says whether anything may be deleted.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address, ip_network
from typing import Protocol

from reconciler.desired.catalog import Catalog, collect
from reconciler.desired.clash import Clashes
from reconciler.desired.foreign import IGNORE_FILE, Ignored, without_projects
from reconciler.desired.hostset import TooMany, expand
from reconciler.desired.layers import Unresolved, chain, follow
from reconciler.desired.manifest import Check, Manifest, Parsed, parse
from reconciler.desired.merge import Rules
from reconciler.desired.reader import Positions, locate, positions
from reconciler.desired.resolve import Resolver, Token
from reconciler.types.host import FleetScope, ResolvedHost, ResolvedTenant
from reconciler.types.origin import Origin
from reconciler.types.problem import Problem, Severity


class Tree(Protocol):
    """The files of one commit."""

    def files(self) -> Iterable[tuple[str, str, Problem | None]]:
        """Path and blob id of every manifest file, sorted by path; with a problem, it must not be read."""

    def blob(self, blob: str) -> bytes:
        """The bytes of a blob."""

    def content(self, path: str) -> str | None:
        """The id of what is at a path, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contract:
    """What manifests are checked and merged by: the schemas, and the parsed files remembered by path and blob id between commits."""

    kinds: Mapping[str, str | None]
    check: Check
    rules: Rules
    parsed: dict[tuple[str, str], Parsed] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Desired:
    """What a commit wants. `hosts` are sorted by tenant and name; `blocked` maps a manifest's group to why it is unknown."""

    catalog: Catalog
    resolver: Resolver
    hosts: Mapping[str, Manifest]
    problems: tuple[Problem, ...]
    blocked: Mapping[str, str]
    text: Callable[[str], bytes]

    @property
    def sound(self) -> bool:
        """Whether every document could be read and understood: only then may anything be deleted."""
        return not any(problem.severity is Severity.ERROR for problem in self.problems)

    @property
    def fleet(self) -> Manifest | None:
        """The Fleet, if its document is known."""
        fleets = self.catalog.of("Fleet")
        return fleets[0] if len(fleets) == 1 else None

    def scopes(self, groups: Collection[str] | None = None) -> Iterator[FleetScope]:
        """What drivers make resources from, for everything or for some groups: the Fleet and its tenants, then host after host, each resolved
        once for all drivers and then let go.
        """
        name = self.fleet.name if self.fleet else ""
        if self.fleet and (groups is None or any(not group.startswith("host/") for group in groups)):
            tenants = tuple(_tenant(manifest) for manifest in self.catalog.of("Tenant"))
            yield FleetScope(fleet=name, fleet_spec=self.fleet.spec, fleet_origin=self.fleet.origin, whole=True, tenants=tenants)
        for group in self.hosts if groups is None else sorted(self.hosts.keys() & groups):
            if group not in self.blocked:
                yield FleetScope(fleet=name, whole=False, hosts=(self.resolver.resolve(self.hosts[group]),))

    def host(self, group: str) -> ResolvedHost | None:
        """One host with its values; None if there is none or it is blocked."""
        known = group in self.hosts and group not in self.blocked
        return self.resolver.resolve(self.hosts[group]) if known else None

    def origin(self, manifest: Manifest, pointer: str) -> Origin:
        """The place of a value in a manifest's file."""
        return locate(manifest.path, self.text(manifest.path), manifest.index, pointer)


def _tenant(manifest: Manifest) -> ResolvedTenant:
    spec = manifest.spec
    return ResolvedTenant(
        name=manifest.name, spec=spec, origin=manifest.origin, protect=bool(spec.get("protect", False)), on_delete=manifest.on_delete
    )


def compile_tree(tree: Tree, contract: Contract, token: Token) -> Desired:
    """Everything that the files of the tree want. Never raises on user input: problems are in the result."""
    ignored = Ignored(_ignore_file(tree))
    found = [item for item in tree.files() if item[0] not in ignored]
    files = {path: blob for path, blob, _ in found}
    parsed = {
        path: Parsed(problems=(problem,), broken=True) if problem else _parsed(path, blob, tree, contract) for path, blob, problem in found
    }
    catalog = collect(without_projects(parsed))
    check = _Findings(catalog=catalog, text=lambda path: tree.blob(files[path]))
    hosts = dict(sorted(check.hosts(contract.rules)))
    resolver = Resolver(catalog=catalog, rules=contract.rules, token=token)
    check.references()
    check.networks()
    check.moves(hosts)
    check.resolve(hosts, resolver)
    check.fleet(len(files))
    problems = tuple(sorted({*catalog.problems, *check.problems}))
    return Desired(catalog=catalog, resolver=resolver, hosts=hosts, problems=problems, blocked=check.blocked, text=check.text)


def _ignore_file(tree: Tree) -> str:
    blob = tree.content(IGNORE_FILE)
    return tree.blob(blob).decode(errors="replace") if blob else ""


def _parsed(path: str, blob: str, tree: Tree, contract: Contract) -> Parsed:
    key = path, blob
    if key not in contract.parsed:
        contract.parsed[key] = parse(path, tree.blob(blob), contract.kinds, contract.check)
    return contract.parsed[key]


class _Findings:
    """Collects the problems that only show when all manifests are known."""

    def __init__(self, catalog: Catalog, text: Callable[[str], bytes]) -> None:
        self.catalog, self.text = catalog, text
        self.problems: list[Problem] = []
        self._positions: dict[str, Positions] = {}
        self.blocked: dict[str, str] = {
            f"host/{tenant}/{name}": "its document has problems" for kind, tenant, name in catalog.unknown if kind == "Host"
        }

    def add(self, manifest: Manifest, pointer: str, code: str, message: str, hint: str = "") -> None:
        """One problem at a pointer of a manifest."""
        if manifest.path not in self._positions:
            self._positions[manifest.path] = positions(manifest.path, self.text(manifest.path))
        origin = self._positions[manifest.path].origin(manifest.index, pointer)
        self.problems.append(Problem(origin=origin, code=code, message=message, hint=hint))

    def hosts(self, rules: Rules) -> Iterator[tuple[str, Manifest]]:
        """Every Host by group, those of HostSets too; what is declared twice is blocked."""
        seen: dict[str, Manifest] = {}
        for manifest in self.catalog.of("Host"):
            seen[f"host/{manifest.tenant}/{manifest.name}"] = manifest
        for hosts in self.catalog.of("HostSet"):
            try:
                members = list(expand(hosts, rules))
            except TooMany as error:
                self.add(hosts, error.pointer, "hostset-range", error.message, "lower count or begin earlier")
                continue
            for manifest in members:
                group = f"host/{manifest.tenant}/{manifest.name}"
                if group in seen:
                    message = f"{group} is declared here and at {seen[group].origin}"
                    self.add(hosts, manifest.own[-1][0], "duplicate-name", message, "rename or remove one of them")
                    self.blocked[group] = "it is declared twice"
                seen.setdefault(group, manifest)
        yield from seen.items()

    def references(self) -> None:
        """Check what no host may lead to: the extends of every profile, tenants that private manifests name."""
        for profile in self.catalog.of("Profile"):
            try:
                chain(self.catalog, profile)
            except Unresolved as found:
                self._unresolved(found)
        for kind in ("Network", "Profile", "Role"):
            for manifest in self.catalog.of(kind):
                if manifest.tenant and not self.catalog.is_unknown("Tenant", "", manifest.tenant):
                    try:
                        follow(self.catalog, manifest, "Tenant", manifest.tenant, "/metadata/tenant")
                    except Unresolved as found:
                        self._unresolved(found)

    def moves(self, hosts: Mapping[str, Manifest]) -> None:
        """No two manifests come from one."""
        came: dict[tuple[str, str], str] = {}
        for group, manifest in hosts.items():
            if manifest.moved_from is None:
                continue
            first = came.setdefault(manifest.moved_from, group)
            if first != group:
                old = "/".join(manifest.moved_from)
                self.add(manifest, "/metadata/moved/from", "moved-twice", f"host/{old} became {first} already", "correct one of the two")
                self.blocked[group] = f"two manifests come from host/{old}"

    def networks(self) -> None:
        """A network's own addresses must fit together."""
        for network in self.catalog.of("Network"):
            text = network.spec["cidr"]
            cidr = ip_network(text, strict=False)
            if text != str(cidr):
                self.add(network, "/spec/cidr", "network", f"{text} is an address in a network, not a network", f"write {cidr}")
            gateway = network.spec.get("gateway")
            if gateway is not None and ip_address(gateway) not in cidr:
                self.add(network, "/spec/gateway", "network", f"the gateway {gateway} is not in {cidr}", "correct one of the two")

    def resolve(self, hosts: Mapping[str, Manifest], resolver: Resolver) -> None:
        """Resolve every host once, for its problems and its identities."""
        clashes = Clashes(self.catalog)
        for group, manifest in hosts.items():
            try:
                clashes.see(manifest, resolver.resolve(manifest))
            except Unresolved as found:
                self._unresolved(found)
                self.blocked[group] = found.message
        for manifest, message in clashes.found():
            self.add(manifest, manifest.pointer("interfaces"), "identity-clash", message, "give each host its own")
            self.blocked[f"host/{manifest.tenant}/{manifest.name}"] = message

    def _unresolved(self, found: Unresolved) -> None:
        if not found.known_bad:
            self.add(found.owner, found.pointer, "reference", found.message, found.hint)

    def fleet(self, files: int) -> None:
        """There must be a Fleet."""
        if self.catalog.of("Fleet") or self.catalog.broken or any(ref[0] in ("Fleet", "") for ref in self.catalog.unknown):
            return
        message = "the repository has no Fleet" if files else "the repository has no YAML file"
        hint = "add a manifest of kind Fleet, or start from octofleet init DIR"
        self.problems.append(Problem(origin=Origin(path="."), code="fleet-count", message=message, hint=hint))
