"""Who may do what: one pure function, `Access.decide`, over the RoleMappings in force. It serves every command, route, page and comment.

Deny by default: nothing is allowed that no binding allows. A Fleet without any RoleMapping in force is open to whoever has the installation's
database in hand on its machine, to the owners whom these have made, and to nobody else, so that a first mapping can come into being.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from reconciler.scope import includes
from reconciler.types.origin import Origin
from reconciler.types.resource import parts, tenant_of
from reconciler.types.values import Spec

MAPPING = "rolemapping"
"""The kind of the resources that RoleMappings are recorded as."""


OPEN_TO = "whoever can open the database on its machine may do everything, and so may owners of the server; nobody else anything"
"""To whom a Fleet is open in which no RoleMapping is in force."""


class Role(StrEnum):
    """What someone may be in a tenant, or across them. Each has what those below it have: see `HAS`."""

    VIEWER = "viewer"
    OPERATOR = "operator"
    APPROVER = "approver"
    ADMIN = "admin"
    SUPER_ADMIN = "super-admin"


HAS: Mapping[Role, frozenset[Role]] = {
    Role.VIEWER: frozenset({Role.VIEWER}),
    Role.OPERATOR: frozenset({Role.OPERATOR, Role.VIEWER}),
    Role.APPROVER: frozenset({Role.APPROVER, Role.VIEWER}),
    Role.ADMIN: frozenset({Role.ADMIN, Role.OPERATOR, Role.APPROVER, Role.VIEWER}),
    Role.SUPER_ADMIN: frozenset(Role),
}
"""The roles that each role comes with. Operator and approver are side by side, so that one who applies cannot wave through what is lost."""


class Action(StrEnum):
    """Everything that anybody can ask for, whichever way he asks."""

    VIEW = "view"
    PLAN = "plan"
    PLAN_UNTRUSTED = "plan-untrusted"
    RECONCILE = "reconcile"
    APPLY = "apply"
    RUN = "run"
    PAUSE = "pause"
    RESUME = "resume"
    CANCEL = "cancel"
    PROMOTE = "promote"
    ROLLBACK = "rollback"
    TEST_ALERTS = "test-alerts"
    ADOPT = "adopt"
    INSTALL = "install"
    LOCK = "lock"
    UNLOCK = "unlock"
    READ_SECRET_NAMES = "read-secret-names"  # noqa: S105 - a name
    APPROVE = "approve"
    REJECT = "reject"
    FORGET = "forget"
    OVERRIDE_WINDOW = "override-window"
    READ_AUDIT = "read-audit"
    MANAGE_TOKENS = "manage-tokens"
    GRANT = "grant"
    GRANT_ACROSS = "grant-across"
    MANAGE_USERS = "manage-users"
    PRUNE = "prune"
    BACKUP = "backup"
    RESTORE = "restore"
    BREAK_GLASS = "break-glass"
    OPERATE_PROCESS = "operate-process"


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What an action takes: the least role, or None where having the installation's files in hand is enough and no role is."""

    role: Role | None
    means: str


