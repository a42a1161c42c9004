"""The overview: how the fleets stand, now and over time, and what is under way or waits for somebody."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from itertools import islice

from reconciler.reading import plan_seen
from reconciler.reading.call import Call
from reconciler.reading.next_step import over_http
from reconciler.reading.paging import Ask, Document
from reconciler.reading.picture import WORST, State
from reconciler.reading.seen import Numbers, Part, Seen, by_driver, by_state, numbers, seen
from reconciler.reading.whose import sees_run
from reconciler.store.conditions import halted
from reconciler.store.engine import Connection
from reconciler.store.followed import APPROVAL, followed
from reconciler.store.installs_listed import all_listed, tallies
from reconciler.store.plans import plan_rows
from reconciler.store.records import locations
from reconciler.store.runs import open_runs
from reconciler.store.samples import EVERY_S, summed
from reconciler.why_repository import repository_why

MOST = 100
"""So many tenants, runs or repositories are named; the numbers are of all."""


class Period(StrEnum):
    """How far back the chart goes."""

    DAY = "day"
    WEEK = "week"
    QUARTER = "quarter"


STEPS = {Period.DAY: (EVERY_S, 288), Period.WEEK: (3600, 168), Period.QUARTER: (43_200, 180)}
"""Seconds from one point of the chart to the next, and how many there are."""


class OverviewAsk(Ask, frozen=True, kw_only=True):
    """`period`: of the numbers over time."""

    period: Period = Period.DAY


class OfTenant(Document, frozen=True, kw_only=True):
    """How the hosts of a tenant stand."""

    source: str
    tenant: str
    hosts: Numbers


class OfDriver(Document, frozen=True, kw_only=True):
    """How many hosts' part of a driver stands how."""

    driver: str
    hosts: Numbers


class Moment(Document, frozen=True, kw_only=True):
    """How many hosts stood how at a time, as far as the caller sees all of their tenants."""

    at: int
    hosts: Numbers


class FollowedRow(Document, frozen=True, kw_only=True):
    """A followed repository. `text` and `next` are for who sees all of its Fleet."""

    location: str
    source: str
    code: str
    head: str
    text: str = ""
    next: str = ""
    run: str = ""


class OpenRun(Document, frozen=True, kw_only=True):
    """A run that has not ended."""

    run: str
    source: str
    state: str
    started_at: float


class Waiting(Document, frozen=True, kw_only=True):
    """What waits for a person: a `plan` for approval, or a part of a rollout of a `run`."""

    source: str
    text: str
    plan: str = ""
    run: str = ""


class Overview(Document, frozen=True, kw_only=True):
    """`tenants` has the worst first, `more_tenants` more are not named. `installs`: how many machines that are being installed stand how; empty if none is.
    Everything is of what the caller sees."""

    at: float
    hosts: Numbers
    tenants: list[OfTenant]
    more_tenants: int
    drivers: list[OfDriver]
    period: Period
    history: list[Moment]
    repositories: list[FollowedRow]
    runs: list[OpenRun]
    waiting: list[Waiting]
    installs: dict[str, int]


def overview(call: Call, ask: OverviewAsk) -> Overview:
    """All of it."""
    found = seen(call)
    stands = found.picture.stands
    parts = list(found.parts())
    tallies = [found.tally(part) for part in parts]
    states = [by_state(stands, tally) for tally in tallies]
    tenants = [OfTenant(source=p.key[0], tenant=p.key[1], hosts=numbers(s)) for p, s in zip(parts, states, strict=True)]
    tenants.sort(key=_worst_first)
    with call.installation.store.read() as connection:
        return Overview(
            at=found.picture.at,
            hosts=numbers(sum(states, Counter())),
            tenants=tenants[:MOST],
            more_tenants=len(tenants[MOST:]),
            drivers=[OfDriver(driver=name, hosts=numbers(of)) for name, of in sorted(by_driver(stands, tallies).items())],
            period=ask.period,
            history=history(connection, found, parts, ask.period),
            repositories=list(islice(_repositories(connection, found), MOST)),
            runs=list(islice(_runs(connection, found), MOST)),
            waiting=list(islice(_waiting(connection, call), MOST)),
            installs=_installs(connection, call),
        )


