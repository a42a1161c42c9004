"""From a commit to a stored plan: reads the repository, compiles, compares by digest, observes what differs, and lets `plan` decide.

The edge around the pure core. Resources that are as recorded and were last seen so are never loaded.
"""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property

from reconciler.desired.compile import Desired, compile_tree
from reconciler.drivers.driver import Target
from reconciler.errors import InputError, Permanent, Refused
from reconciler.observe import observe
from reconciler.plan.build import Frame, build
from reconciler.plan.decide import Case
from reconciler.plan.guard import GuardRules
from reconciler.source.mirror import is_remote
from reconciler.source.repository import WORKING_COPY, Commit, Repository
from reconciler.store.engine import Connection
from reconciler.store.observations import load_observations, oldest, open_addresses, save_observations
from reconciler.store.plans import save_plan
from reconciler.store.records import Counts, applied_commit, load_records, load_specs, record_index, save_specs
from reconciler.types.canonical import pack
from reconciler.types.change import Cause
from reconciler.types.observation import Absent, Observation, Present, Proposed
from reconciler.types.plan import Deferred, GuardVerdict, Plan
from reconciler.types.problem import Problem
from reconciler.types.resource import Recorded, Resource, address, parts
from reconciler.types.values import SecretRef, Spec
from reconciler.wiring import Installation

DEFAULT_EXPIRY_S = 24 * 3600.0


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to plan. `refresh`: observe everything in scope, not only what differs. `accept_history`: go on although history was rewritten.
    `causes`: leave out changes that have none of these."""

    rev: str | None = None
    base: str | None = None
    scope: str = ""
    refresh: bool = False
    accept_history: bool = False
    causes: frozenset[Cause] | None = None


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A stored plan: its row, what it was made from, and where its values come from."""

    plan: Plan
    row: int
    desired: Desired
    commit: Commit
    targets: Mapping[str, Target] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class CommitTree:
    """A commit's files, for `compile_tree` and for drivers' inputs."""

    repository: Repository
    tree: str
    known: dict[str, str | None] = field(default_factory=dict)

    def files(self) -> Iterator[tuple[str, str, Problem | None]]:
        """Path and blob id of every manifest, with the reason why it must not be read."""
        return ((file.path, file.blob, file.problem) for file in self.repository.files(self.tree))

    def blob(self, blob: str) -> bytes:
        """The bytes of a blob."""
        return self.repository.blob(blob)

    def content(self, path: str) -> str | None:
        """The object id at a path; looked up once."""
        if path not in self.known:
            entry = self.repository.entry(self.tree, path)
            self.known[path] = entry[1] if entry else None
        return self.known[path]


Told = Callable[[str, int, int], None]
"""Hears of progress: stage, done, total."""


