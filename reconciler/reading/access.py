"""Who may do what, by the RoleMappings in force: what the caller has himself, and what is said in tenants that he sees all of."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from reconciler.errors import Refused
from reconciler.identity.access import KINDS, Access, Action, Binding, Identity, Resource, canonical
from reconciler.reading.call import Call
from reconciler.reading.explain import Place
from reconciler.reading.mappings import placed
from reconciler.reading.paging import Ask, Document
from reconciler.store.records import applied_commit

Who = Annotated[str, msgspec.Meta(max_length=300, description="Such as github:ada; `me` is who asks; empty for everybody.")]


class AccessAsk(Ask, frozen=True, kw_only=True):
    """`action`: also who may do this, tenant by tenant. `tenant`: only what holds in it."""

    who: Who = ""
    action: Action | None = None
    tenant: str = ""


class BindingDocument(Document, frozen=True, kw_only=True):
    """Somebody has a role in a tenant (empty: in every one), or only in some scopes of it, by a RoleMapping. `origin`: the line that says so, where it
    is known."""

    subject: str
    role: str
    tenant: str
    scopes: list[str]
    mapping: str
    origin: Place | None


class DecisionDocument(Document, frozen=True, kw_only=True):
    """Whether somebody may do it in all of a tenant (empty: across tenants)."""

    identity: str
    action: str
    tenant: str
    allowed: bool
    reason: str


class FleetAccess(Document, frozen=True, kw_only=True):
    """What holds in a Fleet."""

    source: str
    bindings: list[BindingDocument]
    decisions: list[DecisionDocument]


class AccessDocument(Document, frozen=True, kw_only=True):
    """`me` is who asks."""

    me: str
    fleets: list[FleetAccess]


def access(call: Call, ask: AccessAsk) -> AccessDocument:
    """Who has which role, as far as the caller may know."""
    who = call.identity if ask.who == "me" else ask.who
    if who and who.partition(":")[0] not in KINDS:
        raise Refused(f"{who} is no identity", hint=f"begin with {', '.join(f'{kind}:' for kind in KINDS)}", code="usage")
    found = (_fleet(call, ask, source, canonical(who) if who else "") for source in sorted(call.sight.access.fleets))
    return AccessDocument(me=call.identity, fleets=[one for one in found if one is not None])


def _fleet(call: Call, ask: AccessAsk, source: str, who: str) -> FleetAccess | None:
    """One Fleet; None if nothing of it is seen."""
    if not call.sight.some(source):
        return None
    with call.installation.store.read() as connection:
        applied = applied_commit(connection, source)
    known = Access(fleets={source: placed(call.installation, call.sight.access.fleets[source], applied)})
    seen = [one for one in known.bindings(source) if _sees(call, source, one)]
    asked = [one for one in seen if who in ("", one.subject) and (not ask.tenant or one.reaches(ask.tenant))]
    decisions = list(_decisions(call, known, source, ask, who, seen)) if ask.action is not None else []
    return FleetAccess(source=source, bindings=[_binding(one) for one in sorted(asked)], decisions=decisions)


def _sees(call: Call, source: str, one: Binding) -> bool:
    """One's own, and those in a tenant that one sees all of; across tenants by who sees all of the Fleet."""
    own = one.subject in call.caller.identity.subjects
    return own or (call.sight.of_tenant(source, one.tenant) if one.tenant else call.sight.whole(source))


def _decisions(call: Call, known: Access, source: str, ask: AccessAsk, who: str, seen: Iterable[Binding]) -> Iterable[DecisionDocument]:
    """Of whoever is asked about, else of everybody who is bound, in each tenant that is seen."""
    seen = list(seen)
    tenants = {ask.tenant} if ask.tenant else {one.tenant for one in seen}
    visible = sorted(of for of in tenants if (call.sight.of_tenant(source, of) if of else call.sight.whole(source)))
    action = ask.action or Action.VIEW
    for name in [who] if who else sorted({one.subject for one in seen}):
        for tenant in visible:
            decision = known.decide(Identity.named(name), action, Resource(source=source, tenant=tenant))
            yield DecisionDocument(
                identity=name, action=action.value, tenant=tenant, allowed=decision.allowed, reason=_reason(call, source, decision.reason)
            )


def _reason(call: Call, source: str, reason: str) -> str:
    """It may name a RoleMapping across tenants."""
    return reason if call.sight.whole(source) else ""


def _binding(one: Binding) -> BindingDocument:
    said = one.origin
    return BindingDocument(
        subject=one.subject,
        role=one.role.value,
        tenant=one.tenant,
        scopes=list(one.scopes),
        mapping=one.mapping,
        origin=Place(path=said.path, line=said.line, column=said.column) if said else None,
    )
