"""Drivers of this process and how their providers stand, what is left alone for a while, and the processes that work."""

from reconciler.drivers.breaker import BreakerState
from reconciler.identity.sight import Sight
from reconciler.reading.call import Call
from reconciler.reading.paging import Ask, Document, Paged, after, cursor_of
from reconciler.store.backoff import Backoff, backing_off
from reconciler.store.leases import workers as all_workers
from reconciler.store.records import sources_of

PART = 500
"""Resources that are read at once."""


class ProviderDocument(Document, frozen=True, kw_only=True):
    """A provider that this process has called. `state`: `closed` (calls go through), `open` (it is left alone until `nextTry`) or `half-open` (one call tries
    it)."""

    provider: str
    state: str
    failures: int
    since: float
    next_try: float | None
    last_error: str


class DriverDocument(Document, frozen=True, kw_only=True):
    """A driver. `well`: none of its providers is left alone. `providers` are for who sees all of every Fleet."""

    driver: str
    version: int
    kinds: list[str]
    well: bool
    providers: list[ProviderDocument]


class BackoffDocument(Document, frozen=True, kw_only=True):
    """A resource that failed, and until when the loop leaves it alone."""

    address: str
    failures: int
    until: float
    reason: str


class ProvidersAsk(Paged, frozen=True, kw_only=True):
    """A part of what is left alone."""


class Providers(Document, frozen=True, kw_only=True):
    """`items`: resources that are left alone, the first to be tried again first; drivers are on every page."""

    drivers: list[DriverDocument]
    items: list[BackoffDocument]
    next: str = ""


class WorkerDocument(Document, frozen=True, kw_only=True):
    """A process that works. `name`, where it runs, is for who sees all of every Fleet. It lives if it says so again before `until`."""

    name: str
    role: str
    version: str
    started_at: float
    until: float
    living: bool


class Workers(Document, frozen=True, kw_only=True):
    """The longest running first."""

    items: list[WorkerDocument]


def providers(call: Call, ask: ProvidersAsk) -> Providers:
    """As this process knows them; another one has breakers of its own."""
    if not _sees_any(call.sight):
        return Providers(drivers=[], items=[])
    everything = call.sight.whole("")
    installation = call.installation.of or call.installation
    drivers = []
    for name, driver in sorted(installation.drivers.items()):
        states = driver.states().values()
        drivers.append(
            DriverDocument(
                driver=name,
                version=driver.info.version,
                kinds=sorted(kind.name for kind in driver.info.kinds),
                well=all(state.state == "closed" for state in states),
                providers=[_provider(state) for state in states] if everything else [],
            )
        )
    return _with_backoff(call, ask, drivers)


def _with_backoff(call: Call, ask: ProvidersAsk, drivers: list[DriverDocument]) -> Providers:
    known = after(ask.cursor, float, str)
    key, seen = (known[0], known[1]) if known else (0.0, ""), list[Backoff]()
    with call.installation.store.read() as connection:
        while len(seen) <= ask.limit:
            left = list(backing_off(connection, key, PART))
            of = sources_of(connection, [one.address for one in left])
            seen += [one for one in left if call.sight.address(of.get(one.address, ""), one.address)]
            if len(left) < PART:
                break
            key = left[-1].until, left[-1].address
    part = seen[: ask.limit]
    then = cursor_of(part[-1].until, part[-1].address) if len(seen) > len(part) else ""
    return Providers(drivers=drivers, items=[_left(one) for one in part], next=then)


def workers(call: Call, ask: Ask) -> Workers:
    """The processes that share the database."""
    del ask
    if not _sees_any(call.sight):
        return Workers(items=[])
    everything = call.sight.whole("")
    with call.installation.store.read() as connection:
        found, now = all_workers(connection), connection.now()
    return Workers(
        items=[
            WorkerDocument(
                name=one.name if everything else "",
                role=one.role,
                version=one.version,
                started_at=one.started_at,
                until=one.until,
                living=one.until >= now,
            )
            for one in found
        ]
    )


def _sees_any(sight: Sight) -> bool:
    return sight.whole("") or any(sight.some(source) for source in sight.access.fleets)


def _provider(state: BreakerState) -> ProviderDocument:
    return ProviderDocument(
        provider=state.key.partition("/")[2],
        state=state.state.value,
        failures=state.failures,
        since=state.since,
        next_try=state.next_try,
        last_error=state.last_error,
    )


def _left(one: Backoff) -> BackoffDocument:
    return BackoffDocument(address=one.address, failures=one.failures, until=one.until, reason=one.reason)
