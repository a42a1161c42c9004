"""Which pull request holds a resource: the first one whose plan changes it, until it is closed, applied or unlocked. Functions on a connection; the caller
owns the transaction."""

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import groupby

from reconciler.store.engine import Connection, insert
from reconciler.store.pulls import PullKey

LOCK = ("source", "address", "forge", "project", "number", "at", "identity", "reason")


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """A resource and the pull request that holds it, since when (seconds since the epoch). `identity`: who locked it by a word, else empty."""

    address: str
    by: PullKey
    at: float
    identity: str = ""
    reason: str = ""


def take_locks(
    connection: Connection, key: PullKey, source: str, addresses: Iterable[str], *, identity: str = "", reason: str = ""
) -> list[Held]:
    """Hold these resources, as far as nobody else does; gives those that others hold. What it held by its plan and does not want any more is free again.

    Freed and taken in the one order of their addresses: two pull requests that swap resources would wait for each other for good.
    """
    wanted, now = sorted(set(addresses)), connection.now()
    before = {row[0]: row[1] for row in connection.rows(f"SELECT address, identity FROM pull_lock WHERE {_OF}", key.place)}  # noqa: S608 - from below
    left = {address for address, by in before.items() if not by} - set(wanted)
    new = set(wanted) - before.keys()
    for free, part in groupby(sorted(left | new), key=left.__contains__):
        if free:
            connection.run_in(f"DELETE FROM pull_lock WHERE {_OF} AND address IN (...)", list(part), key.place)  # noqa: S608 - from below
        else:
            rows = [(source, address, *key.place, now, identity, reason) for address in part]
            connection.run_many(f"{insert('pull_lock', LOCK)} ON CONFLICT (source, address) DO NOTHING", rows)
    if identity:
        said = f"UPDATE pull_lock SET identity = ?, reason = ? WHERE {_OF} AND address IN (...)"  # noqa: S608 - from below
        connection.run_in(said, wanted, (identity, reason, *key.place))
    return [held for held in holders(connection, source, wanted) if held.by != key]


def holders(connection: Connection, source: str, addresses: Iterable[str]) -> list[Held]:
    """Who holds these, as far as anybody does, by address."""
    query = "SELECT address, forge, project, number, at, identity, reason FROM pull_lock WHERE source = ? AND address IN (...)"
    rows = connection.rows_in(query, sorted(set(addresses)), (source,))
    return sorted((_held(*row) for row in rows), key=lambda held: held.address)


def _held(address: str, forge: str, project: str, number: int, at: float, identity: str, reason: str) -> Held:
    return Held(address=address, by=PullKey(forge=forge, project=project, number=number), at=at, identity=identity, reason=reason)


def locks_of(connection: Connection, key: PullKey) -> list[Held]:
    """What a pull request holds, by address."""
    query = f"SELECT address, forge, project, number, at, identity, reason FROM pull_lock WHERE {_OF} ORDER BY address"  # noqa: S608 - from below
    return [_held(*row) for row in connection.rows(query, key.place)]


def release(connection: Connection, key: PullKey) -> int:
    """Free all that a pull request holds; how many resources that are."""
    return connection.changed(f"DELETE FROM pull_lock WHERE {_OF}", key.place)  # noqa: S608 - from below


_OF = "forge = ? AND project = ? AND number = ?"
