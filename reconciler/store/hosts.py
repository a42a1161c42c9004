"""What is known of hosts: when each was asked and answered last, when it was last as desired, its facts, and how these changed. Functions on a connection;
the caller owns the transaction.

A host is its tenant and name. Under another name it begins anew; what it said before goes with its record, but for the changes, which are history.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reconciler.store.engine import Connection, Store, chunks, insert, upsert
from reconciler.types.canonical import canonical, digest, pack, unpack
from reconciler.types.resource import parts
from reconciler.types.task import HostTold

COUNTED = (
    "apparmor.status", "architecture", "bios_version", "default_ipv4.gateway", "distribution", "distribution_release", "distribution_version", "fips",
    "kernel", "memory_mb", "os_family", "pkg_mgr", "processor_model", "processor_vcpus", "product_name", "python_version", "selinux.mode",
    "selinux.status", "service_mgr", "system", "system_vendor", "virtualization_role", "virtualization_type",
)  # fmt: skip
"""Facts by which hosts are found and counted: what is each host's own (an address, a serial number) tells nothing of many."""
AGAIN_S = 3600.0
"""How old the time may be that is kept with facts which were told again as they were."""
BATCH = 100
MOST_CHANGES = 200
"""Of one host at one time; the rest is not told one by one."""
ANSIBLE = "ansible/role/"
REGISTER = "fleet/host/"
Key = tuple[str, str]


def keep_told(store: Store, told: Sequence[HostTold]) -> None:
    """Keep what hosts said, some at a time."""
    for part in chunks(sorted(told, key=_key), BATCH):
        with store.write(alone=False) as connection:
            save_told(connection, part)


def _key(one: HostTold) -> Key:
    return one.tenant, one.host


def save_told(connection: Connection, told: Sequence[HostTold]) -> None:
    """Keep it: when each was asked and answered, and facts where they are others than before."""
    seen = [(*_key(one), one.at, one.at if one.answered else None, one.why) for one in told]
    connection.run_many(f"{insert('host_seen', ('tenant', 'host', 'checked_at', 'seen_at', 'note'))} {_SEEN}", seen)
    with_facts = {_key(one): one for one in told if one.facts}
    if not with_facts:
        return
    query = (
        "SELECT host_facts.tenant, host_facts.host, at, digest, body FROM (...) AS these "
        "JOIN host_facts ON host_facts.tenant = column1 AND host_facts.host = column2 "
        "ORDER BY host_facts.tenant, host_facts.host FOR UPDATE OF host_facts"
    )
    known = {(tenant, host): (at, of, body) for tenant, host, at, of, body in connection.rows_in(query, sorted(with_facts))}
    seen_again, others = list[tuple[Any, ...]](), list[tuple[HostTold, Mapping[str, Any], Mapping[str, Any]]]()
    for key, one in with_facts.items():
        at, of, body = known.get(key, (0.0, "", b""))
        before = unpack(body) if body else {}
        facts = merged(before, one.facts)
        if digest(facts) != of:
            others.append((one, before, facts))
        elif one.at - at > AGAIN_S:
            seen_again.append((one.at, *key))
    connection.run_many("UPDATE host_facts SET at = ? WHERE tenant = ? AND host = ?", seen_again)
    _save_facts(connection, others)


def merged(before: Mapping[str, Any], told: Mapping[str, Any]) -> dict[str, Any]:
    """What is known of a host after it told this: who is asked for some facts says nothing of others, so what it did not name at all stays."""
    names = {path.partition(".")[0] for path in told}
    return {path: value for path, value in before.items() if path.partition(".")[0] not in names} | dict(told)


def changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    """Path, value before and value after (JSON texts, empty where there is none) of each fact that differs."""
    paths = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
    return [(path, _json(before, path), _json(after, path)) for path in paths]


def _json(facts: Mapping[str, Any], path: str) -> str:
    return canonical(facts[path]).decode() if path in facts else ""


def _save_facts(connection: Connection, others: Sequence[tuple[HostTold, Mapping[str, Any], Mapping[str, Any]]]) -> None:
    """`others`: who told them, with the facts before and after. The first facts of a host are no change."""
    rows = [(*_key(one), one.at, digest(facts), pack(dict(facts))) for one, _, facts in others]
    connection.run_many(upsert("host_facts", ("tenant", "host", "at", "digest", "body"), key=2), rows)
    changes = [(one.at, *_key(one), *change) for one, before, facts in others if before for change in changed(before, facts)[:MOST_CHANGES]]
    connection.run_many(insert("fact_change", ("at", "tenant", "host", "path", "before", "after")), changes)
    counted = [(*_key(one), path, shown(facts[path])) for one, _, facts in others for path in COUNTED if path in facts]
    connection.run_many(upsert("host_fact", ("tenant", "host", "path", "value"), key=3), counted)
    gone = [(*_key(one), path) for one, before, facts in others for path in COUNTED if path in before and path not in facts]
    connection.run_many("DELETE FROM host_fact WHERE tenant = ? AND host = ? AND path = ?", gone)


