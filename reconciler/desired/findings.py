"""Problems that only show when all manifests are known. Each has an owner, so that a small change looks again at little: a host,
a HostSet, or `SHARED` for the rest.
"""

from collections.abc import Callable, Iterator, Mapping
from ipaddress import ip_address, ip_network

import msgspec

from reconciler.alert.words import mistakes as wrong_words
from reconciler.desired.catalog import Catalog
from reconciler.desired.hostset import TooMany, expand
from reconciler.desired.layers import Unresolved, chain, follow
from reconciler.desired.manifest import Manifest, show
from reconciler.desired.merge import Rules
from reconciler.desired.reader import Positions, positions
from reconciler.desired.reader_positions import inside
from reconciler.gate.examples import mistakes
from reconciler.gate.windows import times_of
from reconciler.identity.access import canonical, has_ruler
from reconciler.index.file import Damaged
from reconciler.types.origin import Origin
from reconciler.types.problem import Problem, Severity
from reconciler.types.rule import RULES

SHARED = ""
TIMES = "times are local times of a zone of the IANA database, rules are those of RFC 5545"
_decode = msgspec.msgpack.Decoder(tuple[str, int, int, str, str, str, Severity]).decode
KINDS = ("Fleet", "Tenant", "Network", "Profile", "Role", "HostSet", *RULES)


