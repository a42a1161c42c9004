"""From a commit to a stored plan: reads the repository, compiles, compares by digest, observes what differs, and lets `plan` decide.

The edge around the pure core. Resources that are as recorded and were last seen so are never loaded.
"""

import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeVar

from reconciler import wal
from reconciler.comparing import Fingerprint, count_made, fingerprint
from reconciler.comparing import resources as made
from reconciler.desired.desired import Desired
from reconciler.drivers.driver import Target
from reconciler.errors import InputError, Permanent, Refused
from reconciler.facts import Facts
from reconciler.gate.policy import Policies, Who
from reconciler.gate.rollout import RolledOut, is_rolled_out, phases
from reconciler.identity.local import whoami
from reconciler.index.file import Damaged, Index, cannot_use, is_of_the_disk
from reconciler.observe import observe
from reconciler.plan.build import Frame, build
from reconciler.plan.guard import GuardRules
from reconciler.scope import in_scope
from reconciler.source.repository import WORKING_COPY, Commit, Repository
from reconciler.stages import count, stage
from reconciler.store.backoff import Backoff, backing_off
from reconciler.store.engine import Connection
from reconciler.store.observations import (
    load_observations,
    oldest,
    open_addresses,
    open_groups,
    save_observations,
    seen_longest_ago,
    unseen,
)
from reconciler.store.plans import same_plan, save_plan
from reconciler.store.records import (
    Counts,
    fleet_in_force,
    in_force,
    load_records,
    load_specs,
    recorded_groups,
    records_of,
    rollouts,
    save_specs,
)
from reconciler.tracking import CommitTree, Told, Tracked, Tracker
from reconciler.types.change import Cause, Change
from reconciler.types.duration import seconds_of
from reconciler.types.observation import Observation, Proposed
from reconciler.types.origin import Origin
from reconciler.types.plan import Deferred, GuardVerdict, Plan
from reconciler.types.resource import Recorded, Resource, parts
from reconciler.types.values import Spec
from reconciler.wiring import Installation, place