def compiled(installation: Installation, repository: Repository, commit: Commit) -> Desired:
    """What a commit wants. Each secret is read once."""
    tokens: dict[tuple[SecretRef, str], str] = {}

    def token(ref: SecretRef, tenant: str) -> str:
        if (ref, tenant) not in tokens:
            tokens[ref, tenant] = installation.token(ref, tenant)
        return tokens[ref, tenant]

    return compile_tree(CommitTree(repository=repository, tree=commit.tree), installation.contract, token)


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
    desired = compiled(installation, repository, commit)
    if desired.fleet is None:
        raise InputError(desired.problems)
    source = desired.fleet.name
    with installation.store.read() as connection:
        applied = applied_commit(connection, source)
    verdicts = _history(repository, source, applied, commit, request)
    base = _base(repository, request, applied)
    told("compile", 1, 1)
    planning = _Planning(
        installation=installation,
        repository=repository,
        desired=desired,
        source=source,
        commit=commit,
        base=base,
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
    desired: Desired
    source: str
    commit: Commit
    base: Commit | None
    request: Request
    verdicts: tuple[GuardVerdict, ...] = ()

    def go(self, told: Told) -> Planned:
        with self.installation.store.read() as connection:
            index = record_index(connection, self.source)
            unsettled = set(open_addresses(connection, self.source))
        wanted, groups = self._differing(index, unsettled)
        resources = {r.address: r for r in self._resources(self.desired, groups)}
        base = self._base_resources(groups)
        concerned = self._in_scope({*resources, *(a for a in index if index[a][1] in groups)})
        self._check_scope(index)
        addresses = sorted(a for a in concerned if parts(a)[:2] in self.installation.kinds)
        orphans = sorted(concerned.difference(addresses))
        with self.installation.store.read() as connection:
            recorded = load_records(connection, sorted({*addresses, *_old(resources.values())}))
            specs = load_specs(connection, (item.digest for item in recorded.values()))
            known = load_observations(connection, addresses)
        facts = _Facts(resources=resources, base=base, base_known=self.base is not None, recorded=recorded, specs=specs, source=self.source)
        left = set(facts.moves.values())
        targets = {a: facts.target(a) for a in addresses if a not in left}
        asked = [t for a, t in targets.items() if a not in known or a in wanted or self.request.refresh or facts.differs(a)]
        observations = known | self._observe(asked, facts, told)
        return self._stored(self._plan(facts, addresses, observations, _orphaned(orphans, index)), resources, targets)

    def _differing(self, index: Mapping[str, tuple[bytes, str]], unsettled: set[str]) -> tuple[set[str], set[str]]:
        """The addresses that may need a change, and the groups that they are in."""
        wanted, groups, seen = set(unsettled), {index[a][1] for a in unsettled}, set()
        for resource in self._resources(self.desired, None):
            seen.add(resource.address)
            found = index.get(resource.address)
            if found is None or found[0] != fingerprint(resource):
                wanted.add(resource.address)
                groups.add(resource.group)
        for gone in index.keys() - seen:
            wanted.add(gone)
            groups.add(index[gone][1])
        if self.request.refresh:
            groups.update(group for _, group in index.values())
            groups.update(self.desired.hosts)
        return wanted, groups

    def _resources(self, desired: Desired, groups: set[str] | None) -> Iterator[Resource]:
        inputs = CommitTree(repository=self.repository, tree=self.commit.tree if desired is self.desired else self._base_tree())
        for scope in desired.scopes(groups):
            for driver in self.installation.drivers.values():
                for resource in driver.resources(scope, inputs):
                    if groups is None or resource.group in groups:
                        yield resource

    def _base_tree(self) -> str:
        assert self.base is not None  # noqa: S101 - only asked for with a base
        return self.base.tree

    def _base_resources(self, groups: set[str]) -> dict[str, Resource]:
        if self.base is None:
            return {}
        desired = self.desired if self.base.tree == self.commit.tree else compiled(self.installation, self.repository, self.base)
        return {resource.address: resource for resource in self._resources(desired, groups)}

    def _check_scope(self, index: Iterable[str]) -> None:
        """A scope that takes in nothing is a mistake, not a fleet without changes."""
        scope = self.request.scope
        if (
            scope
            and not self._in_scope([*index, *self.desired.hosts])
            and not self._in_scope(r.address for r in self._resources(self.desired, None))
        ):
            raise Refused(
                f"nothing is in the scope {scope}",
                hint="host/TENANT/NAME, tenant/NAME or driver/kind/tenant/name, with * and ?",
                code="scope",
            )

    def _in_scope(self, addresses: Iterable[str]) -> set[str]:
        return {a for a in addresses if in_scope(a, self.request.scope)}

    def _observe(self, targets: Sequence[Target], facts: "_Facts", told: Told) -> dict[str, Observation]:
        done = 0

        def more(number: int) -> None:
            nonlocal done
            done += number
            told("observe", done, len(targets))

        with self.installation.contexts(self.repository) as context:
            found = observe(self.installation.drivers, targets, context, more)
        with self.installation.store.write() as connection:
            save_observations(connection, found, {a: facts.settled(a, item) for a, item in found.items()})
        renamed = {old: new for new, old in facts.moves.items()}
        return {renamed.get(a, a): item for a, item in found.items()}

    def _plan(
        self, facts: "_Facts", addresses: Sequence[str], observations: Mapping[str, Observation], orphans: tuple[Deferred, ...]
    ) -> Plan:
        removal = None if self.desired.sound else ("deletes-stopped", "a document of this commit has problems, so nothing is deleted")
        moved = set(facts.moves.values())
        cases = (
            facts.case(a, self.installation.kinds, observations.get(a), self._removal(a, facts, removal))
            for a in addresses
            if facts.mine(a) and a not in moved
        )
        with self.installation.store.read() as connection:
            return build(self._frame(connection, facts.owned_elsewhere(addresses) + tuple(self._blocked(facts)) + orphans), cases)

    def _frame(self, connection: Connection, deferred: tuple[Deferred, ...]) -> Frame:
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
            rules=_rules_in_force(connection, self.source),
            counts=Counts(connection, self.source),
            hosts=len(self.desired.hosts),
            problems=self.desired.problems,
            observed_from=oldest(connection, self.source),
            causes=self.request.causes,
            verdicts=self.verdicts,
            deferred=deferred,
        )

    def _removal(self, where: str, facts: "_Facts", stopped: tuple[str, str] | None) -> tuple[str, str] | None:
        record = facts.recorded.get(where)
        if record is not None and record.group in self.desired.blocked:
            return "desired-unknown", self.desired.blocked[record.group]
        return stopped

    def _blocked(self, facts: "_Facts") -> Iterator[Deferred]:
        known = {record.group for record in facts.recorded.values()}
        for group, reason in self.desired.blocked.items():
            if group not in known and in_scope(group, self.request.scope):
                yield Deferred(address=group, code="desired-unknown", reason=reason, group=group)

    def _stored(self, plan: Plan, resources: Mapping[str, Resource], targets: Mapping[str, Target]) -> Planned:
        with self.installation.store.write() as connection:
            save_specs(connection, [resources[c.address].spec for c in plan.changes if c.address in resources])
            row = save_plan(connection, plan, place(self.repository))
        touched = {change.address: targets[change.address] for change in plan.changes}
        return Planned(plan=plan, row=row, desired=self.desired, commit=self.commit, targets=touched)


