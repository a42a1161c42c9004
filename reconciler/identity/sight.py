"""What of the fleets somebody may see: asked of `Access` for the action `view`, remembered for as long as one question is answered. Pure."""

from functools import cache

from reconciler.identity.access import Access, Action, Identity, Resource
from reconciler.types.resource import tenant_of


class Sight:
    """Of one identity. What it does not see is not there for it: no name, no number."""

    def __init__(self, access: Access, identity: Identity) -> None:
        self.access, self.identity = access, identity
        self.whole = cache(self._whole)
        self.of_tenant = cache(self._of_tenant)

    def _whole(self, source: str) -> bool:
        """All of a Fleet (`whole(source)`), what is across its tenants too."""
        return self._decides(Resource(source=source))

    def _of_tenant(self, source: str, tenant: str) -> bool:
        """All of a tenant (`of_tenant(source, tenant)`); of an empty one, all that is across tenants."""
        return self._decides(Resource(source=source, tenant=tenant))

    def some(self, source: str) -> bool:
        """Whether it sees anything of a Fleet."""
        return self.whole(source) or bool(self._held(source, None))

    def some_of(self, source: str, tenant: str) -> bool:
        """Whether it sees anything of a tenant."""
        return self.of_tenant(source, tenant) or bool(self._held(source, tenant))

    def sees(self, source: str, tenant: str, group: str) -> bool:
        """One manifest (`host/shop/web-01`) or address of a tenant."""
        return self.of_tenant(source, tenant) or self._decides(Resource(source=source, tenant=tenant, group=group))

    def address(self, source: str, where: str) -> bool:
        """One address."""
        return self.sees(source, tenant_of(where), where)

    def _decides(self, resource: Resource) -> bool:
        return self.access.decide(self.identity, Action.VIEW, resource).allowed

    def _held(self, source: str, tenant: str | None) -> bool:
        if tenant is not None:
            return bool(self.access.held(self.identity, Action.VIEW, source, tenant))
        tenants = {binding.tenant for binding in self.access.bindings(source)}
        return any(self.access.held(self.identity, Action.VIEW, source, one) for one in tenants)