T = TypeVar("T")
DEFAULT_EXPIRY_S = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to plan. `refresh`: observe everything in scope, not only what differs. `accept_history`: go on although history was rewritten.
    `causes`: leave out changes that have none of these. `oldest`: observe so many of those that were seen longest ago too. `unattended`: nobody looks on,
    so leave alone what is for people (the Fleet's `reportOnly`), and for a while what has failed. `reported`: leave alone what has only these causes.
    `own`: the base is a followed branch, so that only a Fleet that nobody applies, or that is applied from there, is planned: a pull request names no other.
    `look`: false for a commit that is not trusted: nothing is observed, and what an engine would have to foresee is put off."""

    rev: str | None = None
    base: str | None = None
    scope: str = ""
    refresh: bool = False
    accept_history: bool = False
    causes: frozenset[Cause] | None = None
    oldest: int = 0
    unattended: bool = False
    reported: frozenset[Cause] = frozenset()
    own: bool = False
    look: bool = True


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A stored plan: its row, what it was made from, and where its values come from."""

    plan: Plan
    row: int
    desired: Desired
    commit: Commit
    targets: Mapping[str, Target] = field(default_factory=dict)
    make: Callable[[Change], Target] = lambda change: Target(address=change.address)

    def target(self, change: Change) -> Target:
        """What a change is about."""
        return self.targets.get(change.address) or self.make(change)


def compiled(installation: Installation, repository: Repository, commit: Commit, told: Told = lambda stage, done, total: None) -> Desired:
    """What a commit wants."""
    return _with_index(installation, repository, lambda index: _tracker(installation, repository, index, told).track(commit).desired)


def _tracker(installation: Installation, repository: Repository, index: Index, told: Told) -> Tracker:
    return Tracker(installation=installation, repository=repository, index=index, told=told)


def _with_index(installation: Installation, repository: Repository, work: Callable[[Index], T]) -> T:
    """Do some work with the repository's index; once more with a new one when it turns out to be damaged."""
    index = installation.index(repository)
    try:
        return work(index)
    except sqlite3.OperationalError as error:
        if wal.is_busy(error):
            return work(Index(None, installation.checked_by))  # another process makes it, and takes long
        if is_of_the_disk(error):
            raise cannot_use(index, error) from error
        why = str(error)
    except (Damaged, sqlite3.DatabaseError, *_OF_A_DAMAGED_ROW) as error:
        why = f"{type(error).__name__}: {error}"
    index.reset(why)
    index.fresh()
    return work(index)


_OF_A_DAMAGED_ROW = (AttributeError, LookupError, TypeError, ValueError)
"""What a value of the index that is not of its type may lead to. A mistake of ours that raises one of these raises it again without the index."""


def make_plan(
    installation: Installation,
    repository: Repository,
    request: Request,
    told: Told = lambda stage, done, total: None,
    commit: Commit | None = None,
) -> Planned:
    """Plan, store, and give the plan. Raises `InputError` without a Fleet, `Refused` for rewritten history or dependencies in a circle.

    `commit` stands for one that no revision names: the working copy.
    """
    commit = commit or repository.commit(request.rev)
    return _with_index(installation, repository, lambda index: _made(installation, repository, index, request, told, commit))


def _made(installation: Installation, repository: Repository, index: Index, request: Request, told: Told, commit: Commit) -> Planned:
    tracker = _tracker(installation, repository, index, told)
    narrowed = request.scope or request.refresh or request.causes is not None
    base = repository.commit(request.base) if request.base is not None else None
    tracked = tracker.track(commit, bulk=not narrowed, base=base)
    if tracked.desired.fleet is None:
        raise InputError(tracked.desired.problems)
    source = tracked.desired.fleet.name
    if request.own and base is not None:
        _check_own(repository, source, tracked.applied, base)
    verdicts = _history(repository, source, tracked.applied, commit, request)
    planning = _Planning(
        installation=installation,
        repository=repository,
        tracker=tracker,
        tracked=tracked,
        source=source,
        commit=commit,
        base=_base(repository, request, tracked.applied),
        request=request,
        verdicts=verdicts,
    )
    return planning.go(told)


def _history(
    repository: Repository, source: str, applied: tuple[str, str] | None, commit: Commit, request: Request
) -> tuple[GuardVerdict, ...]:
    """What the histories say against applying. With a base (a pull request's branch) they forbid applying alone, without one planning too."""
    if commit.id.startswith(WORKING_COPY):
        message = "the working copy is not a commit"
        return (GuardVerdict(guard="working-copy", refuses=True, message=message, hint="commit the changes, then plan without --watch"),)
    try:
        if applied is not None:
            check_history(repository, source, applied, commit, request)
    except Refused as error:
        if request.base is None:
            raise
        return (GuardVerdict(guard="history", refuses=True, message=error.message, hint=error.hint),)
    return ()


def _check_own(repository: Repository, source: str, applied: tuple[str, str] | None, base: Commit) -> None:
    """Raises `Refused` for a Fleet that is applied from another repository, as far as the base does not hold what was applied: then this one has moved."""
    if applied is None or applied[1] == place(repository):
        return
    if not has_commit(repository, applied[0]) or not repository.is_ancestor(applied[0], base.id):
        message = f"the Fleet {source} is applied from another repository"
        raise Refused(message, hint="give this Fleet another name", code="fleet-elsewhere")


def check_history(repository: Repository, source: str, applied: tuple[str, str], commit: Commit, request: Request) -> None:
    """The commit must come after the one applied last, or be named explicitly and come before it. Raises `Refused`."""
    before, location = applied
    if request.accept_history:
        return
    if has_commit(repository, before):
        if repository.is_ancestor(before, commit.id):
            return
        if request.rev is not None and repository.is_ancestor(commit.id, before):
            return
    raise Refused(
        f"the Fleet {source} was last applied at commit {before[:12]} of {location}, and {commit.id[:12]} of {repository.location} does not come after it",
        hint="was the branch force-pushed, or is this another repository whose Fleet has the same name? "
        "Check, then go on with --accept-history, or rename this Fleet",
        code="history-rewritten",
    )


def _base(repository: Repository, request: Request, applied: tuple[str, str] | None) -> Commit | None:
    if request.base is not None:
        return repository.commit(request.base)
    if applied is None or not has_commit(repository, applied[0]):
        return None
    return repository.commit(applied[0])


def has_commit(repository: Repository, commit: str) -> bool:
    """Whether the repository still has it."""
    try:
        repository.commit(commit)
    except Permanent:
        return False
    return True


@dataclass(frozen=True, kw_only=True)
class _Planning:
    installation: Installation
    repository: Repository
    tracker: Tracker
    tracked: Tracked
    source: str
    commit: Commit
    base: Commit | None
    request: Request
    verdicts: tuple[GuardVerdict, ...] = ()

    @property
    def desired(self) -> Desired:
        return self.tracked.desired

    @cached_property
    def oldest(self) -> Mapping[str, str]:
        """Groups of the addresses that were seen longest ago, as many as are asked for."""
        if not self.request.oldest:
            return {}
        with self.installation.store.read() as connection:
            return seen_longest_ago(connection, self.source, self.request.oldest)

    def go(self, told: Told) -> Planned:
        with stage("resources"):
            groups = self._groups()
            resources = {r.address: r for r in self._resources(self.desired, self.tracked.tree, groups)}
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
        asked = [
            t for a, t in targets.items() if a not in known or a in wanted or self.request.refresh or facts.differs(a) or a in self.oldest
        ]
        if not self.request.look:
            asked, known = [], {a: seen for a, seen in known.items() if not (isinstance(seen, Proposed) and facts.differs(a))}
        with stage("observe"):
            seen = self._observe(asked, told)
        with stage("decide"):
            renamed = {old: new for new, old in facts.moves.items()}
            observations = known | {renamed.get(a, a): item for a, item in seen.items()}
            orphans = _orphaned(sorted(concerned.difference(addresses)), index)
            decided = [change for change in self.tracked.decided if change.group not in groups]
            plan = self._plan(facts, addresses, observations, orphans, decided)
        with stage("store"):
            return self._stored(plan, facts, seen, targets)

    def _concerned(
        self, connection: Connection, wanted: set[str], resources: Mapping[str, Resource], index: Mapping[str, object]
    ) -> set[str]:
        """The addresses to decide about: what may differ, and what would be void with it. The rest is as recorded and was last seen so."""
        if self.request.refresh:
            return {*resources, *index}
        wanted = wanted | self.oldest.keys()
        dependents = {a for a, resource in resources.items() if any(item.lifetime for item in resource.rules.depends_on)}
        rest = sorted({*resources, *index} - wanted - dependents)
        return (wanted & {*resources, *index}) | dependents | unseen(connection, rest)

    def _groups(self) -> set[str]:
        """The groups that the plan has to look into."""
        groups = set(self.tracked.open)
        with self.installation.store.read() as connection:
            groups |= open_groups(connection, self.source)
            groups.update(self.oldest.values())
            if self.request.refresh:
                groups.update(recorded_groups(connection, self.source))
                groups.update(self.desired.hosts)
                groups.update(self.desired.whole())
        return groups

    def _resources(self, desired: Desired, tree: CommitTree, groups: set[str]) -> Iterator[Resource]:
        for scope in desired.scopes(groups):
            yield from (resource for resource in made(self.installation.drivers, scope, tree) if resource.group in groups)

    def _base_resources(self, groups: set[str], recorded: Mapping[str, Recorded], specs: Mapping[str, Spec]) -> dict[str, Resource]:
        """What the base wants of some groups. Where the base is what the index has compiled, and a group is as recorded in it, the record tells."""
        if self.base is None or not groups:
            return {}
        same = self.base.tree == self.tracked.compiled
        asked = {group for group in groups if not same or group in self.tracked.pending or group not in self.desired.hosts}
        known = {a: _as_recorded(record, specs) for a, record in recorded.items() if record.group not in asked and record.digest in specs}
        if not asked:
            return known
        desired = self.desired if self.base.tree == self.commit.tree else self.tracker.view(self.base.tree)
        tree = CommitTree.of(self.repository, self.base.tree)
        return known | {resource.address: resource for resource in self._resources(desired, tree, asked)}

    def _check_scope(self) -> None:
        """A scope that takes in nothing is a mistake, not a fleet without changes."""
        if not self.request.scope:
            return
        with self.installation.store.read() as connection:
            recorded = recorded_groups(connection, self.source)
            groups = {*self.desired.hosts, *self.desired.whole(), *recorded}
            index = _by_address(records_of(connection, self.source, sorted(groups)))
        everything = (resource.address for resource in self._resources(self.desired, self.tracked.tree, groups))
        if not self._in_scope([*groups, *index]) and not self._in_scope(everything):
            raise Refused(
                f"nothing is in the scope {self.request.scope}",
                hint="host/TENANT/NAME, tenant/NAME or driver/kind/tenant/name, with * and ?",
                code="scope",
            )

    def _in_scope(self, addresses: Iterable[str]) -> set[str]:
        return {a for a in addresses if in_scope(a, self.request.scope)}

    def _observe(self, targets: Sequence[Target], told: Told) -> dict[str, Observation]:
        done = 0

        def more(number: int) -> None:
            nonlocal done
            done += number
            told("observe", done, len(targets))

        if not targets:
            return {}
        count("resources_observed", len(targets))
        with self.installation.contexts(self.repository) as context:
            return observe(self.installation.drivers, targets, context, more)

    def _plan(
        self,
        facts: Facts,
        addresses: Sequence[str],
        observations: Mapping[str, Observation],
        orphans: tuple[Deferred, ...],
        decided: Sequence[Change],
    ) -> Plan:
        removal = None if self.desired.sound else ("deletes-stopped", "a document of this commit has problems, so nothing is deleted")
        moved = set(facts.moves.values())
        cases = (
            facts.case(a, self.installation.kinds, observations.get(a), self._removal(a, facts, removal))
            for a in addresses
            if facts.mine(a) and a not in moved
        )
        with self.installation.store.read() as connection:
            deferred = facts.owned_elsewhere(addresses) + tuple(self._blocked(facts)) + orphans
            fleet = fleet_in_force(connection, self.source)
            alone = self._left_alone(connection, fleet, [*addresses, *(change.address for change in decided)])
            plan = build(self._frame(connection, deferred, fleet, alone), cases, decided)
            return replace(plan, phases=phases(self._rolled_out(connection, plan)))

    def _rolled_out(self, connection: Connection, plan: Plan) -> Iterator[RolledOut]:
        """The hosts that something changes for in the world and that have a rollout on record, which is the one in force. A host that is new has none."""
        groups = {change.group for change in plan.changes if is_rolled_out(change)}
        for group, spec in sorted(rollouts(connection, self.source, sorted(groups)).items()):
            _, tenant, _ = group.split("/", 2)
            yield RolledOut(group=group, tenant=tenant, labels=spec.get("labels", {}), rollout=spec["rollout"])

    def _left_alone(self, connection: Connection, fleet: Spec, addresses: Sequence[str]) -> dict[str, tuple[str, str]]:
        """What a plan that nobody looks on leaves to people, or to time."""
        if not self.request.unattended:
            return {}
        found = {item.address: ("backing-off", _backing_off(item)) for item in backing_off(connection)}
        for pattern in fleet.get("reportOnly", ()):
            reason = f"the Fleet's reportOnly ({pattern}) leaves it to a person: octofleet apply"
            found.update((a, ("report-only", reason)) for a in addresses if in_scope(a, pattern))
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
            problems=self.desired.problems,
            observed_from=oldest(connection, self.source),
            causes=self.request.causes,
            verdicts=self.verdicts,
            deferred=deferred,
            left_alone=alone,
            reported=self.request.reported,
            policies=self._policies(in_force(connection, self.source, "policy"), now),
        )

    def _policies(self, specs: Mapping[str, Spec], now: float) -> Policies:
        def where(address: str, pointer: str, line: int, column: int) -> Origin | None:
            _, _, tenant, name = parts(address)
            manifest = self.desired.catalog.get(("Policy", tenant.removeprefix("-"), name))
            same = manifest is not None and manifest.spec == specs[address]
            return self.desired.inside(manifest, pointer, line, column) if manifest is not None and same else None

        who = Who(identity=whoami(), unattended=self.request.unattended)
        return Policies(specs=specs, who=who, at=now, hosts=len(self.desired.hosts), where=where)

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

    def _stored(self, plan: Plan, facts: Facts, seen: Mapping[str, Observation], targets: Mapping[str, Target]) -> Planned:
        specs = [facts.resources[c.address].spec for c in plan.changes if c.address in facts.resources]
        with self.installation.store.write() as connection:
            save_observations(connection, seen, {a: facts.settled(a, item) for a, item in seen.items()})
            save_specs(connection, specs)
            row = same_plan(connection, plan) if self.request.unattended else None
            row = row or save_plan(connection, plan, place(self.repository))
        touched = {change.address: targets[change.address] for change in plan.changes if change.address in targets}
        return Planned(plan=plan, row=row, desired=self.desired, commit=self.commit, targets=touched, make=self._make)

    def _make(self, change: Change) -> Target:
        """The target of a change that was decided in bulk."""
        found = (r for r in self._resources(self.desired, self.tracked.tree, {change.group}) if r.address == change.address)
        return Target(address=change.address, desired=next(found, None))


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


def _backing_off(item: Backoff) -> str:
    when, times = time.strftime("%H:%M:%S", time.localtime(item.until)), "once" if item.failures == 1 else f"{item.failures} times in a row"
    return f"it failed {times}, and is tried again after {when}: {item.reason}"


def expiry_s(desired: Desired) -> float:
    """How long a plan of this Fleet lives, in seconds."""
    text = desired.fleet.spec.get("planExpiry") if desired.fleet else None
    return seconds_of(text) if text else DEFAULT_EXPIRY_S
