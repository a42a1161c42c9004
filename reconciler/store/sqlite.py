"""A store in a file of SQLite: one writer at a time, readers beside it."""

import re
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock
from typing import Any

from reconciler import wal
from reconciler.errors import OctofleetError
from reconciler.store import connection as common
from reconciler.store.connection import Access, Connection, Database, Unavailable

SCHEME = "sqlite:///"
FORM = "sqlite:///PATH, with an absolute path, or postgresql://USER:PASSWORD@HOST/DATABASE"
NOWHERE = (0, 0)
"""Stands for a file that is gone: no other one is it, also where the disk gives that the same number."""
_LOCK = re.compile(" FOR (UPDATE( OF [a-z_]+)?|SHARE|KEY SHARE)$")
BEGIN = {"read": "BEGIN", "write": "BEGIN IMMEDIATE", "alone": "BEGIN IMMEDIATE", "migration": "BEGIN EXCLUSIVE"}


class SqliteConnection(Connection):
    """On Python's sqlite3. The machine's clock is everybody's."""

    __slots__ = ("_check",)

    def __init__(self, raw: sqlite3.Connection, check: Callable[[], None] = lambda: None) -> None:
        super().__init__(raw)
        self._check = check

    def now(self) -> float:
        """This machine's clock."""
        return time.time()

    def _execute(self, sql: str, params: Sequence[object]) -> Any:
        return self._raw.execute(_LOCK.sub("", sql), params)

    def commit(self) -> None:
        """On the disk when it returns."""
        self._raw.execute("COMMIT")
        self._check()

    def run_many(self, sql: str, rows: Iterable[Sequence[object]]) -> None:
        """One after the other."""
        self._raw.executemany(sql, rows)


def url_problem(url: str) -> str:
    """What is wrong with the URL of a file before it is tried, or nothing. Shows no part that may be a password."""
    if not url.startswith(SCHEME):
        scheme, mark, _ = url.partition("://")
        return (
            f"begins with {scheme}://, and must be {FORM}"
            if mark and scheme not in ("", "sqlite")
            else f"is no URL of a database: it must be {FORM}"
        )
    path = url.removeprefix(SCHEME)
    if path in ("", ":memory:"):
        return "names no file"
    if not Path(path).is_absolute():
        return f"names {path}, which would be another file in each working directory: write {SCHEME}{Path(path).absolute()}"
    return ""


class Sqlite(Database):
    """The database in a file."""

    another = "another data directory"
    engine = "sqlite://"
    errors = sqlite3.DatabaseError

    def __init__(self, url: str) -> None:
        if problem := url_problem(url):
            raise OctofleetError(f"database_url {problem}", hint=f"write it as {FORM}", code="settings")
        self.name, self._path, self._writing = url, Path(url.removeprefix(SCHEME)), Lock()
        self._file: tuple[int, int] | None = None

    def connect(self) -> sqlite3.Connection:
        """With a journal beside the file, so that readers and a writer do not wait for each other. Makes the file only if it was not used before."""
        if self._file is not None:
            self._check_file()
        raw = wal.opened(self._path, common.WAIT_MS / 1000)
        try:
            raw.execute("PRAGMA synchronous=FULL")
            raw.execute("PRAGMA foreign_keys=ON")
            self._check_file()
        except BaseException:
            self.close(raw)
            raise
        return raw

    @contextmanager
    def turn(self, access: Access) -> Iterator[None]:
        """Writers of this process in turn: SQLite itself has whoever waits look again, after pauses that grow."""
        mine = access != "read" and self._writing.acquire(timeout=common.WAIT_MS / 1000)
        try:
            yield
        finally:
            if mine:
                self._writing.release()

    def begin(self, raw: sqlite3.Connection, access: Access) -> Connection:
        """Every writer is alone."""
        self._check_file()
        raw.execute(BEGIN[access])
        return SqliteConnection(raw, self._check_file)

    def _check_file(self) -> None:
        """A file that was removed or replaced can still be written by whoever has it open, and nobody will ever read that. Raises `OctofleetError`."""
        try:
            found = self._path.stat()
        except OSError as error:
            self._file = NOWHERE
            text = f"the database {self.name} is gone while it is in use ({error.strerror}): what was written to it last is lost"
            raise OctofleetError(text, hint="restore it from a backup, then start again", code="store") from error
        here = (found.st_dev, found.st_ino)
        self._file = self._file or here
        if here != self._file:
            text = f"the database {self.name} was replaced by another file while it is in use"
            raise OctofleetError(text, hint="start again, with the file that is to be used", code="store")

    def undo(self, raw: sqlite3.Connection) -> bool:
        """Also while a query of it is still open; the connection is not used again."""
        with suppress(sqlite3.Error):
            raw.rollback()
        return False

    def close(self, raw: sqlite3.Connection) -> None:
        """Whatever state it is in."""
        with suppress(sqlite3.Error):
            raw.close()

    def lost(self, raw: sqlite3.Connection) -> bool:
        """A file does not go away."""
        return False

    def version(self, raw: sqlite3.Connection) -> tuple[str | None, str | None]:
        """Raises `sqlite3.DatabaseError` if the file is something else."""
        try:
            found: tuple[str] | None = raw.execute("SELECT version_num FROM alembic_version").fetchone()
        except sqlite3.DatabaseError:
            if raw.execute("SELECT count(*) FROM sqlite_master").fetchone() != (0,):
                raise
            return None, None
        if found is None:
            return None, None
        try:
            readable: tuple[str] | None = raw.execute("SELECT value FROM about WHERE key = 'readable_from'").fetchone()
        except sqlite3.OperationalError as error:  # asking first would read the whole schema, in every process
            if "no such table" not in str(error):
                raise
            return found[0], None
        return found[0], readable[0] if readable else None

    def said(self, error: Exception, *, committing: bool = False) -> OctofleetError:
        """By SQLite's text, and by its code where another process is at it."""
        message, hint = f"cannot use the database {self.name}: {error}", _advice(str(error))
        if wal.is_busy(error):
            return Unavailable(message, hint=hint)
        return OctofleetError(message, hint=hint, code="store")


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
