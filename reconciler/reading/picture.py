"""The fleets at a glance, in memory: which hosts there are, and how each stands. Made of the records once, then kept up with what changes.

A host stands as the worst of its resources does (`State`, from best to worst); what cannot be looked at, as its driver is not here, is not known. Of each
host there are its name and two numbers: which drivers have something of it, and how that stands; hosts that are alike share what these stand for.
"""

from array import array
from bisect import bisect_left
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from typing import NamedTuple

from reconciler.scope import is_of_a_host
from reconciler.store.engine import Connection
from reconciler.store.records import records_of, touched_since
from reconciler.store.standings import Place, failed, held, marks, never_seen, never_seen_of, otherwise, recorded
from reconciler.types.outcome import Status
from reconciler.types.resource import host_of

BAD = (Status.FAILED, Status.PARTIAL, Status.STALE, Status.EXPIRED)
MANY = 2000
"""If so many manifests have changed, all records are read anew."""
Key = tuple[str, str]
"""A source and a tenant of it."""


class State(StrEnum):
    """How a resource or a host stands, from best to worst."""

    CONVERGED = "converged"
    CHANGING = "changing"
    DRIFTED = "drifted"
    UNKNOWN = "unknown"
    FAILED = "failed"


WORST = {state: number for number, state in enumerate(State)}


class Stand(NamedTuple):
    """How a host stands, and each driver's part of it."""

    state: State
    drivers: tuple[tuple[str, State], ...]


@dataclass(frozen=True, kw_only=True)
class Hosts:
    """The hosts of a tenant: `names` in order, and for each the place of its stand in `Picture.stands`."""

    names: tuple[str, ...]
    stands: Sequence[int]

    def at(self, name: str) -> int | None:
        """The place of a host."""
        found = bisect_left(self.names, name)
        return found if found < len(self.names) and self.names[found] == name else None


@dataclass(frozen=True, kw_only=True)
class Picture:
    """All fleets at one moment: `at`, in seconds since the epoch."""

    at: float
    hosts: Mapping[Key, Hosts]
    stands: Sequence[Stand]

    @cached_property
    def tallies(self) -> Mapping[Key, Counter[int]]:
        """How many hosts of each tenant have each stand."""
        return {key: Counter(hosts.stands) for key, hosts in self.hosts.items()}

    def stand(self, key: Key, name: str) -> Stand | None:
        """How one host stands; None if there is none."""
        place = self.hosts[key].at(name) if key in self.hosts else None
        return None if place is None else self.stands[self.hosts[key].stands[place]]


@dataclass(kw_only=True)
class _Known:
    """The names of a tenant's hosts in order, and for each the place of its drivers in `Maker.drivers`."""

    names: tuple[str, ...] = ()
    drivers: "array[int]" = field(default_factory=lambda: array("I"))


