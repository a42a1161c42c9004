"""Records, specifications and sources: what was last applied, and which groups changed since. Functions on a connection; the caller owns the transaction.

Only `save_records` and `drop_records` write records. Both note the groups that they touch under a number (`seq`) that grows by one with each
call for a source: whoever read the records at one `mark` learns from `touched_since` what to read again.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache

import msgspec

from reconciler.errors import OctofleetError
from reconciler.store.engine import Connection, upsert
from reconciler.store.hosts import drop_hosts
from reconciler.store.versions import touch
from reconciler.types.canonical import digest, pack, unpack
from reconciler.types.resource import Recorded, Rules, address, parts
from reconciler.types.values import Spec

COLUMNS = ("address", "source", "digest", "rules", "group", "external_id", "observed_digest", "commit")
WINDOW = "maintenancewindow"
WINDOWS = f"fleet/{WINDOW}/"
SOURCES = (
    "WITH RECURSIVE every(name) AS (SELECT min(source) FROM record "
    "UNION ALL SELECT (SELECT min(source) FROM record WHERE source > name) FROM every WHERE name IS NOT NULL)"
)
"""The sources that have records, each found by one look into the index."""
NEXT = "INSERT INTO mark (source, seq) VALUES (?, 1) ON CONFLICT (source) DO UPDATE SET seq = mark.seq + 1"
TOUCH = (
    'INSERT INTO touched (source, "group", seq) SELECT DISTINCT column1, column2, mark.seq FROM (...) AS these '
    'JOIN mark ON mark.source = column1 WHERE true ON CONFLICT (source, "group") DO UPDATE SET seq = excluded.seq'
)


def load_records(connection: Connection, addresses: Sequence[str]) -> dict[str, Recorded]:
    """The records at these addresses, whoever's they are."""
    query = 'SELECT address, source, digest, rules, "group", external_id, observed_digest, "commit" FROM record WHERE address IN (...)'
    return {
        where: Recorded(
            address=where,
            source=source,
            digest=digest_,
            rules=_rules(rules),
            group=group,
            external_id=external_id,
            observed_digest=observed_digest,
            commit=commit,
        )
        for where, source, digest_, rules, group, external_id, observed_digest, commit in connection.rows_in(query, addresses)
    }


@lru_cache(maxsize=4096)
def _rules(stated: bytes) -> Rules:
    return Rules.revived(msgspec.json.decode(stated))


def save_records(connection: Connection, records: Iterable[Recorded]) -> None:
    """Insert or replace. Touches the groups of the records, and those of the records that they replace."""
    rows = [
        (
            item.address,
            item.source,
            item.digest,
            pack(item.rules.stated()),
            item.group,
            item.external_id,
            item.observed_digest,
            item.commit,
        )
        for item in sorted(records, key=lambda item: item.address)
    ]
    touched = _groups_at(connection, [row[0] for row in rows]) | {(row[1], row[4]) for row in rows}
    connection.run_many(upsert("record", COLUMNS), rows)
    _touch(connection, touched)
    _touch_gates(connection, (row[0] for row in rows))


def drop_records(connection: Connection, addresses: Sequence[str]) -> None:
    """Forget these records. Touches their groups."""
    touched = _groups_at(connection, sorted(addresses))
    connection.run_in("DELETE FROM record WHERE address IN (...)", addresses)
    drop_hosts(connection, addresses)
    _touch(connection, touched)
    _touch_gates(connection, addresses)


def _touch_gates(connection: Connection, addresses: Iterable[str]) -> None:
    if any(where.startswith(WINDOWS) for where in addresses):
        touch(connection)


def _groups_at(connection: Connection, addresses: Sequence[str]) -> set[tuple[str, str]]:
    """Source and group of the records at these addresses, which nobody else changes from now on."""
    query = 'SELECT source, "group" FROM record WHERE address IN (...) ORDER BY address FOR UPDATE'
    return set(connection.rows_in(query, addresses))


def _touch(connection: Connection, touched: set[tuple[str, str]]) -> None:
    connection.run_many(NEXT, [(of,) for of in sorted({of for of, _ in touched})])
    connection.run_in(TOUCH, sorted(touched))


