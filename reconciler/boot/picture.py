"""What a serving process knows of machines and installations, in memory: read once, and then what has changed.

Answering a machine costs no question to the database. `refresh` is called every half second, and at once by whoever has written something; another
process's writes are seen with the next one.
"""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from math import inf
from threading import Lock
from time import monotonic

from reconciler.boot.decision import Machine
from reconciler.store import installs
from reconciler.store.engine import Connection, Store, chunks
from reconciler.store.records import load_records, load_specs, mark, touched_since
from reconciler.types.installation import Installation, State
from reconciler.types.resource import address, parts
from reconciler.types.values import Spec

MACHINES = ("netboot/machine/", "netboot/machine0")
FLEETS = ("fleet/fleet/", "fleet/fleet0")
"""Where the addresses of a kind begin, and what comes after them."""


class Picture:
    """`machines` by key, `installations` that go on by tenant and name, and the same by the digest of their token. Until somebody takes them out: `news`,
    installations that were not known before or have ended, and `touched`, hosts whose records have changed. `rivals`: whose a key is that several hosts
    have, of different Fleets, since one Fleet's cannot be applied so: whoever came first stays in `machines`, and nobody is installed by it. `fleets`: what
    each Fleet says of booting (`spec.boot`), by its name, which is that of its source."""

    def __init__(self, store: Store) -> None:
        self._store, self._lock = store, Lock()
        self.machines: dict[str, Machine] = {}
        self.hosts: dict[tuple[str, str], Machine] = {}
        self.rivals: dict[str, tuple[tuple[str, str], ...]] = {}
        self._holders: dict[str, dict[tuple[str, str], Machine]] = {}
        self.fleets: dict[str, Spec] = {}
        self.installations: dict[tuple[str, str], Installation] = {}
        self.by_token: dict[str, Installation] = {}
        self.news: list[Installation] = []
        self.touched: set[tuple[str, str]] = set()
        self._keys: dict[tuple[str, str], tuple[str, ...]] = {}
        self._marks: dict[str, tuple[str, int]] = {}
        self._seq = 0
        self._read_at = -inf

    @property
    def old_s(self) -> float:
        """How old it is, in seconds."""
        return monotonic() - self._read_at

    def refresh(self) -> list[Installation]:
        """Read what has changed. Gives those whose run has ended without them, as somebody gave it up: they are not served, and are to be ended."""
        began = monotonic()
        with self._lock, self._store.read() as connection:
            for (source,) in list(connection.rows("SELECT source FROM mark ORDER BY source")):
                self._records(connection, source)
            newest, changed = installs.changed_since(connection, self._seq)
            if newest < self._seq:
                self.installations, self.by_token = {}, {}
            self._seq = newest
            for item in changed:
                self.put(item)
            over = self._over(connection)
        self._read_at = began
        return over

    def _over(self, connection: Connection) -> list[Installation]:
        runs = {item.run for item in self.installations.values()}
        ended = {run for (run,) in connection.rows_in("SELECT id FROM run WHERE id IN (...) AND ended_at IS NOT NULL", sorted(runs))}
        over = [item for item in list(self.installations.values()) if item.run in ended]
        for item in over:
            self.put(replace(item, state=State.CANCELLED, ended_at=connection.now()))
        return over

    def of_fleet(self, source: str, field: str) -> tuple[str, Spec] | None:
        """The `menu` or `discovery` of a Fleet; without a source, of the first Fleet by name that has one. Gives the Fleet's name too."""
        names = [source] if source else sorted(self.fleets)
        return next(((name, self.fleets[name][field]) for name in names if field in self.fleets.get(name, {})), None)

    def put(self, item: Installation) -> None:
        """An installation has changed."""
        place = item.tenant, item.host
        known = self.installations.get(place)
        if item.ended_at is None and item.open:
            if known is not None and known.id != item.id:
                self.by_token.pop(known.token, None)
            if known is None or known.id != item.id:
                self.news.append(item)
            self.installations[place], self.by_token[item.token] = item, item
        else:
            self.by_token.pop(item.token, None)
            if known is not None and known.id == item.id:
                del self.installations[place]
            self.news.append(item)

    def _records(self, connection: Connection, source: str) -> None:
        now, known = mark(connection, source), self._marks.get(source)
        if now == known:
            return
        if known is None or known[0] != now[0] or known[1] > now[1]:
            query = "SELECT address FROM record WHERE address >= ? AND address < ?"
            gone = {address("netboot", "machine", *place) for place in self.hosts}
            found = sorted(gone.union(where for of in (FLEETS, MACHINES) for (where,) in connection.rows(query, of)))
        else:
            touched = [group.split("/") for group in touched_since(connection, source, known[1])]
            found = [address("netboot", "machine", part[1], part[2]) for part in touched if part[0] == "host"]
            found += [address("fleet", "fleet", "", part[1]) for part in touched if part[0] == "fleet"]
            self.touched.update((part[1], part[2]) for part in touched if part[0] == "host")
        for places in chunks(found):
            self._load(connection, places)
        self._marks[source] = now

    def _load(self, connection: Connection, addresses: Iterable[str]) -> None:
        asked = list(addresses)
        records = load_records(connection, asked)
        specs = load_specs(connection, (record.digest for record in records.values()))
        for where in asked:
            _, kind, tenant, host = parts(where)
            spec = specs.get(records[where].digest) if where in records else None
            if kind == "fleet":
                self.fleets.pop(host, None)
                self.fleets |= {host: spec["boot"]} if spec is not None and "boot" in spec else {}
            elif spec is not None:
                self._put((tenant, host), _machine(tenant, host, records[where].source, spec), spec["keys"])
            else:
                self._put((tenant, host), None, ())

    def _put(self, place: tuple[str, str], machine: Machine | None, keys: Iterable[str]) -> None:
        before, after = self._keys.pop(place, ()), tuple(keys) if machine else ()
        if machine is not None:
            self._keys[place], self.hosts[place] = after, machine
        else:
            self.hosts.pop(place, None)
        for key in {*before, *after}:
            holders = self._holders.setdefault(key, {})
            if machine is not None and key in after:
                holders[place] = machine
            else:
                holders.pop(place, None)
            self._settle(key, holders)

    def _settle(self, key: str, holders: dict[tuple[str, str], Machine]) -> None:
        if len(holders) > 1:
            self.rivals[key] = tuple(sorted(holders))
        else:
            self.rivals.pop(key, None)
        if holders:
            self.machines[key] = next(iter(holders.values()))
        else:
            self.machines.pop(key, None)
            del self._holders[key]

    def __iter__(self) -> Iterator[Machine]:
        return iter(list(self.hosts.values()))


def _machine(tenant: str, host: str, source: str, spec: Spec) -> Machine:
    return Machine(
        tenant=tenant,
        host=host,
        source=source,
        addresses=tuple(spec.get("addresses", ())),
        distribution=spec.get("distribution", ""),
        secure_boot=bool(spec.get("secureBoot")),
        default=spec.get("default", ""),
    )