def shown(value: Any) -> str:
    """A fact's value as people read it, and look for it."""
    return value if isinstance(value, str) else canonical(value).decode()


def mark_converged(connection: Connection, source: str, addresses: Iterable[str]) -> None:
    """After these were seen as they are wanted: note for each host of them of which all Ansible resources on record were last seen so since when that is
    known of all, which is when the one seen longest ago was seen."""
    groups = {_group(where) for where in addresses if where.startswith(ANSIBLE)}
    if not groups:
        return
    query = (
        'SELECT record."group", min(observation.at), max(CASE WHEN observation.settled THEN 0 ELSE 1 END) '
        "FROM record LEFT JOIN observation ON observation.address = record.address "
        "WHERE record.source = ? AND record.address >= 'ansible/role/' AND record.address < 'ansible/role0' "
        'AND record."group" IN (...) GROUP BY record."group"'
    )
    found = sorted((group, at) for group, at, open_ in connection.rows_in(query, sorted(groups), (source,)) if not open_ and at is not None)
    rows = [(*group.split("/", 2)[1:], at, "") for group, at in found]
    connection.run_many(f"{insert('host_seen', ('tenant', 'host', 'converged_at', 'note'))} {_CONVERGED}", rows)


_SEEN = (
    "ON CONFLICT (tenant, host) DO UPDATE SET checked_at = excluded.checked_at, note = excluded.note, "
    "seen_at = COALESCE(excluded.seen_at, host_seen.seen_at)"
)
_CONVERGED = (
    "ON CONFLICT (tenant, host) DO UPDATE SET converged_at = CASE "
    "WHEN host_seen.converged_at > excluded.converged_at THEN host_seen.converged_at ELSE excluded.converged_at END"
)


def _group(where: str) -> str:
    """The manifest of the host of an Ansible resource, whose name is `HOST.ROLE`."""
    _, _, tenant, name = parts(where)
    return f"host/{tenant}/{name.partition('.')[0]}"


def drop_hosts(connection: Connection, addresses: Iterable[str]) -> None:
    """Forget what is known of the hosts of these records, where they are hosts'."""
    keys = sorted(parts(where)[2:] for where in addresses if where.startswith(REGISTER))
    for table in ("host_seen", "host_facts", "host_fact"):
        connection.run_many(f"DELETE FROM {table} WHERE tenant = ? AND host = ?", keys)  # noqa: S608 - names from above


def seen_of(connection: Connection, tenant: str, host: str) -> tuple[float | None, float | None, float | None, str]:
    """When a host was last asked, answered and as desired, and why it did not answer."""
    query = "SELECT checked_at, seen_at, converged_at, note FROM host_seen WHERE tenant = ? AND host = ?"
    found: tuple[float | None, float | None, float | None, str] | None = connection.row(query, (tenant, host))
    return found or (None, None, None, "")


def facts_of(connection: Connection, tenant: str, host: str) -> tuple[float, dict[str, Any]] | None:
    """When a host told its facts, and these."""
    row = connection.row("SELECT at, body FROM host_facts WHERE tenant = ? AND host = ?", (tenant, host))
    return (row[0], unpack(row[1])) if row else None


def changes_of(connection: Connection, tenant: str, host: str, most: int) -> list[tuple[float, str, str, str]]:
    """When which facts of a host changed, newest first: time, path, before and after."""
    query = 'SELECT at, path, "before", "after" FROM fact_change WHERE tenant = ? AND host = ? ORDER BY at DESC, id DESC LIMIT ?'
    return list(connection.rows(query, (tenant, host, most)))


AGES = {"hour": 3600.0, "day": 86_400.0, "week": 604_800.0}
"""Names of ages, youngest first; what is older is `older`, what never was `never`."""


def by_age(connection: Connection, now: float) -> dict[tuple[str, ...], int]:
    """How many hosts answered last, and were last as wanted, how long ago: by `answered` or `converged`, and the age. It reads all of them."""
    found: dict[tuple[str, ...], int] = {(what, age): 0 for what in ("answered", "converged") for age in (*AGES, "older", "never")}
    cases = " ".join(f"WHEN {{at}} >= ? THEN '{age}'" for age in AGES)
    for what, column in (("answered", "seen_at"), ("converged", "converged_at")):
        case = f"CASE {cases} WHEN {{at}} IS NULL THEN 'never' ELSE 'older' END".replace("{at}", column)
        query = f"SELECT {case}, count(*) FROM host_seen GROUP BY 1"  # noqa: S608 - names from above
        found |= {(what, age): number for age, number in connection.rows(query, tuple(now - s for s in AGES.values()))}
    return found


def hosts_named(connection: Connection, host: str) -> list[str]:
    """The tenants that have a host of this name of which something is known."""
    return sorted(tenant for (tenant,) in connection.rows("SELECT tenant FROM host_seen WHERE host = ?", (host,)))