NEEDS: Mapping[Action, Need] = {
    Action.VIEW: Need(role=Role.VIEWER, means="See manifests, plans, runs, logs, records and drift."),
    Action.PLAN: Need(role=Role.VIEWER, means="Make a plan of a trusted commit; nothing is changed."),
    Action.PLAN_UNTRUSTED: Need(role=Role.OPERATOR, means="Let a plan of somebody else's fork run engines and templates."),
    Action.RECONCILE: Need(role=Role.OPERATOR, means="Have the server look at a repository now."),
    Action.APPLY: Need(role=Role.OPERATOR, means="Apply a plan, or heal drift: in every tenant that it touches."),
    Action.RUN: Need(role=Role.OPERATOR, means="Run something once, outside of any commit."),
    Action.PAUSE: Need(role=Role.OPERATOR, means="Begin nothing more of a run, or in a scope, for a while."),
    Action.RESUME: Need(role=Role.OPERATOR, means="Go on with what was paused or interrupted."),
    Action.CANCEL: Need(role=Role.OPERATOR, means="End a run."),
    Action.PROMOTE: Need(role=Role.OPERATOR, means="Let a rollout go on to its next phase."),
    Action.ROLLBACK: Need(role=Role.OPERATOR, means="Propose a run's base commit as a branch."),
    Action.TEST_ALERTS: Need(role=Role.OPERATOR, means="Send a test message to an AlertChannel."),
    Action.ADOPT: Need(role=Role.OPERATOR, means="Record what is in the world already."),
    Action.INSTALL: Need(
        role=Role.OPERATOR, means="Have an installation that was handed out begin anew, for whichever machine of the host asks next."
    ),
    Action.LOCK: Need(role=Role.OPERATOR, means="Keep others from changing a resource."),
    Action.UNLOCK: Need(role=Role.OPERATOR, means="End such a lock."),
    Action.READ_SECRET_NAMES: Need(role=Role.OPERATOR, means="See what secrets are called; never their values."),
    Action.APPROVE: Need(
        role=Role.APPROVER,
        means="Answer for changes that need it, such as what is destroyed or reinstalled; `--approve` of `apply` and `drift`, and `--sure` of "
        "`installs` too.",
    ),
    Action.REJECT: Need(role=Role.APPROVER, means="Refuse a plan."),
    Action.FORGET: Need(role=Role.ADMIN, means="Drop a record and leave the world alone."),
    Action.OVERRIDE_WINDOW: Need(role=Role.ADMIN, means="Let changes begin outside of their maintenance window."),
    Action.READ_AUDIT: Need(role=Role.ADMIN, means="Read who did what, and why."),
    Action.MANAGE_TOKENS: Need(role=Role.ADMIN, means="Make and revoke tokens of a tenant."),
    Action.GRANT: Need(role=Role.ADMIN, means="Apply a change of a tenant's RoleMapping."),
    Action.GRANT_ACROSS: Need(role=Role.SUPER_ADMIN, means="Apply a change of a RoleMapping without tenant."),
    Action.MANAGE_USERS: Need(role=Role.SUPER_ADMIN, means="Make and remove accounts of the server."),
    Action.PRUNE: Need(role=Role.SUPER_ADMIN, means="Let go of old runs, plans and logs."),
    Action.BACKUP: Need(role=Role.SUPER_ADMIN, means="Write all that is known, the installation's key included, into a file."),
    Action.RESTORE: Need(role=Role.SUPER_ADMIN, means="Fill an empty database from such a file."),
    Action.BREAK_GLASS: Need(role=None, means="Go past a denial or missing approvals, with a reason; told as the event `break-glass`."),
    Action.OPERATE_PROCESS: Need(
        role=None, means="Start and check processes of the installation, which act by its settings and by what is merged."
    ),
}

READS = frozenset({Action.VIEW, Action.PLAN, Action.READ_SECRET_NAMES, Action.READ_AUDIT})
"""What changes nothing."""

KINDS = ("local", "account", "github", "gitlab", "gitea", "bitbucket", "token", "group", "email")
"""What an identity begins with. `local`: a user of the installation's machine; `account`: one who signs in to the server. An `email` is an author's of a
commit, and binds nothing; a `group` is a directory's, and is nobody."""
_ANY_CASE = frozenset({"account", "github", "gitlab", "gitea", "email"})


