"""What SQLite and PostgreSQL have in common: a connection inside a transaction, what a store needs of a database, and what to raise."""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Literal

from reconciler.errors import OctofleetError
from reconciler.stages import count, counted
from reconciler.store.sql import chunks, spread

WAIT_MS = 30_000
"""How long a transaction waits for others, at most, before it is `Unavailable`."""
Access = Literal["read", "write", "alone", "migration"]


class Unavailable(OctofleetError):
    """The database cannot be used now; the whole transaction may be tried again later. Nothing of it was done.

    Unless `in_doubt`: the connection was lost during the commit, and nobody knows whether it took place. Who tries again then looks first.
    """

    def __init__(self, message: str, *, hint: str = "", in_doubt: bool = False) -> None:
        super().__init__(message, hint=hint, code="store-unavailable")
        self.in_doubt = in_doubt


class Connection(ABC):
    """A connection inside a transaction, which its owner ends. It belongs to one thread at a time; rows are tuples in the order of the query."""

    __slots__ = ("_raw",)

    kind = "sqlite"
    """Which database it is: for the few statements that only one of them needs."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    @abstractmethod
    def now(self) -> float:
        """What time it is for everybody who uses this database, in seconds since the epoch."""

    @abstractmethod
    def _execute(self, sql: str, params: Sequence[object]) -> Any:
        """A cursor after the statement: iterable, with `fetchone` and `rowcount`."""

    def grown(self, *tables: str) -> None:
        """Many rows have come into these: where plans of queries follow from statistics, make new ones now."""
        del tables

    @abstractmethod
    def commit(self) -> None:
        """End the transaction. Raises if it was not committed."""

    @abstractmethod
    def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each row of parameters. What makes the rows must not use this connection meanwhile."""

    def rows(self, sql: str, params: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, within the transaction. SQLite looks for them as they are asked for; PostgreSQL sends all of them at once."""
        return counted("rows_read", iter(self._execute(sql, params)))

    def row(self, sql: str, params: Sequence[object] = ()) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        found: tuple[Any, ...] | None = self._execute(sql, params).fetchone()
        count("rows_read", found is not None)
        return found

    def scalar(self, sql: str, params: Sequence[object] = ()) -> Any:
        """The first column of the first row of a query, or None."""
        found = self.row(sql, params)
        return found[0] if found else None

    def rows_in(self, sql: str, values: Sequence[Any], params: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query with a `(...)`, which stands for the values (see `spread`), some at a time; `params` come before them."""
        for part in chunks(values):
            text, spread_out = self._spread(sql, part)
            yield from self.rows(text, (*params, *spread_out))

    def _spread(self, sql: str, values: Sequence[Any]) -> tuple[str, Sequence[Any]]:
        return spread(sql, values)

    def run(self, sql: str, params: Sequence[object] = ()) -> None:
        """Run a statement that gives no rows."""
        self._execute(sql, params)

    def changed(self, sql: str, params: Sequence[object] = ()) -> int:
        """Run a statement that gives no rows; how many rows it inserted, updated or deleted."""
        return int(self._execute(sql, params).rowcount)

    def changed_in(self, sql: str, values: Sequence[Any], params: Sequence[object] = ()) -> Iterator[int]:
        """As `run_in`; how many rows each part changed."""
        for part in chunks(values):
            text, spread_out = self._spread(sql, part)
            yield self.changed(text, (*params, *spread_out))

    def run_in(self, sql: str, values: Sequence[Any], params: Sequence[object] = ()) -> None:
        """Run a statement with a `(...)`, which stands for the values (see `spread`), some at a time; `params` come before them."""
        for part in chunks(values):
            text, spread_out = self._spread(sql, part)
            self.run(text, (*params, *spread_out))


class Database(ABC):
    """How a store speaks to one kind of database. A raw connection is the driver's; it commits nothing by itself."""

    name: str
    """The database as it may be shown: without a password."""
    another: str
    """How to name another one."""
    engine: str
    """SQLAlchemy's name of it, for migrations."""
    errors: type[Exception]
    """What the driver raises."""

    @abstractmethod
    def connect(self) -> Any:
        """A new raw connection."""

    def turn(self, access: Access) -> AbstractContextManager[None]:
        """Around a whole transaction: waits for those of this process that the database would have to keep apart."""
        del access
        return nullcontext()

    @abstractmethod
    def begin(self, raw: Any, access: Access) -> Connection:
        """Begin a transaction. `alone`: beside no other such one; `migration`: neither beside one, and it waits longer for it."""

    @abstractmethod
    def undo(self, raw: Any) -> bool:
        """Undo the transaction; whether the connection can be used again."""

    @abstractmethod
    def close(self, raw: Any) -> None:
        """Let go of a raw connection, whatever state it is in."""

    @abstractmethod
    def lost(self, raw: Any) -> bool:
        """Whether the connection does not stand any more, so that a new one may do better."""

    @abstractmethod
    def version(self, raw: Any) -> tuple[str | None, str | None]:
        """The migration that the database is at, None if there is nothing in it yet; and the least one whose code may use it, if it says."""

    @abstractmethod
    def said(self, error: Exception, *, committing: bool = False) -> OctofleetError:
        """An error of the driver in our words. Its text has no secret."""
