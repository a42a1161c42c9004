"""From what is known to a plan: what is true of the plan as a whole, by the rules in force, for `plan.build`, and the phases of its rollouts.

The edge around `plan`: it reads the record, and writes nothing.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from reconciler.desired.desired import Desired
from reconciler.facts import Facts
from reconciler.gate.policy import Policies, Who
from reconciler.gate.rollout import RolledOut, is_rolled_out, phases
from reconciler.gathering import Gathered
from reconciler.identity.access import MAPPING, Access, has_ruler, mappings
from reconciler.identity.local import me, whoami
from reconciler.plan.build import Frame, build
from reconciler.plan.guard import GuardRules
from reconciler.scope import in_scope
from reconciler.source.repository import Commit
from reconciler.store.backoff import Backoff, backing_off
from reconciler.store.engine import Connection
from reconciler.store.observations import oldest
from reconciler.store.records import Counts, applied_commit, fleet_in_force, in_force, rollouts
from reconciler.types.change import Action, Change
from reconciler.types.duration import seconds_of
from reconciler.types.observation import Observation
from reconciler.types.origin import Origin
from reconciler.types.plan import Deferred, GuardVerdict, Plan
from reconciler.types.problem import Problem
from reconciler.types.request import Request
from reconciler.types.resource import Resource, parts, tenant_of
from reconciler.types.values import Spec
from reconciler.wiring import Installation

DEFAULT_EXPIRY_S = 24 * 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Doing:
    """Changes that somebody or a schedule asks for, and no manifest's state. `rollout`: in which parts, in place of each host's own."""

    changes: Sequence[Change]
    deferred: tuple[Deferred, ...]
    rollout: Spec | None


@dataclass(frozen=True, kw_only=True)
class Deciding:
    """See the module. `source`: the Fleet's name; `base`: the commit that causes are told against; `verdicts`: of guards that are not about changes;
    `warnings`: what else the plan tells of the commit."""

    installation: Installation
    desired: Desired
    source: str
    commit: Commit
    base: Commit | None
    request: Request
    verdicts: tuple[GuardVerdict, ...] = ()
    warnings: Sequence[Problem] = ()

    def plan(self, found: Gathered, observations: Mapping[str, Observation], decided: Sequence[Change]) -> Plan:
        """The plan. `decided`: changes that need no further look. Raises `Refused` for dependencies in a circle."""
        facts, kinds = found.facts, self.installation.kinds
        removal = None if self.desired.sound else ("deletes-stopped", "a document of this commit has problems, so nothing is deleted")
        moved = set(facts.moves.values())
        cases = (
            facts.case(a, kinds, observations.get(a), self._removal(a, facts, removal))
            for a in found.addresses
            if facts.mine(a) and a not in moved
        )
        with self.installation.store.read() as connection:
            deferred = facts.owned_elsewhere(found.addresses) + tuple(self._blocked(facts)) + found.orphans
            fleet = fleet_in_force(connection, self.source)
            alone = self._left_alone(
                connection, fleet, {a: facts.old(a) for a in (*found.addresses, *(change.address for change in decided))}
            )
            alone |= self._locking_out(connection, facts, found.addresses)
            plan = build(self._frame(connection, deferred, fleet, alone), cases, decided)
            return replace(plan, phases=phases(self._rolled_out(connection, plan, facts.resources)))

    def doing(self, doing: Doing) -> Plan:
        """The plan of an operation."""
        with self.installation.store.read() as connection:
            fleet = fleet_in_force(connection, self.source)
            alone = self._left_alone(connection, fleet, {change.address: change.address for change in doing.changes})
            plan = build(self._frame(connection, doing.deferred, fleet, alone), (), doing.changes)
            return replace(plan, phases=phases(self._done_in_parts(connection, plan, doing.rollout)))

    def _done_in_parts(self, connection: Connection, plan: Plan, rollout: Spec | None) -> Iterator[RolledOut]:
        """Each host with the operation's rollout, or its own on record. A commit is not taken back because an operation failed, and check mode does not tell
        whether it went well: no `onStop`, no `health`."""
        groups = sorted({change.group for change in plan.changes})
        own = {} if rollout is not None else rollouts(connection, self.source, groups)
        for group in groups:
            host = self.desired.hosts[group]
            said = rollout if rollout is not None else own.get(group, {}).get("rollout")
            left = {name: value for name, value in (said or {}).items() if name not in ("health", "onStop")}
            yield RolledOut(group=group, tenant=host.tenant, labels=host.labels, rollout=left)

    def _rolled_out(self, connection: Connection, plan: Plan, resources: Mapping[str, Resource]) -> Iterator[RolledOut]:
        """The hosts that something changes for in the world and that have a rollout: the one on record, which is the one in force, of a host that moves where
        it was; a host that comes to a fleet that was applied before has none there, and goes by its own."""
        rolled = [change for change in plan.changes if is_rolled_out(change)]
        was = {change.group: change.group for change in rolled} | {
            change.group: change.places[1][1] for change in rolled if change.moved_from
        }
        known = rollouts(connection, self.source, sorted(set(was.values())))
        recorded = {group: known[old] for group, old in was.items() if old in known}
        new: dict[str, Spec] = {}
        fresh = {c.group for c in plan.changes if c.action is Action.CREATE and c.address.startswith("fleet/host/")} & was.keys()
        if fresh and applied_commit(connection, self.source) is not None:
            for group in fresh:
                resource = resources.get(f"fleet/rollout/{group.removeprefix('host/')}")
                new |= {group: resource.spec} if resource is not None else {}
        for group, spec in sorted((new | recorded).items()):
            _, tenant, _ = group.split("/", 2)
            yield RolledOut(group=group, tenant=tenant, labels=spec.get("labels", {}), rollout=spec["rollout"], new=group not in recorded)

    def _left_alone(self, connection: Connection, fleet: Spec, places: Mapping[str, str]) -> dict[str, tuple[str, str]]:
        """What a plan that nobody looks on leaves to people, or to time. `places`: addresses, and where each is recorded."""
        if not self.request.unattended:
            return {}
        found = {item.address: ("backing-off", _backing_off(item)) for item in backing_off(connection)}
        for pattern in fleet.get("reportOnly", ()):
            reason = f"the Fleet's reportOnly ({pattern}) leaves it to a person: octofleet apply"
            found.update((a, ("report-only", reason)) for a, old in places.items() if in_scope(a, pattern) or in_scope(old, pattern))
        return found

    def _frame(self, connection: Connection, deferred: tuple[Deferred, ...], fleet: Spec, alone: Mapping[str, tuple[str, str]]) -> Frame:
        """What is true of the whole plan. It counts records when a guard asks, so it lives as long as the connection's transaction."""
        now = time.time()
        return Frame(
            source=self.source,
            scope=self.request.scope,
            commit=self.commit.id,
            base=self.base.id if self.base else None,
            created_at=now,
            expires_at=now + expiry_s(self.desired),
            kinds=self.installation.kinds,
            rules=GuardRules.of(fleet),
            counts=Counts(connection, self.source),
            hosts=len(self.desired.hosts),
            problems=(*self.desired.problems, *self.warnings),
            observed_from=oldest(connection, self.source),
            causes=self.request.causes,
            verdicts=self.verdicts,
            deferred=deferred,
            left_alone=alone,
            reported=self.request.reported,
            policies=self._policies(connection, now),
        )

    def _policies(self, connection: Connection, now: float) -> Policies:
        specs = in_force(connection, self.source, "policy")
        access = Access(fleets={self.source: mappings(in_force(connection, self.source, MAPPING))} if specs else {})

        def where(address: str, pointer: str, line: int, column: int) -> Origin | None:
            manifest = self.desired.catalog.get(("Policy", tenant_of(address), parts(address)[3]))
            same = manifest is not None and manifest.spec == specs[address]
            return self.desired.inside(manifest, pointer, line, column) if manifest is not None and same else None

        who = Who(identity=whoami(), unattended=self.request.unattended, roles=partial(access.roles, me(), self.source))
        return Policies(specs=specs, who=who, at=now, hosts=len(self.desired.hosts), where=where)

    def _locking_out(self, connection: Connection, facts: Facts, addresses: Sequence[str]) -> dict[str, tuple[str, str]]:
        """The RoleMappings in scope, if nobody would be super-admin after them: only somebody on the machine could change that again."""
        mine = [where for where in addresses if parts(where)[:2] == ("fleet", MAPPING)]
        after = in_force(connection, self.source, MAPPING) if mine else {}
        for where in mine:
            after.pop(where, None)
            if where in facts.resources:
                after[where] = facts.resources[where].spec
        if not after or any(has_ruler(spec) for where, spec in after.items() if not tenant_of(where)):
            return {}
        return dict.fromkeys(mine, ("access-lockout", "no RoleMapping without tenant would name a super-admin"))

    def _removal(self, where: str, facts: Facts, stopped: tuple[str, str] | None) -> tuple[str, str] | None:
        record = facts.recorded.get(where)
        if record is not None and record.group in self.desired.blocked:
            return "desired-unknown", self.desired.blocked[record.group]
        return stopped

    def _blocked(self, facts: Facts) -> Iterator[Deferred]:
        known = {record.group for record in facts.recorded.values()}
        for group, reason in self.desired.blocked.items():
            if group not in known and in_scope(group, self.request.scope):
                yield Deferred(address=group, code="desired-unknown", reason=reason, group=group)


def _backing_off(item: Backoff) -> str:
    when, times = time.strftime("%H:%M:%S", time.localtime(item.until)), "once" if item.failures == 1 else f"{item.failures} times in a row"
    return f"it failed {times}, and is tried again after {when}: {item.reason}"


def expiry_s(desired: Desired) -> float:
    """How long a plan of this Fleet lives, in seconds."""
    text = desired.fleet.spec.get("planExpiry") if desired.fleet else None
    return seconds_of(text) if text else DEFAULT_EXPIRY_S
