"""A backup of either kind of database, restored into either: everything is there again, or nothing is."""

import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import tarfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic import command
from sqlalchemy import create_engine

from reconciler.blobs.directory import DirectoryBlobs
from reconciler.errors import OctofleetError, Permanent, Refused
from reconciler.store import backup as backups
from reconciler.store import restore as restoring
from reconciler.store.backup import KEY, MANIFEST, Manifest, write_backup
from reconciler.store.blobs import DatabaseBlobs
from reconciler.store.engine import HEAD, Store, insert, sqlite_url
from reconciler.store.pages import pages
from reconciler.store.restore import Restored, restore, verify
from tests.cli.command import quick
from tests.conftest import missing
from tests.fleets import host, repo
from tests.operations.backups import manifest, members, packed, sealed, unzipped
from tests.operations.rows import NOW, TABLES, add, add_plan, add_run, everything
from tests.operations.test_retention import history
from tests.store.databases import KINDS, database
from tests.store.test_migration import config

SECRET = bytes(range(32))
VALUES = ["", "ä€😀", "\r\n\t\x7f\x85", "a'b\"c%?", "x" * 10_000]
NUMBERS = [0.0, -1.5, 1e-300, 1.7976931348623157e308, 0.1 + 0.2, NOW]


def filled(store: Store) -> None:
    """Rows in every table, some at the ends of what a column takes."""
    with store.write() as connection:
        history(connection)
        for number, (text, at) in enumerate(zip([*VALUES, "more"], NUMBERS, strict=True)):
            add(
                connection,
                "observation",
                address=f"v{number}",
                kind="absent",
                digest=text,
                body=text.encode(),
                at=at,
                settled=number % 2 == 0,
            )
        add(connection, "touched", source="f", group="g", seq=2**31 - 1)
        add(connection, "mark", source="f", seq=1)
        add(
            connection,
            "repository",
            location="l",
            head="h",
            planned="p",
            due_at=1.0,
            asked_at=None,
            owner="w",
            fence=7,
            failures=0,
            note="n",
            at=None,
        )
        add(connection, "backoff", address="a", failures=1, until=NOW, reason="r")
        add(connection, "blob", name="b", body=b"\x00\xff", at=NOW, expires_at=None)
    assert all(everything(store).values())


