"""What a plan has to look into, and nothing else: the resources that may differ, their records, and what the base wants of them.

Resources that are as recorded and were last seen so are never loaded.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from reconciler.comparing import Fingerprint, count_made, fingerprint
from reconciler.comparing import resources as made
from reconciler.desired.desired import Desired
from reconciler.drivers.driver import Target
from reconciler.errors import Refused
from reconciler.facts import Facts
from reconciler.scope import in_scope
from reconciler.source.repository import Commit
from reconciler.stages import stage
from reconciler.store.engine import Connection
from reconciler.store.observations import load_observations, open_addresses, open_groups, seen_longest_ago, unseen
from reconciler.store.records import fleet_in_force, load_records, load_specs, recorded_groups, records_of
from reconciler.tracking import CommitTree, Tracked, Tracker
from reconciler.types.observation import Observation, Proposed
from reconciler.types.origin import Origin
from reconciler.types.plan import Deferred
from reconciler.types.request import Request
from reconciler.types.resource import Recorded, Resource, parts
from reconciler.types.values import Spec
from reconciler.wiring import Installation


@dataclass(frozen=True, kw_only=True)
class Gathered:
    """`addresses`: what to decide about, with the `targets` to look at; `asked`: those of them that have to be observed, and `known`: what was seen of them
    before. `groups`: those that were looked into. `orphans`: deferrals for what no driver here knows."""

    facts: Facts
    groups: frozenset[str]
    addresses: Sequence[str]
    targets: Mapping[str, Target]
    asked: Sequence[Target]
    known: Mapping[str, Observation]
    orphans: tuple[Deferred, ...]

    def observations(self, seen: Mapping[str, Observation]) -> dict[str, Observation]:
        """What is known after some targets were observed; what was seen at the old address of a move is told of the new one."""
        renamed = {old: new for new, old in self.facts.moves.items()}
        return {**self.known, **{renamed.get(where, where): item for where, item in seen.items()}}


@dataclass(frozen=True, kw_only=True)
class Gathering:
    """See the module. `source`: the Fleet's name; `base`: the commit that causes are told against."""

    installation: Installation
    tracker: Tracker
    tracked: Tracked
    source: str
    base: Commit | None
    request: Request

    def gathered(self) -> Gathered:
        """All of it. Raises `Refused` for a scope that takes in nothing."""
        with stage("resources"):
            groups = self._groups()
            resources = {r.address: r for r in self.resources(groups)}
        with stage("records"), self.installation.store.read() as connection:
            index = _by_address(records_of(connection, self.source, sorted(groups)))
            wanted = _differing(resources, index).union(open_addresses(connection, self.source))
            count_made(resources.values())
            concerned = self._in_scope(self._concerned(connection, wanted, resources, index))
            addresses = sorted(a for a in concerned if parts(a)[:2] in self.installation.kinds)
            recorded = load_records(connection, sorted({*addresses, *_old(resources.values())}))
            specs = load_specs(connection, (item.digest for item in recorded.values()))
            known = load_observations(connection, addresses)
        if not concerned:
            self._check_scope()
        with stage("base"):
            base = self._base_resources(groups, recorded, specs)
        facts = Facts(resources=resources, base=base, base_known=self.base is not None, recorded=recorded, specs=specs, source=self.source)
        left = set(facts.moves.values())
        targets = {a: facts.target(a) for a in addresses if a not in left}
        anew = {a for a in targets if a not in known or a in wanted or self.request.refresh or facts.differs(a) or a in self._oldest}
        if not self.request.look:
            anew, known = set(), {a: seen for a, seen in known.items() if not (isinstance(seen, Proposed) and facts.differs(a))}
        return Gathered(
            facts=facts,
            groups=frozenset(groups),
            addresses=addresses,
            targets=targets,
            asked=[target for where, target in targets.items() if where in anew],
            known=known,
            orphans=_orphaned(sorted(concerned.difference(addresses)), index),
        )

    def resources(self, groups: Iterable[str]) -> Iterator[Resource]:
        """What the commit wants of some groups."""
        return self._resources(self.tracked.desired, self.tracked.tree, set(groups))

    @cached_property
    def _oldest(self) -> Mapping[str, str]:
        """Groups of the addresses that were seen longest ago, as many as are asked for."""
        if not self.request.oldest:
            return {}
        with self.installation.store.read() as connection:
            scheduled = "drift" in fleet_in_force(connection, self.source)
            return seen_longest_ago(connection, self.source, self.request.oldest, scheduled=scheduled)

    def _concerned(
        self, connection: Connection, wanted: set[str], resources: Mapping[str, Resource], index: Mapping[str, object]
    ) -> set[str]:
        """The addresses to decide about: what may differ, and what would be void with it. The rest is as recorded and was last seen so."""
        if self.request.refresh:
            return {*resources, *index}
        wanted = wanted | self._oldest.keys()
        dependents = {a for a, resource in resources.items() if any(item.lifetime for item in resource.rules.depends_on)}
        rest = sorted({*resources, *index} - wanted - dependents)
        return (wanted & {*resources, *index}) | dependents | unseen(connection, rest)

    def _groups(self) -> set[str]:
        """The groups that the plan has to look into."""
        groups = set(self.tracked.open)
        with self.installation.store.read() as connection:
            groups |= open_groups(connection, self.source)
            groups.update(self._oldest.values())
            if self.request.refresh:
                groups.update(recorded_groups(connection, self.source))
                groups.update(self.tracked.desired.hosts)
                groups.update(self.tracked.desired.whole())
        return groups

    def _resources(self, desired: Desired, tree: CommitTree, groups: set[str]) -> Iterator[Resource]:
        for scope in desired.scopes(groups):
            yield from (resource for resource in made(self.installation.drivers, scope, tree) if resource.group in groups)

    def _base_resources(self, groups: set[str], recorded: Mapping[str, Recorded], specs: Mapping[str, Spec]) -> dict[str, Resource]:
        """What the base wants of some groups. Where the base is what the index has compiled, and a group is as recorded in it, the record tells."""
        if self.base is None or not groups:
            return {}
        same = self.base.tree == self.tracked.compiled
        asked = {group for group in groups if not same or group in self.tracked.pending or group not in self.tracked.desired.hosts}
        known = {a: _as_recorded(record, specs) for a, record in recorded.items() if record.group not in asked and record.digest in specs}
        if not asked:
            return known
        desired = self.tracked.desired if self.base.tree == self.tracked.tree.id else self.tracker.view(self.base.tree)
        found = self._resources(desired, self.tracked.tree.at(self.base.tree), asked)
        return known | {resource.address: resource for resource in found}

    def _check_scope(self) -> None:
        """A scope that takes in nothing is a mistake, not a fleet without changes."""
        if not self.request.scope:
            return
        with self.installation.store.read() as connection:
            recorded = recorded_groups(connection, self.source)
            groups = {*self.tracked.desired.hosts, *self.tracked.desired.whole(), *recorded}
            index = _by_address(records_of(connection, self.source, sorted(groups)))
        everything = (resource.address for resource in self.resources(groups))
        if not self._in_scope([*groups, *index]) and not self._in_scope(everything):
            raise Refused(
                f"nothing is in the scope {self.request.scope}",
                hint="host/TENANT/NAME, tenant/NAME or driver/kind/tenant/name, with * and ?",
                code="scope",
            )

    def _in_scope(self, addresses: Iterable[str]) -> set[str]:
        return {a for a in addresses if in_scope(a, self.request.scope)}


