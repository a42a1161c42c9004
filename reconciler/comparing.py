"""Desired against recorded, by digest: which groups (hosts, tenants, the Fleet) may need a change. Loads no specification.

A `Comparison` is the visitor of a compilation: it makes the resources of each host that is shown to it, compares them with their records and lets
them go. The index keeps what came of it for the compiled tree, together with how far the store's journal of touched groups had come, so that the next
plan looks again at what was touched since.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from reconciler.desired.compile import Visited
from reconciler.desired.difference import CONTENT
from reconciler.drivers.driver import Driver, Inputs
from reconciler.stages import count, counting
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
    """`told` hears how many hosts have been looked at. `open`: the groups that differ, of those that were shown (`seen`). `marks`: how far the
    store's journal of touched groups had come before the first of them was compared."""

    store: Store
    drivers: Mapping[str, Driver]
    inputs: Inputs
    told: Callable[[int], None] = lambda number: None
    open: set[str] = field(default_factory=set)
    seen: set[str] = field(default_factory=set)
    marks: list[tuple[str, int]] = field(default_factory=list)

    def visit(self, fleet: str, hosts: Sequence[ResolvedHost]) -> Sequence[Visited]:
        """Compare each host's resources with the records of its group."""
        with self.store.read() as connection:
            if not self.marks:
                self.marks.append(mark(connection, fleet))
            recorded = records_of(connection, fleet, [host.group for host in hosts])
        traced = TracedInputs(inputs=self.inputs)
        found = []
        for host in hosts:
            traced.asked.clear()
            scope = FleetScope(fleet=fleet, whole=False, hosts=(host,))
            differs = self._differs(resources(self.drivers, scope, traced), recorded.get(host.group, ()))
            if differs:
                self.open.add(host.group)
            self.seen.add(host.group)
            found.append(Visited(inputs=frozenset(traced.asked), open=differs))
        self.told(len(hosts))
        return found

    def _differs(self, wanted: Iterable[Resource], recorded: Sequence[tuple[str, str, bytes]]) -> bool:
        left = {where: (digest, rules) for where, digest, rules in recorded}
        made = list(wanted)  # all of them, so that every input is traced
        same = [left.pop(resource.address, None) == fingerprint(resource) for resource in made]
        count_made(made)
        return bool(left) or not all(same)

    def groups(self, scopes: Iterable[FleetScope], fleet: str, asked: Sequence[str]) -> dict[str, bool]:
        """Whether each of some groups differs; `scopes` are those groups' own."""
        wanted: dict[str, list[Resource]] = {group: [] for group in asked}
        for scope in scopes:
            for resource in resources(self.drivers, scope, self.inputs):
                wanted.setdefault(resource.group, []).append(resource)
        with self.store.read() as connection:
            recorded = records_of(connection, fleet, asked)
        return {group: self._differs(wanted[group], recorded.get(group, ())) for group in asked}


def count_made(made: Collection[Resource]) -> None:
    """Note that these resources were made, and hashed to compare them."""
    if counting():
        count("resources_made", len(made))
        count("bytes_hashed", sum(resource.size for resource in made))


def resources(drivers: Mapping[str, Driver], scope: FleetScope, inputs: Inputs) -> Iterator[Resource]:
    """Everything that every driver makes of a scope."""
    for driver in drivers.values():
        yield from driver.resources(scope, inputs)