def fleet_in_force(connection: Connection, source: str) -> Spec:
    """The Fleet's rules as last applied; none before it was. Raises `OctofleetError` if they are not stored."""
    where = address("fleet", "fleet", "", source)
    record = load_records(connection, [where]).get(where)
    if record is None or record.source != source:
        return {}
    return stored(load_specs(connection, [record.digest]), where, record.digest)


def labels_of(connection: Connection, source: str, groups: Iterable[str]) -> dict[str, Mapping[str, str]]:
    """The labels on record of hosts, by group."""
    return {group: spec.get("labels", {}) for group, spec in _of_hosts(connection, source, "host", groups).items()}


def rollouts(connection: Connection, source: str, groups: Sequence[str]) -> dict[str, Spec]:
    """The labels and the rollout of hosts that have one on record, by group."""
    if connection.row("SELECT address FROM record WHERE address >= 'fleet/rollout/' AND address < 'fleet/rollout0' LIMIT 1") is None:
        return {}
    return _of_hosts(connection, source, "rollout", groups)


def _of_hosts(connection: Connection, source: str, kind: str, groups: Iterable[str]) -> dict[str, Spec]:
    """What the driver `fleet` has on record of hosts, by group. Raises `OctofleetError` as `in_force` does."""
    where = {f"fleet/{kind}/{group.removeprefix('host/')}": group for group in groups if group.startswith("host/")}
    digests = {a: record.digest for a, record in load_records(connection, sorted(where)).items() if record.source == source}
    specs = load_specs(connection, digests.values())
    return {where[a]: stored(specs, a, of) for a, of in digests.items()}


def in_force(connection: Connection, source: str, kind: str) -> dict[str, Spec]:
    """The rules of a kind (`policy`) of a source as last applied, by address: `fleet/policy/-/no-friday`, or with a tenant for the dash.
    Raises `OctofleetError` if one is not stored: what is not known must not count as no rule.
    """
    return _in_force(connection, kind, source).get(source, {})


def all_in_force(connection: Connection, kind: str) -> dict[str, dict[str, Spec]]:
    """The same of every source, by source."""
    return _in_force(connection, kind, None)


def _in_force(connection: Connection, kind: str, source: str | None) -> dict[str, dict[str, Spec]]:
    # the source is left out of WHERE, as in `count_records`
    query = "SELECT source, address, digest FROM record WHERE address >= ? AND address < ? ORDER BY address"
    rows = [row for row in connection.rows(query, (f"fleet/{kind}/", _after("fleet", kind))) if source in (None, row[0])]
    specs = load_specs(connection, (digest_ for *_, digest_ in rows))
    found: dict[str, dict[str, Spec]] = {}
    for of, where, digest_ in rows:
        found.setdefault(of, {})[where] = stored(specs, where, digest_)
    return found


def stored(specs: Mapping[str, Spec], where: str, digest_: str) -> Spec:
    """The specification of a record, of those that were found. Raises `OctofleetError` if it is not among them."""
    if digest_ not in specs:
        raise OctofleetError(f"the specification recorded at {where} is gone", hint="restore a backup", code="damaged-record")
    return specs[digest_]


def mark(connection: Connection, source: str) -> tuple[str, int]:
    """Which database this is (32 hexadecimal digits, drawn when it was made), and the number of the last change of a source's records; 0 before any."""
    store_id = connection.scalar("SELECT value FROM about WHERE key = 'store_id'")
    return str(store_id), connection.scalar("SELECT seq FROM mark WHERE source = ?", (source,)) or 0


def touched_since(connection: Connection, source: str, seq: int) -> list[str]:
    """The groups of a source whose records changed after that number, the longest unchanged first."""
    query = 'SELECT "group" FROM touched WHERE source = ? AND seq > ? ORDER BY seq, "group"'
    return [group for (group,) in connection.rows(query, (source, seq))]


def records_of(connection: Connection, source: str, groups: Sequence[str]) -> dict[str, list[tuple[str, str, bytes]]]:
    """What a source has recorded of these groups: address, digest and packed rules of each record, by group. A group without records is not there."""
    query = 'SELECT "group", address, digest, rules FROM record WHERE source = ? AND "group" IN (...)'
    found: dict[str, list[tuple[str, str, bytes]]] = {}
    for group, *record in connection.rows_in(query, groups, (source,)):
        found.setdefault(group, []).append(tuple(record))
    return found


