"""One host: each of its resources as it is wanted, recorded and was last seen, who set what, what became of it in runs, and what it waits for."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from reconciler.desired.explain import settings
from reconciler.errors import OctofleetError
from reconciler.installing import Place as Whose
from reconciler.operating import SCOPE as OPERATIONS
from reconciler.reading.call import Call
from reconciler.reading.explain import Place, Rev, place
from reconciler.reading.facts import HostKnown, host_known
from reconciler.reading.fields import MOST, Row, rows
from reconciler.reading.installs import HostInstalls, host_installs
from reconciler.reading.paging import Ask, Document, Paged, after, cursor_of
from reconciler.reading.picture import State, least_known
from reconciler.reading.seen import seen
from reconciler.reading.tasks import TaskDocument, latest_tasks
from reconciler.reading.wanted import Ref, Shown, Wanted, no_host, reason_of, ref_of, wanted
from reconciler.rendering import file_specs
from reconciler.store.engine import Connection
from reconciler.store.observations import load_observations
from reconciler.store.of_hosts import Worked, left_alone, waits_of, worked_on
from reconciler.store.plans import newest_deferred
from reconciler.store.records import applied_commit, load_records, load_specs, records_of
from reconciler.types.change import MISSING
from reconciler.types.observation import Absent, Observation, Present, Proposed, Unknown
from reconciler.types.resource import Recorded, parts
from reconciler.types.values import Spec
from reconciler.viewing import value_pointer
from renderers.registry import RENDERERS

INSTALL = "netboot/install/"


class HostAsk(Ask, frozen=True, kw_only=True):
    """`rev`: the commit that says what is wanted; by default the one applied last."""

    rev: Rev = ""


class Setter(Document, frozen=True, kw_only=True):
    """The layer that set a value last, and where."""

    layer: str
    origin: Place


class Field(Document, frozen=True, kw_only=True):
    """A row, and for what is wanted who set it."""

    row: Row
    setter: Setter | None


class Proposal(Document, frozen=True, kw_only=True):
    """What an engine's own preview would change."""

    path: str
    before: Any
    after: Any
    diff: str


class ResourceDocument(Document, frozen=True, kw_only=True):
    """`wanted`: None where that is not known. `seen`: `present`, `absent`, `proposed`, `unknown` or `never`, at `seen_at`, in words where it is not known.
    `more`: rows that are left out."""

    address: str
    driver: str
    kind: str
    external_id: str
    commit: str
    recorded: bool
    wanted: bool | None
    seen: str
    seen_at: float | None
    seen_why: str
    differs: bool
    fields: list[Field]
    more: int
    proposed: list[Proposal]


class RunOfHost(Document, frozen=True, kw_only=True):
    """What a run did to a resource of the host; an empty status: it has not ended."""

    run: str
    state: str
    started_at: float
    address: str
    action: str
    status: str
    error: str


class RunsOfHost(Document, frozen=True, kw_only=True):
    """Newest first."""

    items: list[RunOfHost]
    next: str = ""


class WaitOfHost(Document, frozen=True, kw_only=True):
    """Why something of the host waits. `until`: when it is tried again, where that is known."""

    address: str
    text: str
    run: str = ""
    until: float | None = None


class HostDocument(Document, frozen=True, kw_only=True):
    """`why`: why nothing is known of what is wanted; `files`: names of its boot files; `tasks`: what playbooks did there last; `install`: how its machine is
    installed over the network."""

    ref: str
    source: str
    tenant: str
    name: str
    state: State | None
    drivers: dict[str, State]
    commit: str
    why: str
    labels: dict[str, str]
    profile: str
    roles: list[str]
    resources: list[ResourceDocument]
    files: list[str]
    waits: list[WaitOfHost]
    runs: RunsOfHost
    tasks: list[TaskDocument]
    install: HostInstalls
    known: HostKnown