@dataclass(frozen=True, kw_only=True)
class _Facts:
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

    def case(self, where: str, kinds: Mapping[tuple[str, str], object], seen: Observation | None, removal: tuple[str, str] | None) -> Case:
        """Everything that is known of one resource."""
        recorded = self.recorded.get(self.old(where))
        driver, kind, *_ = parts(where)
        return Case(
            address=where,
            kind=kinds[driver, kind],  # type: ignore[arg-type]
            observation=seen,
            desired=self.resources.get(where),
            base=self.base.get(where) or self.base.get(self.old(where)),
            base_known=self.base_known,
            recorded=recorded,
            recorded_spec=self.specs.get(recorded.digest) if recorded else None,
            removal=removal,
        )


def _orphaned(addresses: Iterable[str], index: Mapping[str, tuple[bytes, str]]) -> tuple[Deferred, ...]:
    """Deferrals for what is recorded of a driver or kind that this installation no longer has."""
    reason = "no driver of this installation knows its kind: install or enable the plugin that made it, or forget it"
    return tuple(Deferred(address=a, code="driver-missing", reason=reason, group=index[a][1]) for a in addresses)


def _old(resources: Iterable[Resource]) -> Iterator[str]:
    return (resource.moved_from for resource in resources if resource.moved_from)


def fingerprint(resource: Resource) -> bytes:
    """Equal to what the record index holds exactly when nothing about the resource differs from its record."""
    return resource.digest.encode() + pack(resource.rules.stated())


def in_scope(where: str, scope: str) -> bool:
    """Whether an address (`driver/kind/tenant/name`) or group (`host/tenant/name`) is in a scope.

    A scope is a pattern over whole addresses, or over a manifest: `host/shop/web-*` takes every resource of those hosts, `tenant/shop` of that tenant.
    """
    if not scope or fnmatchcase(where, scope):
        return True
    wanted = scope.split("/")
    found = where.split("/")
    tenant, name = (found[2], found[3].split(".")[0]) if len(found) == 4 else (found[1], found[2]) if len(found) == 3 else ("", "")
    if wanted[0] == "host" and len(wanted) == 3:
        return fnmatchcase(tenant, wanted[1]) and fnmatchcase(name, wanted[2]) and found[1] != "tenant"
    if wanted[0] == "tenant" and len(wanted) == 2:
        return fnmatchcase(name if found[1] == "tenant" else tenant, wanted[1])
    return False


def _rules_in_force(connection: Connection, source: str) -> GuardRules:
    record = load_records(connection, [address("fleet", "fleet", "", source)])
    specs = load_specs(connection, [item.digest for item in record.values() if item.source == source])
    return GuardRules.of(next(iter(specs.values()), {}))


def place(repository: Repository) -> str:
    """Where the repository can be found again: its URL, or its absolute path."""
    return repository.location if is_remote(repository.location) else str(repository.path.resolve())


def expiry_s(desired: Desired) -> float:
    """How long a plan of this Fleet lives, in seconds."""
    text = desired.fleet.spec.get("planExpiry") if desired.fleet else None
    return float(text[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[text[-1]] if text else DEFAULT_EXPIRY_S
