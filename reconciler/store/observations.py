"""The latest observation of each resource, with its age. Functions on a connection; the caller owns the transaction."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, delete, func, select, update

from reconciler.store.engine import chunks, upsert
from reconciler.store.tables import observation, record
from reconciler.types.canonical import pack, unpack
from reconciler.types.observation import Absent, Observation, Present, Proposed, ProposedField, Unknown


def save_observations(connection: Connection, found: Mapping[str, Observation], settled: Mapping[str, bool]) -> None:
    """Replace the latest observation of each address, unless a newer one is there; `settled` says whether it was as recorded."""
    rows = [
        {
            "address": address,
            "kind": type(item).__name__.lower(),
            "digest": getattr(item, "digest", ""),
            "body": pack(_body(item)),
            "at": item.at,
            "settled": settled[address],
        }
        for address, item in found.items()
    ]
    upsert(connection, observation, rows, newer="at")


def load_observations(connection: Connection, addresses: Sequence[str]) -> dict[str, Observation]:
    """The latest observations of these addresses, as far as there are any."""
    found: dict[str, Observation] = {}
    for part in chunks(addresses):
        for row in connection.execute(select(observation).where(observation.c.address.in_(part))):
            found[row.address] = _revived(row.kind, unpack(row.body), row.digest, row.at)
    return found


def open_addresses(connection: Connection, source: str) -> list[str]:
    """The recorded resources of a source whose latest observation was not as recorded."""
    query = (
        select(record.c.address)
        .join(observation, observation.c.address == record.c.address)
        .where(record.c.source == source, ~observation.c.settled)
    )
    return list(connection.execute(query).scalars())


def oldest(connection: Connection, source: str) -> float | None:
    """When the longest unseen of a source's resources was seen."""
    query = select(func.min(observation.c.at)).join(record, observation.c.address == record.c.address).where(record.c.source == source)
    return connection.execute(query).scalar()


def unsettle(connection: Connection, addresses: Sequence[str]) -> None:
    """Have the next plan look at these again."""
    for part in chunks(addresses):
        connection.execute(update(observation).where(observation.c.address.in_(part)).values(settled=False))


def drop_observations(connection: Connection, addresses: Iterable[str]) -> None:
    """Forget what was seen at these addresses."""
    for part in chunks(list(addresses)):
        connection.execute(delete(observation).where(observation.c.address.in_(part)))


def _body(item: Observation) -> dict[str, Any]:
    match item:
        case Present():
            return {"spec": item.spec, "externalId": item.external_id}
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
        case "proposed":
            fields = tuple(ProposedField(path=path, before=before, after=after, diff=diff) for path, before, after, diff in body["fields"])
            return Proposed(fields=fields, digest=digest, at=at, blind_spots=tuple(body["blindSpots"]), artifact=body["artifact"])
        case "unknown":
            return Unknown(code=body["code"], reason=body["reason"], at=at)
        case _:
            return Absent(at=at)
