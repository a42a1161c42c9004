"""Operations: what is done to hosts once and is no state that they are to be in. From what is asked to a stored plan, as any other.

A plan of an operation has one change for each host, `ansible/operation/TENANT/HOST.NAME` with the action `run`. Guards, policies, approvals, windows,
rollouts, holds and the journal are those of every plan; nothing is recorded of it, so that nothing is wanted of it later. What runs is the playbook, and
what hosts are told is their values, of one commit: unless another is asked for, the one that was applied last.
"""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import PurePosixPath

from reconciler.deciding import Deciding, Doing
from reconciler.desired.catalog import Catalog
from reconciler.desired.desired import Desired
from reconciler.desired.manifest import Manifest
from reconciler.drivers.ansible.resources import Said, operation
from reconciler.drivers.driver import Inputs, Target
from reconciler.errors import InputError, Refused
from reconciler.observe import observe
from reconciler.plan.decide import unknown_input
from reconciler.planning import Planned, tracked_of
from reconciler.scope import in_scope, is_scope
from reconciler.source.repository import Commit, Repository
from reconciler.stages import stage
from reconciler.store.plans import save_plan
from reconciler.store.records import applied_commit, recorded_groups, save_specs
from reconciler.tracking import Told
from reconciler.types.canonical import NOTHING
from reconciler.types.change import Action, Cause, Change, FieldChange, Risk
from reconciler.types.duration import utc
from reconciler.types.observation import Observation, Present, Proposed, Unknown
from reconciler.types.origin import Origin
from reconciler.types.plan import Deferred
from reconciler.types.request import Request
from reconciler.types.resource import Resource
from reconciler.types.values import Spec
from reconciler.wiring import Installation, place

SCOPE = "ansible/operation/"
LABEL = re.compile(r"(?P<key>[A-Za-z0-9][A-Za-z0-9._/-]{0,127})=(?P<value>[A-Za-z0-9._-]{0,63})")
GENERAL = frozenset({"site", "main", "playbook", "play"})
"""What a playbook's file may be called that says nothing of what it does."""
NOT_LOOKED_AT = "it was not looked at in check mode before"


