"""The one place where commands (later also routes and comments) ask whether they may: reads the RoleMappings in force, and raises `Refused`.

What is asked for is a stream of pairs, action and resource; it is not read for those who may do everything in its Fleet anyway.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import Protocol

from reconciler.errors import Refused
from reconciler.events import happened, held
from reconciler.gating import tenant_of_scope, tenants_of
from reconciler.identity.access import MAPPING, NEEDS, Access, Action, Decision, Identity, Resource, Role, canonical, mappings
from reconciler.store.audit import record
from reconciler.store.engine import Connection
from reconciler.store.plans import load_outlined
from reconciler.store.records import all_in_force, locations
from reconciler.types.audit import Entry
from reconciler.types.change import LOST, Risk
from reconciler.types.plan import Plan
from reconciler.types.resource import Recorded, is_operation, parts, tenant_of
from reconciler.types.values import Spec
from reconciler.wiring import Installation

Asked = tuple[Action, Resource]


class Touching(Protocol):
    """What of a change says whom it touches."""

    @property
    def address(self) -> str:
        """Its resource."""

    @property
    def tenant(self) -> str:
        """Whose it is."""

    @property
    def group(self) -> str:
        """Its manifest."""

    @property
    def risk(self) -> frozenset[Risk]:
        """What it may do to people."""

    @property
    def moved_from(self) -> str | None:
        """The old address of a move."""


def access_in_force(connection: Connection) -> Access:
    """Who may do what, as it was last applied, in every Fleet of an installation."""
    found = all_in_force(connection, MAPPING)
    return Access(fleets={name: mappings(found.get(name, {})) for name in locations(connection)})


def granted(where: str, before: Spec | None, after: Spec | None) -> list[str]:
    """Who gains and loses what when the specification at the address of a RoleMapping changes; nothing for other addresses."""
    if parts(where)[:2] != ("fleet", MAPPING):
        return []
    old, new = ({b for m in mappings({where: spec}) for b in m.bindings} if spec is not None else set() for spec in (before, after))
    return [f"+ {binding}" for binding in sorted(new - old)] + [f"- {binding}" for binding in sorted(old - new)]


def permit(installation: Installation, identity: Identity, source: str, asked: Iterable[Asked], *, break_glass: str = "") -> None:
    """Return if someone may do all that is asked of a source, or with an empty one of the installation. Raises `Refused` (code `forbidden`) with
    who can help. `break_glass`: a reason to go on all the same, for those who have the installation's files in hand.
    """
    with installation.store.read() as connection:
        access = access_in_force(connection)
    found = first_denied(access, identity, source, asked)
    if found is None:
        return
    (action, resource), decision = found
    denied = f"{identity.name} may not {action} {resource}: {decision.reason}"
    if break_glass.strip() and access.decide(identity, Action.BREAK_GLASS, resource).allowed:
        with held(), installation.store.write() as connection:
            glass_broken(connection, identity.name, source, denied, break_glass)
        return
    raise Refused(denied, hint=_hint(access, identity, action, resource), code="forbidden")


def glass_broken(
    connection: Connection, identity: str, source: str, denied: str, reason: str, *, plan: Plan | None = None, run: str = ""
) -> None:
    """Record and tell that somebody went past a denial. `plan` and `run`: what missing approvals did not keep from beginning."""
    happened("break-glass", identity=identity, denied=denied, reason=reason)
    entry = Entry(identity=identity, action="break-glass", source=source, run=run, reason=reason, details={"denied": denied})
    record(connection, entry if plan is None else replace(entry, tenants=tenants_of(plan), plan=plan.id, commit=plan.commit))


def first_denied(access: Access, identity: Identity, source: str, asked: Iterable[Asked]) -> tuple[Asked, Decision] | None:
    """The first of what is asked that is not allowed, and why not."""
    if access.decide(identity, Action.GRANT_ACROSS, Resource(source=source)).allowed:
        return None
    seen: set[Asked] = set()
    for item in asked:
        if item not in seen and not (decision := access.decide(identity, *item)).allowed:
            return item, decision
        seen.add(item)
    return None


def _hint(access: Access, identity: Identity, action: Action, resource: Resource) -> str:
    sources = [resource.source] if resource.source else sorted(access.fleets)
    granters = sorted({name for source in sources for name in access.granters(source, resource.tenant)})
    who = (
        f"ask {', '.join(granters[:5])} for the role {NEEDS[action].role}" if granters else "ask someone on the machine of the installation"
    )
    if action in (Action.APPROVE, Action.REJECT) and resource.tenant:
        who += "; or speak of your own tenant's changes alone: octofleet plan --scope tenant/NAME makes a plan of them"
    breakable = identity.here and action not in (Action.APPROVE, Action.REJECT)
    return who + ("; in an emergency --break-glass REASON goes on all the same, and is recorded" if breakable else "")


def to_apply(plan: Plan, *, approve: bool) -> Iterator[Asked]:
    """What applying a plan takes: the right in every tenant that it touches, of RoleMappings to grant. `approve`: also to answer for what is lost."""
    return _to_apply(plan.source, plan.changes, approve=approve)


def to_apply_stored(installation: Installation, row: int, *, approve: bool) -> Iterator[Asked]:
    """The same of a stored plan, whose outline is read when it is asked about."""
    with installation.store.read() as connection:
        plan = load_outlined(connection, row)
    yield from _to_apply(plan.head.source, plan.columns.rows(), approve=approve)


def _to_apply(source: str, changes: Iterable[Touching], *, approve: bool) -> Iterator[Asked]:
    for change in changes:
        for resource in of_change(source, change):
            yield Action.RUN if is_operation(change.address) else _or_to_grant(Action.APPLY, change.address, resource), resource
            if approve and change.risk & LOST:
                yield Action.APPROVE, resource


def to_run(source: str, groups: Iterable[str]) -> Iterator[Asked]:
    """What an operation on some hosts takes: the right on each."""
    for group in groups:
        yield Action.RUN, Resource(source=source, tenant=group.split("/")[1], group=group)


def to_steer(installation: Installation, action: Action, row: int) -> Iterator[Asked]:
    """What pausing, resuming or cancelling the run of a stored plan takes: the right in every tenant that the plan touches."""
    with installation.store.read() as connection:
        plan = load_outlined(connection, row)
    for change in plan.columns.rows():
        yield from ((action, resource) for resource in of_change(plan.head.source, change))


def to_pause(action: Action, scope: str) -> Iterator[Asked]:
    """What pausing a scope of every Fleet takes, or ending that: the right in its tenant, for a pattern over tenants in all."""
    yield action, Resource(tenant=tenant_of_scope(scope), group=scope if scope.startswith("host/") else "")


def of_change(source: str, change: Touching) -> Iterator[Resource]:
    """What a change touches; with a move that is the old place too."""
    yield Resource(source=source, tenant=change.tenant, group=change.group)
    if change.moved_from:
        yield Resource(source=source, tenant=tenant_of(change.moved_from), group=change.moved_from)


def to_make_token(access: Access, by: Identity, identity: str) -> Iterator[Asked]:
    """What it takes to make or revoke a token that acts as an identity: the right wherever that one is bound, and to be super-admin where it is, so that nobody
    makes himself more than he is; the right everywhere for one that nothing binds yet. To act as somebody else's account takes who makes accounts."""
    bound = {(source, item) for source in access.fleets for item in access.bindings(source) if item.subject == canonical(identity)}
    for source, item in sorted(bound):
        action = Action.GRANT_ACROSS if item.role is Role.SUPER_ADMIN else Action.MANAGE_TOKENS
        yield action, Resource(source=source, tenant=item.tenant)
    if not bound:
        yield Action.MANAGE_TOKENS, Resource()
    if identity.startswith("account:") and canonical(identity) != canonical(by.name):
        yield Action.MANAGE_USERS, Resource()


def to_forget(record: Recorded) -> Asked:
    """What dropping a record takes."""
    resource = Resource(source=record.source, tenant=record.rules.tenant, group=record.group)
    return _or_to_grant(Action.FORGET, record.address, resource), resource


def _or_to_grant(action: Action, where: str, resource: Resource) -> Action:
    """An action, or where it is done to a RoleMapping the one that says so."""
    if parts(where)[:2] != ("fleet", MAPPING):
        return action
    return Action.GRANT if resource.tenant else Action.GRANT_ACROSS
