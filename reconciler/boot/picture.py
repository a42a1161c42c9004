"""What a serving process knows of machines and installations, in memory: read once, and then what has changed.

Answering a machine costs no question to the database. `refresh` is called every half second, and at once by whoever has written something; another
process's writes are seen with the next one.
"""

from collections.abc import Iterable, Iterator
from threading import Lock

from reconciler.boot.decision import Machine
from reconciler.store import installs
from reconciler.store.engine import Connection, Store, chunks
from reconciler.store.records import load_records, load_specs, mark, touched_since
from reconciler.types.installation import Installation
from reconciler.types.resource import address, parts
from reconciler.types.values import Spec

PREFIX = "netboot/machine/"
AFTER = "netboot/machine0"


class Picture:
    """`machines` by key, `installations` that go on by tenant and name, and the same by the digest of their token; `news`: those that were not known
    before, and those that have ended, until somebody takes them out."""

    def __init__(self, store: Store) -> None:
        self._store, self._lock = store, Lock()
        self.machines: dict[str, Machine] = {}
        self.hosts: dict[tuple[str, str], Machine] = {}
        self.installations: dict[tuple[str, str], Installation] = {}
        self.by_token: dict[str, Installation] = {}
        self.news: list[Installation] = []
        self._keys: dict[tuple[str, str], tuple[str, ...]] = {}
        self._marks: dict[str, tuple[str, int]] = {}
        self._seq = 0

    def refresh(self) -> None:
        """Read what has changed."""
        with self._lock, self._store.read() as connection:
            for (source,) in list(connection.rows("SELECT source FROM mark ORDER BY source")):
                self._records(connection, source)
            self._seq, changed = installs.changed_since(connection, self._seq)
        for item in changed:
            self.put(item)

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
        if known is None or known[0] != now[0]:
            query = "SELECT address FROM record WHERE address >= ? AND address < ?"
            found = [where for (where,) in connection.rows(query, (PREFIX, AFTER))]
        else:
            touched = (group.split("/") for group in touched_since(connection, source, known[1]))
            found = [address("netboot", "machine", part[1], part[2]) for part in touched if part[0] == "host"]
        for places in chunks(found):
            self._load(connection, places)
        self._marks[source] = now

    def _load(self, connection: Connection, addresses: Iterable[str]) -> None:
        asked = list(addresses)
        records = load_records(connection, asked)
        specs = load_specs(connection, (record.digest for record in records.values()))
        for where in asked:
            _, _, tenant, host = parts(where)
            for key in self._keys.pop((tenant, host), ()):
                if key in self.machines and self.machines[key].place == (tenant, host):
                    del self.machines[key]
            self.hosts.pop((tenant, host), None)
            if where in records and records[where].digest in specs:
                self._add(_machine(tenant, host, records[where].source, specs[records[where].digest]), specs[records[where].digest]["keys"])

    def _add(self, machine: Machine, keys: Iterable[str]) -> None:
        self._keys[machine.place] = tuple(keys)
        self.hosts[machine.place] = machine
        self.machines.update(dict.fromkeys(keys, machine))

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
    )
