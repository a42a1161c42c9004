"""The index of one repository: a SQLite file in the data directory that makes a plan cost what changed, not what there is.

It holds nothing that cannot be computed again: files as parsed and checked (by blob id and digest of the schemas), and the compiled state of one tree (what is
declared where, which inputs each host uses, which hosts may differ from the record). A file that is damaged, belongs to another user or
was made by another version is thrown away with a warning. Any number of processes may use it: a reader sees one state from `fresh` on; one
process at a time writes, and who cannot write goes on without.
"""

import os
import sqlite3
import stat
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from reconciler import wal
from reconciler.errors import OctofleetError
from reconciler.events import happened
from reconciler.files import private_directory
from reconciler.index.tables import FORMAT, TABLES
from reconciler.stages import count

BUSY_MS = 600_000
"""How long to wait for another process that builds the same index: it does the work that this one would."""
KEPT_IN_MEMORY = 1024
MAX_BYTES = 2 * 1024**3
"""Above this size, parsed files that the compiled tree does not hold are dropped."""


class Damaged(Exception):
    """The file does not hold what it should."""


class Index:
    """An open index. `path` None: in memory, for one process. `schemas` is the digest of what documents are read and checked by. `kept` is for who
    compiles: what was made of the compiled tree of a generation.
    """

    def __init__(self, path: Path | None, schemas: str) -> None:
        self.path = path
        self.schemas = int(schemas[:12], 16)
        self.new: dict[bytes, bytes] = {}
        self.connection = self._opened()
        self._memory: OrderedDict[bytes, bytes] = OrderedDict()
        self._facts: dict[str, str] = {}
        self.kept: tuple[int, Any] = (0, None)

    def _opened(self) -> sqlite3.Connection:
        try:
            return _connect(self.path)
        except (sqlite3.OperationalError, OSError) as error:
            raise cannot_use(self, error) from error
        except (sqlite3.DatabaseError, Damaged) as error:
            if self.path is None:
                raise
            _warn(self.path, str(error))
            _remove(self.path)
            return _connect(self.path)

    def reset(self, why: str) -> None:
        """Throw the file away and begin anew."""
        self.connection.close()
        if self.path is not None:
            _warn(self.path, why)
            _remove(self.path)
        self.new.clear()
        self._memory.clear()
        self._facts.clear()
        self.kept = (0, None)
        self.connection = self._opened()

    def close(self) -> None:
        """Keep what was parsed, and let go of the file."""
        with suppress(sqlite3.Error):
            self._leave()
        self.connection.close()

    def fresh(self) -> None:
        """See the newest state of the file, and none that others write later, until the next call; keep what was parsed since the last one."""
        self._leave()
        self.connection.execute("BEGIN")

    def _leave(self) -> None:
        if self.connection.in_transaction:
            self.connection.execute("ROLLBACK")
        self._facts.clear()
        self._keep()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Be the only one who writes; all of the block or nothing; afterwards the newest state is seen. Raises sqlite3.OperationalError if others are
        at it for too long.
        """
        was_reading = self.connection.in_transaction
        if was_reading:
            self.connection.execute("ROLLBACK")
        self.connection.execute("BEGIN IMMEDIATE")
        self._facts.clear()
        try:
            yield
            self._store_new()
            self.connection.execute("COMMIT")
        except BaseException:
            with suppress(sqlite3.Error):
                self.connection.execute("ROLLBACK")
            self._facts.clear()
            raise
        finally:
            if was_reading:
                self.connection.execute("BEGIN")

    def parsed(self, blob: bytes, make: Callable[[], bytes]) -> bytes:
        """The packed parse of a blob: remembered, or made now. Raises `Damaged`."""
        found = self._memory.get(blob)
        if found is None:
            found = self.new.get(blob) or self._stored(blob)
            if found is None:
                found = self.new[blob] = make()
            self._memory[blob] = found
            if len(self._memory) > KEPT_IN_MEMORY:
                self._memory.popitem(last=False)
        return found

    def prefetch(self, blobs: Sequence[bytes]) -> None:
        """Read the parses of some blobs at once, as far as they are remembered."""
        asked = [blob for blob in dict.fromkeys(blobs) if blob not in self._memory]
        for start in range(0, len(asked), 250):
            part = asked[start : start + 250]
            query = f"SELECT blob, body FROM parsed WHERE schemas = ? AND blob IN ({','.join('?' * len(part))})"  # noqa: S608
            for blob, body in self.connection.execute(query, (self.schemas, *part)):
                self._memory[blob] = _checked(body)
        while len(self._memory) > KEPT_IN_MEMORY:
            self._memory.popitem(last=False)

    def known(self) -> Iterator[tuple[bytes, int]]:
        """Every blob whose parse is remembered, with the first byte of that."""
        query = "SELECT blob, substr(body, 5, 1) FROM parsed WHERE schemas = ?"
        return ((blob, first[0] if first else 0) for blob, first in self.connection.execute(query, (self.schemas,)))

    def _stored(self, blob: bytes) -> bytes | None:
        row = self.row(_GET, (blob, self.schemas))
        if row is None:
            return None
        return _checked(row[0])

    def remember(self, items: Iterable[tuple[bytes, bytes]]) -> None:
        """Store packed parses; within `writing`."""
        schemas = self.schemas
        self.connection.executemany(_PUT, ((blob, schemas, zlib.crc32(body).to_bytes(4, "big") + body) for blob, body in items))

    def _store_new(self) -> None:
        if self.new:
            self.remember(self.new.items())
            self.new.clear()

    def _keep(self) -> None:
        """Store what was parsed while reading, unless another process is writing: then it will be parsed again."""
        if not self.new or self.connection.in_transaction:
            return
        self.connection.execute("PRAGMA busy_timeout=200")
        try:
            with self.writing():
                pass
        except sqlite3.OperationalError:
            self.new.clear()
        finally:
            self.connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")

    def evict(self) -> None:
        """Within `writing`, after a build: drop what the compiled tree does not hold, when the file has grown too large."""
        pages, free, size = (
            self.connection.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
        )
        if (pages - free) * size > MAX_BYTES:
            self.connection.execute("DELETE FROM parsed WHERE blob NOT IN (SELECT blob FROM manifest)")
            self.connection.execute("DELETE FROM parsed WHERE schemas <> ?", (self.schemas,))

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """All rows of a query."""
        found = self.connection.execute(sql, parameters).fetchall()
        count("rows_read", len(found))
        return found

    def row(self, sql: str, parameters: Sequence[Any] = ()) -> Any:
        """The first row of a query, or None."""
        found = self.connection.execute(sql, parameters).fetchone()
        count("rows_read", found is not None)
        return found

    def about(self, key: str) -> str | None:
        """A fact about the index itself."""
        if not self._facts:
            self._facts = dict(self.rows("SELECT key, value FROM about")) or {"": ""}
        return self._facts.get(key)

    def number(self, key: str) -> int:
        """A fact that is a number; 0 if it is not known. Raises `Damaged`."""
        text = self.about(key) or "0"
        if not text.isdecimal():
            raise Damaged(f"{key} is no number")
        return int(text)

    def note(self, key: str, value: str) -> None:
        """Set a fact; within `writing`."""
        self.connection.execute("INSERT INTO about VALUES (?, ?) ON CONFLICT (key) DO UPDATE SET value = excluded.value", (key, value))
        self._facts.clear()


def _checked(body: object) -> bytes:
    if not isinstance(body, bytes) or len(body) < 5 or zlib.crc32(body[4:]) != int.from_bytes(body[:4], "big"):
        raise Damaged("a parsed file is not as it was stored")
    return body[4:]


_GET = "SELECT body FROM parsed WHERE blob = ? AND schemas = ?"
_PUT = "INSERT OR REPLACE INTO parsed VALUES (?, ?, ?)"


def cannot_use(index: Index, error: Exception) -> OctofleetError:
    """The file system does not let it be."""
    if index.path is not None and index.path.exists() and not index.path.is_file():
        return OctofleetError(f"{index.path} is not a file: there should be the index", hint="remove it", code="index")
    hint = "free space, make the data directory writable, or name another one with --data-dir; the index itself can be deleted at any time"
    return OctofleetError(f"cannot use the index {index.path}: {error}", hint=hint, code="index")


def is_of_the_disk(error: sqlite3.Error) -> bool:
    """Whether the file system is the reason, and not what is in the file."""
    codes = (sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN)
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in codes


def _connect(path: Path | None) -> sqlite3.Connection:
    if path is not None:
        private_directory(path.parent)
        _check_ours(path)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600))
    connection = wal.opened(path or ":memory:", BUSY_MS / 1000)
    try:
        for pragma in ("synchronous=NORMAL", "cache_size=-6000", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")
        _prepare(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_ours(path: Path) -> None:
    """What another user may write to is not read, and what a link leads to is not written. Raises `Damaged`."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    if stat.S_ISLNK(found.st_mode):
        raise Damaged("it is a symbolic link")
    if found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o022:
        raise Damaged("another user may write to it")


def _prepare(connection: sqlite3.Connection) -> None:
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found == FORMAT:
        there = {sql for (sql,) in connection.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}
        if there != set(TABLES):
            raise Damaged("its tables are not those of its format")
        return
    connection.execute("BEGIN IMMEDIATE")
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found != FORMAT:
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            connection.execute(f'DROP TABLE "{name}"')
        for statement in TABLES:
            connection.execute(statement)
        connection.execute(f"PRAGMA user_version={FORMAT}")
    connection.execute("COMMIT")


def _remove(path: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)


def _warn(path: Path, why: str) -> None:
    happened("index-reset", path=str(path), why=why)
