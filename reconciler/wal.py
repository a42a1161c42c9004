"""A file of SQLite with a write-ahead log, so that readers and a writer do not wait for each other (https://www.sqlite.org/wal.html)."""

import sqlite3
import time
from pathlib import Path

LOOK_AGAIN_S = 0.01


def opened(path: Path | str, wait_s: float) -> sqlite3.Connection:
    """A connection in autocommit mode, for any thread, that waits up to `wait_s` seconds for other writers, also here. Raises `sqlite3.Error`."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=wait_s)
    try:
        _with_log(connection, time.monotonic() + wait_s)
    except BaseException:
        connection.close()
        raise
    return connection


def _with_log(connection: sqlite3.Connection, until: float) -> None:
    """SQLite does not wait for another process that makes the file's log at the same moment: it says at once that the file is busy."""
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
        except sqlite3.OperationalError as error:
            if not is_busy(error) or time.monotonic() > until:
                raise
            time.sleep(LOOK_AGAIN_S)
        else:
            return


def is_busy(error: Exception) -> bool:
    """Whether another process holds the file."""
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
