"""One plan as far as a caller sees it: what a list tells of it, and which of its changes there are for him."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from reconciler.beginning import check_digits
from reconciler.errors import Refused
from reconciler.reading.call import Call
from reconciler.reading.outline import Choice, Fold, Outline, outline, summary, tenant_at
from reconciler.reading.paging import Document
from reconciler.store.engine import Connection
from reconciler.store.outlines import Kind
from reconciler.store.plans import PlanRow, plan_rows
from reconciler.types.change import Action
from reconciler.types.plan import Deferred

LISTED = "; /plans lists those that you may see"


class PlanDocument(Document, frozen=True, kw_only=True):
    """A plan in numbers: `changes` by action and `deferred`, of what the caller sees. `whole`: he sees all of it; else `scope` is not told."""

    plan: str
    source: str
    scope: str
    commit: str
    base: str | None
    created_at: float
    expires_at: float
    applyable: bool
    changes: dict[str, int]
    deferred: int
    whole: bool


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A plan as far as a caller sees it: `choice` says which of its changes there are for him, `numbers` which places of the plan these have."""

    call: Call
    outline: Outline

    @property
    def plan(self) -> PlanRow:
        """Which one."""
        return self.outline.plan

    @cached_property
    def of_fleet(self) -> bool:
        """Whether he sees all of the Fleet."""
        return self.call.sight.whole(self.plan.source)

    @cached_property
    def whole(self) -> bool:
        """Whether he sees all of the plan."""
        return self.of_fleet or (bool(self.outline.tenants) and all(self.tenant(tenant) for tenant in self.outline.tenants))

    @cached_property
    def choice(self) -> Choice:
        """Of the changes that he sees."""
        sight, source, kinds = self.call.sight, self.plan.source, self.outline.columns.kinds
        if self.whole:
            return Choice(kinds=[True] * len(kinds))
        some = {tenant: sight.some_of(source, tenant) for tenant in {kind.tenant for kind in kinds}}
        parts = any(seen and not self.tenant(tenant) for tenant, seen in some.items())
        manifest = (lambda tenant, group: sight.sees(source, tenant, group)) if parts else None
        return Choice(kinds=[some[kind.tenant] for kind in kinds], manifest=manifest)

    @cached_property
    def numbers(self) -> Sequence[int]:
        """The changes that he sees."""
        return self.outline.numbers(self.choice)

    @cached_property
    def counted(self) -> list[tuple[Kind, int]]:
        """How many he sees of each kind."""
        return self.outline.counted(self.choice)

    @cached_property
    def folds(self) -> list[Fold]:
        """The same, those that read the same together."""
        return self.outline.folds(self.choice)

    @cached_property
    def deferred(self) -> Sequence[Deferred]:
        """What he sees of what is put off."""
        found = self.outline.head.deferred
        return found if self.whole else tuple(item for item in found if self.address(item.address))

    def tenant(self, tenant: str) -> bool:
        """Whether he sees all of a tenant."""
        return self.call.sight.of_tenant(self.plan.source, tenant)

    def address(self, where: str) -> bool:
        """Whether he sees an address."""
        return self.whole or self.call.sight.address(self.plan.source, where)


def found(connection: Connection, call: Call) -> Seen:
    """The plan that the path names by its id or the beginning of it; of one that was made several times, the newest. Raises `Refused`."""
    prefix = call.path["plan"]
    check_digits(prefix, LISTED)
    newest: dict[str, PlanRow] = {}
    for row in plan_rows(connection, prefix):
        newest.setdefault(row.id, row)
    seen = [row for row in list(newest.values())[:20] if summed(connection, call, row) is not None]
    if not seen:
        raise Refused(f"there is no plan {prefix}", hint="octofleet plan makes one and prints its id", code="no-plan")
    if len(seen) > 1:
        raise Refused(f"{prefix} is the beginning of more than one plan id", hint=f"give more of the id{LISTED}", code="ambiguous-plan")
    return Seen(call=call, outline=outline(connection, seen[0]))


def summed(connection: Connection, call: Call, one: PlanRow) -> PlanDocument | None:
    """What of a plan a list shows; None for nothing."""
    known, sight = summary(connection, one), call.sight
    whole = sight.whole(one.source) or (bool(known.numbers) and all(sight.of_tenant(one.source, tenant) for tenant in known.numbers))
    numbers = Counter[str]()
    for tenant, counts in known.numbers.items():
        if whole or sight.of_tenant(one.source, tenant):
            numbers.update(counts)
        elif sight.some_of(one.source, tenant):
            numbers.update(_of_scopes(Seen(call=call, outline=outline(connection, one)), tenant))
    if not whole and not numbers:
        return None
    return PlanDocument(
        plan=one.id,
        source=one.source,
        scope=known.scope if whole else "",
        commit=one.commit,
        base=known.base,
        created_at=one.created_at,
        expires_at=one.expires_at,
        applyable=one.applyable,
        changes={action.value: numbers[action.value] for action in Action if numbers[action.value]},
        deferred=numbers["deferred"],
        whole=whole,
    )


def _of_scopes(seen: Seen, tenant: str) -> Iterator[str]:
    """What a caller sees of a tenant that he sees a part of."""
    yield from (kind.action.value for kind, number in seen.counted if kind.tenant == tenant for _ in range(number))
    yield from ("deferred" for item in seen.deferred if tenant_at(item.address) == tenant)
