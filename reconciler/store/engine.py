"""Opening the database, running SQL text in transactions, and turning the database's errors into ones that a user can act on.

SQL is plain text that SQLite from 3.35 and PostgreSQL 15 both understand: `ON CONFLICT .. DO UPDATE`, `RETURNING`, names that either of them
reserves ("group", "commit", "row") in double quotes, `NOT settled` instead of a comparison, and text that sorts by code point
(PostgreSQL: `COLLATE "C"`). Parameters are positional `?`, and no text holds a `?` or a `%` that is something else: a PostgreSQL connection
replaces each `?` by `%s`. ` FOR UPDATE` may end a query whose rows nobody else is to change until the transaction ends; SQLite, which has one
writer at a time, leaves it out. Nothing on the normal path imports SQLAlchemy or Alembic: that takes longer than planning one changed file.
"""

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, TypeVar

from reconciler.errors import OctofleetError
from reconciler.stages import count, counted

T = TypeVar("T")
BUSY_TIMEOUT_MS = 30_000
HEAD = "0003"
"""The newest migration; a test holds it against the migrations folder."""
MOST_IN = 500
"""How many values go into one `IN (...)`."""


def sqlite_url(data_dir: Path) -> str:
    """The default database of an installation."""
    return f"sqlite:///{data_dir / 'octofleet.db'}"


class Unavailable(OctofleetError):
    """The database does not answer now, or somebody else was first: the same transaction may succeed when it is tried again."""


class Connection:
    """A connection inside a transaction, which its owner ends. It belongs to one thread at a time; rows are tuples in the order of the query."""

    __slots__ = ("_raw",)

    def __init__(self, raw: sqlite3.Connection) -> None:
        self._raw = raw

    def now(self) -> float:
        """What time it is for everybody who uses this database, in seconds since the epoch."""
        return time.time()

    def rows(self, sql: str, params: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query, fetched as they are asked for, within the transaction."""
        return counted("rows_read", self._raw.execute(sql.removesuffix(" FOR UPDATE"), params))

    def row(self, sql: str, params: Sequence[object] = ()) -> tuple[Any, ...] | None:
        """The first row of a query, or None."""
        found: tuple[Any, ...] | None = self._raw.execute(sql.removesuffix(" FOR UPDATE"), params).fetchone()
        count("rows_read", found is not None)
        return found

    def scalar(self, sql: str, params: Sequence[object] = ()) -> Any:
        """The first column of the first row of a query, or None."""
        found = self.row(sql, params)
        return found[0] if found else None

    def rows_in(self, sql: str, values: Sequence[Any], params: Sequence[object] = ()) -> Iterator[tuple[Any, ...]]:
        """The rows of a query that ends in `IN (...)`, which stands for the values, some at a time; `params` come before them."""
        for part in chunks(values):
            yield from self.rows(_spread(sql, len(part)), (*params, *part))

    def run(self, sql: str, params: Sequence[object] = ()) -> None:
        """Run a statement that gives no rows."""
        self._raw.execute(sql, params)

    def changed(self, sql: str, params: Sequence[object] = ()) -> int:
        """Run a statement; gives how many rows it changed."""
        return self._raw.execute(sql, params).rowcount

    def run_in(self, sql: str, values: Sequence[Any], params: Sequence[object] = ()) -> None:
        """Run a statement that ends in `IN (...)`, which stands for the values, some at a time; `params` come before them."""
        for part in chunks(values):
            self.run(_spread(sql, len(part)), (*params, *part))

    def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """Run a statement once for each row of parameters."""
        self._raw.executemany(sql, rows)


class Store:
    """An open database. `read` and `write` give a connection in a transaction; a write is committed at the end of its block or not at all.

    Safe for threads: each block has a connection of its own, also one inside another. `name` is the database as it may be shown. Raises
    `OctofleetError`.
    """

    def __init__(self, url: str) -> None:
        self._path = _path(url)
        self._idle: list[sqlite3.Connection] = []
        self.url = self.name = url
        with self._speaking():
            try:
                self._migrate()
            except BaseException:
                self.close()
                raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database."""
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self, *, alone: bool = True) -> Iterator[Connection]:
        """A transaction that is alone in writing; it waits for others at its beginning.

        Not `alone`, PostgreSQL lets it run beside others: who writes so locks the rows that it decides by, and writes in the order of keys.
        """
        del alone  # SQLite has one writer at a time
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        with self._speaking():
            raw = self._idle.pop() if self._idle else self._connect()
            try:
                raw.execute(begin)
                yield Connection(raw)
                raw.execute("COMMIT")
            except BaseException:
                _abandon(raw)
                raise
            self._idle.append(raw)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.DatabaseError as error:
            raise OctofleetError(f"cannot use the database {self.name}: {error}", hint=_advice(str(error)), code="store") from error

    def _connect(self) -> sqlite3.Connection:
        """A new connection; it commits nothing by itself."""
        raw = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
        try:
            for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
                raw.execute(f"PRAGMA {pragma}")
        except BaseException:
            _abandon(raw)
            raise
        return raw

    def _migrate(self) -> None:
        self._idle.append(self._connect())
        found = _version(self._idle[0])
        if found == HEAD:
            return
        if found is not None and found > HEAD:
            hint = "use that version, or another data directory"
            raise OctofleetError(f"the database {self.name} was made by a newer Octofleet", hint=hint, code="store")
        from reconciler.store.migration import migrate  # noqa: PLC0415 - takes longer to import than most commands run

        migrate(self._connect)

    def close(self) -> None:
        """Let go of all connections."""
        while self._idle:
            self._idle.pop().close()


