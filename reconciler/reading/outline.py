"""A stored plan in outline: every change without its fields, and what it reads as, so that pages of a large plan are folded, counted and filtered in memory.

Plans are immutable. Each process keeps the outlines that it used last, as far as they are of `MOST_KEPT` changes together; fields are read from the database,
for the changes that are shown.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple, TypeVar

import msgspec

from reconciler.reading.kept import Kept
from reconciler.report.view import reads
from reconciler.store.engine import Connection
from reconciler.store.plans import PlanRow, change_bodies, head_of, plan_body
from reconciler.types.change import Action, Cause, Risk
from reconciler.types.plan import Plan
from reconciler.types.resource import host_of

MOST_KEPT = 300_000
"""Changes in all outlines that are kept: some 100 MB."""
T = TypeVar("T")


class Row(NamedTuple):
    """A change of a plan without its fields. `seq`: its place in the plan; `path`: the file that it comes from; `said`: equal for those that read the same."""

    seq: int
    address: str
    digest: str
    group: str
    tenant: str
    action: Action
    causes: frozenset[Cause]
    risk: frozenset[Risk]
    moved_from: str | None
    path: str
    said: int

    @property
    def driver(self) -> str:
        """Whose change it is."""
        return self.address.partition("/")[0]

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """As of a change: address and group of where it is, and was."""
        here = (self.address, self.group)
        return (here,) if self.moved_from is None else (here, (self.moved_from, host_of(self.moved_from)))


@dataclass(frozen=True, kw_only=True)
class Outline:
    """See the module. `head` is the plan without its changes."""

    plan: PlanRow
    head: Plan
    rows: tuple[Row, ...]

    @cached_property
    def tenants(self) -> frozenset[str]:
        """Whose changes and deferrals are in it, or were there before a move."""
        places = {where for row in self.rows if row.moved_from for where, _ in row.places} | {item.address for item in self.head.deferred}
        return frozenset({row.tenant for row in self.rows} | {tenant_at(where) for where in places})

    @cached_property
    def folds(self) -> tuple[tuple[tuple[str, ...], tuple[Row, ...]], ...]:
        """Of all changes."""
        return folds_of(self.rows)


def tenant_at(where: str) -> str:
    """The tenant of an address (`driver/kind/tenant/name`) or of what has none."""
    found = where.split("/", 3)
    return "" if len(found) < 4 or found[2] == "-" else found[2]


def folds_of(rows: Sequence[Row]) -> tuple[tuple[tuple[str, ...], tuple[Row, ...]], ...]:
    """Manifests whose changes read the same, with the changes of the first; in the order of their names."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.group, []).append(row)
    same: dict[tuple[object, ...], list[str]] = {}
    for group in sorted(groups):
        same.setdefault((group.partition("/")[0], *(row.said for row in groups[group])), []).append(group)
    return tuple((tuple(names), tuple(groups[names[0]])) for names in same.values())


_outlines: Kept[Outline] = Kept(MOST_KEPT, lambda found: len(found.rows) + 100)


def outline(connection: Connection, plan: PlanRow) -> Outline:
    """The outline of a plan; the first time all of its changes are read for it."""
    return _outlines.get((plan.id, plan.created_at, plan.commit, plan.location, plan.row), lambda: _made(connection, plan))


class _Field(msgspec.Struct):
    path: str
    causes: list[str]
    values: dict[str, msgspec.Raw]

    @property
    def said(self) -> tuple[object, ...]:
        """What it reads as: neither what was recorded nor the text of a difference."""
        return self.path, *self.causes, *(bytes(self.values[side]) if side in self.values else None for side in ("before", "after"))


class _Body(msgspec.Struct, rename="camel"):
    """What an outline has of a stored change."""

    address: str
    action: Action
    group: str
    origin: tuple[str, int, int]
    rules: dict[str, Any]
    fields: msgspec.Raw
    causes: frozenset[Cause] = frozenset()
    risk: frozenset[Risk] = frozenset()
    moved_from: str | None = None
    blind_spots: tuple[str, ...] = ()


_body, _fields = msgspec.json.Decoder(_Body).decode, msgspec.json.Decoder(list[_Field]).decode
MOST_REMEMBERED = 1000


def _made(connection: Connection, plan: PlanRow) -> Outline:
    known = _Known()
    rows = []
    for seq, digest, packed in change_bodies(connection, plan.row):
        body = _body(packed)
        name = body.group.rpartition("/")[2]
        said = reads(name, body.address, body.action, body.risk, body.causes, known.fields(bytes(body.fields)), body.blind_spots)
        rows.append(
            Row(
                seq=seq,
                address=body.address,
                digest=digest,
                group=known.one(body.group),
                tenant=known.one(body.rules["tenant"]),
                action=body.action,
                causes=known.one(body.causes),
                risk=known.one(body.risk),
                moved_from=body.moved_from,
                path=known.one(body.origin[0]),
                said=known.number(said),
            )
        )
    return Outline(plan=plan, head=head_of(plan_body(connection, plan.row)), rows=tuple(rows))


class _Known:
    """What is equal stands in memory once."""

    def __init__(self) -> None:
        self._same: dict[Any, Any] = {}
        self._said: dict[object, int] = {}
        self._fields: dict[bytes, object] = {}

    def one(self, value: T) -> T:
        found: T = self._same.setdefault(value, value)
        return found

    def number(self, said: object) -> int:
        return self._said.setdefault(said, len(self._said))

    def fields(self, packed: bytes) -> object:
        """What fields read as. Very many that all differ are not remembered."""
        found = self._fields.get(packed)
        if found is None:
            if len(self._fields) >= MOST_REMEMBERED:
                self._fields.clear()
            found = self._fields[packed] = tuple(item.said for item in _fields(packed))
        return found


class _Head(msgspec.Struct, rename="camel"):
    """What a list has of a stored plan."""

    scope: str = ""
    base: str | None = None
    counts: list[tuple[str, str, int]] | None = None
    deferred: list["_Deferred"] = []


class _Deferred(msgspec.Struct):
    address: str
    group: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a list tells of a plan: by tenant how many changes of each action, and what is put off (`deferred`)."""

    scope: str
    base: str | None
    numbers: Mapping[str, Mapping[str, int]]


_summaries: Kept[Summary] = Kept(5_000)


def summary(connection: Connection, plan: PlanRow) -> Summary:
    """The summary of a plan."""
    return _summaries.get((plan.id, plan.created_at, plan.commit, plan.location, plan.row), lambda: _summed(connection, plan))


def _summed(connection: Connection, plan: PlanRow) -> Summary:
    head = msgspec.json.decode(plan_body(connection, plan.row), type=_Head)
    counts = head.counts
    if counts is None:  # stored by an Octofleet that did not count
        counts = [(row.tenant, row.action.value, 1) for row in outline(connection, plan).rows]
    numbers: dict[str, dict[str, int]] = {}
    for tenant, what, number in [*counts, *((tenant_at(item.address), "deferred", 1) for item in head.deferred)]:
        of = numbers.setdefault(tenant, {})
        of[what] = of.get(what, 0) + number
    return Summary(scope=head.scope, base=head.base, numbers=numbers)
