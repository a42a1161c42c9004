"""Logs that move to the blob store: read as before wherever they are, and no line lost or shown twice, whoever dies or does the same meanwhile."""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.blobs.directory import DirectoryBlobs
from reconciler.errors import Permanent
from reconciler.store import archive
from reconciler.store.archive import Line, load_log, move_log
from reconciler.store.blobs import DatabaseBlobs
from reconciler.store.engine import Connection, Store
from tests.cli.command import quick
from tests.fleets import repo
from tests.operations.rows import Countdown, Died, Watched, WatchedBlobs, add, add_plan, add_run, ids


@pytest.fixture
def blobs(tmp_path: Path) -> DirectoryBlobs:
    return DirectoryBlobs(directory=tmp_path / "blobs")


def filled(store: Store) -> list[Line]:
    """An ended run with 23 lines, and lines of others before, between and behind."""
    with store.write() as connection:
        add_plan(connection, 1, 1)
        for run in ("other", "r", "open"):
            add_run(connection, run, 1, None if run == "open" else 1, lines=0)
        for number in range(60):
            add(
                connection,
                "log",
                run=("r", "other", "open")[number % 3] if number < 57 else "r",
                step=number,
                at=float(number),
                text=f"line {number}",
            )
    return list(load_log(store, DirectoryBlobs(directory=Path("/nowhere")), "r").lines)


def test_a_log_reads_the_same_after_it_has_moved(store: Store, blobs: DirectoryBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "ROWS", 5)
    before = filled(store)
    assert len(before) == 22
    assert move_log(store, blobs, "r") and not move_log(store, blobs, "r")
    assert load_log(store, blobs, "r") == (before, "")
    assert ids(store, "log", "run") == {"other", "open"}
    (name,) = blobs.names("runs/")
    assert name.startswith("runs/r.") and name.endswith(".log.gz") and ids(store, "run", "archive") == {"", name}


def test_an_open_run_keeps_its_log(store: Store, blobs: DirectoryBlobs) -> None:
    filled(store)
    assert not move_log(store, blobs, "open") and not move_log(store, blobs, "no such run")
    assert list(blobs.names()) == [] and len(load_log(store, blobs, "open").lines) == 19


def test_late_lines_follow(store: Store, blobs: DirectoryBlobs) -> None:
    before = filled(store)
    move_log(store, blobs, "r")
    with store.write() as connection:
        add(connection, "log", run="r", step=9, at=99.0, text="late")
    late = load_log(store, blobs, "r").lines
    assert late[:-1] == before and late[-1][1:] == (9, 99.0, "late")
    assert move_log(store, blobs, "r")
    assert load_log(store, blobs, "r").lines == late and len(list(blobs.names())) == 1 and "r" not in ids(store, "log", "run")


def test_the_table_gives_a_number_again_and_no_line_is_taken_for_another(store: Store, blobs: DirectoryBlobs) -> None:
    lines = filled(store)
    with store.write() as connection:
        connection.run("DELETE FROM log WHERE run <> 'r'")
    move_log(store, blobs, "r")
    with store.write() as connection:
        add(connection, "log", id=lines[-1].id, run="r", step=9, at=99.0, text="late")
        add(connection, "log", id=lines[0].id, run="open", step=9, at=99.0, text="of another run")
    assert len(load_log(store, blobs, "r").lines) == len(lines) + 1
    move_log(store, blobs, "r")
    assert len(load_log(store, blobs, "r").lines) == len(lines) + 1
    assert [line.text for line in load_log(store, blobs, "open").lines] == ["of another run"]


