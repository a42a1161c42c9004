"""What is known of the resources that a plan is about, put together for `plan.decide`. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from reconciler.drivers.driver import Target
from reconciler.plan.decide import Case
from reconciler.types.kind import Kind
from reconciler.types.observation import Absent, Observation, Present, Proposed
from reconciler.types.plan import Deferred
from reconciler.types.resource import Recorded, Resource, parts
from reconciler.types.values import Spec


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of the resources of a plan."""

    resources: Mapping[str, Resource]
    base: Mapping[str, Resource]
    base_known: bool
    recorded: Mapping[str, Recorded]
    specs: Mapping[str, Spec]
    source: str

    @cached_property
    def moves(self) -> dict[str, str]:
        """New address to old, of every resource that is recorded where its manifest says it comes from."""
        found = {}
        for new, resource in self.resources.items():
            old = resource.moved_from
            if old and new not in self.recorded and old in self.recorded and old not in self.resources and self.mine(old):
                found[new] = old
        return found

    def old(self, where: str) -> str:
        """Where the resource is recorded."""
        return self.moves.get(where, where)

    def mine(self, where: str) -> bool:
        """Whether no other source owns it."""
        return where not in self.recorded or self.recorded[where].source == self.source

    def owned_elsewhere(self, addresses: Iterable[str]) -> tuple[Deferred, ...]:
        """Deferrals for what another source owns."""
        return tuple(
            Deferred(
                address=a,
                code="owned-elsewhere",
                reason=f"it belongs to the Fleet {self.recorded[a].source}, which has to forget it first",
                group=self.recorded[a].group,
            )
            for a in addresses
            if not self.mine(a)
        )

    def target(self, where: str) -> Target:
        """What to look at: for a move the old address, with what will be there."""
        old = self.old(where)
        recorded = self.recorded.get(old)
        return Target(
            address=old,
            desired=self.resources.get(where),
            recorded=recorded,
            recorded_spec=self.specs.get(recorded.digest) if recorded else None,
        )

    def differs(self, where: str) -> bool:
        """Whether desired is not what is recorded."""
        resource, record = self.resources.get(where), self.recorded.get(where)
        return resource is None or record is None or record.digest != resource.digest

    def settled(self, where: str, found: Observation) -> bool:
        """Whether the observation is as recorded."""
        record = self.recorded.get(where)
        if record is None:
            return isinstance(found, Absent)
        if isinstance(found, Proposed):
            return not found.fields
        return isinstance(found, Present) and found.digest == record.digest

    def case(self, where: str, kinds: Mapping[tuple[str, str], Kind], seen: Observation | None, removal: tuple[str, str] | None) -> Case:
        """Everything that is known of one resource."""
        recorded = self.recorded.get(self.old(where))
        driver, kind, *_ = parts(where)
        return Case(
            address=where,
            kind=kinds[driver, kind],
            observation=seen,
            desired=self.resources.get(where),
            base=self.base.get(where) or self.base.get(self.old(where)),
            base_known=self.base_known,
            recorded=recorded,
            recorded_spec=self.specs.get(recorded.digest) if recorded else None,
            removal=removal,
        )
