"""What the picture of the fleets is made of, as rows: which resources are recorded, and those that are not simply as recorded. Functions on a connection;
the caller owns the transaction.

All but `recorded` and `never_seen` cost what is open, changing or failed now, not what there is.
"""

from collections.abc import Iterator, Sequence
from typing import Any

from reconciler.store.engine import Connection
from reconciler.store.observations import NOT_SETTLED
from reconciler.store.pages import pages
from reconciler.store.runs import last_ended

PART = 5000
Place = tuple[str, str, str]
"""Source, group and address of a resource; an empty group where nothing is recorded at the address yet."""
UNSEEN = (
    'SELECT record.source, record."group", record.address FROM record '
    "WHERE NOT EXISTS (SELECT 1 FROM observation WHERE observation.address = record.address)"
)


def told_by(connection: Connection) -> tuple[Any, ...]:
    """What differs as soon as the picture does: numbers that are found by an index each."""
    now = connection.now()
    return (
        *connection.rows("SELECT source, seq FROM mark ORDER BY source"),
        connection.scalar("SELECT max(at) FROM observation"),
        connection.scalar("SELECT count(*) FROM observation WHERE NOT settled"),
        connection.row("SELECT count(*), max(started_at) FROM run WHERE ended_at IS NULL"),
        connection.scalar("SELECT max(ended_at) FROM run WHERE ended_at IS NOT NULL"),
        connection.scalar("SELECT sum(open) FROM lane WHERE open > 0"),
        connection.row("SELECT count(*), max(until) FROM backoff WHERE until > ?", (now,)),
    )


def marks(connection: Connection) -> dict[str, int]:
    """The number of the last change of each source's records."""
    return dict(connection.rows("SELECT source, seq FROM mark"))


def recorded(connection: Connection) -> Iterator[Place]:
    """Every record, some at a time."""
    for part in pages(connection, "record", ("address", "source", "group"), ("address",), PART):
        yield from ((source, group, address) for address, source, group in part)


def never_seen(connection: Connection) -> list[Place]:
    """Every record of which there is no observation."""
    return list(connection.rows(UNSEEN))


def never_seen_of(connection: Connection, addresses: Sequence[str]) -> list[Place]:
    """The same of some addresses."""
    return list(connection.rows_in(f"{UNSEEN} AND record.address IN (...)", addresses))


def held(connection: Connection) -> Iterator[Place]:
    """What open runs have yet to bring to its end."""
    query = (
        "SELECT run.source, coalesce(record.\"group\", ''), hold.address FROM hold JOIN run ON run.id = hold.run "
        "LEFT JOIN record ON record.address = hold.address "
        "WHERE EXISTS (SELECT 1 FROM item WHERE item.run = hold.run AND item.address = hold.address AND item.status = '')"
    )
    return connection.rows(query)


def failed(connection: Connection, bad: Sequence[str]) -> Iterator[Place]:
    """What is left alone for a while because it failed, and what ended in the last run of its source with one of these statuses."""
    query = (
        'SELECT record.source, record."group", record.address FROM backoff JOIN record ON record.address = backoff.address WHERE until > ?'
    )
    yield from connection.rows(query, (connection.now(),))
    query = (
        "SELECT ?, coalesce(record.\"group\", ''), item.address FROM item LEFT JOIN record ON record.address = item.address "
        "WHERE item.run = ? AND item.status IN (...)"
    )
    for (source,) in list(connection.rows("SELECT name FROM source")):
        run = last_ended(connection, source)
        if run is not None:
            yield from connection.rows_in(query, bad, (source, run.id))


OTHERWISE = (
    'SELECT record.source, record."group", observation.address, observation.kind FROM observation CROSS JOIN record '  # noqa: S608 - ours
    f"WHERE {NOT_SETTLED} AND record.address = observation.address "
    "AND (observation.kind <> 'present' OR observation.digest <> record.observed_digest)"
)


def otherwise(connection: Connection) -> Iterator[tuple[str, str, str, str]]:
    """Source, group, address and kind of each latest observation that is not as recorded. What is only to be looked at again, as a run may have touched it,
    does not count while it was seen as recorded."""
    return connection.rows(OTHERWISE)


def otherwise_of(connection: Connection, addresses: Sequence[str]) -> set[str]:
    """Those of some resources that were seen otherwise than recorded; what could not be seen is not among them."""
    query = f"{OTHERWISE} AND observation.kind <> 'unknown' AND observation.address IN (...)"
    return {address for _, _, address, _ in connection.rows_in(query, addresses)}