def test_a_number_that_is_given_again_while_rows_go(database_url: str, blobs: DirectoryBlobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two transactions another process ends the work, and a running run gets a number that is still to be deleted."""
    monkeypatch.setattr(archive, "ROWS", 5)
    other = Store(database_url)
    lines = filled(other)

    class Slow(Store):
        first = True

        @contextmanager
        def write(self, *, alone: bool = True) -> Iterator[Connection]:
            with super().write(alone=alone) as connection:
                yield connection
            if self.first:
                self.first = False
                move_log(other, blobs, "r")
                with other.write() as connection:
                    add(connection, "log", id=lines[-1].id, run="open", step=9, at=99.0, text="of another run")

    store = Slow(database_url)
    move_log(store, blobs, "r")
    assert load_log(other, blobs, "r").lines == lines
    assert "of another run" in [line.text for line in load_log(other, blobs, "open").lines]
    store.close()
    other.close()


@pytest.mark.parametrize("kept_in", ["directory", "database"])
def test_whoever_dies_no_line_is_lost(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kept_in: str) -> None:
    monkeypatch.setattr(archive, "ROWS", 5)
    n = 0
    lines = filled(Store(database_url))
    while True:
        n += 1
        with_ticks = Countdown(n)
        store = Watched(database_url, with_ticks)
        inner = DatabaseBlobs(store=Store(database_url)) if kept_in == "database" else DirectoryBlobs(directory=tmp_path / "blobs")
        blobs = WatchedBlobs(inner, with_ticks)
        with store.write() as connection:  # as it was in the beginning
            with_ticks.ticks = -2
            connection.run("UPDATE run SET archive = ''")
            connection.run("DELETE FROM log WHERE run = 'r'")
            for line in lines:
                add(connection, "log", run="r", **line._asdict())
            connection.run("DELETE FROM blob")
        for name in list(inner.names()):
            inner.delete(name)
        assert with_ticks.ticks == 0
        try:
            move_log(store, blobs, "r")
        except Died:
            assert load_log(store, inner, "r").lines == lines, n
            with_ticks.n = 0
            move_log(store, blobs, "r")
            assert load_log(store, inner, "r") == (lines, "") and "r" not in ids(store, "log", "run") and len(list(inner.names())) == 1
        else:
            break
        finally:
            store.close()
    assert n > 10


def test_two_that_move_the_same_log_agree(store: Store, blobs: DirectoryBlobs) -> None:
    """While one is writing its archive, another moves the log, and a late line comes."""
    lines = filled(store)

    class Slow(WatchedBlobs):
        def put(self, *args: object) -> None:
            assert move_log(store, blobs, "r")
            with store.write() as connection:
                add(connection, "log", run="r", step=9, at=99.0, text="late")
            assert move_log(store, blobs, "r")
            self.blobs.put(*args)

    assert not move_log(store, Slow(blobs, Countdown()), "r")
    assert [line[1:] for line in load_log(store, blobs, "r").lines] == [*(line[1:] for line in lines), (9, 99.0, "late")]
    assert len(list(blobs.names())) == 1


def test_a_run_that_goes_meanwhile_leaves_no_blob(store: Store, blobs: DirectoryBlobs) -> None:
    filled(store)

    class Slow(WatchedBlobs):
        def put(self, *args: object) -> None:
            self.blobs.put(*args)
            with store.write() as connection:
                connection.run("DELETE FROM step WHERE run = 'r'")
                connection.run("DELETE FROM run WHERE id = 'r'")

    assert not move_log(store, Slow(blobs, Countdown()), "r")
    assert list(blobs.names()) == []


def test_a_missing_archive_is_named_and_what_is_left_is_kept(store: Store, blobs: DirectoryBlobs) -> None:
    filled(store)
    move_log(store, blobs, "r")
    (name,) = blobs.names()
    with store.write() as connection:
        add(connection, "log", run="r", step=9, at=99.0, text="late")
    blobs.delete(name)
    found = load_log(store, blobs, "r")
    assert found.missing == name and [line.text for line in found.lines] == ["late"]
    assert not move_log(store, blobs, "r") and load_log(store, blobs, "r") == found


@pytest.mark.parametrize("body", [b"", b"x", b"\x1f\x8b\x08\x00", None])
def test_a_damaged_archive_is_told(store: Store, blobs: DirectoryBlobs, body: bytes | None) -> None:
    filled(store)
    move_log(store, blobs, "r")
    (name,) = blobs.names()
    whole = blobs.get(name)
    assert whole is not None
    blobs.put(name, whole[: len(whole) // 2] if body is None else body)
    with pytest.raises(Permanent, match="damaged"):
        load_log(store, blobs, "r")


def test_the_command_shows_the_same_from_either_place(tmp_path: Path) -> None:
    made, data = repo(tmp_path / "repo"), tmp_path / "data"
    assert quick(data, "apply", "--approve", "--repo", str(made.path)).code == 0
    run = quick(data, "runs", "--json").json["runs"][0]["run"]
    before = quick(data, "logs", run).out, quick(data, "logs", run, "--json").json
    assert before[1]["log"]
    pruned = quick(data, "prune", "--json", env={"OCTOFLEET_RETENTION__LOG_DAYS": "0"})
    assert pruned.json["pruned"]["logs"] == 1
    with sqlite3.connect(data / "octofleet.db") as database:
        assert database.execute("SELECT count(*) FROM log").fetchone() == (0,)
    assert (quick(data, "logs", run).out, quick(data, "logs", run, "--json").json) == before
    for file in (data / "blobs").iterdir():
        file.unlink()
    gone = quick(data, "logs", run, "--json")
    assert gone.code == 0 and "warning" in gone.err and json.loads(gone.out)["changes"] == before[1]["changes"]
