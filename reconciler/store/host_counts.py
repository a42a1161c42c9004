"""Facts over many hosts: which changed, how many hosts have which value, and which hosts have one. Functions on a connection.

`Among` says of whose hosts: by tenant where all of a tenant's are seen, else by host. Every answer is bounded; what is counted is counted in the database.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.store.engine import Connection
from reconciler.store.sql import beginning

MOST = 200
"""Rows of one answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Among:
    """Which hosts count: all of these tenants, and these (tenant, host) beside them. `everything`: all there are."""

    everything: bool = False
    tenants: Sequence[str] = ()
    hosts: Sequence[tuple[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangedAlike:
    """The same change of a fact on so many hosts, from the first time to the last. `before` and `after`: JSON texts, empty where there is none."""

    path: str
    before: str
    after: str
    hosts: int
    first_at: float
    last_at: float


@dataclass(slots=True)
class _Sum:
    hosts: int = 0
    first_at: float = field(default=float("inf"))
    last_at: float = 0.0


def changed_alike(connection: Connection, among: Among, since: float, path: str = "") -> list[ChangedAlike]:
    """The changes since a time that most hosts have in common, those of most hosts first. `path`: of that fact alone."""
    what = """path, "before", "after", count(DISTINCT tenant || '/' || host), min(at), max(at)"""
    only, params = ("AND path = ?", (since, path)) if path else ("", (since,))
    query = f'SELECT {what} FROM fact_change WHERE at >= ? {only} {{and}} GROUP BY path, "before", "after" ORDER BY 4 DESC, 1, 2, 3 LIMIT {MOST}'  # noqa: S608 - from here
    sums: dict[tuple[str, str, str], _Sum] = {}
    for fact, before, after, hosts, first, last in _over(connection, query, among, params):
        one = sums.setdefault((fact, before, after), _Sum())
        one.hosts += hosts
        one.first_at, one.last_at = min(one.first_at, first), max(one.last_at, last)
    found = [
        ChangedAlike(path=fact, before=before, after=after, hosts=one.hosts, first_at=one.first_at, last_at=one.last_at)
        for (fact, before, after), one in sums.items()
    ]
    return sorted(found, key=lambda one: (-one.hosts, one.path, one.before, one.after))[:MOST]


def values_of(connection: Connection, among: Among, path: str) -> list[tuple[str, int]]:
    """The values of a fact (of `hosts.COUNTED`), and how many hosts have each, the most common first."""
    query = f"SELECT value, count(*) FROM host_fact WHERE path = ? {{and}} GROUP BY value ORDER BY 2 DESC, 1 LIMIT {MOST}"  # noqa: S608 - from here
    found = Counter[str]()
    for value, hosts in _over(connection, query, among, (path,)):
        found[value] += hosts
    return sorted(found.items(), key=lambda item: (-item[1], item[0]))[:MOST]


def hosts_with(
    connection: Connection, among: Among, path: str, pattern: str, after: tuple[str, str] | None, most: int
) -> list[tuple[str, str, str]]:
    """Tenant, host and value of those whose fact is as a pattern with `*` and `?` says, in either case, by tenant and host, after one of them."""
    like = beginning(pattern).removesuffix("%").replace("*", "%").replace("?", "_")
    start, params = ("AND (tenant, host) > (?, ?)", after) if after else ("", ())
    query = f"SELECT tenant, host, value FROM host_fact WHERE path = ? AND lower(value) LIKE ? ESCAPE '/' {start} {{and}} ORDER BY tenant, host LIMIT {most}"  # noqa: S608 - from here
    return sorted(_over(connection, query, among, (path, like, *params)))[:most]


def _over(connection: Connection, query: str, among: Among, params: Sequence[Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of a query, for each part of the hosts that count; `{and}` in it is where it chooses them."""
    if among.everything:
        yield from connection.rows(query.replace("{and}", ""), params)
        return
    yield from connection.rows_in(query.replace("{and}", "AND tenant IN (...)"), sorted(among.tenants), params)
    these = "AND (tenant, host) IN (SELECT column1, column2 FROM (...) AS these)"
    yield from connection.rows_in(query.replace("{and}", these), sorted(among.hosts), params)