def host(call: Call, ask: HostAsk) -> HostDocument:
    """The host that the path names."""
    ref = ref_of(call, f"host/{call.path['tenant']}/{call.path['name']}")
    stand = seen(call).stand(ref.source, ref.tenant, call.path["name"])
    want, why = _wanted(call, ref, ask.rev)
    made = {resource.address: resource for resource in want.resources(call)} if want else {}
    with call.installation.store.read() as connection:
        records = _recorded(connection, ref)
        addresses = sorted({*made, *records})
        if stand is None and not addresses:
            raise no_host(call, ref.group)
        specs = load_specs(connection, (record.digest for record in records.values()))
        hidden = _hidden(call, addresses, connection.now())
        observed = load_observations(connection, addresses) | hidden
        waits = list(_waits(connection, call, ref, addresses))
        runs = _runs(connection, ref, addresses, None, 20)
        told = host_known(connection, ref.tenant, call.path["name"])
        install = host_installs(connection, Whose(source=ref.source, tenant=ref.tenant, host=call.path["name"]))
        tasks = latest_tasks(connection, call, of=(ref.tenant, call.path["name"]))
    shown = Shown.to(call, ref).of
    setter = _setter(want, ref)
    known = set[str]() if want is None or ref.group in want.desired.blocked else set(addresses) - hidden.keys()
    sides = {a: {"desired": made[a].spec if a in made else MISSING} if a in known else {} for a in addresses}
    resources = [_resource(a, sides[a], records.get(a), specs, observed.get(a), shown, setter) for a in addresses]
    values: Mapping[str, Any] = want.host.values if want and want.host else {}
    return HostDocument(
        ref=ref.group,
        source=ref.source,
        tenant=ref.tenant,
        name=call.path["name"],
        state=stand.state if stand else None,
        drivers=dict(stand.drivers) if stand else {},
        commit=want.commit.id if want else "",
        why=why,
        labels=dict(values.get("labels", {})),
        profile=values.get("profile", ""),
        roles=list(values.get("roles", ())),
        resources=sorted(resources, key=lambda one: (not one.differs, one.address)),
        files=_files(want),
        waits=waits,
        runs=runs,
        tasks=tasks,
        install=install,
        known=told,
    )


def host_runs(call: Call, ask: Paged) -> RunsOfHost:
    """A page of the runs of a host."""
    ref = ref_of(call, f"host/{call.path['tenant']}/{call.path['name']}")
    key = after(ask.cursor, float, str)
    with call.installation.store.read() as connection:
        return _runs(connection, ref, sorted(_recorded(connection, ref)), key, min(ask.limit, 100))


def _recorded(connection: Connection, ref: Ref) -> Mapping[str, Recorded]:
    found = records_of(connection, ref.source, [ref.group]).get(ref.group, [])
    return load_records(connection, [address for address, *_ in found])


def _hidden(call: Call, addresses: Iterable[str], now: float) -> dict[str, Observation]:
    """What cannot be looked at, nor told what is wanted of it, as its driver is not here."""
    here = call.installation.drivers
    drivers = {address: parts(address)[0] for address in addresses}
    return {
        address: Unknown(code="no-driver", reason=f"the driver {driver} is not in this installation: nobody can look at it", at=now)
        for address, driver in drivers.items()
        if least_known(driver, here) is State.UNKNOWN
    }


def _wanted(call: Call, ref: Ref, rev: str) -> tuple[Wanted | None, str]:
    """What is wanted, or why that cannot be told: the rest of the page is worth seeing all the same."""
    try:
        found = wanted(call, ref, rev)
    except OctofleetError as error:
        if rev:
            raise
        return None, error.message if call.sight.whole(ref.source) else reason_of(error)
    return found, found.why


