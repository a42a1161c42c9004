"""What hosts said of themselves: of one host, how facts changed over hosts, how many hosts have which value, and which hosts have one.

Of hosts that the caller does not see nothing is told or counted.
"""

from typing import Annotated, Any

import msgspec

from reconciler.errors import Refused
from reconciler.reading.call import Call
from reconciler.reading.paging import Ask, Document, Paged, after, cursor_of, one_of
from reconciler.reading.seen import seen
from reconciler.reading.wanted import ref_of
from reconciler.store.engine import Connection
from reconciler.store.host_checks import checks_of
from reconciler.store.host_counts import Among, changed_alike, hosts_with, values_of
from reconciler.store.hosts import COUNTED, changes_of, facts_of, seen_of

DAY_S = 86_400.0
MOST_CHANGES = 50
"""Of one host, in an answer."""
Text = Annotated[str, msgspec.Meta(max_length=300)]
FactPath = Annotated[str, msgspec.Meta(max_length=400)]
Days = Annotated[int, msgspec.Meta(ge=1, le=3650, description="How far back, in days.")]
Counted = Annotated[str, one_of(COUNTED)]


class FactChange(Document, frozen=True, kw_only=True):
    """One fact of a host that it told otherwise than before. `before` and `after`: JSON texts, empty where there is none."""

    at: float
    path: str
    before: str
    after: str


class HostKnown(Document, frozen=True, kw_only=True):
    """What is known of a host: when it was last asked (`checkedAt`), answered (`seenAt`, with `why` if it did not then) and with all its Ansible resources as
    wanted (`convergedAt`); `nextCheckAt`: when its drift schedule checks it; `factsAt`: when it told its facts, which are by their paths."""

    ref: str
    tenant: str
    name: str
    checked_at: float | None
    seen_at: float | None
    converged_at: float | None
    why: str
    next_check_at: float | None
    facts_at: float | None
    facts: dict[str, Any]
    changes: list[FactChange]


class HostFactsAsk(Ask, frozen=True, kw_only=True):
    """`path`: that fact, and those below it."""

    path: FactPath = ""


class FactsAsk(Ask, frozen=True, kw_only=True):
    """`fact`: whose values are counted, and whose changes alone are told; without one, the kernels are counted and every change is told. `since`: of so many
    days."""

    fact: Counted = ""
    tenant: Text = ""
    since: Days = 7


class AlikeChange(Document, frozen=True, kw_only=True):
    """The same change on so many hosts. `before` and `after` as in `FactChange`."""

    path: str
    before: str
    after: str
    hosts: int
    first_at: float
    last_at: float


class ValueCount(Document, frozen=True, kw_only=True):
    """How many hosts have a value."""

    value: str
    hosts: int


class FactsDocument(Document, frozen=True, kw_only=True):
    """`counted`: the fact whose `values` these are. Of both lists the first 200, those of most hosts first."""

    asked: FactsAsk
    counted: str
    values: list[ValueCount]
    changes: list[AlikeChange]
    facts: list[str]


class FactHostsAsk(Paged, frozen=True, kw_only=True):
    """`where`: a fact and a pattern with `*` and `?`, such as `kernel=6.1*`; without it no host is told."""

    where: Text = ""
    tenant: Text = ""


class FactHost(Document, frozen=True, kw_only=True):
    """A host with the value of the fact."""

    ref: str
    tenant: str
    name: str
    value: str


class FactHosts(Document, frozen=True, kw_only=True):
    """By tenant and name."""

    items: list[FactHost]
    asked: FactHostsAsk
    next: str = ""


