"""A commit that means the same for very many hosts: their changes are decided while the hosts are compared, and nothing else of them is kept.

Only what is simple goes this way: the record has another specification and nothing else differs, it was last seen as recorded, and the base wanted it as
recorded. It relies on what was last seen; an apply looks again before it begins, as ever. Everything else is left to the ordinary way.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.plan.alike import Alike
from reconciler.store.engine import Connection
from reconciler.types.change import Change
from reconciler.types.kind import Kind
from reconciler.types.resource import Resource, parts

Differing = Sequence[tuple[Resource, bytes]]
"""The resources of one group that differ from their records in the specification alone, with their packed rules."""

_QUERY = (
    "SELECT record.address, record.source, record.digest, spec.body FROM record JOIN observation ON observation.address = record.address "
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

    def take(self, connection: Connection, groups: Mapping[str, Differing]) -> set[str]:
        """Decide about groups; gives those that were simple enough."""
        asked = [resource.address for group, differing in groups.items() if group not in self.pending for resource, _ in differing]
        rows = connection.rows_in(_QUERY, asked)
        known = {where: (digest, body) for where, source, digest, body in rows if source == self.alike.source}
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
