"""A commit that means the same for very many hosts: their changes are decided while the hosts are compared, and nothing else of them is kept.

Only what is simple goes this way: the record has another specification and nothing else differs, it was last seen as recorded, and the base wanted it as
recorded. It relies on what was last seen; an apply looks again before it begins, as ever. Everything else is left to the ordinary way.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.index.state import Place
from reconciler.plan.alike import Alike, Pattern
from reconciler.store.engine import MOST_IN, Connection
from reconciler.store.records import records_of
from reconciler.types.change import Change
from reconciler.types.kind import Kind
from reconciler.types.resource import Resource, parts

Differing = Sequence[tuple[Resource, bytes]]
"""The resources of one group that differ from their records in the specification alone, with their packed rules."""

_QUERY = (
    "SELECT record.address, record.source, record.digest, record.rules, spec.body FROM record JOIN observation ON observation.address = record.address "
    "JOIN spec ON spec.digest = record.digest WHERE observation.settled AND record.address IN (...)"
)
"""Without the source as a condition: for it, SQLite would read all records of the source."""


@dataclass(frozen=True, kw_only=True)
class Bulk:
    """`pending`: groups that the base did not want as they are recorded. `more_than`: a commit that reaches no more hosts than that goes the ordinary
    way, which looks at them. `changes`: what has been decided.
    """

    alike: Alike
    kinds: Mapping[tuple[str, str], Kind]
    pending: Collection[str]
    more_than: int
    changes: list[Change] = field(default_factory=list)

    def is_for(self, fleet: str, hosts: int) -> bool:
        """Whether a commit of this Fleet that reaches so many hosts goes this way."""
        return hosts > self.more_than and fleet == self.alike.source

    def take(self, connection: Connection, groups: Mapping[str, Differing]) -> set[str]:
        """Decide about groups; gives those that were simple enough."""
        asked = [resource.address for group, differing in groups.items() if group not in self.pending for resource, _ in differing]
        rows = connection.rows_in(_QUERY, asked)
        known = {where: (digest, body) for where, source, digest, _, body in rows if source == self.alike.source}
        taken = set()
        for group, differing in groups.items():
            changes = self._changes(differing, known)
            if changes is not None:
                self.changes.extend(changes)
                taken.add(group)
        return taken

    def _changes(self, differing: Differing, known: Mapping[str, tuple[str, bytes]]) -> list[Change] | None:
        changes = []
        for resource, rules in differing:
            driver, kind, _, _ = parts(resource.address)
            if resource.address not in known or resource.moved_from or (driver, kind) not in self.kinds:
                return None
            change = self.alike.change(resource, self.kinds[driver, kind], *known[resource.address], rules)
            if change is None:
                return None
            changes.append(change)
        return changes

    def take_alike(
        self,
        connection: Connection,
        before: Mapping[str, Resource],
        after: Mapping[str, Resource],
        changed: frozenset[str],
        places: Sequence[Place],
    ) -> set[str]:
        """Decide about hosts that take the `changed` values from the same layers, as one of them does: the first of `places`. `before` are its resources as
        they were, `after` those that depend on these values. Gives the groups that were simple enough.
        """
        patterns = [self._pattern(before.get(where), resource, changed, places[0].ref) for where, resource in after.items()]
        if any(pattern is None for pattern in patterns):
            return set()
        taken = set()
        for start in range(0, len(places), MOST_IN):
            part = {place.ref: place for place in places[start : start + MOST_IN] if place.ref not in self.pending}
            made: dict[str, list[Change]] = {group: [] for group in self._complete(connection, part, before)}
            for pattern in patterns:
                assert pattern is not None  # noqa: S101 - for the type checker
                where = {pattern.address(group): group for group in made}
                for address, source, digest, rules, body in connection.rows_in(_QUERY, list(where)):
                    group = where[address]
                    if source == self.alike.source and (change := self.alike.like(pattern, address, digest, body, rules, part[group])):
                        made[group].append(change)
            whole = [group for group, changes in made.items() if len(changes) == len(patterns)]
            self.changes.extend(change for group in whole for change in made[group])
            taken.update(whole)
        return taken

    def _complete(self, connection: Connection, groups: Collection[str], before: Mapping[str, Resource]) -> list[str]:
        """The groups that have just the kinds of resources that `before` has."""
        kinds = sorted(parts(where)[:2] for where in before)
        found: dict[str, list[tuple[str, str]]] = {}
        for group, records in records_of(connection, self.alike.source, list(groups)).items():
            found[group] = sorted(parts(where)[:2] for where, _, _ in records)
        return [group for group in groups if found.get(group) == kinds]

    def _pattern(self, before: Resource | None, after: Resource, changed: frozenset[str], group: str) -> Pattern | None:
        driver, kind, tenant, name = parts(after.address)
        declared = self.kinds.get((driver, kind))
        if before is None or declared is None or not declared.copies or before.rules != after.rules or group != f"host/{tenant}/{name}":
            return None
        return self.alike.pattern(declared, before, after, changed)