def canonical(identity: str) -> str:
    """An identity as it is compared: in lower case where the forge, or signing in, does not tell `Ada` from `ada`."""
    kind, _, name = identity.partition(":")
    return f"{kind}:{name.lower()}" if kind in _ANY_CASE else identity


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """Someone who asks. `groups`: of a directory, as `group:NAME`. `here`: with the installation's files in hand, on its machine; never over the network.
    `owner`: with an account of the server that somebody made who had them."""

    name: str
    groups: frozenset[str] = frozenset()
    here: bool = False
    owner: bool = False

    @classmethod
    def named(cls, name: str) -> "Identity":
        """Somebody who does not ask himself now, by name: whoever is local has the files in hand; a group stands for those in it."""
        groups = frozenset({name}) if name.startswith("group:") else frozenset[str]()
        return cls(name=name, groups=groups, here=name.startswith("local:"))

    @property
    def subjects(self) -> frozenset[str]:
        """What bindings may call him."""
        return self.groups | {canonical(self.name)}


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Resource:
    """What an action is about. Empty `source`: the installation, with every Fleet in it; empty `tenant`: what is across tenants. `group` is one manifest
    (`host/shop/web-01`) or an address, or empty for all of the tenant.
    """

    source: str = ""
    tenant: str = ""
    group: str = ""

    def __str__(self) -> str:
        if self.group:
            return self.group
        return f"tenant {self.tenant}" if self.tenant else f"all of fleet {self.source}" if self.source else "the installation"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Binding:
    """One subject's role, as one line of a RoleMapping says it. `tenant` is empty for every tenant; `scopes` narrow it, if there are any."""

    subject: str
    role: Role
    tenant: str = ""
    scopes: tuple[str, ...] = ()
    mapping: str = field(default="", compare=False)
    pointer: str = field(default="", compare=False)
    origin: Origin | None = field(default=None, compare=False)

    def reaches(self, tenant: str) -> bool:
        """Whether it says anything about a tenant; empty: about what is across tenants."""
        return self.tenant in ("", tenant)

    def covers(self, resource: Resource) -> bool:
        """Whether it holds for all of a resource."""
        within = not self.scopes or (bool(resource.group) and any(includes(scope, resource.group) for scope in self.scopes))
        return self.reaches(resource.tenant) and within

    @property
    def where(self) -> str:
        """Where it holds, in words."""
        place = f"in {self.tenant}" if self.tenant else "in every tenant"
        return f"{place}, only {', '.join(self.scopes)}" if self.scopes else place

    def __str__(self) -> str:
        return f"{self.subject} is {self.role} {self.where}"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleMapping:
    """A manifest that says who is what. `name` is its group: `rolemapping/shop/ops`."""

    name: str
    tenant: str
    bindings: tuple[Binding, ...]
    people: tuple[tuple[str, frozenset[str]], ...] = ()


def has_ruler(spec: Spec) -> bool:
    """Whether the specification of a RoleMapping without tenant makes anybody super-admin who is no group, whose members nobody here knows."""
    bindings = spec.get("bindings", ())
    return any(item["role"] == Role.SUPER_ADMIN and not who.startswith("group:") for item in bindings for who in item["subjects"])


def role_mapping(name: str, tenant: str, spec: Spec) -> RoleMapping:
    """The RoleMapping that a manifest of this specification is."""
    bindings = tuple(
        Binding(
            subject=canonical(subject),
            role=Role(item["role"]),
            tenant=tenant,
            scopes=tuple(item.get("scopes", ())),
            mapping=name,
            pointer=f"/spec/bindings/{number}/subjects/{place}",
        )
        for number, item in enumerate(spec.get("bindings", ()))
        for place, subject in enumerate(item["subjects"])
    )
    people = tuple((item["name"], frozenset(map(canonical, item["identities"]))) for item in spec.get("people", ()))
    return RoleMapping(name=name, tenant=tenant, bindings=bindings, people=people)


def mappings(specs: Mapping[str, Spec]) -> tuple[RoleMapping, ...]:
    """RoleMappings from their specifications by address."""
    return tuple(role_mapping(group_of(where), tenant_of(where), spec) for where, spec in specs.items())


