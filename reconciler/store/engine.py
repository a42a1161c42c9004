"""Opening the database and running SQL text in transactions, on SQLite or PostgreSQL.

Nothing on the normal path imports SQLAlchemy or Alembic: that takes longer than planning one changed file. psycopg is imported where the URL
names PostgreSQL.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from reconciler.errors import OctofleetError
from reconciler.store.connection import Access, Connection, Database, Unavailable
from reconciler.store.sql import MOST_IN, chunks, insert, upsert
from reconciler.store.sqlite import Sqlite, url_problem

__all__ = ["HEAD", "MOST_IN", "Connection", "Store", "Unavailable", "chunks", "insert", "sqlite_url", "upsert", "url_problem"]

HEAD = "0014"
"""The newest migration; a test holds it against the migrations folder."""
MOST_IDLE = 8
"""How many connections are kept for later use."""


def sqlite_url(data_dir: Path) -> str:
    """The default database of an installation."""
    return f"sqlite:///{data_dir.absolute() / 'octofleet.db'}"


class Store:
    """An open database. `read` and `write` give a connection in a transaction; a write is committed at the end of its block or not at all.

    Safe for threads: each block has a connection of its own, also one inside another. `name` is the database as it may be shown; `url` may hold
    a password. Raises `OctofleetError`; where trying the whole block again later may help, `Unavailable`.
    """

    def __init__(self, url: str) -> None:
        self.url = url
        self._database = _database(url)
        self.name = self._database.name
        self._idle: list[Any] = []
        with self._speaking():
            try:
                self._open()
            except BaseException:
                self.close()
                raise

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database."""
        with self._transaction("read") as connection:
            yield connection

    @contextmanager
    def write(self, *, alone: bool = True) -> Iterator[Connection]:
        """A transaction that is alone in writing; it waits for others at its beginning.

        Not `alone`, PostgreSQL lets it run beside others: who writes so locks the rows that it decides by, and writes in the order of keys.
        """
        with self._transaction("alone" if alone else "write") as connection:
            yield connection

    @contextmanager
    def _transaction(self, access: Access) -> Iterator[Connection]:
        with self._speaking(), self._database.turn(access):
            raw, connection = self._begun(access)
            try:
                yield connection
            except BaseException:
                self._give_back(raw, usable=self._database.undo(raw))
                raise
            try:
                connection.commit()
            except BaseException as error:
                self._give_back(raw, usable=False)
                if isinstance(error, self._database.errors):
                    raise self._database.said(error, committing=True) from error
                raise
            self._give_back(raw, usable=True)

    def _begun(self, access: Access) -> tuple[Any, Connection]:
        """A connection in a new transaction. One that was lost while it was idle is noticed here, and so are the others."""
        while True:
            try:
                raw, fresh = self._idle.pop(), False
            except IndexError:
                raw, fresh = self._database.connect(), True
            try:
                return raw, self._database.begin(raw, access)
            except BaseException as error:
                again = not fresh and isinstance(error, self._database.errors) and self._database.lost(raw)
                self._database.close(raw)
                if not again:
                    raise

    def _give_back(self, raw: Any, *, usable: bool) -> None:
        if usable and len(self._idle) < MOST_IDLE:
            self._idle.append(raw)
        else:
            self._database.close(raw)

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except self._database.errors as error:
            raise self._database.said(error) from error

    def _open(self) -> None:
        self._idle.append(self._database.connect())
        if not self._is_current():
            from reconciler.store.migration import migrate  # noqa: PLC0415 - takes longer to import than most commands run

            migrate(self._database)
            self._is_current()  # a newer Octofleet may have been first

    def _is_current(self) -> bool:
        """Whether this code may use the database; False if it has to be migrated first. Raises `OctofleetError` if it is too new."""
        found, readable_from = self._database.version(self._idle[0])
        if found is None or found < HEAD:
            return False
        if found > HEAD and (readable_from is None or readable_from > HEAD):
            hint = f"use that version, or {self._database.another}"
            raise OctofleetError(f"the database {self.name} was made by a newer Octofleet", hint=hint, code="store")
        return True

    def close(self) -> None:
        """Let go of all connections that are not in use."""
        while self._idle:
            self._database.close(self._idle.pop())


def _database(url: str) -> Database:
    if not url.startswith("postgres"):
        return Sqlite(url)
    try:
        from reconciler.store.postgresql import Postgresql  # noqa: PLC0415 - an extra, and slow to import
    except ImportError:
        hint = "pip install 'octofleet[postgresql]'"
        message = "the setting database_url names PostgreSQL, but the extra `postgresql` is not installed"
        raise OctofleetError(message, hint=hint, code="extra-missing") from None
    return Postgresql(url)
