"""Records, specifications and sources: what was last applied. Functions on a connection; the caller owns the transaction."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec
from sqlalchemy import Connection, Row, delete, func, select

from reconciler.store.engine import chunks, upsert
from reconciler.store.tables import record, source, spec
from reconciler.types.canonical import digest, pack, unpack
from reconciler.types.resource import Recorded, Rules, parts
from reconciler.types.values import Spec


def record_index(connection: Connection, of: str) -> dict[str, tuple[bytes, str]]:
    """For every record of a source, by address: digest and rules as one fingerprint, and its group."""
    rows = connection.execute(select(record.c.address, record.c.digest, record.c.rules, record.c.group).where(record.c.source == of))
    return {where: (digest_.encode() + rules, group) for where, digest_, rules, group in rows}


def load_records(connection: Connection, addresses: Sequence[str]) -> dict[str, Recorded]:
    """The records at these addresses, whoever's they are."""
    found: dict[str, Recorded] = {}
    for part in chunks(addresses):
        for row in connection.execute(select(record).where(record.c.address.in_(part))):
            found[row.address] = _recorded(row)
    return found


def _recorded(row: Row[tuple[object, ...]]) -> Recorded:
    return Recorded(
        address=row.address,
        source=row.source,
        digest=row.digest,
        rules=Rules.revived(msgspec.json.decode(row.rules)),
        group=row.group,
        external_id=row.external_id,
        observed_digest=row.observed_digest,
        commit=row.commit,
    )


def save_records(connection: Connection, records: Iterable[Recorded]) -> None:
    """Insert or replace."""
    rows = [
        {
            "address": item.address,
            "source": item.source,
            "digest": item.digest,
            "rules": pack(item.rules.stated()),
            "group": item.group,
            "external_id": item.external_id,
            "observed_digest": item.observed_digest,
            "commit": item.commit,
        }
        for item in records
    ]
    upsert(connection, record, rows)


def drop_records(connection: Connection, addresses: Sequence[str]) -> None:
    """Forget these records."""
    for part in chunks(addresses):
        connection.execute(delete(record).where(record.c.address.in_(part)))


def records_of_group(connection: Connection, group: str) -> list[str]:
    """The addresses recorded for one manifest."""
    return list(connection.execute(select(record.c.address).where(record.c.group == group).order_by(record.c.address)).scalars())


def counts(connection: Connection, of: str) -> dict[tuple[str, str], int]:
    """How many resources of each driver and kind a source has recorded."""
    addresses = connection.execute(select(record.c.address).where(record.c.source == of)).scalars()
    return dict(Counter(parts(address)[:2] for address in addresses))


def save_specs(connection: Connection, specs: Iterable[Spec]) -> None:
    """Store specifications under their digests; one that is there already is replaced, so that its references to secrets are the newest."""
    upsert(connection, spec, [{"digest": found, "body": body} for found, body in {digest(item): pack(item) for item in specs}.items()])


def load_specs(connection: Connection, digests: Iterable[str]) -> dict[str, Spec]:
    """The specifications with these digests, as far as they are stored."""
    found: dict[str, Spec] = {}
    for part in chunks(sorted(set(digests))):
        for row in connection.execute(select(spec).where(spec.c.digest.in_(part))):
            found[row.digest] = unpack(row.body)
    return found


def applied_commit(connection: Connection, of: str) -> tuple[str, str] | None:
    """The commit that a source applied last and where the source came from, or None if it never applied one."""
    row = connection.execute(select(source).where(source.c.name == of)).first()
    return (row.applied_commit, row.location) if row else None


def save_source(connection: Connection, of: str, location: str, commit: str, at: float) -> None:
    """Note that a source has applied a commit."""
    upsert(connection, source, [{"name": of, "location": location, "applied_commit": commit, "at": at}])


def sources(connection: Connection) -> Iterator[Mapping[str, object]]:
    """Every source with its number of resources."""
    numbers: dict[str, int] = dict(connection.execute(select(record.c.source, func.count()).group_by(record.c.source)).all())
    for row in connection.execute(select(source).order_by(source.c.name)):
        yield {
            "name": row.name,
            "location": row.location,
            "commit": row.applied_commit,
            "at": row.at,
            "resources": numbers.get(row.name, 0),
        }