def host_known(connection: Connection, tenant: str, name: str, path: str = "") -> HostKnown:
    """What is known of a host; of its facts and their changes those at and below a path."""
    checked, answered, converged, why = seen_of(connection, tenant, name)
    group = f"host/{tenant}/{name}"
    check = checks_of(connection, [group]).get(group)
    at, facts = facts_of(connection, tenant, name) or (None, {})
    changes = changes_of(connection, tenant, name, MOST_CHANGES)
    return HostKnown(
        ref=group,
        tenant=tenant,
        name=name,
        checked_at=checked,
        seen_at=answered,
        converged_at=converged,
        why=why,
        next_check_at=check.due_at if check else None,
        facts_at=at,
        facts={fact: value for fact, value in sorted(facts.items()) if is_at(fact, path)},
        changes=[FactChange(at=at, path=fact, before=b, after=a) for at, fact, b, a in changes if is_at(fact, path)],
    )


def is_at(fact: str, path: str) -> bool:
    """Whether a fact is at a path or below it."""
    return path in ("", fact) or fact.startswith(f"{path}.")


def over_hosts(connection: Connection, among: Among, ask: FactsAsk) -> FactsDocument:
    """How many of some hosts have which value, and what changed on how many."""
    counted = ask.fact or "kernel"
    changes = changed_alike(connection, among, connection.now() - ask.since * DAY_S, ask.fact)
    return FactsDocument(
        asked=ask,
        counted=counted,
        values=[ValueCount(value=value, hosts=hosts) for value, hosts in values_of(connection, among, counted)],
        changes=[
            AlikeChange(path=one.path, before=one.before, after=one.after, hosts=one.hosts, first_at=one.first_at, last_at=one.last_at)
            for one in changes
        ],
        facts=list(COUNTED),
    )


def found_by(connection: Connection, among: Among, ask: FactHostsAsk) -> FactHosts:
    """A page of those of some hosts of which a fact is as asked for. Raises `Refused` for a fact that hosts are not found by."""
    if not ask.where:
        return FactHosts(items=[], asked=ask)
    path, is_said, pattern = ask.where.partition("=")
    if not is_said or path not in COUNTED:
        hint = f"as kernel=6.1*; hosts are found by {', '.join(COUNTED)}"
        raise Refused(f"{ask.where} is no fact that hosts are found by, and a value", hint=hint, code="usage")
    key = after(ask.cursor, str, str)
    found = hosts_with(connection, among, path, pattern, (key[0], key[1]) if key else None, ask.limit + 1)
    items = [FactHost(ref=f"host/{tenant}/{name}", tenant=tenant, name=name, value=value) for tenant, name, value in found[: ask.limit]]
    return FactHosts(items=items, asked=ask, next=cursor_of(items[-1].tenant, items[-1].name) if len(found) > ask.limit else "")


def facts_of_host(call: Call, ask: HostFactsAsk) -> HostKnown:
    """What is known of the host that the path names."""
    ref = ref_of(call, f"host/{call.path['tenant']}/{call.path['name']}")
    with call.installation.store.read() as connection:
        return host_known(connection, ref.tenant, call.path["name"], ask.path)


def facts(call: Call, ask: FactsAsk) -> FactsDocument:
    """Facts over all hosts that are seen."""
    among = _among(call, ask.tenant)
    with call.installation.store.read() as connection:
        return over_hosts(connection, among, ask)


def fact_hosts(call: Call, ask: FactHostsAsk) -> FactHosts:
    """A page of the hosts that are seen and of which a fact is as asked for."""
    among = _among(call, ask.tenant)
    with call.installation.store.read() as connection:
        return found_by(connection, among, ask)


def _among(call: Call, tenant: str) -> Among:
    """The hosts that the caller sees: all of a tenant only where he sees all that any Fleet has in it."""
    found = seen(call)
    shared: dict[str, bool] = {}
    for source, of in found.picture.hosts:
        shared[of] = shared.get(of, True) and call.sight.of_tenant(source, of)
    whole = [of for of, all_of_it in shared.items() if all_of_it and tenant in ("", of)]
    if not tenant and len(whole) == len(shared):
        return Among(everything=True)
    parts = [part for part in found.parts(tenant) if part.key[1] not in whole]
    return Among(tenants=whole, hosts=[(part.key[1], name) for part in parts for name, _ in part.each()])