def recorded_of_tenant(connection: Connection, source: str, tenant: str) -> int:
    """How many resources a source has recorded of the hosts of a tenant."""
    query = 'SELECT count(*) FROM record WHERE source = ? AND "group" > ? AND "group" < ?'
    return int(connection.scalar(query, (source, f"host/{tenant}/", f"host/{tenant}0")))  # 0 comes after /


def recorded_groups(connection: Connection, source: str) -> Iterator[str]:
    """Every group that a source has records of, in order, read as it is asked for."""
    return (group for (group,) in connection.rows('SELECT DISTINCT "group" FROM record WHERE source = ? ORDER BY "group"', (source,)))


def records_of_group(connection: Connection, group: str) -> list[str]:
    """The addresses recorded for one manifest."""
    query = f'{SOURCES} SELECT address FROM record WHERE source IN (SELECT name FROM every) AND "group" = ? ORDER BY address'  # noqa: S608 - from above
    return [where for (where,) in connection.rows(query, (group,))]


def sources_of(connection: Connection, addresses: Sequence[str]) -> dict[str, str]:
    """The Fleet that owns each of these, as far as they are on record."""
    return dict(connection.rows_in("SELECT address, source FROM record WHERE address IN (...)", sorted(addresses)))


def count_records(connection: Connection, source: str, driver: str, kind: str) -> int:
    """How many resources of a driver and kind a source has recorded."""
    # the source is left out of WHERE, so that the search goes by address: SQLite would rather read all records of the source
    query = "SELECT count(CASE WHEN source = ? THEN 1 END) FROM record WHERE address >= ? AND address < ?"
    return int(connection.scalar(query, (source, f"{driver}/{kind}/", _after(driver, kind))))


def _after(driver: str, kind: str) -> str:
    """What sorts directly after all addresses of a driver and kind: `0` follows `/`."""
    return f"{driver}/{kind}0"


class Counts(Mapping[tuple[str, str], int]):
    """How many resources of each driver and kind a source has recorded, counted when asked for. Lives as long as its connection's transaction."""

    def __init__(self, connection: Connection, source: str) -> None:
        self._connection, self._source = connection, source
        self._known: dict[tuple[str, str], int] = {}

    def __getitem__(self, key: tuple[str, str]) -> int:
        if key not in self._known:
            self._known[key] = count_records(self._connection, self._source, *key)
        if not self._known[key]:
            raise KeyError(key)
        return self._known[key]

    def __iter__(self) -> Iterator[tuple[str, str]]:
        after = ""
        while where := self._connection.scalar("SELECT min(address) FROM record WHERE address >= ?", (after,)):
            key = parts(where)[:2]
            after = _after(*key)
            if key in self:
                yield key

    def __len__(self) -> int:
        return sum(1 for _ in self)


def save_specs(connection: Connection, specs: Iterable[Spec]) -> None:
    """Store specifications under their digests; one that is there already is replaced, so that its references to secrets are the newest."""
    connection.run_many(upsert("spec", ("digest", "body")), sorted({digest(item): pack(item) for item in specs}.items()))


def load_specs(connection: Connection, digests: Iterable[str]) -> dict[str, Spec]:
    """The specifications with these digests, as far as they are stored."""
    rows = connection.rows_in("SELECT digest, body FROM spec WHERE digest IN (...)", sorted(set(digests)))
    return {found: unpack(body) for found, body in rows}


def applied_commit(connection: Connection, of: str) -> tuple[str, str] | None:
    """The commit that a source applied last and where the source came from, or None if it never applied one."""
    return connection.row("SELECT applied_commit, location FROM source WHERE name = ?", (of,))


def save_source(connection: Connection, of: str, location: str, commit: str, at: float) -> None:
    """Note that a source has applied a commit."""
    connection.run(upsert("source", ("name", "location", "applied_commit", "at")), (of, location, commit, at))


def locations(connection: Connection) -> dict[str, str]:
    """Of every source that has applied something, by name, where it came from."""
    return dict(connection.rows("SELECT name, location FROM source ORDER BY name"))


def sources(connection: Connection) -> Iterator[Mapping[str, object]]:
    """Every source with its number of resources."""
    numbers: dict[str, int] = dict(connection.rows("SELECT source, count(*) FROM record GROUP BY source"))
    for name, location, commit, at in connection.rows("SELECT name, location, applied_commit, at FROM source ORDER BY name"):
        yield {"name": name, "location": location, "commit": commit, "at": at, "resources": numbers.get(name, 0)}