Permit = Callable[[str, Sequence[str]], None]
"""Asked with a Fleet and groups of its hosts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """What to do to which hosts. `tenant`: whose hosts alone, empty for all; `scopes` and `labels` choose among them, `only` among these. `rollout`: in which
    parts, in place of each host's own. `check`: whether to look in check mode before. `due_at`: the time it was due, in
    seconds since the epoch; None for what somebody asks for."""

    name: str
    tenant: str = ""
    said: Said
    scopes: Sequence[str] = ()
    only: Sequence[str] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    rollout: Spec | None = None
    risks: frozenset[Risk] = frozenset()
    check: bool = True
    due_at: float | None = None
    origin: Origin = field(default_factory=lambda: Origin(path=""))

    @property
    def scope(self) -> str:
        """The scope of its plan: no other resource is in it."""
        return f"{SCOPE}{self.tenant or '*'}/*.{self.name}"

    @property
    def cause(self) -> Cause:
        """Why it is done."""
        return Cause.REQUEST if self.due_at is None else Cause.SCHEDULE

    def takes(self, group: str, tenant: str, labels: Mapping[str, str]) -> bool:
        """Whether it is for a host."""
        return (
            (not self.tenant or tenant == self.tenant)
            and all(not scopes or any(in_scope(group, scope) for scope in scopes) for scopes in (self.scopes, self.only))
            and all(labels.get(key) == value for key, value in self.labels.items())
        )


def operation_of(name: str, tenant: str, spec: Spec, origin: Origin | None = None) -> Operation:
    """What a manifest of the kind Operation says."""
    return Operation(
        name=name,
        tenant=tenant,
        said=Said(ansible=spec["ansible"], variables=spec.get("vars", {})),
        scopes=tuple(spec.get("scopes", ())),
        labels=spec.get("labels", {}),
        rollout=spec.get("rollout"),
        risks=frozenset(map(Risk, spec.get("risks", ()))),
        check=spec.get("check", True),
        origin=origin or Origin(path=""),
    )


def asked(said: Said, name: str = "", risks: Iterable[str] = (), serial: str = "") -> Operation:
    """What somebody asks for once. `name`: by default that of the playbook's file, or of its directory if the file's says nothing; `serial`: a number of hosts,
    or a share such as `20%`. Raises `Refused`."""
    path = PurePosixPath(said.ansible["playbook"])
    called = re.sub(r"[^a-z0-9]+", "-", (name or (path.parent.name if path.stem in GENERAL else "") or path.stem).lower()).strip("-")[:63]
    if not called:
        raise Refused(f"{name or str(path)!r} gives no name", hint="name it: letters, digits and dashes", code="name")
    return Operation(name=called, said=said, risks=frozenset(map(Risk, risks)), rollout={"serial": _serial(serial)} if serial else None)


def _is_there(repository: Repository, commit: Commit, said: Said) -> None:
    """Raises `Refused` for a playbook of this repository that is not in the commit, with what it may have meant."""
    playbook = said.ansible.get("playbook", "")
    if not playbook or "repository" in said.ansible:
        return
    found = repository.entry(commit.tree, playbook)
    if found is not None and found[0] in ("blob", "link"):
        return
    path = PurePosixPath(playbook)
    beside = repository.entry(commit.tree, "" if path.parent == PurePosixPath(".") else str(path.parent))
    names = [entry.name for entry in repository.entries(beside[1]) if entry.kind == "blob"] if beside and beside[0] == "tree" else []
    close = get_close_matches(path.name, names, n=1)
    if close:
        hint = f"did you mean {path.with_name(close[0])}?"
    elif path.suffix or found:
        hint = "give its path from the top of the repository, or another commit with --rev"
    else:
        hint = f"a playbook is a file of the repository; for the Operation of that name write operation/{playbook}"
    raise Refused(f"there is no playbook {playbook} in commit {commit.id[:10]}", hint=hint, code="no-playbook")


def _serial(text: str) -> int | str:
    if re.fullmatch(r"[1-9][0-9]{0,5}", text):
        return int(text)
    if re.fullmatch(r"([1-9][0-9]?|100)%", text):
        return text
    raise Refused(f"{text!r} is no part of the hosts", hint="serial is a number of hosts, or a share such as 20%", code="serial")


def selected(wanted: Operation, selection: Sequence[str]) -> Operation:
    """The operation for those hosts alone that a selection takes: any of its scopes, and all of its labels (`KEY=VALUE`). Raises `Refused`."""
    scopes, labels = [], dict(wanted.labels)
    for text in selection:
        if label := LABEL.fullmatch(text):
            labels[label["key"]] = label["value"]
        elif is_scope(text) and text.startswith(("host/", "tenant/")):
            scopes.append(text)
        else:
            hint = "write host/TENANT/NAME or tenant/NAME, with * and ?, or KEY=VALUE of a label"
            raise Refused(f"{text!r} selects no hosts", hint=hint, code="selection")
    return replace(wanted, only=tuple(scopes), labels=labels)


def found_by(desired: Desired, name: str) -> Operation:
    """The Operation that `NAME` or `TENANT/NAME` means. Raises `Refused`."""
    found = named(desired.catalog, name)
    if found is None:
        tenant, _, bare = name.rpartition("/")
        hint = desired.catalog.near("Operation", tenant, bare)
        raise Refused(f"there is no Operation {name} in that commit", hint=hint, code="no-operation")
    return operation_of(found.name, found.tenant, found.spec, found.origin)


def named(catalog: Catalog, name: str) -> Manifest | None:
    """The Operation that `NAME` or `TENANT/NAME` means; where several tenants have one of that name, none."""
    tenant, _, bare = name.rpartition("/")
    every = [manifest for manifest in catalog.of("Operation") if manifest.name == bare]
    found = [manifest for manifest in every if manifest.tenant == tenant] or ([] if tenant else every)
    return found[0] if len(found) == 1 else None


def applied(installation: Installation, repository: Repository, source: str) -> Commit:
    """The commit of a Fleet that was applied last. Raises `Refused` if none was."""
    with installation.store.read() as connection:
        found = applied_commit(connection, source)
    if found is None:
        hint = "octofleet apply it first, or name a commit with --rev"
        raise Refused(f"nothing of the Fleet {source} was applied yet, so no host of it is known", hint=hint, code="not-applied")
    return repository.commit(found[0])


def plan_operation(
    installation: Installation,
    repository: Repository,
    commit: Commit,
    wanted: Operation,
    *,
    unattended: bool = False,
    permit: Permit = lambda source, groups: None,
    told: Told = lambda stage, done, total: None,
) -> Planned:
    """Plan, store, and give the plan. `permit` raises `Refused` unless the operation may be done to these hosts: check mode may do something too. Raises
    `InputError` for a commit without a Fleet, `Refused` for an operation that is for no host, or whose playbook is not there."""
    if "ansible" not in installation.drivers:
        raise Refused("this installation runs no playbooks", hint="octofleet doctor says which drivers there are", code="driver-missing")
    tracked = tracked_of(installation, repository, commit, told)
    desired = tracked.desired
    if desired.fleet is None:
        raise InputError(desired.problems)
    source = desired.fleet.name
    hosts = _chosen(desired, wanted)
    permit(source, hosts)
    _is_there(repository, commit, wanted.said)
    with installation.store.read() as connection:
        known = set(recorded_groups(connection, source))
    resources, deferred = _resources(desired, tracked.tree, wanted, [group for group in hosts if group in known])
    deferred += [_put_off(wanted, group, "not-applied", "this host was not applied yet") for group in hosts if group not in known]
    seen = _seen(installation, repository, commit, resources, told) if wanted.check else {}
    changes = []
    for resource in resources:
        found = seen.get(resource.address)
        if isinstance(found, Unknown):
            deferred.append(Deferred(address=resource.address, code=found.code, reason=found.reason, group=resource.group))
        else:
            changes.append(_change(resource, wanted, found))
    request = Request(scope=wanted.scope, unattended=unattended)
    decision = Deciding(installation=installation, desired=desired, source=source, commit=commit, base=None, request=request)
    plan = decision.doing(Doing(changes=changes, deferred=tuple(deferred), rollout=wanted.rollout))
    with stage("store"), installation.store.write() as connection:
        save_specs(connection, [resource.spec for resource in resources])
        row = save_plan(connection, plan, place(repository))
    targets = {resource.address: Target(address=resource.address, desired=resource) for resource in resources}
    return Planned(plan=plan, row=row, desired=desired, commit=commit, targets=targets)


def _chosen(desired: Desired, wanted: Operation) -> list[str]:
    hosts = [group for group in desired.hosts if (m := desired.hosts[group]) and wanted.takes(group, m.tenant, m.labels)]
    if not hosts:
        said = [*wanted.scopes, *wanted.only, *(f"{key}={value}" for key, value in wanted.labels.items())]
        text = f"the operation {wanted.name} is for no host: none is in {' and '.join(said) or 'the Fleet'}"
        raise Refused(
            text + (f" of tenant {wanted.tenant}" if wanted.tenant else ""),
            hint="octofleet inventory lists the hosts, by label and tenant",
            code="no-host",
        )
    return hosts


def _resources(desired: Desired, inputs: Inputs, wanted: Operation, groups: Sequence[str]) -> tuple[list[Resource], list[Deferred]]:
    """One for each host; deferrals for those whose manifests have problems, or whose secrets cannot be read now."""
    made, deferred = [], []
    for group in groups:
        host = desired.host(group)
        if host is None:
            deferred.append(_put_off(wanted, group, "desired-unknown", desired.blocked.get(group, "its manifest is not known")))
            continue
        said = replace(wanted.said, variables=desired.resolver.sealed(dict(wanted.said.variables), host.tenant))
        resource = operation(host, wanted.name, said, inputs)
        why = unknown_input(resource.spec) if resource.has_leaves else ""
        if why:
            deferred.append(Deferred(address=resource.address, code="input-unknown", reason=why, group=group))
        else:
            made.append(replace(resource, origin=wanted.origin if wanted.origin.path else host.origin))
    return made, deferred


def _put_off(wanted: Operation, group: str, code: str, reason: str) -> Deferred:
    _, tenant, host = group.split("/")
    return Deferred(address=f"ansible/operation/{tenant}/{host}.{wanted.name}", code=code, reason=reason, group=group)


def _seen(
    installation: Installation, repository: Repository, commit: Commit, resources: Sequence[Resource], told: Told
) -> Mapping[str, Observation]:
    targets = [Target(address=resource.address, desired=resource) for resource in resources]
    done = 0

    def more(number: int) -> None:
        nonlocal done
        done += number
        told("observe", done, len(targets))

    if not targets:
        return {}
    with stage("observe"), installation.contexts(repository, commit=commit.id) as context:
        return observe(installation.drivers, targets, context, more)


def _change(resource: Resource, wanted: Operation, found: Observation | None) -> Change:
    causes = frozenset({wanted.cause})
    proposed = found.fields if isinstance(found, Proposed) else ()
    return Change(
        address=resource.address,
        action=Action.RUN,
        fields=(
            *_due(wanted, causes),
            *(FieldChange(path=f.path, before=f.before, after=f.after, causes=causes, diff=f.diff) for f in proposed),
        ),
        before_digest=found.digest if isinstance(found, Present | Proposed) else "",
        after_digest=NOTHING if isinstance(found, Proposed) else resource.digest,
        desired_digest=resource.digest,
        rules=resource.rules,
        group=resource.group,
        origin=resource.origin,
        causes=causes,
        risk=wanted.risks,
        blind_spots=found.blind_spots if isinstance(found, Proposed) else () if found else (NOT_LOOKED_AT,),
    )


def _due(wanted: Operation, causes: frozenset[Cause]) -> Iterator[FieldChange]:
    """So that what is approved is this time, and no other."""
    if wanted.due_at is not None:
        yield FieldChange(path="/due", after=utc(wanted.due_at), causes=causes)