class Place:
    """Where something is restored: a database, a key, blobs."""

    def __init__(self, url: str, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        self.url, self.directory, self.store = url, directory, Store(url)
        self.blobs = DirectoryBlobs(directory=directory / "blobs")
        self.key = directory / "key"

    def restore(self, path: Path, blobs: Any = None) -> Restored:
        scratch = self.directory / "scratch"
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir()
        return restore(path, self.store, blobs or self.blobs, self.key, scratch)

    def untouched(self) -> bool:
        rows = everything(self.store)
        return [name for name in rows if rows[name]] == ["about"] and not self.key.exists() and list(self.blobs.names()) == []


@contextmanager
def place(kind: str, directory: Path) -> Iterator[Place]:
    directory.mkdir(exist_ok=True)
    with database(kind, directory) as url:
        made = Place(url, directory)
        try:
            yield made
        finally:
            made.store.close()


@pytest.fixture
def target(kind: str, tmp_path: Path) -> Iterator[Place]:
    """An empty installation of either kind."""
    with place(kind, tmp_path / "target") as made:
        yield made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup with something of everything, blobs included."""
    directory = tmp_path_factory.mktemp("whole")
    store, blobs = Store(sqlite_url(directory)), DirectoryBlobs(directory=directory / "blobs")
    filled(store)
    blobs.put("runs/a.log.gz", b"a")
    write_backup(directory / "backup", store, SECRET, "0.1.0", blobs)
    store.close()
    return directory / "backup"


@pytest.mark.parametrize("into", KINDS)
@pytest.mark.parametrize("of", KINDS)
def test_what_is_restored_is_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str, into: str) -> None:
    monkeypatch.setattr(backups, "pages", lambda *args: pages(*args, 3))
    with place(of, tmp_path / "of") as one, place(into, tmp_path / "into") as other:
        filled(one.store)
        saved = write_backup(tmp_path / "backup", one.store, SECRET, "0.1.0")
        before = everything(one.store)
        assert saved.rows == sum(len(rows) for table, rows in before.items() if table not in ("worker", "blob"))
        found = other.restore(tmp_path / "backup")
        after = everything(other.store)
        assert found.paused == ("open",) and other.key.read_bytes() == SECRET
        assert before.pop("about") != after.pop("about")
        for table in ("worker", "blob"):
            assert before.pop(table) and not after.pop(table)
        changed = {table for table in before if before[table] != after[table]}
        assert changed == {"step", "repository", "attempt", "run", "log"}
        named = {table: [dict(zip(TABLES[table], row, strict=True)) for row in after[table]] for table in changed}
        assert {(row["owner"], row["fence"]) for row in named["step"]} == {("", 4)}
        assert [(row["owner"], row["fence"]) for row in named["repository"]] == [("", 8)]
        assert {row["run"] for row in named["attempt"] if row["result"] == "lost"} == {"open"} and all(
            row["ended_at"] for row in named["attempt"]
        )
        assert [row["id"] for row in named["run"] if row["state"] == "paused"] == ["open"]
        new = [row for row in after["log"] if row not in before["log"]]
        assert len(new) == 1 and "paused: restored" in new[0][4] and set(before["log"]) < set(after["log"])
        with other.store.write() as connection:  # numbers go on after the ones that were restored
            number = connection.scalar(f'{insert("plan", TABLES["plan"][1:])} RETURNING "row"', ("i", "f", "c", 1.0, 1.0, True, "l", b""))
            assert number == 11
            add(connection, "log", run="r", step=0, at=1.0, text="t")


def test_the_file_is_private_and_says_what_it_holds(store: Store, tmp_path: Path) -> None:
    filled(store)
    path = tmp_path / "backup"
    write_backup(path, store, SECRET, "0.1.0")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    said = manifest(path)
    assert (said["product"], said["format"], said["version"], said["head"], said["blobs"], said["with_blobs"]) == (
        "octofleet",
        1,
        "0.1.0",
        HEAD,
        {},
        False,
    )
    assert said["tables"].keys() == TABLES.keys() - {"worker", "blob"} and said["tables"]["plan"]["rows"] == 10
    assert list(members(path)) == [*said["members"], MANIFEST] and members(path)[KEY] == SECRET
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_there_is_one_state_in_it(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever others write while it is made."""
    with store.write() as connection:
        add_plan(connection, 1, 0, specs=["one"])
    before = everything(store)
    add_member = backups._Members.add

    def adding(self: Any, name: str, body: bytes) -> None:
        with store.write() as connection:
            number = len(self.digests) + 2
            add_plan(connection, number, 0, specs=[f"meanwhile {number}"])
            add_run(connection, f"run {number}", number, 0)
        add_member(self, name, body)

    monkeypatch.setattr(backups._Members, "add", adding)
    saved = write_backup(tmp_path / "backup", store, SECRET, "0.1.0")
    assert {name: table.rows for name, table in saved.tables.items() if table.rows} == {
        name: len(rows) for name, rows in before.items() if rows
    }
    assert len(everything(store)["run"]) > 3


def test_a_file_that_is_there_is_never_replaced(store: Store, tmp_path: Path) -> None:
    (tmp_path / "octofleet.txt").write_text("precious")
    with pytest.raises(Permanent, match="already a file"):
        write_backup(tmp_path / "octofleet.txt", store, SECRET, "0.1.0")
    with pytest.raises(Permanent, match="cannot write"):
        write_backup(tmp_path / "nowhere" / "backup", store, SECRET, "0.1.0")
    assert (tmp_path / "octofleet.txt").read_text() == "precious"


def test_a_database_of_a_newer_octofleet_is_not_saved_by_halves(store: Store, tmp_path: Path) -> None:
    with store.write() as connection:
        connection.run("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(Permanent, match="9999") as caught:
        write_backup(tmp_path / "backup", store, SECRET, "0.1.0")
    assert caught.value.hint and [path.name for path in tmp_path.iterdir() if "backup" in path.name or path.name.startswith(".")] == []


@pytest.mark.parametrize("kept_in", ["directory", "database"])
def test_blobs_move_between_stores(target: Place, tmp_path: Path, kept_in: str) -> None:
    source = Store(sqlite_url(tmp_path))
    of: Any = DatabaseBlobs(store=source) if kept_in == "database" else DirectoryBlobs(directory=tmp_path / "blobs")
    of.put("runs/a.log.gz", b"a" * 100)
    of.put("plans/b", bytes(range(256)), 4e9)
    of.put("gone", b"", 1.0)
    write_backup(tmp_path / "backup", source, SECRET, "0.1.0", of)
    into: Any = target.blobs if kept_in == "database" else DatabaseBlobs(store=target.store)
    target.restore(tmp_path / "backup", into)
    assert {name: (into.get(name), into.until(name)) for name in into.names()} == {
        "runs/a.log.gz": (b"a" * 100, None),
        "plans/b": (bytes(range(256)), 4e9),
    }
    source.close()


def filled_tables(target: Place) -> None:
    with target.store.write() as connection:
        add(connection, "backoff", address="a", failures=1, until=1.0, reason="")


@pytest.mark.parametrize("made", [filled_tables, lambda target: DatabaseBlobs(store=target.store).put("a", b"")], ids=["row", "blob"])
def test_only_an_empty_database_is_filled(target: Place, whole: Path, made: Callable[[Place], None]) -> None:
    made(target)
    before = everything(target.store)
    with pytest.raises(Refused, match="not empty") as caught:
        target.restore(whole)
    assert caught.value.hint and everything(target.store) == before and not target.key.exists() and list(target.blobs.names()) == []
    assert "wor:d" not in str(caught.value)


def test_restoring_twice_is_refused(target: Place, whole: Path) -> None:
    target.restore(whole)
    before = everything(target.store)
    with pytest.raises(Refused, match="not empty"):
        target.restore(whole)
    assert everything(target.store) == before and target.key.read_bytes() == SECRET


def test_another_key_is_never_replaced(target: Place, whole: Path) -> None:
    target.key.write_bytes(b"of another installation")
    with pytest.raises(Refused, match="key"):
        target.restore(whole)
    assert target.key.read_bytes() == b"of another installation"
    target.key.write_bytes(SECRET)
    target.restore(whole)
    assert stat.S_IMODE(target.key.stat().st_mode) in (0o600, 0o644)


def test_the_key_is_private(target: Place, whole: Path) -> None:
    target.restore(whole)
    assert stat.S_IMODE(target.key.stat().st_mode) == 0o600


def refused(target: Place, path: Path, data: bytes, match: str | None = None) -> OctofleetError:
    path.write_bytes(data)
    with pytest.raises(OctofleetError, match=match) as caught:
        target.restore(path)
    assert caught.value.hint and target.untouched()
    return caught.value


@pytest.fixture
def sqlite_target(tmp_path: Path) -> Iterator[Place]:
    with place("sqlite", tmp_path / "target") as made:
        yield made


def test_a_truncated_backup(sqlite_target: Place, whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    for length in [*range(0, len(data) - 1, max(1, len(data) // 60)), *range(len(data) - 12, len(data))]:
        assert refused(sqlite_target, tmp_path / "b", data[:length]).code == "restore", length


def test_a_backup_that_ends_between_two_members(sqlite_target: Place, whole: Path, tmp_path: Path) -> None:
    found = members(whole)
    for number in range(len(found)):
        refused(sqlite_target, tmp_path / "b", packed(dict(list(found.items())[:number])))


def test_a_flipped_byte_anywhere(sqlite_target: Place, whole: Path, tmp_path: Path) -> None:
    """In the compressed file, and in what it holds: headers, bodies, padding."""
    data, plain = whole.read_bytes(), unzipped(whole)
    for place_ in range(10, len(data), max(1, len(data) // 80)):  # the first ten bytes say when it was made, and with what
        refused(sqlite_target, tmp_path / "b", data[:place_] + bytes([data[place_] ^ 0x10]) + data[place_ + 1 :])
    import gzip

    for place_ in range(0, len(plain) - 10_240, max(1, len(plain) // 80)):
        changed = gzip.compress(plain[:place_] + bytes([plain[place_] ^ 0x01]) + plain[place_ + 1 :], 1)
        (tmp_path / "b").write_bytes(changed)
        try:
            found, key = verify(tmp_path / "b")
        except OctofleetError:
            continue
        assert (found, key) == verify(whole), "what is not told changes nothing: padding, owners and modes of members"


FOREIGN: dict[str, Callable[[Path], bytes]] = {
    "nothing": lambda path: b"",
    "text": lambda path: b"#!/bin/sh\necho hello\n" * 100,
    "the database": lambda path: b"SQLite format 3\x00" + bytes(4096),
    "text in gzip": lambda path: __import__("gzip").compress(b"hello\n" * 1000),
    "nothing in gzip": lambda path: __import__("gzip").compress(b""),
    "an empty tar": lambda path: packed({}),
    "another tar": lambda path: packed({"etc/passwd": b"root"}),
    "another manifest": lambda path: packed({MANIFEST: b'{"product": "other", "format": 1}'}),
    "a list": lambda path: packed({MANIFEST: b"[]"}),
    "not json": lambda path: packed({MANIFEST: b"\xff{"}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file(sqlite_target: Place, tmp_path: Path, name: str) -> None:
    assert refused(sqlite_target, tmp_path / "b", FOREIGN[name](tmp_path)).code == "restore"


def test_a_zip_and_a_directory_and_nothing(sqlite_target: Place, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as file:
        file.writestr("a", "b")
    for path in (tmp_path / "z", tmp_path, tmp_path / "nothing"):
        with pytest.raises(Permanent) as caught:
            sqlite_target.restore(path)
        assert caught.value.code == "restore" and caught.value.hint and sqlite_target.untouched()


def linked(parts: dict[str, bytes]) -> bytes:
    link = tarfile.TarInfo("tables/record/9.msgpack")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return packed([(link, b""), *((tarfile.TarInfo(name), body) for name, body in parts.items())])


def rows(parts: dict[str, bytes], table: str, change: Callable[[list[list[Any]]], Any]) -> dict[str, bytes]:
    """With other rows in a table's first member."""
    name = next(name for name in parts if name.startswith(f"tables/{table}/"))
    return parts | {name: msgspec.msgpack.encode(change(msgspec.msgpack.decode(parts[name])))}


def said(parts: dict[str, bytes], **more: Any) -> dict[str, Any]:
    """A part of the manifest, changed."""
    found = json.loads(parts[MANIFEST])
    return {name: found[name] | value for name, value in more.items()}


TAMPERED: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "a member changed": lambda p: packed(rows(p, "record", lambda r: [[*r[0][:-1], "other"]])),
    "a member more": lambda p: packed({"tables/record/7.msgpack": p[MANIFEST], **p}),
    "a member behind the manifest": lambda p: packed({**p, "key2": b""}),
    "a member less": lambda p: packed({name: body for name, body in p.items() if name != KEY}),
    "a member twice": lambda p: packed([(tarfile.TarInfo(name), body) for name, body in [*list(p.items())[:1], *p.items()]]),
    "a link": linked,
    "no key": lambda p: sealed({name: body for name, body in p.items() if name != KEY}),
    "a foreign member": lambda p: sealed({"boot/x": b"", **p}),
    "a foreign table": lambda p: sealed({"tables/other/0.msgpack": b"\x90", **p}),
    "a table that there is not": lambda p: sealed(p, **said(p, tables={'x"; DROP TABLE plan; --': {"columns": ["a"], "rows": 0}})),
    "a column that there is not": lambda p: sealed(p, **said(p, tables={"record": {"columns": ["address", "x"], "rows": 1}})),
    "a table less": lambda p: sealed(p, tables={n: t for n, t in json.loads(p[MANIFEST])["tables"].items() if n != "backoff"}),
    "more rows said": lambda p: sealed(p, **said(p, tables={"mark": {"columns": ["source", "seq"], "rows": 2}})),
    "a row less": lambda p: sealed(rows(p, "log", lambda r: r[1:])),
    "a value less": lambda p: sealed(rows(p, "record", lambda r: [r[0][1:]])),
    "a number for a text": lambda p: sealed(rows(p, "mark", lambda r: [[1, 1]])),
    "a text for bytes": lambda p: sealed(rows(p, "spec", lambda r: [[r[0][0], "text"], *r[1:]])),
    "nothing where something must be": lambda p: sealed(rows(p, "mark", lambda r: [[None, 1]])),
    "a number too large": lambda p: sealed(rows(p, "mark", lambda r: [["f", 2**63]])),
    "the same row twice": lambda p: sealed(rows(p, "log", lambda r: [r[1], *r[1:]])),
    "a run without its plan": lambda p: sealed(rows(p, "run", lambda r: [[r[0][0], 999, *r[0][2:]], *r[1:]])),
    "rows that are none": lambda p: sealed(rows(p, "log", lambda r: 5)),
    "not MessagePack": lambda p: sealed(p | {next(n for n in p if n.startswith("tables/log/")): b"\xc1"}),
    "a blob without a name": lambda p: sealed({"blobs/../x": b"", **p}, blobs={"../x": None}),
    "a blob that is not there": lambda p: sealed(p, **said(p, blobs={"c": None})),
    "types": lambda p: sealed(p, tables=[]),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_backup(target: Place, whole: Path, tmp_path: Path, name: str) -> None:
    data = TAMPERED[name](members(whole))
    kept_outside = {"more rows said", "a row less", "a value less", "a number for a text", "a text for bytes", "nothing where something must be",
                    "a number too large", "the same row twice", "a run without its plan", "rows that are none", "not MessagePack"}  # fmt: skip
    (tmp_path / "b").write_bytes(data)
    with pytest.raises(OctofleetError) as caught:
        target.restore(tmp_path / "b", DatabaseBlobs(store=target.store) if name in kept_outside else None)
    assert caught.value.hint and target.untouched()


def test_sealing_alone_is_no_damage(sqlite_target: Place, whole: Path, tmp_path: Path) -> None:
    """So that the cases above fail for what they are about."""
    (tmp_path / "b").write_bytes(sealed(members(whole)))
    sqlite_target.restore(tmp_path / "b")


@pytest.mark.parametrize("more", [{"format": 2}, {"head": "9999"}, {"format": 2, "members": 5, "new": {}}, {"head": "9999", "new": 1}])
def test_a_backup_of_a_newer_octofleet(sqlite_target: Place, whole: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    error = refused(sqlite_target, tmp_path / "b", sealed(members(whole), version="7.8.9", **more), "newer Octofleet")
    assert "7.8.9" in error.message and "that version" in error.hint


def test_a_backup_with_more_said_is_read(sqlite_target: Place, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(sealed(members(whole), note="a later version may say more"))
    sqlite_target.restore(tmp_path / "b")


def older(directory: Path, head: str) -> bytes:
    """A backup as it would have been at an older migration."""
    engine = create_engine(sqlite_url(directory))
    with engine.begin() as connection:
        made = config()
        made.attributes["connection"] = connection
        command.upgrade(made, head)
    engine.dispose()
    parts: dict[str, bytes] = {KEY: SECRET}
    tables: dict[str, Any] = {}
    with sqlite3.connect(directory / "octofleet.db") as raw:
        raw.execute("""INSERT INTO plan VALUES (1, 'i', 'f', 'c', 1.0, 2.0, 1, 'l', x'7b7d')""")
        raw.execute("""INSERT INTO run (id, plan, source, state, started_at, reason) VALUES ('r', 1, 'f', 'running', 1.0, 'why')""")
        raw.executemany(
            "INSERT INTO step (run, seq, wave, driver, state, attempts, operation) VALUES ('r', ?, 0, 'm', ?, 0, '')",
            [(0, "ended"), (1, "ready")],
        )
        raw.execute("INSERT INTO observation VALUES ('a', 'absent', '', x'7b7d', 1.5, 0)")
        for name in (
            "source",
            "spec",
            "record",
            "touched",
            "mark",
            "about",
            "observation",
            "plan",
            "change",
            "run",
            "step",
            "item",
            "hold",
            "log",
        ):
            columns = [row[1] for row in raw.execute(f"PRAGMA table_info('{name}')")]
            flags = {column for column in range(len(columns)) if columns[column] in ("settled", "applyable")}
            if columns:
                found = [tuple(bool(v) if n in flags else v for n, v in enumerate(row)) for row in raw.execute(f'SELECT * FROM "{name}"')]
                tables[name] = {"columns": columns, "rows": len(found)}
                parts |= {f"tables/{name}/0.msgpack": msgspec.msgpack.encode(found)} if found else {}
    said = {
        "product": "octofleet",
        "format": 1,
        "version": "0.0.9",
        "head": head,
        "made_at": 1.0,
        "tables": tables,
        "blobs": {},
        "with_blobs": False,
    }
    return sealed({**parts, MANIFEST: json.dumps(said).encode()})


@pytest.mark.parametrize("head", ["0001", "0002"])
def test_a_backup_of_an_older_octofleet_is_brought_to_todays_tables(target: Place, tmp_path: Path, head: str) -> None:
    (tmp_path / "b").write_bytes(older(tmp_path, head))
    assert target.restore(tmp_path / "b").paused == ("r",)
    found = everything(target.store)
    assert found["lane"] == [("r", 0, "m", "", 1)] and found["observation"][0][-2:] == (1.5, 0)
    assert found["run"][0][:4] == ("r", 1, "f", "paused") and len(found["step"]) == 2 and target.key.read_bytes() == SECRET


@pytest.mark.parametrize("head", ["0000", "x", "", "head"])
def test_a_migration_that_nobody_knows(sqlite_target: Place, tmp_path: Path, head: str) -> None:
    data = older(tmp_path, "0002")
    (tmp_path / "b").write_bytes(data)
    refused(sqlite_target, tmp_path / "b", sealed(members(tmp_path / "b"), head=head))


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


@pytest.mark.parametrize("into", [("postgresql", "sqlite"), ("sqlite", "postgresql")], ids="-".join)
def test_a_plan_after_a_restore_is_the_plan_before(tmp_path: Path, into: tuple[str, str]) -> None:
    """Moved from SQLite to each database in turn, by the commands; with a resource seen otherwise, and a commit to plan."""
    made = repo(tmp_path / "repo")
    where = ("--repo", str(made.path), "--json")
    boot = {"OCTOFLEET_BOOT__DIRECTORY": str(tmp_path / "boot")}
    assert quick(tmp_path / "one", "apply", "--approve", *where, env=boot).code == 0
    made.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n"), "host-2.yaml": None})
    next((tmp_path / "boot" / "shop" / "web-03").rglob("user-data")).write_bytes(b"by hand\n")
    assert quick(tmp_path / "one", "drift", "--json", env=boot).code == 2

    def told(data: Path, env: dict[str, str]) -> Any:
        for file in (tmp_path / "one").glob("memory.db*") if data != tmp_path / "one" else ():
            shutil.copy(file, data / file.name)  # the simulated world is where it was
        plan = quick(data, "plan", *where, env=env).json
        status = quick(data, "status", "--why", "--json", env=env).json
        return plan["id"], plan["changes"], plan["base"], status["sources"][0]["unsettled"], quick(data, "runs", "--json", env=env).json

    before = told(tmp_path / "one", boot)
    assert len(before[1]) > 5 and before[3]
    with ExitStack() as stack:
        data, env = tmp_path / "one", boot
        for kind in into:
            file, to = tmp_path / f"{kind}.backup", tmp_path / kind
            to.mkdir()
            assert quick(data, "backup", str(file), "--blobs", "--json", env=env).json["rows"]["record"] > 10
            data, env = to, boot | {"OCTOFLEET_DATABASE_URL": stack.enter_context(database(kind, to))}
            done = quick(data, "restore", str(file), env=env)
            assert done.code == 0 and "restored" in done.out, done.text
            assert told(data, env) == before
        assert quick(data, "apply", "--approve", *where, env=env).code == 0
        assert quick(data, "plan", "--refresh", *where, env=env).code == 0


def test_an_open_run_is_paused_and_does_not_go_on(tmp_path: Path) -> None:
    """The command that would finish what was interrupted leaves it alone."""
    made = repo(tmp_path / "repo")
    data = tmp_path / "one"
    assert quick(data, "apply", "--approve", "--repo", str(made.path)).code == 0
    with sqlite3.connect(data / "octofleet.db") as raw:
        raw.execute("UPDATE run SET state = 'running', ended_at = NULL")
        raw.execute("UPDATE step SET state = 'ready' WHERE seq = 0")
        raw.execute("UPDATE item SET status = '' WHERE step = 0")
    assert quick(data, "backup", str(tmp_path / "b")).code == 0
    found = quick(tmp_path / "two", "restore", str(tmp_path / "b"), "--json")
    (run,) = found.json["paused"]
    assert quick(tmp_path / "two", "runs", "--json").json["runs"][0]["state"] == "paused"
    assert "paused: restored" in quick(tmp_path / "two", "logs", run).out
    quick(tmp_path / "two", "apply", "--approve", "--repo", str(made.path))
    assert next(r for r in quick(tmp_path / "two", "runs", "--json").json["runs"] if r["run"] == run)["state"] == "paused"


def test_a_manifest_is_told_as_it_was_written(whole: Path) -> None:
    found, key = verify(whole)
    assert isinstance(found, Manifest) and key == SECRET and found.blobs == {"runs/a.log.gz": None} and found.with_blobs
