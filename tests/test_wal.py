"""Who opens a file while others open it waits for them."""

import sqlite3
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from multiprocessing import get_context
from pathlib import Path
from threading import Timer

import pytest

from reconciler import wal


def mode(path: Path) -> str:
    with closing(wal.opened(path, 60)) as connection:
        (found,) = connection.execute("PRAGMA journal_mode").fetchone()
    return str(found)


def test_processes_that_open_a_new_file_at_once(tmp_path: Path) -> None:
    with ProcessPoolExecutor(8, get_context("forkserver")) as pool:
        for number in range(40):
            assert set(pool.map(mode, [tmp_path / f"{number}.db"] * 8)) == {"wal"}


@pytest.mark.parametrize("begin", ["BEGIN IMMEDIATE", "BEGIN EXCLUSIVE"])
def test_somebody_who_writes_without_a_log(tmp_path: Path, begin: str) -> None:
    with closing(sqlite3.connect(tmp_path / "x.db", isolation_level=None, check_same_thread=False)) as other:
        other.execute("CREATE TABLE t(a)")
        other.execute(begin)
        with pytest.raises(sqlite3.OperationalError, match="locked"):
            wal.opened(tmp_path / "x.db", 0.05)
        ending: Callable[[], object] = lambda: other.execute("COMMIT")  # noqa: E731
        timer = Timer(0.2, ending)
        timer.start()
        assert mode(tmp_path / "x.db") == "wal"
        timer.join()


def test_what_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "x.db").write_text("no database, and longer than its header" * 10)
    with pytest.raises(sqlite3.DatabaseError, match="not a database"):
        wal.opened(tmp_path / "x.db", 60)