def _path(url: str) -> Path:
    scheme, _, path = url.partition(":///")
    if scheme != "sqlite" or path in ("", ":memory:"):
        hint = "write it as sqlite:///PATH; PostgreSQL is not supported yet"
        raise OctofleetError("the setting database_url cannot be used: it names no SQLite file", hint=hint, code="settings")
    return Path(path).absolute()


def _version(raw: sqlite3.Connection) -> str | None:
    """The migration that the database is at; None if there is nothing in it yet."""
    try:
        found: tuple[str] | None = raw.execute("SELECT version_num FROM alembic_version").fetchone()
    except sqlite3.DatabaseError:
        if raw.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
            raise
        return None
    return found[0] if found else None


def _abandon(raw: sqlite3.Connection) -> None:
    """Undo what the transaction did, also while a query of it is still open, and let go of the connection."""
    with suppress(sqlite3.Error):
        raw.rollback()
    with suppress(sqlite3.Error):
        raw.close()


def _advice(text: str) -> str:
    for part, advice in {
        "full": "free space on that disk, then run the same command again: nothing was half-written",
        "readonly": "make the data directory writable, or name another one with --data-dir",
        "unable to open": "check that the data directory exists and is writable, or name another one with --data-dir",
        "locked": "another octofleet process is writing; run the same command again",
        "malformed": "the file is damaged: restore it from a backup",
    }.items():
        if part in text:
            return advice
    return "octofleet doctor checks the database"


@cache
def insert(table: str, columns: tuple[str, ...]) -> str:
    """SQL that inserts a row; its parameters are in the order of the columns."""
    names = ", ".join(f'"{name}"' for name in columns)
    return f'INSERT INTO "{table}" ({names}) VALUES ({_places(len(columns))})'  # noqa: S608 - names from this package


@cache
def upsert(table: str, columns: tuple[str, ...], *, key: int = 1, newer: str = "") -> str:
    """SQL that inserts a row or replaces the one with the same key, the first `key` columns; with `newer`, only where that column is not less."""
    names = [f'"{name}"' for name in columns]
    changed = ", ".join(f"{name} = excluded.{name}" for name in names[key:])
    condition = f' WHERE excluded."{newer}" >= "{table}"."{newer}"' if newer else ""
    return f"{insert(table, columns)} ON CONFLICT ({', '.join(names[:key])}) DO UPDATE SET {changed}{condition}"


@lru_cache(maxsize=256)
def _spread(sql: str, number: int) -> str:
    return sql.replace("IN (...)", f"IN ({_places(number)})")


def _places(number: int) -> str:
    return ", ".join("?" * number)


def chunks(values: Sequence[T], size: int = MOST_IN) -> Iterator[Sequence[T]]:
    """Parts that fit into one `IN (...)`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
