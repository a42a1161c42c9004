"""Desired against recorded, by digest: which groups (hosts, tenants, the Fleet) may need a change. Loads no specification.

A `Comparison` is the visitor of a compilation: it makes the resources of each host that is shown to it, compares them with their records and lets
them go. The index keeps what came of it for the compiled tree, together with how far the store's journal of touched groups had come, so that the next
plan looks again at what was touched since.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest

from reconciler.bulk import Bulk
from reconciler.desired.difference import CONTENT
from reconciler.desired.visitor import Changed, Visited
from reconciler.drivers.driver import Driver, Inputs
from reconciler.index.state import Place
from reconciler.stages import count, counting, stage
from reconciler.store.engine import Store
from reconciler.store.records import mark, records_of
from reconciler.types.canonical import pack
from reconciler.types.host import FleetScope, ResolvedHost
from reconciler.types.resource import Resource, Rules

Fingerprint = tuple[str, bytes]
"""Digest and rules of a resource: equal to the record's exactly when nothing about the resource differs from it."""


def fingerprint(resource: Resource) -> Fingerprint:
    """Of what is desired; `records_of` gives the record's."""
    return resource.digest, rules_text(resource.rules)


def rules_text(rules: Rules) -> bytes:
    """Rules as the record keeps them."""
    return pack(rules.stated())


@dataclass(kw_only=True)
class TracedInputs:
    """Inputs that remember what was asked for."""

    inputs: Inputs
    asked: set[str] = field(default_factory=set)

    def content(self, path: str) -> str | None:
        """See `Inputs`."""
        self.asked.add(CONTENT + path.strip("/"))
        return self.inputs.content(path)


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """`source`: the Fleet that the compiled tree was compared for. `told` hears how many hosts have just been looked at, of how many in all. `open`: the
    groups that differ, of those that were shown (`seen`), but for those that `bulk` took. `pending`: the groups that differed from their records
    before. `marks`: how far the store's journal of touched groups had come before the first of them was compared.
    """

    store: Store
    drivers: Mapping[str, Driver]
    inputs: Inputs
    source: str = ""
    told: Callable[[int, int], None] = lambda number, whole: None
    bulk: Bulk | None = None
    pending: Collection[str] = frozenset()
    open: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    marks: list[tuple[str, int]] = field(default_factory=list)

    def visit(self, fleet: str, hosts: Sequence[ResolvedHost], changed: Sequence[Changed], whole: int) -> Sequence[Visited]:
        """Compare each host's resources with the records of its group. `changed`: see `FleetScope`; it holds for hosts that were as recorded."""
        with stage("compare"):
            found = self._compared(fleet, hosts, changed, whole)
        self.told(len(hosts), whole)
        return found

    def _compared(self, fleet: str, hosts: Sequence[ResolvedHost], changed: Sequence[Changed], whole: int) -> Sequence[Visited]:
        with self.store.read() as connection:
            if not self.marks:
                self.marks.append(mark(connection, fleet))
            recorded = records_of(connection, fleet, [host.group for host in hosts])
            traced = TracedInputs(inputs=self.inputs)
            as_before = fleet == self.source  # otherwise it is another record that nothing is known of
            found, simple = [], {}
            for host, names in zip_longest(hosts, changed):
                traced.asked.clear()
                group = host.group
                scope = FleetScope(
                    fleet=fleet, whole=False, hosts=(host,), changed=names if as_before and group not in self.pending else None
                )
                compared = compare(made(self.drivers, scope, traced), recorded.get(group, ()))
                if compared.differs:
                    self.open.add(group)
                    if not compared.other:
                        simple[group] = compared.specs
                self.seen.add(group)
                found.append(Visited(inputs=frozenset(traced.asked), open=compared.differs))
            if self.bulk is not None and self.bulk.is_for(fleet, whole):
                self.open.difference_update(self.bulk.take(connection, simple))
        return found

    def alike(
        self, fleet: str, old: ResolvedHost, new: ResolvedHost, changed: frozenset[str], places: Sequence[Place], whole: int
    ) -> Collection[str]:
        """Decide about hosts that differ in the same values by looking at one of them; gives the groups of those that need no further look."""
        if self.bulk is None or not self.bulk.is_for(fleet, whole):
            return ()
        scope = FleetScope(fleet=self.bulk.alike.source, whole=False, hosts=(new,), changed=changed)
        items = list(made(self.drivers, scope, self.inputs))
        affected = {item.address: item for item in items if isinstance(item, Resource)}
        before = {item.address: item for item in resources(self.drivers, replace(scope, hosts=(old,)), self.inputs)}
        if before.keys() != {item if isinstance(item, str) else item.address for item in items}:
            return ()
        with self.store.read() as connection:
            taken = self.bulk.take_alike(connection, before, affected, changed, places)
        self.seen.update(taken)
        self.told(len(taken), whole)
        return taken

    def groups(self, scopes: Iterable[FleetScope], fleet: str, asked: Sequence[str]) -> dict[str, bool]:
        """Whether each of some groups differs; `scopes` are those groups' own."""
        wanted: dict[str, list[Resource]] = {group: [] for group in asked}
        for scope in scopes:
            for resource in resources(self.drivers, scope, self.inputs):
                wanted.setdefault(resource.group, []).append(resource)
        with self.store.read() as connection:
            recorded = records_of(connection, fleet, asked)
        return {group: compare(wanted[group], recorded.get(group, ())).differs for group in asked}


@dataclass(slots=True, kw_only=True)
class Compared:
    """What differs in one group: `specs` are the resources that have a record with another specification and the same rules; `other`: there is
    something else as well."""

    specs: list[tuple[Resource, bytes]]
    other: bool = False

    @property
    def differs(self) -> bool:
        """Whether anything does."""
        return self.other or bool(self.specs)


def compare(wanted: Iterable[Resource | str], recorded: Sequence[tuple[str, str, bytes]]) -> Compared:
    """The resources of a group against the records of it (address, digest, packed rules)."""
    left = {where: (digest, rules) for where, digest, rules in recorded}
    found = Compared(specs=[])
    rules, text = None, b""
    things = list(wanted)
    count_made([resource for resource in things if isinstance(resource, Resource)] if counting() else ())
    for resource in things:
        if isinstance(resource, str):
            left.pop(resource, None)
            continue
        if resource.rules is not rules:  # the resources of one host and driver often share theirs
            rules, text = resource.rules, rules_text(resource.rules)
        record = left.pop(resource.address, None)
        if record is None or record[1] != text:
            found.other = True
        elif record[0] != resource.digest:
            found.specs.append((resource, text))
    found.other = found.other or bool(left)
    return found


def count_made(made: Collection[Resource]) -> None:
    """Note that these resources were made, and hashed to compare them."""
    if counting():
        count("resources_made", len(made))
        count("bytes_hashed", sum(resource.size for resource in made))


def resources(drivers: Mapping[str, Driver], scope: FleetScope, inputs: Inputs) -> Iterator[Resource]:
    """Everything that every driver makes of a scope."""
    return (item for item in made(drivers, replace(scope, changed=None), inputs) if isinstance(item, Resource))


def made(drivers: Mapping[str, Driver], scope: FleetScope, inputs: Inputs) -> Iterator[Resource | str]:
    """As `resources`, with the addresses alone of what cannot have changed."""
    for driver in drivers.values():
        yield from driver.resources(scope, inputs)
