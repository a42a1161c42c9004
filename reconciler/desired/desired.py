"""What a commit wants: its hosts, its tenants and its Fleet, each looked up and resolved when asked for; and all problems."""

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.desired.catalog import Catalog
from reconciler.desired.declared import Declarations
from reconciler.desired.manifest import Manifest
from reconciler.desired.merge import is_secret
from reconciler.desired.reader import locate
from reconciler.desired.reader_positions import inside
from reconciler.desired.resolve import Resolver, ref_of
from reconciler.stages import count
from reconciler.types.canonical import digest
from reconciler.types.host import FleetScope, ResolvedHost, ResolvedTenant
from reconciler.types.origin import Origin
from reconciler.types.problem import Problem, Severity
from reconciler.types.rule import RULES, WHOLE, Rule
from reconciler.types.values import Secret


class Hosts(Mapping[str, Manifest]):
    """The hosts of a tree by group; each is looked up when asked for. Iterates in the order of tenant and name."""

    def __init__(self, declarations: Declarations, number: int) -> None:
        self._declarations, self._number = declarations, number

    def __getitem__(self, group: str) -> Manifest:
        found = self._declarations.at(group) if group.startswith("host/") else ()
        if not found:
            raise KeyError(group)
        return found[0]

    def __contains__(self, group: object) -> bool:
        return isinstance(group, str) and group.startswith("host/") and bool(self._declarations.places(group))

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._declarations.keys("Host")))

    def __len__(self) -> int:
        return self._number


@dataclass(frozen=True, kw_only=True)
class Desired:
    """What a commit wants. `blocked` maps the group of a host or policy to why it is unknown. `reached`: groups whose resources may differ from those of the
    compiled tree.
    """

    catalog: Catalog
    declarations: Declarations
    resolver: Resolver
    hosts: Mapping[str, Manifest]
    problems: tuple[Problem, ...]
    blocked: Mapping[str, str]
    text: Callable[[str], bytes]
    reached: frozenset[str] = frozenset()

    @property
    def sound(self) -> bool:
        """Whether every document could be read and understood: only then may anything be deleted."""
        return not any(problem.severity is Severity.ERROR for problem in self.problems)

    @property
    def fleet(self) -> Manifest | None:
        """The Fleet, if its document is known."""
        return fleet_of(self.catalog)

    def scopes(self, groups: Collection[str] | None = None) -> Iterator[FleetScope]:
        """What drivers make resources from, for everything or for some groups: the Fleet, its tenants and rules, then host after host, each resolved
        once for all drivers and then let go.
        """
        name = self.fleet.name if self.fleet else ""
        whole = None if groups is None else {group for group in groups if not group.startswith("host/")}
        if self.fleet and (whole is None or whole):
            tenants = tuple(_tenant(m) for m in self.catalog.of("Tenant") if whole is None or m.key in whole)
            known = (m for kind in RULES for m in self.catalog.of(kind) if m.key not in self.blocked)
            rules = tuple(_rule(m) for m in known if whole is None or m.key in whole)
            yield FleetScope(
                fleet=name, fleet_spec=self.fleet.spec, fleet_origin=self.fleet.origin, whole=True, tenants=tenants, rules=rules
            )
        for group in self.hosts if groups is None else sorted(groups):
            host = self.host(group)
            if host is not None:
                yield FleetScope(fleet=name, whole=False, hosts=(host,))

    def host(self, group: str) -> ResolvedHost | None:
        """One host with its values; None if there is none or it is blocked."""
        if group in self.blocked or group not in self.hosts:
            return None
        count("hosts_resolved")
        return self.resolver.resolve(self.hosts[group])

    def origin(self, manifest: Manifest, pointer: str) -> Origin:
        """The place of a value in a manifest's file."""
        return locate(manifest.path, self.text(manifest.path), manifest.index, pointer)

    def inside(self, manifest: Manifest, pointer: str, line: int, column: int) -> Origin:
        """The place of a line and column, from 1, of a text in a manifest's specification."""
        text = manifest.spec[pointer.rpartition("/")[2]]
        return inside(self.origin(manifest, pointer), self.text(manifest.path), text, line, column)

    def whole(self) -> list[str]:
        """The groups of the Fleet, its tenants and its rules."""
        return [manifest.key for kind in WHOLE for manifest in self.catalog.of(kind)]

    def count(self) -> int:
        """How many manifests there are; a HostSet is one."""
        return self.declarations.count()


def fleet_of(catalog: Catalog) -> Manifest | None:
    """The Fleet, if there is one and no other."""
    fleets = catalog.of("Fleet")
    return fleets[0] if len(fleets) == 1 else None


def _rule(manifest: Manifest) -> Rule:
    return Rule(
        kind=manifest.kind,
        tenant=manifest.tenant,
        name=manifest.name,
        spec=_named(manifest.spec),
        origin=manifest.origin,
        on_delete=manifest.on_delete,
    )


def _named(value: Any) -> Any:
    """The tree with what names a secret as a `Secret`, whose token stands for its name: a rule uses the value that there is when it is used, so that a new
    one is no change of the rule."""
    if is_secret(value):
        ref = ref_of(value)
        return Secret(ref=ref, token=digest([ref.store, ref.key]))
    if isinstance(value, dict):
        return {key: _named(item) for key, item in value.items()}
    return [_named(item) for item in value] if isinstance(value, list) else value


def _tenant(manifest: Manifest) -> ResolvedTenant:
    spec = manifest.spec
    return ResolvedTenant(
        name=manifest.name, spec=spec, origin=manifest.origin, protect=bool(spec.get("protect", False)), on_delete=manifest.on_delete
    )