def group_of(where: str) -> str:
    """The manifest that the address of a RoleMapping belongs to."""
    return "/".join(filter(None, (MAPPING, tenant_of(where), parts(where)[3])))


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """Whether something is allowed, and by which word; `origin` is its line, where that is known."""

    allowed: bool
    reason: str
    origin: Origin | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """The RoleMappings in force of every Fleet of an installation, by source; none for a Fleet that has none."""

    fleets: Mapping[str, Sequence[RoleMapping]]

    def decide(self, identity: Identity, action: Action, resource: Resource) -> Decision:
        """Whether someone may do something to something. What is about no one Fleet must be allowed by each."""
        if NEEDS[action].role is None:
            reason = "it takes nothing but the files of this installation on its machine" + ("" if identity.here else ", and no role")
            return Decision(allowed=identity.here, reason=reason)
        sources = [resource.source] if resource.source else sorted(self.fleets) or [""]
        found = [self._decide(identity, action, resource, source) for source in sources]
        return next((decision for decision in found if not decision.allowed), found[0])

    def _decide(self, identity: Identity, action: Action, resource: Resource, source: str) -> Decision:
        if not self.fleets.get(source):
            of = f"of fleet {source}" if source else "of any fleet"
            text = f"no RoleMapping {of} is in force: {OPEN_TO}"
            return Decision(allowed=identity.here or identity.owner, reason=text)
        held = self.held(identity, action, source, resource.tenant)
        for binding in held:
            if binding.covers(resource):
                said = f" at {binding.origin}" if binding.origin else ""
                return Decision(allowed=True, reason=f"{binding} by {binding.mapping}{said}", origin=binding.origin)
        partly = f": it holds only for {', '.join(held[0].scopes)}" if held else ""
        place = f"in {resource.tenant}" if resource.tenant else "in every tenant"
        return Decision(
            allowed=False, reason=f"it takes the role {NEEDS[action].role} {place}, which {identity.name} does not have{partly}"
        )

    def held(self, identity: Identity, action: Action, source: str, tenant: str) -> list[Binding]:
        """The bindings that give someone the role for an action in a tenant, in part of it at least."""
        subjects, role = identity.subjects, NEEDS[action].role
        return [item for item in self.bindings(source) if item.subject in subjects and role in HAS[item.role] and item.reaches(tenant)]

    def roles(self, identity: Identity, source: str, tenant: str) -> frozenset[Role]:
        """The roles that someone has in all of a tenant, those that they come with included; with an empty tenant, across tenants. None where no RoleMapping is
        in force."""
        held = (item for item in self.bindings(source) if item.subject in identity.subjects and item.reaches(tenant) and not item.scopes)
        return frozenset(role for item in held for role in HAS[item.role])

    def bindings(self, source: str) -> Iterator[Binding]:
        """Every binding of a Fleet."""
        return (binding for mapping in self.fleets.get(source, ()) for binding in mapping.bindings)

    def granters(self, source: str, tenant: str) -> list[str]:
        """Who may change who may do what in a tenant, or with an empty one across them; by name."""
        return self.able(source, tenant, Action.GRANT if tenant else Action.GRANT_ACROSS)

    def able(self, source: str, tenant: str, action: Action) -> list[str]:
        """Who is bound to what it takes for an action in all of a tenant, or with an empty one across them; by name."""
        role = NEEDS[action].role
        return sorted({item.subject for item in self.bindings(source) if role in HAS[item.role] and item.covers(Resource(tenant=tenant))})

    def person(self, source: str, identity: str) -> str:
        """The first of all identities that are known to be of the same person, by name (`email:ada@example.net` for `github:ada`): so nobody approves
        what he wrote himself."""
        people = [identities for mapping in self.fleets.get(source, ()) for _, identities in mapping.people]
        known: frozenset[str] = frozenset()
        more = frozenset({canonical(identity)})
        while more != known:
            known, more = more, more.union(*(identities for identities in people if identities & more))
        return min(known)
