"""The latest observation of each resource, with its age. Functions on a connection; the caller owns the transaction.

A present resource whose specification stands in the table `spec` is stored without one: it is found by its digest.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from reconciler.store.engine import Connection, upsert
from reconciler.types.canonical import pack, unpack
from reconciler.types.observation import Absent, Observation, Present, Proposed, ProposedField, Unknown
from reconciler.types.values import Spec

COLUMNS = ("address", "kind", "digest", "body", "at", "settled")
AS_WANTED = "as-wanted"
"""The kind of a row whose engine would change nothing: a `Proposed` without fields."""
NOT_SETTLED = f"NOT observation.settled AND observation.kind <> '{AS_WANTED}'"
"""Of rows that do not count as settled, those that were not just seen as wanted: a run that may have touched a resource has it only looked at again."""


def save_observations(connection: Connection, found: Mapping[str, Observation], settled: Mapping[str, bool]) -> None:
    """Replace the latest observation of each address, unless a newer one is there; `settled` says whether it was as recorded."""
    digests = sorted({item.digest for item in found.values() if isinstance(item, Present)})
    stored = {known for (known,) in connection.rows_in("SELECT digest FROM spec WHERE digest IN (...)", digests)}
    rows = (
        (
            address,
            AS_WANTED if isinstance(item, Proposed) and not item.fields else type(item).__name__.lower(),
            getattr(item, "digest", ""),
            pack(_body(item, stored)),
            item.at,
            settled[address],
        )
        for address, item in sorted(found.items(), key=lambda seen: seen[0])
    )
    connection.run_many(upsert("observation", COLUMNS, newer="at"), rows)


def load_observations(connection: Connection, addresses: Sequence[str]) -> dict[str, Observation]:
    """The latest observations of these addresses, as far as there are any. One whose specification is nowhere counts as none."""
    query = (
        "SELECT seen.address, seen.kind, seen.digest, seen.body, seen.at, spec.body FROM observation AS seen "
        "LEFT JOIN spec ON spec.digest = seen.digest AND seen.kind = 'present' WHERE seen.address IN (...)"
    )
    found: dict[str, Observation] = {}
    specs: dict[str, Spec] = {}
    for where, kind, digest, packed, at, stored in connection.rows_in(query, addresses):
        body = unpack(packed)
        if kind == "present" and "spec" not in body:
            if stored is None:
                continue
            if digest not in specs:
                specs[digest] = unpack(stored)
            body["spec"] = specs[digest]
        found[where] = _revived(kind, body, digest, at)
    return found


# CROSS JOIN, and not JOIN, has SQLite begin with the observations: few are open, and the oldest comes first.


def open_addresses(connection: Connection, source: str) -> list[str]:
    """The recorded resources of a source whose latest observation was not as recorded, or that a run may have touched since."""
    query = (
        "SELECT record.address FROM observation CROSS JOIN record "
        "WHERE NOT observation.settled AND record.address = observation.address AND record.source = ?"
    )
    return [where for (where,) in connection.rows(query, (source,))]


def otherwise_seen(connection: Connection, source: str) -> list[str]:
    """Those of `open_addresses` that were seen otherwise than recorded; the others are only to be looked at again, as a run may have touched them."""
    query = (
        "SELECT record.address FROM observation CROSS JOIN record "  # noqa: S608 - from above
        f"WHERE {NOT_SETTLED} AND record.address = observation.address AND record.source = ? "
        "AND (observation.kind <> 'present' OR observation.digest <> record.digest)"
    )
    return [where for (where,) in connection.rows(query, (source,))]


def open_groups(connection: Connection, source: str) -> set[str]:
    """The groups of those."""
    query = (
        'SELECT DISTINCT record."group" FROM observation CROSS JOIN record '
        "WHERE NOT observation.settled AND record.address = observation.address AND record.source = ?"
    )
    return {group for (group,) in connection.rows(query, (source,))}


def oldest(connection: Connection, source: str) -> float | None:
    """When the longest unseen of a source's resources was seen, in seconds since the epoch."""
    query = (
        "SELECT observation.at FROM observation CROSS JOIN record "
        "WHERE record.address = observation.address AND record.source = ? ORDER BY observation.at LIMIT 1"
    )
    found: float | None = connection.scalar(query, (source,))
    return found


def seen_longest_ago(connection: Connection, source: str, number: int, *, scheduled: bool = False) -> dict[str, str]:
    """The groups of so many recorded resources of a source, by address: those whose latest observation is the oldest. `scheduled`: without Ansible's, which
    have a schedule of their own."""
    but = "AND NOT (observation.address >= 'ansible/role/' AND observation.address < 'ansible/role0') " if scheduled else ""
    query = (
        'SELECT record.address, record."group" FROM observation CROSS JOIN record '  # noqa: S608 - from above
        f"WHERE record.address = observation.address AND record.source = ? {but}ORDER BY observation.at LIMIT ?"
    )
    return dict(connection.rows(query, (source, number)))


def unseen(connection: Connection, addresses: Sequence[str]) -> set[str]:
    """Those of the addresses that were never observed."""
    seen = connection.rows_in("SELECT address FROM observation WHERE address IN (...)", addresses)
    return set(addresses).difference(where for (where,) in seen)


def unsettle(connection: Connection, addresses: Sequence[str]) -> None:
    """Have the next plan look at these again."""
    connection.run_in("UPDATE observation SET settled = ? WHERE address IN (...)", addresses, (False,))


def drop_observations(connection: Connection, addresses: Iterable[str]) -> None:
    """Forget what was seen at these addresses."""
    connection.run_in("DELETE FROM observation WHERE address IN (...)", list(addresses))


def _body(item: Observation, stored: set[str]) -> dict[str, Any]:
    match item:
        case Present():
            return {"externalId": item.external_id} | ({} if item.digest in stored else {"spec": item.spec})
        case Proposed():
            fields = [[field.path, field.before, field.after, field.diff] for field in item.fields]
            return {"fields": fields, "blindSpots": list(item.blind_spots), "artifact": item.artifact}
        case Unknown():
            return {"code": item.code, "reason": item.reason}
        case Absent():
            return {}


def _revived(kind: str, body: Mapping[str, Any], digest: str, at: float) -> Observation:
    match kind:
        case "present":
            return Present(spec=body["spec"], digest=digest, at=at, external_id=body["externalId"])
        case "proposed" | "as-wanted":
            fields = tuple(ProposedField(path=path, before=before, after=after, diff=diff) for path, before, after, diff in body["fields"])
            return Proposed(fields=fields, digest=digest, at=at, blind_spots=tuple(body["blindSpots"]), artifact=body["artifact"])
        case "unknown":
            return Unknown(code=body["code"], reason=body["reason"], at=at)
        case _:
            return Absent(at=at)
