"""Killed in the middle, or on a full disk: the database is empty, and the same command again does it."""

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.errors import OctofleetError, Permanent
from reconciler.store import restore as restoring
from reconciler.store.backup import write_backup
from reconciler.store.blobs import DatabaseBlobs
from reconciler.store.engine import Store, sqlite_url
from tests.conftest import missing
from tests.operations.places import SECRET, Place, place
from tests.operations.rows import add, everything


def killed_at(target: Place, path: Path, n: int) -> int:
    """Restore in a child that is killed at its n-th step; how it ended."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    try:
        count = 0

        def tick() -> None:
            nonlocal count
            count += 1
            if count == n:
                os.kill(os.getpid(), signal.SIGKILL)

        def ticking(function: Any) -> Any:
            def run(*args: Any, **more: Any) -> Any:
                tick()
                found = function(*args, **more)
                tick()
                return found

            return run

        for name in ("insert", "save_blob", "create_file", "_settle", "_check_empty"):
            setattr(restoring, name, ticking(getattr(restoring, name)))
        target.store = Store(target.url)
        target.restore(path, DatabaseBlobs(store=target.store))
        os._exit(0)
    finally:
        os._exit(1)


def test_killed_in_the_middle_there_is_nothing(target: Place, whole: Path) -> None:
    n = 1
    while (code := killed_at(target, whole, n)) != 0:
        assert code == -signal.SIGKILL
        rows = everything(target.store)
        assert [name for name in rows if rows[name]] == ["about"], n
        n += 1
    assert n > 30 and everything(target.store)["record"], "the last one was not killed, and found what those before had left no trouble"
    assert target.key.read_bytes() == SECRET


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[Path]:
    """A file system in memory that is soon full."""
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], capture_output=True, text=True, check=False)
    if done.returncode:
        missing("tmpfs", "run as root where mounts are allowed")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def test_a_full_disk_leaves_no_backup(store: Store, tmp_path: Path) -> None:
    with store.write() as connection:
        for number in range(60):
            add(connection, "spec", digest=f"{number}", body=os.urandom(50_000))
    with small_disk(tmp_path / "small", "1m") as directory:
        with pytest.raises(Permanent, match="No space left"):
            write_backup(directory / "backup", store, SECRET, "0.1.0")
        assert list(directory.iterdir()) == []


def test_a_full_disk_leaves_an_empty_database(tmp_path: Path) -> None:
    source = Store(sqlite_url(tmp_path))
    with source.write() as connection:
        for number in range(60):
            add(connection, "spec", digest=f"{number}", body=os.urandom(50_000))
    write_backup(tmp_path / "backup", source, SECRET, "0.1.0")
    source.close()
    with small_disk(tmp_path / "small", "2m") as directory, place("sqlite", directory / "data") as target:
        with pytest.raises(OctofleetError) as caught:
            target.restore(tmp_path / "backup")
        assert "free space" in caught.value.hint and target.untouched()
        subprocess.run(["mount", "-o", "remount,size=20m", directory], check=True)
        target.restore(tmp_path / "backup")
        assert len(everything(target.store)["spec"]) == 60