class Findings:
    """Collects problems by owner. `text` gives the bytes of a file: read again for the place of a mistake."""

    def __init__(self, catalog: Catalog, text: Callable[[str], bytes]) -> None:
        self.catalog, self._text = catalog, text
        self.by_owner: dict[str, list[Problem]] = {}
        self._positions: dict[str, Positions] = {}

    def add(self, owner: str, manifest: Manifest, pointer: str, code: str, message: str, hint: str = "") -> None:
        """One problem at a pointer of a manifest."""
        self.note(owner, Problem(origin=self._origin(manifest, pointer), code=code, message=message, hint=hint))

    def _origin(self, manifest: Manifest, pointer: str) -> Origin:
        if manifest.path not in self._positions:
            self._positions[manifest.path] = positions(manifest.path, self._text(manifest.path))
        return self._positions[manifest.path].origin(manifest.index, pointer)

    def note(self, owner: str, problem: Problem) -> None:
        """One problem."""
        self.by_owner.setdefault(owner, []).append(problem)

    def unresolved(self, owner: str, found: Unresolved) -> None:
        """A reference that leads nowhere, unless its target's own problems tell it already."""
        if not found.known_bad:
            self.add(owner, found.owner, found.pointer, "reference", found.message, found.hint)

    def twice(self, owner: str, declared: list[Manifest]) -> None:
        """One identity in several places."""
        first, *others = sorted(declared, key=lambda manifest: (manifest.origin, manifest.own))
        for manifest in others:
            message = f"{show(first.ref)} is declared twice; the first is at {first.origin}"
            pointer = manifest.own[-1][0] if manifest.places else ""
            self.add(owner, manifest, pointer, "duplicate-name", message, "rename or remove one of them")

    def moved_twice(self, manifest: Manifest, first: str) -> str:
        """Two manifests say they come from one; gives why this one, which is not the first, is unknown."""
        old = "/".join(manifest.moved_from or ())
        message = f"host/{old} became {first} already"
        self.add(manifest.key, manifest, "/metadata/moved/from", "moved-twice", message, "correct one of the two")
        return f"two manifests come from host/{old}"

    def shared(self, files: Callable[[], bool], *, unknown_fleet: bool) -> None:
        """Everything that is about no host."""
        for kind in KINDS:
            for key in sorted(self.catalog.declared.keys(kind)):
                found = list(self.catalog.declared.at(key))
                if len(found) > 1:
                    self.twice(SHARED, found)
        self._fleets(files, unknown_fleet=unknown_fleet)
        self._references()
        self._networks()
        self._windows()
        self._drift()
        self._access()
        self._channels()

    def _fleets(self, files: Callable[[], bool], *, unknown_fleet: bool) -> None:
        fleets = sorted(self.catalog.of("Fleet"), key=lambda manifest: manifest.origin)
        for extra in fleets[1:]:
            message = f"a repository has one Fleet; {fleets[0].name} is declared at {fleets[0].origin}"
            self.note(SHARED, Problem(origin=extra.origin, code="fleet-count", message=message, hint="merge the two into one"))
        if not fleets and not unknown_fleet:
            message = "the repository has no Fleet" if files() else "the repository has no YAML file"
            hint = "add a manifest of kind Fleet, or start from octofleet init DIR"
            self.note(SHARED, Problem(origin=Origin(path="."), code="fleet-count", message=message, hint=hint))

    def _references(self) -> None:
        """What no host may lead to: the extends of every profile, tenants that private manifests name."""
        for profile in self.catalog.of("Profile"):
            try:
                chain(self.catalog, profile)
            except Unresolved as found:
                self.unresolved(SHARED, found)
        for kind in ("Network", "Profile", "Role", *RULES):
            for manifest in self.catalog.of(kind):
                if manifest.tenant and not self.catalog.is_unknown("Tenant", "", manifest.tenant):
                    try:
                        follow(self.catalog, manifest, "Tenant", manifest.tenant, "/metadata/tenant")
                    except Unresolved as found:
                        self.unresolved(SHARED, found)

    def _networks(self) -> None:
        """A network's own addresses must fit together."""
        for network in self.catalog.of("Network"):
            text = network.spec["cidr"]
            cidr = ip_network(text, strict=False)
            if text != str(cidr):
                self.add(SHARED, network, "/spec/cidr", "network", f"{text} is an address in a network, not a network", f"write {cidr}")
            gateway = network.spec.get("gateway")
            if gateway is not None and ip_address(gateway) not in cidr:
                message = f"the gateway {gateway} is not in {cidr}"
                self.add(SHARED, network, "/spec/gateway", "network", message, "correct one of the two")

    def _windows(self) -> None:
        """The times of windows and operations must be understood."""
        for manifest in (*self.catalog.of("MaintenanceWindow"), *self.catalog.of("Operation")):
            try:
                times_of(manifest.spec)
            except ValueError as error:
                what = "window" if manifest.kind == "MaintenanceWindow" else "operation"
                self.add(SHARED, manifest, "/spec/times", "window", f"a time of this {what} cannot be understood: {error}", TIMES)

    def _drift(self) -> None:
        """A drift schedule's own times must be understood, and the window that it names must be there: without it no check would begin."""
        for fleet in self.catalog.of("Fleet"):
            said = fleet.spec.get("drift", {})
            try:
                times_of(said)
            except ValueError as error:
                self.add(SHARED, fleet, "/spec/drift/times", "window", f"a time of the drift schedule cannot be understood: {error}", TIMES)
            tenant, _, name = said.get("window", "").rpartition("/")
            there = not name or self.catalog.get(("MaintenanceWindow", tenant, name)) is not None
            if not there and not self.catalog.broken and not self.catalog.is_unknown("MaintenanceWindow", tenant, name):
                message = f"there is no MaintenanceWindow {said['window']}, so no check would ever begin"
                hint = self.catalog.near("MaintenanceWindow", tenant, name)
                self.add(SHARED, fleet, "/spec/drift/window", "reference", message, hint)

    def _access(self) -> None:
        """Somebody must be left who can change who may do what, and an identity is one person."""
        manifests = self.catalog.of("RoleMapping")
        unknown = self.catalog.broken or any(ref[0] in ("RoleMapping", "") for ref in self.catalog.unknown)
        if manifests and not unknown and not any(has_ruler(manifest.spec) for manifest in manifests if not manifest.tenant):
            message = "no RoleMapping without tenant names a super-admin who is no group, so nobody could change who may do what"
            self.add(SHARED, manifests[0], "/spec", "access-lockout", message, "bind super-admin to a person, better to two")
        known: dict[str, str] = {}
        for manifest in manifests:
            for number, person in enumerate(manifest.spec.get("people", ())):
                for place, identity in enumerate(person["identities"]):
                    first = known.setdefault(canonical(identity), person["name"])
                    if first != person["name"]:
                        message = f"{identity} is {first} already, and cannot be {person['name']} too"
                        where = f"/spec/people/{number}/identities/{place}"
                        self.add(SHARED, manifest, where, "person-twice", message, "give each identity to one person")

    def _channels(self) -> None:
        """A channel's templates must be understood, and what it says must fit together."""
        for channel in self.catalog.of("AlertChannel"):
            spec = channel.spec
            if not {"to", "webhooks"} & spec.keys():
                self.add(SHARED, channel, "/spec", "alert", "the channel tells nobody", "add to or webhooks")
            if channel.tenant and "tenants" in spec:
                hint = "leave tenants out, or the tenant of the channel"
                self.add(SHARED, channel, "/spec/tenants", "alert", f"the channel hears of {channel.tenant} alone already", hint)
            if "host-silent" in spec.get("on", ()) and "silentAfter" not in spec:
                self.add(SHARED, channel, "/spec/on", "alert", "nothing says when a host is silent", "add silentAfter")
            for name, text in spec.get("templates", {}).items():
                for found in wrong_words(text):
                    origin = inside(
                        self._origin(channel, f"/spec/templates/{name}"), self._text(channel.path), text, found.line, found.column
                    )
                    hint = "docs/alerts.md lists what a template sees"
                    self.note(SHARED, Problem(origin=origin, code="alert", message=f"the template {name}: {found.message}", hint=hint))

    def policy(self, policy: Manifest) -> None:
        """A policy's expressions must compile, and its examples do as they say; until then it is not known what the policy would be."""
        for found in mistakes(policy.spec, policy.tenant):
            origin = self._origin(policy, found.pointer)
            if found.line:
                text = policy.spec[found.pointer.rpartition("/")[2]]
                origin = inside(origin, self._text(policy.path), text, found.line, found.column)
            self.note(policy.key, Problem(origin=origin, code="policy", message=found.message, hint=found.hint))

    def hostset(self, hosts: Manifest, rules: Rules) -> None:
        """The addresses that a HostSet counts through must not run out."""
        try:
            for _ in expand(hosts, rules):
                pass
        except TooMany as error:
            self.add(hosts.key, hosts, error.pointer, "hostset-range", error.message, "lower count or begin earlier")


def packed(by_owner: Mapping[str, list[Problem]]) -> Iterator[tuple[str, bytes]]:
    """Owner and bytes of each problem, for the index."""
    for owner, problems in by_owner.items():
        for problem in sorted(set(problems)):
            o = problem.origin
            fields = (o.path, o.line, o.column, problem.code, problem.message, problem.hint, problem.severity)
            yield owner, msgspec.msgpack.encode(fields)


def unpacked(rows: list[tuple[str, bytes]]) -> Iterator[tuple[str, Problem]]:
    """Owner and problem again. Raises `Damaged`."""
    for owner, body in rows:
        try:
            path, line, column, code, message, hint, severity = _decode(body)
        except (msgspec.DecodeError, ValueError, TypeError) as error:
            raise Damaged(str(error)) from error
        origin = Origin(path=path, line=line, column=column)
        yield owner, Problem(origin=origin, code=code, message=message, hint=hint, severity=severity)
