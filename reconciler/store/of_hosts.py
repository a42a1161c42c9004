"""What the journal has of some resources: the runs that changed them, and what of them waits. Functions on a connection; the caller owns the transaction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.store.engine import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Worked:
    """How a change of a resource in a run ended; an empty status: it has not."""

    run: str
    source: str
    state: str
    started_at: float
    address: str
    action: str
    status: str
    error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Waits:
    """A change of a resource that has not begun or goes on, and the step's words about it."""

    run: str
    address: str
    state: str
    note: str
    due_at: float


def worked_on(
    connection: Connection, source: str, addresses: Sequence[str], prefix: str, key: Sequence[Any] | None, most: int
) -> list[Worked]:
    """What the newest runs of a source that changed any of these, or of what begins with the prefix (and ends with a name), did to them, newest first; at most
    so many runs. `key`: beginning and id of the run after which they come."""
    before = "AND (run.started_at < ? OR run.started_at = ? AND run.id > ?) " if key else ""
    named = f"address IN ({', '.join('?' * len(addresses))})" if addresses else "FALSE"
    begins = (prefix, f"{prefix}~")  # names have letters, digits and dashes alone
    query = (
        f"SELECT id, source, state, started_at FROM run WHERE source = ? {before}AND (EXISTS (SELECT 1 FROM item WHERE item.run = run.id AND {named}) "  # noqa: S608 - places for values
        "OR EXISTS (SELECT 1 FROM item WHERE item.run = run.id AND address > ? AND address < ?)) ORDER BY started_at DESC, id LIMIT ?"
    )
    after = (key[0], key[0], key[1]) if key else ()
    runs = list(connection.rows(query, (source, *after, *addresses, *begins, most)))
    found: list[Worked] = []
    for run, of, state, started_at in runs:
        query = (
            f"SELECT address, action, status, error FROM item WHERE run = ? AND ({named} OR address > ? AND address < ?) ORDER BY address"  # noqa: S608 - places
        )
        for address, action, status, error in connection.rows(query, (run, *addresses, *begins)):
            found.append(
                Worked(
                    run=run,
                    source=of,
                    state=state,
                    started_at=started_at,
                    address=address,
                    action=action,
                    status=status,
                    error=error,
                )
            )
    return found


def waits_of(connection: Connection, addresses: Sequence[str]) -> Iterator[Waits]:
    """What open runs have yet to do to these."""
    query = (
        "SELECT item.run, item.address, step.state, step.note, step.due_at FROM hold JOIN item ON item.run = hold.run AND item.address = hold.address "
        "JOIN step ON step.run = item.run AND step.seq = item.step WHERE item.status = '' AND hold.address IN (...)"
    )
    for run, address, state, note, due_at in connection.rows_in(query, addresses):
        yield Waits(run=run, address=address, state=state, note=note, due_at=due_at)


def left_alone(connection: Connection, addresses: Sequence[str]) -> list[tuple[str, float, str]]:
    """Address, until when, and why, of those that are left alone for a while because they failed."""
    query = "SELECT address, until, reason FROM backoff WHERE until > ? AND address IN (...)"
    return sorted(connection.rows_in(query, addresses, (connection.now(),)))
