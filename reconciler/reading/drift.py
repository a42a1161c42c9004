"""Drift: what was last seen otherwise than recorded, and having it brought back."""

from collections.abc import Iterator
from typing import Annotated

import msgspec

from reconciler.beginning import begin
from reconciler.errors import Refused
from reconciler.identity.access import Action, Resource
from reconciler.permitting import to_apply
from reconciler.planning import make_plan
from reconciler.reading.call import Call
from reconciler.reading.fields import Row, rows
from reconciler.reading.hosts import HostsAsk, matching
from reconciler.reading.paging import Ask, Document, Paged, Reason, cursor_of
from reconciler.reading.picture import WORST, State
from reconciler.reading.seen import Seen, seen
from reconciler.reading.wanted import Ref, Shown, ref_of
from reconciler.reading.whose import told_in_sight
from reconciler.report.parts import size
from reconciler.store.engine import Connection
from reconciler.store.host_checks import checks_of
from reconciler.store.observations import load_observations
from reconciler.store.records import applied_commit, load_records, load_specs, records_of
from reconciler.store.standings import otherwise_of
from reconciler.types.change import MISSING, Cause
from reconciler.types.observation import Absent, Observation, Present, Proposed
from reconciler.types.request import Request

MOST_FIELDS, MOST_LOOKED_AT, MOST_BYTES = 50, 500, 80_000
"""Of a resource; and of an answer: hosts that may have drifted, and JSON, so that the page stays small."""
Text = Annotated[str, msgspec.Meta(max_length=300)]


class DriftAsk(Paged, frozen=True, kw_only=True):
    """`text`: as of hosts; `driver`: of what drifted. `limit` counts hosts; a list of much ends
    earlier."""

    text: Text = ""
    tenant: Text = ""
    driver: Text = ""


class Drifted(Document, frozen=True, kw_only=True):
    """A resource; `seen`: `differs`, `gone` or `proposed` by its engine, at `seen_at`. `more`: fields that are left out."""

    address: str
    seen: str
    seen_at: float
    fields: list[Row]
    more: int


class DriftedHost(Document, frozen=True, kw_only=True):
    """A host with what has drifted of it; `nextCheckAt`: when its drift schedule looks at it again."""

    ref: str
    source: str
    tenant: str
    name: str
    resources: list[Drifted]
    next_check_at: float | None = None


class Drift(Document, frozen=True, kw_only=True):
    """By tenant and host. `at`: of when this is. With `next` there may be more, also where there are fewer than were asked for."""

    items: list[DriftedHost]
    at: float
    asked: DriftAsk
    next: str = ""


class HealAsk(Ask, frozen=True, kw_only=True):
    """`ref`: the host to look at again and to bring back to what was applied last."""

    ref: Text
    reason: Reason


class Healing(Document, frozen=True, kw_only=True):
    """The run that brings the `host` (`TENANT/NAME`) back; an empty one if nothing had drifted."""

    ref: str
    host: str
    plan: str
    run: str


def drift(call: Call, ask: DriftAsk) -> Drift:
    """A page of the hosts of which something has drifted."""
    found = seen(call)
    named = _hosts(found, ask)
    items, looked, used, last = list[DriftedHost](), 0, 0, ""
    with call.installation.store.read() as connection:
        for source, tenant, name in named:
            if len(items) == ask.limit or looked == MOST_LOOKED_AT or used > MOST_BYTES:
                return Drift(items=items, at=found.picture.at, asked=ask, next=last)
            looked, last = looked + 1, cursor_of(tenant, source, name)
            if resources := _drifted(connection, call, Ref(source=source, group=f"host/{tenant}/{name}"), ask.driver):
                group = f"host/{tenant}/{name}"
                check = checks_of(connection, [group]).get(group)
                due = check.due_at if check else None
                items.append(DriftedHost(ref=group, source=source, tenant=tenant, name=name, resources=resources, next_check_at=due))
                used += size(items[-1])
    return Drift(items=items, at=found.picture.at, asked=ask)


def _hosts(found: Seen, ask: DriftAsk) -> Iterator[tuple[str, str, str]]:
    """Those of which something may have drifted: what failed or is not known says nothing of that."""
    asked = HostsAsk(text=ask.text, tenant=ask.tenant, cursor=ask.cursor)
    for source, tenant, name, stand in matching(found, asked):
        if any(WORST[state] >= WORST[State.DRIFTED] and ask.driver in ("", driver) for driver, state in stand.drivers):
            yield source, tenant, name


def _drifted(connection: Connection, call: Call, ref: Ref, driver: str) -> list[Drifted]:
    records = records_of(connection, ref.source, [ref.group]).get(ref.group, [])
    mine = sorted(address for address, *_ in records if driver in ("", address.partition("/")[0]))
    addresses = sorted(otherwise_of(connection, mine))
    observed = load_observations(connection, addresses)
    recorded = load_records(connection, addresses)
    specs = load_specs(connection, (record.digest for record in recorded.values()))
    shown = Shown.to(call, ref)
    return [
        _one(address, observed[address], specs.get(recorded[address].digest, MISSING), shown)
        for address in addresses
        if address in observed
    ]


def _one(address: str, observed: Observation, spec: object, shown: Shown) -> Drifted:
    if isinstance(observed, Proposed):
        found = [
            Row(path=f.path, sides={"recorded": shown.of(f.before), "observed": shown.of(f.after)}, differs=True, hidden=[])
            for f in observed.fields
        ]
    else:
        there = observed.spec if isinstance(observed, Present) else MISSING
        found = [row for row in rows({"recorded": spec, "observed": there}, shown.of) if row.differs]
    seen_as = "gone" if isinstance(observed, Absent) else "proposed" if isinstance(observed, Proposed) else "differs"
    return Drifted(address=address, seen=seen_as, seen_at=observed.at, fields=found[:MOST_FIELDS], more=len(found[MOST_FIELDS:]))


def heal(call: Call, ask: HealAsk) -> Healing:
    """Look at a host again, and begin to bring back what has drifted of it, as `octofleet drift --heal` does; what needs approval waits for it."""
    ref = ref_of(call, ask.ref)
    call.permit(ref.source, [(Action.APPLY, Resource(source=ref.source, tenant=ref.tenant, group=ref.group))])
    with call.installation.store.read() as connection:
        applied = applied_commit(connection, ref.source)
    if applied is None:
        raise Refused("nothing has been applied yet", hint="octofleet apply first", code="no-source")
    repository = call.installation.repository(applied[1], fetch=False)
    request = Request(rev=applied[0], scope=ref.group, refresh=True, causes=frozenset({Cause.DRIFT}))
    with told_in_sight(call.sight, ref.source, f"what has drifted of {ref.group} cannot be planned"):
        planned = make_plan(call.installation, repository, request)
    named = ref.group.removeprefix("host/")
    if not planned.plan.changes:
        return Healing(ref=ref.group, host=named, plan=planned.plan.id, run="")
    call.permit(ref.source, to_apply(planned.plan, approve=False))
    run = begin(call.installation, planned.row, approved=False, reason=ask.reason, identity=call.identity)
    return Healing(ref=ref.group, host=named, plan=planned.plan.id, run=run)
