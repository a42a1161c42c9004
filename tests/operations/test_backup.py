"""A backup of either kind of database, restored into either: everything is there again, or nothing is."""

import json
import shutil
import sqlite3
import stat
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from alembic import command
from sqlalchemy import create_engine

from reconciler.blobs.directory import DirectoryBlobs
from reconciler.errors import Permanent, Refused
from reconciler.store import audit
from reconciler.store import backup as backups
from reconciler.store.backup import write_backup
from reconciler.store.backup_file import KEY, MANIFEST, Manifest, verify
from reconciler.store.blobs import DatabaseBlobs
from reconciler.store.engine import HEAD, Store, insert, sqlite_url
from reconciler.store.pages import pages
from tests.cli.command import quick
from tests.fleets import host, repo
from tests.operations.backups import manifest, members, sealed
from tests.operations.places import SECRET, Place, filled, place, refused
from tests.operations.rows import TABLES, add, add_plan, add_run, everything
from tests.store.databases import KINDS, database
from tests.store.test_migration import config

LEFT_OUT = {"worker", "blob", "session", "invitation", "tries"}


@pytest.mark.parametrize("into", KINDS)
@pytest.mark.parametrize("of", KINDS)
def test_what_is_restored_is_what_was_saved(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, of: str, into: str) -> None:
    monkeypatch.setattr(backups, "pages", lambda *args: pages(*args, 3))
    with place(of, tmp_path / "of") as one, place(into, tmp_path / "into") as other:
        filled(one.store)
        saved = write_backup(tmp_path / "backup", one.store, SECRET, "0.1.0")
        before = everything(one.store)
        assert saved.rows == sum(len(rows) for table, rows in before.items() if table not in LEFT_OUT)
        found = other.restore(tmp_path / "backup")
        after = everything(other.store)
        assert found.paused == ("open",) and other.key.read_bytes() == SECRET
        assert before.pop("about") != after.pop("about")
        for table in LEFT_OUT:
            assert before.pop(table) and not after.pop(table)
        changed = {table for table in before if before[table] != after[table]}
        assert changed == {"step", "repository", "pull", "forge", "attempt", "run", "log", "audit", "installation", "installed"}
        named = {table: [dict(zip(TABLES[table], row, strict=True)) for row in after[table]] for table in changed}
        assert {(row["id"], row["state"]) for row in named["installation"]} == {("open", "expired"), ("over", "installed")}
        assert [(row["generation"], row["sure"]) for row in named["installed"]] == [(2, False)]
        assert {(row["owner"], row["fence"]) for row in named["step"]} == {("", 4)}
        assert [(row["owner"], row["fence"]) for row in named["repository"]] == [("", 8)]
        assert {row["run"] for row in named["attempt"] if row["result"] == "lost"} == {"open"} and all(
            row["ended_at"] for row in named["attempt"]
        )
        assert [row["id"] for row in named["run"] if row["state"] == "paused"] == ["open"]
        new = [row for row in after["log"] if row not in before["log"]]
        assert len(new) == 1 and "paused: restored" in new[0][4] and set(before["log"]) < set(after["log"])
        with other.store.read() as connection:
            assert set(before["audit"]) < set(after["audit"]) and audit.verify(connection).rows == len(before["audit"]) + 1
            told = audit.entries(connection, limit=1)[0]
        assert (told.identity, told.action, told.details["paused"]) == ("local:ada", "restore", ["open"])
        with other.store.write() as connection:  # numbers go on after the ones that were restored
            number = connection.scalar(f'{insert("plan", TABLES["plan"][1:])} RETURNING "row"', ("i", "f", "c", 1.0, 1.0, True, "l", b""))
            assert number == 11
            add(connection, "log", run="r", step=0, at=1.0, text="t")


def test_a_text_that_postgresql_cannot_hold(tmp_path: Path) -> None:
    with place("sqlite", tmp_path / "of") as one, place("postgresql", tmp_path / "into") as other:
        with one.store.write() as connection:
            add(connection, "log", run="r", step=0, at=1.0, text="a\0b")
        write_backup(tmp_path / "backup", one.store, SECRET, "0.1.0")
        other.restore(tmp_path / "backup")
        assert everything(other.store)["log"][0][-1] == "a\ufffdb"


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
    assert said["tables"].keys() == TABLES.keys() - LEFT_OUT and said["tables"]["plan"]["rows"] == 10
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


def test_the_commands_say_what_they_did_and_what_is_next(tmp_path: Path) -> None:
    assert quick(tmp_path / "one", "status").code == 0
    done = quick(tmp_path / "one", "backup", str(tmp_path / "b"))
    assert done.code == 0 and "wrote" in done.out and "as secret as the data directory" in done.out
    again = quick(tmp_path / "one", "backup", str(tmp_path / "b"), "--json")
    assert again.code == 1 and again.json["error"]["code"] == "file-exists" and again.json["error"]["hint"]
    done = quick(tmp_path / "two", "restore", str(tmp_path / "b"))
    assert done.code == 0 and "without --blobs" in done.out and "next: octofleet plan --refresh" in done.out
    made = repo(tmp_path / "repo")
    assert quick(tmp_path / "two", "apply", "--approve", "--repo", str(made.path)).code == 0
    refused = quick(tmp_path / "two", "restore", str(tmp_path / "b"), "--json")
    assert refused.code == 1 and refused.json["error"]["code"] == "restore" and refused.json["error"]["hint"]
    assert list((tmp_path / "two" / "scratch").iterdir()) == []
