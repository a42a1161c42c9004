"""A stored plan in outline: every change without its fields, and what it reads as, so that pages of a large plan are folded, counted and filtered in memory.

Plans are immutable. Each process keeps the outlines that it used last, as far as they are of `MOST_KEPT` changes together; fields are read from the database,
for the changes that are shown.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, TypeVar

import msgspec

from reconciler.reading.kept import Kept
from reconciler.store.engine import Connection
from reconciler.store.outlines import Columns, Kind
from reconciler.store.plans import PlanRow, head_of, plan_body, plan_columns
from reconciler.types.plan import Plan

MOST_KEPT = 300_000
"""Changes in all outlines that are kept: some 70 MB."""
T = TypeVar("T")


Manifest = Callable[[str, str], bool]
"""Whether changes of a tenant in a manifest (`host/shop/web-01`) are meant."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Some changes of a plan: `kinds` says of each kind whether it is meant, and `manifest`, if not all are, which manifests of them."""

    kinds: Sequence[bool]
    manifest: Manifest | None = None

    def narrowed(self, kinds: Iterable[bool], manifest: Manifest | None) -> "Choice":
        """What is meant by both."""
        first, both = self.manifest, tuple(one and other for one, other in zip(self.kinds, kinds, strict=True))
        if first is None or manifest is None:
            return Choice(kinds=both, manifest=first or manifest)
        return Choice(kinds=both, manifest=lambda tenant, group: first(tenant, group) and manifest(tenant, group))


class Fold(NamedTuple):
    """Manifests whose chosen changes read the same, by number in the order of their names; `kinds` of the changes of the first."""

    groups: list[int]
    kinds: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Outline:
    """See the module. `head` is the plan without its changes."""

    plan: PlanRow
    head: Plan
    columns: Columns

    @cached_property
    def tenants(self) -> frozenset[str]:
        """Whose changes and deferrals are in it, or were there before a move."""
        moves = {where for seq, before in self.columns.moved.items() for where in (before, self.columns.addresses[seq])}
        places = moves | {item.address for item in self.head.deferred}
        return frozenset({kind.tenant for kind in self.columns.kinds} | {tenant_at(where) for where in places})

    def numbers(self, choice: Choice) -> Sequence[int]:
        """The places of the chosen changes in the plan, in its order."""
        made, kinds, manifest = self.columns, choice.kinds, choice.manifest
        if manifest is None:
            return range(len(made.kind_of)) if all(kinds) else [seq for seq, kind in enumerate(made.kind_of) if kinds[kind]]
        return [
            seq
            for seq, (kind, group) in enumerate(zip(made.kind_of, made.group_of, strict=True))
            if kinds[kind] and manifest(made.kinds[kind].tenant, made.groups[group])
        ]

    def counted(self, choice: Choice) -> list[tuple[Kind, int]]:
        """How many of the chosen changes there are of each kind."""
        made = self.columns
        numbers = Counter(made.kind_of) if choice.manifest is None else Counter(made.kind_of[seq] for seq in self.numbers(choice))
        return [(made.kinds[kind], number) for kind, number in numbers.items() if choice.kinds[kind]]

    def folds(self, choice: Choice) -> list[Fold]:
        """Manifests whose chosen changes read the same, in the order of the first of each."""
        made, manifest = self.columns, choice.manifest
        folds: dict[tuple[int, ...], Fold] = {}
        chosen = [tuple(kind for kind in shape if choice.kinds[kind]) for shape in made.shapes]
        reads = [tuple(made.kinds[kind].reads for kind in kinds) for kinds in chosen]
        for group, shape in enumerate(made.shape_of):
            kinds, key = chosen[shape], reads[shape]
            if kinds and manifest is not None:
                kinds = tuple(kind for kind in kinds if manifest(made.kinds[kind].tenant, made.groups[group]))
                key = tuple(made.kinds[kind].reads for kind in kinds)
            if not kinds:
                continue
            if (fold := folds.get(key)) is None:
                fold = folds[key] = Fold([], kinds)
            fold.groups.append(group)
        return list(folds.values())

    def changes_of(self, groups: Collection[int], choice: Choice) -> dict[int, list[int]]:
        """The places of the chosen changes of some manifests."""
        made = self.columns
        found: dict[int, list[int]] = {}
        for seq, group in enumerate(made.group_of):
            if group not in groups or not choice.kinds[kind := made.kind_of[seq]]:
                continue
            if choice.manifest is None or choice.manifest(made.kinds[kind].tenant, made.groups[group]):
                found.setdefault(group, []).append(seq)
        return found


def tenant_at(where: str) -> str:
    """The tenant of an address (`driver/kind/tenant/name`) or of what has none."""
    found = where.split("/", 3)
    return "" if len(found) < 4 or found[2] == "-" else found[2]


_outlines: Kept[Outline] = Kept(MOST_KEPT, lambda found: len(found.columns.addresses) + 100)


def outline(connection: Connection, plan: PlanRow) -> Outline:
    """The outline of a plan."""
    return _outlines.get((plan.id, plan.created_at, plan.commit, plan.location, plan.row), lambda: _made(connection, plan))


def _made(connection: Connection, plan: PlanRow) -> Outline:
    return Outline(plan=plan, head=head_of(plan_body(connection, plan.row)), columns=plan_columns(connection, plan.row))


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
        made = outline(connection, plan).columns
        counts = [(made.kinds[kind].tenant, made.kinds[kind].action.value, 1) for kind in made.kind_of]
    numbers: dict[str, dict[str, int]] = {}
    for tenant, what, number in [*counts, *((tenant_at(item.address), "deferred", 1) for item in head.deferred)]:
        of = numbers.setdefault(tenant, {})
        of[what] = of.get(what, 0) + number
    return Summary(scope=head.scope, base=head.base, numbers=numbers)