def _resource(
    address: str,
    sides: dict[str, Any],
    record: Recorded | None,
    specs: Mapping[str, Spec],
    observed: Observation | None,
    shown: Callable[[object], Any],
    setter: Callable[[str, str], Setter | None],
) -> ResourceDocument:
    driver, kind, *_ = parts(address)
    sides["recorded"] = specs.get(record.digest, MISSING) if record else MISSING
    if isinstance(observed, Present | Absent):
        sides["observed"] = observed.spec if isinstance(observed, Present) else MISSING
    found = rows(sides, shown)
    return ResourceDocument(
        address=address,
        driver=driver,
        kind=kind,
        external_id=record.external_id if record else "",
        commit=record.commit if record else "",
        recorded=record is not None,
        wanted=sides["desired"] is not MISSING if "desired" in sides else None,
        seen=type(observed).__name__.lower() if observed else "never",
        seen_at=observed.at if observed else None,
        seen_why=f"{observed.reason} ({observed.code})" if isinstance(observed, Unknown) else "",
        differs=any(row.differs for row in found) or (isinstance(observed, Proposed) and bool(observed.fields)),
        fields=[Field(row=row, setter=setter(address, row.path) if "desired" in row.sides else None) for row in found[:MOST]],
        more=len(found[MOST:]),
        proposed=[Proposal(path=one.path, before=shown(one.before), after=shown(one.after), diff=one.diff) for one in _proposed(observed)],
    )


def _proposed(observed: Observation | None) -> Sequence[Any]:
    return observed.fields[:MOST] if isinstance(observed, Proposed) else ()


def _setter(want: Wanted | None, ref: Ref) -> Callable[[str, str], Setter | None]:
    """Says who set a value of a resource; each value of the host is looked up once."""
    known: dict[str, Setter | None] = {}

    def find(address: str, path: str) -> Setter | None:
        pointer = path if address.startswith("fleet/host/") else value_pointer(path)
        if want is None or want.host is None or pointer is None:
            return None
        if pointer not in known:
            said = settings(want.desired, ref.group, pointer)
            known[pointer] = Setter(layer=said[-1].layer, origin=place(said[-1])) if said else None
        return known[pointer]

    return find


def _files(want: Wanted | None) -> list[str]:
    if want is None or want.host is None:
        return []
    return [RENDERERS[kind].filename for kind, _ in file_specs(want.repository, want.commit, want.host)]


def _runs(connection: Connection, ref: Ref, addresses: Sequence[str], key: Sequence[Any] | None, most: int) -> RunsOfHost:
    operations = f"{OPERATIONS}{ref.group.removeprefix('host/')}."
    found = worked_on(connection, ref.source, addresses, operations, key, most + 1)
    runs = list(dict.fromkeys((one.started_at, one.run) for one in found))
    items = [_run(one) for one in found if (one.started_at, one.run) in runs[:most]]
    return RunsOfHost(items=items, next=cursor_of(*runs[most - 1]) if len(runs) > most else "")


def _run(one: Worked) -> RunOfHost:
    return RunOfHost(
        run=one.run,
        state=one.state,
        started_at=one.started_at,
        address=one.address,
        action=one.action,
        status=one.status,
        error=one.error,
    )


def _waits(connection: Connection, call: Call, ref: Ref, addresses: Sequence[str]) -> Iterator[WaitOfHost]:
    """What waits. What gates and plans say may name others."""
    whole = call.sight.whole(ref.source)
    now = connection.now()
    for one in waits_of(connection, addresses):
        if one.state == "waiting" and one.address.startswith(INSTALL):
            yield WaitOfHost(address=one.address, text="its machine is being installed, as Installation tells below", run=one.run)
            continue
        text = one.note if one.note and whole else "it goes on" if one.state != "ready" else "it has not begun"
        yield WaitOfHost(address=one.address, text=text, run=one.run, until=one.due_at if one.due_at > now else None)
    for address, until, reason in left_alone(connection, addresses):
        yield WaitOfHost(address=address, text=f"left alone for a while: {reason}", until=until)
    applied = applied_commit(connection, ref.source)
    for put_off in newest_deferred(connection, ref.source, applied[0]) if applied else ():
        if put_off.group == ref.group or put_off.address in addresses:
            yield WaitOfHost(address=put_off.address, text=f"put off by the newest plan: {put_off.reason if whole else put_off.code}")