class Maker:
    """Makes pictures, one after the other, of one database; `make` is called by one thread at a time. `here`: the drivers of this installation."""

    def __init__(self, here: Collection[str]) -> None:
        self._here = frozenset(here)
        self._drivers: dict[tuple[str, ...], int] = {(): 0}
        self._known: dict[Key, _Known] = {}
        self._marks: dict[str, int] | None = None
        self._unseen: set[str] = set()

    def make(self, connection: Connection) -> Picture:
        """The picture now. All that is read is of one state of the database."""
        self._keep_up(connection)
        states: dict[tuple[str, str, str], State] = {}
        unseen = never_seen_of(connection, sorted(self._unseen))
        self._unseen = {address for *_, address in unseen}
        states.update(((source, group, address), State.UNKNOWN) for source, group, address in unseen)
        for source, group, address, kind in otherwise(connection):
            states[source, group, address] = State.UNKNOWN if kind == "unknown" else State.DRIFTED
        states.update(_placed(failed(connection, BAD), State.FAILED))
        states.update(_placed(held(connection), State.CHANGING))
        return self._picture(connection.now(), _by_host(states))

    def _keep_up(self, connection: Connection) -> None:
        """Learn of the records that have changed."""
        newest, known = marks(connection), self._marks
        if known is None or any(newest.get(source, 0) < seq for source, seq in known.items()):  # the first time, or another database
            self._read(connection)
        else:
            changed = {s: touched_since(connection, s, known.get(s, 0)) for s, seq in newest.items() if known.get(s) != seq}
            if sum(map(len, changed.values())) > MANY:
                self._read(connection)
            else:
                for source, groups in changed.items():
                    self._reread(connection, source, groups)
        self._marks = newest

    def _read(self, connection: Connection) -> None:
        """All records."""
        self._drivers = {(): 0}
        found: dict[Key, dict[str, int]] = {}
        more: dict[tuple[int, str], int] = {}
        for source, group, address in recorded(connection):
            kind, _, rest = group.partition("/")
            if kind == "host":
                tenant, _, name = rest.partition("/")
                hosts = found.setdefault((source, tenant), {})
                key = hosts.get(name, 0), address.partition("/")[0]
                if key not in more:
                    more[key] = self._with(*key)
                hosts[name] = more[key]
        self._known = {key: _known(hosts) for key, hosts in found.items()}
        self._unseen = {address for *_, address in never_seen(connection)}

    def _reread(self, connection: Connection, source: str, groups: Sequence[str]) -> None:
        """Some manifests."""
        records = records_of(connection, source, groups)
        self._unseen.update(address for found in records.values() for address, *_ in found)
        now: dict[Key, dict[str, int | None]] = {}
        for group in groups:
            if group.startswith("host/"):
                _, tenant, name = group.split("/", 2)
                drivers = tuple(sorted({address.partition("/")[0] for address, *_ in records.get(group, ())}))
                place = self._drivers.setdefault(drivers, len(self._drivers)) if drivers else None
                now.setdefault((source, tenant), {})[name] = place
        for key, places in now.items():
            before = self._known.get(key, _Known())
            hosts: dict[str, int | None] = dict(zip(before.names, before.drivers, strict=True))
            self._known[key] = _known({name: place for name, place in (hosts | places).items() if place is not None})

    def _with(self, place: int, driver: str) -> int:
        """The place of some drivers and one more."""
        drivers = tuple(sorted({*tuple(self._drivers)[place], driver}))
        return self._drivers.setdefault(drivers, len(self._drivers))

    def _picture(self, at: float, states: Mapping[Key, Mapping[str, Mapping[str, State]]]) -> Picture:
        stands: dict[Stand, int] = {}
        plain = {place: stands.setdefault(self._stand(drivers, {}), len(stands)) for drivers, place in self._drivers.items()}
        sets = tuple(self._drivers)
        pictured: dict[Key, Hosts] = {}
        for key in sorted({*self._known, *states}):
            known, other = self._known.get(key, _Known()), states.get(key, {})
            new = sorted(name for name in other if not _has(known.names, name))
            if new:
                known = _known(dict(zip(known.names, known.drivers, strict=True)) | dict.fromkeys(new, 0))
            found = array("I", (plain[place] for place in known.drivers))
            for name, of_drivers in other.items():
                place = bisect_left(known.names, name)
                found[place] = stands.setdefault(self._stand(sets[known.drivers[place]], of_drivers), len(stands))
            if known.names:
                pictured[key] = Hosts(names=known.names, stands=found)
        return Picture(at=at, hosts=pictured, stands=tuple(stands))

    def _stand(self, drivers: Iterable[str], states: Mapping[str, State]) -> Stand:
        least = {driver: least_known(driver, self._here) for driver in sorted({*drivers, *states})}
        each = tuple((driver, worst((state, states.get(driver, state)))) for driver, state in least.items())
        return Stand(state=worst(state for _, state in each), drivers=each)


def _has(names: Sequence[str], name: str) -> bool:
    place = bisect_left(names, name)
    return place < len(names) and names[place] == name


def _known(hosts: Mapping[str, int]) -> _Known:
    names = sorted(hosts)
    return _Known(names=tuple(names), drivers=array("I", (hosts[name] for name in names)))


def least_known(driver: str, here: Collection[str]) -> State:
    """How what a driver holds stands if nothing else is known: as recorded, or if the driver is not `here` to look at it, nobody knows how."""
    return State.CONVERGED if driver in here else State.UNKNOWN


def worst(states: Iterable[State]) -> State:
    """The worst of some states; of none, that there is nothing to do."""
    return max(states, key=WORST.__getitem__, default=State.CONVERGED)


def _placed(places: Iterable[Place], state: State) -> Iterator[tuple[Place, State]]:
    """The places with the group of what is not recorded yet."""
    for source, group, address in places:
        if group or is_of_a_host(address):
            yield (source, group or host_of(address), address), state


def _by_host(states: Mapping[Place, State]) -> dict[Key, dict[str, dict[str, State]]]:
    """The worst state of each driver of each host."""
    found: dict[Key, dict[str, dict[str, State]]] = {}
    for (source, group, address), state in states.items():
        if group.startswith("host/"):
            _, tenant, name = group.split("/", 2)
            drivers = found.setdefault((source, tenant), {}).setdefault(name, {})
            driver = address.partition("/")[0]
            drivers[driver] = worst((state, drivers.get(driver, State.CONVERGED)))
    return found