def over_time(call: Call, ask: OverviewAsk) -> list[Moment]:
    """The numbers over time alone."""
    found = seen(call)
    with call.installation.store.read() as connection:
        return history(connection, found, list(found.parts()), ask.period)


def _worst_first(of: OfTenant) -> tuple[object, ...]:
    """Failed first, then unknown, and so on; then by name."""
    return (*(-getattr(of.hosts, state.value) for state in sorted(State, key=lambda one: -WORST[one])[:-1]), of.tenant, of.source)


def history(connection: Connection, found: Seen, parts: Iterable[Part], period: Period) -> list[Moment]:
    """How many hosts stood how, oldest first; moments of which nothing was noted are left out."""
    step, number = STEPS[period]
    last = int(connection.now() // step * step)
    ats = [last - step * back for back in reversed(range(number))]
    sums: dict[int, Counter[State]] = {}
    for source, tenant in _wholes(found, parts):
        for at, *counts in summed(connection, source, tenant, ats):
            sums.setdefault(at, Counter()).update(dict(zip(State, counts, strict=True)))
    return [Moment(at=at, hosts=numbers(sums[at])) for at in ats if at in sums]


def _wholes(found: Seen, parts: Iterable[Part]) -> set[tuple[str, str | None]]:
    """What is seen whole: all of a source, or a tenant of it."""
    return {(part.key[0], None if found.sight.whole(part.key[0]) else part.key[1]) for part in parts if part.places is None}


def _repositories(connection: Connection, found: Seen) -> Iterator[FollowedRow]:
    names: Mapping[str, str] = {location: name for name, location in locations(connection).items()}
    for one in followed(connection):
        source = names.get(one.location, "")
        whole = found.sight.whole(source)
        if not whole and not (source and found.sight.some(source)):
            continue
        said = repository_why(connection, one) if whole else None
        yield FollowedRow(
            location=one.location,
            source=source,
            code=one.code,
            head=one.head,
            text=said.text if said else "",
            next=over_http(said.why.next) if said and said.why else "",
            run=said.run.id if said and said.run else "",
        )


def _runs(connection: Connection, found: Seen) -> Iterator[OpenRun]:
    for run in open_runs(connection):
        if sees_run(connection, found.sight, run):
            yield OpenRun(run=run.id, source=run.source, state=run.state, started_at=run.started_at)


def _installs(connection: Connection, call: Call) -> dict[str, int]:
    """Tenants that are seen whole are counted by the database; of others each host is asked about."""
    sight, found, partly = call.sight, Counter[str](), set[tuple[str, str]]()
    for source, tenant, label, number in tallies(connection):
        if sight.of_tenant(source, tenant):
            found[label] += number
        elif sight.some_of(source, tenant):
            partly.add((source, tenant))
    for one in all_listed(connection) if partly else ():
        if (one.source, one.tenant) in partly and sight.sees(one.source, one.tenant, f"host/{one.tenant}/{one.host}"):
            found[one.label] += 1
    return dict(found)


def _waiting(connection: Connection, call: Call) -> Iterator[Waiting]:
    for one in followed(connection):
        plans = plan_rows(connection, one.about) if one.code == APPROVAL and one.about else []
        if plans and plan_seen.summed(connection, call, plans[0]) is not None:
            yield Waiting(source=plans[0].source, plan=one.about, text="a plan waits for approval")
    for part in halted(connection):
        if call.sight.of_tenant(part.source, part.tenant):
            yield Waiting(
                source=part.source, run=part.run, text=f"{part.title} of the rollout {part.track} of {part.tenant} is {part.state}"
            )
