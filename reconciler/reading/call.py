"""One question or word of somebody: who, to which installation, and what he may see and do.

Whatever is answered goes through `sight`, and whatever is done through `permit`: a route that has asked neither is not guarded, and the server refuses to
answer for it.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from reconciler.errors import Refused
from reconciler.identity.access import Access, Action, Resource
from reconciler.identity.caller import Caller
from reconciler.identity.sight import Sight
from reconciler.permitting import Asked, access_in_force, permit
from reconciler.wiring import Installation


@dataclass(frozen=True, kw_only=True)
class Call:
    """`installation` belongs to this thread; `path` holds what stood for the `{names}` of the route's path."""

    installation: Installation
    caller: Caller
    path: Mapping[str, str] = field(default_factory=dict)
    looked: set[str] = field(default_factory=set)

    @cached_property
    def access(self) -> Access:
        """The RoleMappings in force."""
        with self.installation.store.read() as connection:
            return access_in_force(connection)

    @cached_property
    def sight(self) -> Sight:
        """What the caller may see."""
        self.looked.add("sight")
        return Sight(self.access, self.caller.identity)

    @property
    def guarded(self) -> bool:
        """Whether anything was asked of the rules in force."""
        return bool(self.looked)

    @property
    def identity(self) -> str:
        """Who is recorded for what is done."""
        return self.caller.identity.name

    def may(self, action: Action, source: str, tenant: str = "") -> bool:
        """Whether the caller may do something in all of a tenant, or of a Fleet: for pages, which show no button that would be refused."""
        self.looked.add("permit")
        decision = self.access.decide(self.caller.identity, action, Resource(source=source, tenant=tenant))
        return self.caller.may_use(action) and decision.allowed

    def may_somewhere(self, action: Action) -> bool:
        """Whether there is any part of any Fleet in which the caller may do something: for forms that ask for the part."""
        self.looked.add("permit")
        access, identity = self.access, self.caller.identity
        places = {(source, binding.tenant) for source in access.fleets for binding in access.bindings(source)}
        return self.caller.may_use(action) and (
            self.may(action, "") or any(access.held(identity, action, source, tenant) for source, tenant in places)
        )

    def permit(self, source: str, asked: Iterable[Asked]) -> None:
        """Return if the caller may do all of it. Raises `Refused` (`forbidden`), which names nothing that he does not see."""
        self.looked.add("permit")
        if self.caller.actions is not None:
            asked = list(asked)
            for action in {action for action, _ in asked}:
                self.use(action)
        permit(self.installation, self.caller.identity, source, self._seen(source, asked))

    def use(self, action: Action) -> None:
        """Return if the caller's token, if he came with one, is good for an action. Raises `Refused`."""
        if not self.caller.may_use(action):
            hint = f"octofleet token create --allow {action} makes one that is"
            raise Refused(f"this token is not good for {action}", hint=hint, code="forbidden")

    def _seen(self, source: str, asked: Iterable[Asked]) -> Iterable[Asked]:
        for action, resource in asked:
            if not self.sight.sees(resource.source or source, resource.tenant, resource.group):
                hint = "ask somebody who may see all of it, or for a wider role"
                raise Refused("it reaches further than you may see", hint=hint, code="forbidden")
            yield action, resource
