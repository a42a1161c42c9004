"""What is new of runs: lines of the log after a number, changes that ended, phases, states. Functions on a connection; the caller owns the transaction.

Numbers of lines are given out in order, but with PostgreSQL not committed in order: `Settled` says up to which one all are there.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

from reconciler.store.archive import Line
from reconciler.store.engine import Connection

WRITERS = (
    "SELECT virtualtransaction FROM pg_locks WHERE locktype = 'relation' AND mode = 'RowExclusiveLock' AND relation = 'log'::regclass "
    "AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
)


@dataclass(frozen=True, slots=True)
class EndedItem:
    """A change that has ended, and whose it is."""

    step: int
    tenant: str
    address: str
    action: str
    status: str
    error: str
    ended_at: float


class Settled:
    """The number up to which every line that will ever have one is committed. Asked by one thread."""

    def __init__(self) -> None:
        self.number, self._asked = 0, 0
        self._waits: frozenset[str] | None = None

    def fresh(self, connection: Connection) -> bool:
        """Move on as far as that can be known now; whether that is up to a number of now, and not of an earlier call. Wants a transaction of its own: what is
        read up to `number` has to be read in a later one."""
        if connection.kind == "sqlite":  # one writes at a time
            self.number = int(connection.scalar("SELECT coalesce(max(id), 0) FROM log"))
            return True
        began = self._waits is None
        if began:
            self._asked = int(connection.scalar("SELECT last_value FROM log_id_seq"))
        writers = frozenset(of for (of,) in connection.rows(WRITERS))
        self._waits = writers if self._waits is None else self._waits & writers
        if self._waits:
            return False
        self.number, self._waits = self._asked, None
        return began or self.fresh(connection)


def lines_between(connection: Connection, after: int, until: int, most: int) -> list[tuple[str, Line]]:
    """The lines of all runs with greater numbers, up to one, each with its run."""
    query = "SELECT run, id, step, at, text FROM log WHERE id > ? AND id <= ? ORDER BY id LIMIT ?"
    return [(run, Line(*row)) for run, *row in connection.rows(query, (after, until, most))]


def last_line(connection: Connection, run: str) -> int:
    """The number of a run's last line; 0 if it has none."""
    return int(connection.scalar("SELECT coalesce(max(id), 0) FROM log WHERE run = ?", (run,)))


def ended_in(connection: Connection, run: str, steps: Collection[int]) -> Iterator[EndedItem]:
    """The changes of these steps that have ended."""
    query = (
        "SELECT item.step, step.tenant, address, action, status, error, coalesce(item.ended_at, 0) "
        "FROM item JOIN step ON step.run = item.run AND step.seq = item.step WHERE item.run = ? AND status <> '' AND item.step IN (...)"
    )
    return (EndedItem(*row) for row in connection.rows_in(query, sorted(steps), (run,)))


def addresses_of_steps(connection: Connection, run: str, steps: Collection[int]) -> dict[int, list[str]]:
    """What these steps change."""
    found: dict[int, list[str]] = {}
    for step, address in connection.rows_in("SELECT step, address FROM item WHERE run = ? AND step IN (...)", sorted(steps), (run,)):
        found.setdefault(step, []).append(address)
    return found


def states_of(connection: Connection, runs: Sequence[str]) -> dict[str, tuple[str, float | None]]:
    """State and end of these runs."""
    return {run: (state, ended) for run, state, ended in connection.rows_in("SELECT id, state, ended_at FROM run WHERE id IN (...)", runs)}