def _as_recorded(record: Recorded, specs: Mapping[str, Spec]) -> Resource:
    origin = Origin(path="")  # told of removals only, whose base is compiled
    return Resource(address=record.address, spec=specs[record.digest], rules=record.rules, group=record.group, origin=origin)


def _by_address(records: Mapping[str, Sequence[tuple[str, str, bytes]]]) -> dict[str, tuple[Fingerprint, str]]:
    """Fingerprint and group of each record."""
    return {where: ((digest, rules), group) for group, found in records.items() for where, digest, rules in found}


def _differing(resources: Mapping[str, Resource], index: Mapping[str, tuple[Fingerprint, str]]) -> set[str]:
    """The addresses whose resource is not as recorded."""
    new = {a for a, resource in resources.items() if a not in index or index[a][0] != fingerprint(resource)}
    return new | (index.keys() - resources.keys())


def _orphaned(addresses: Iterable[str], index: Mapping[str, tuple[Fingerprint, str]]) -> tuple[Deferred, ...]:
    """Deferrals for what is recorded of a driver or kind that this installation no longer has."""
    reason = "no driver of this installation knows its kind: install or enable the plugin that made it, or forget it"
    return tuple(Deferred(address=a, code="driver-missing", reason=reason, group=index[a][1]) for a in addresses)


def _old(resources: Iterable[Resource]) -> Iterator[str]:
    return (resource.moved_from for resource in resources if resource.moved_from)
