"""Several processes, dead ones, and file systems that do not let the index be: a plan is right, or says clearly why there is none."""

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from reconciler.index import file as index_file
from reconciler.index.file import Index
from tests.apply.dying import forked
from tests.cli.command import quick
from tests.conftest import ROOT
from tests.fleets import Repo, Result, fleet, host, repo

CHANGED = host("web-01", 1, spec="  packages: [nano]\n")


@pytest.fixture
def site(tmp_path: Path) -> tuple[Repo, Path]:
    """An applied fleet with one commit more."""
    made, data = repo(tmp_path / "repo", fleet(hosts=5)), tmp_path / "data"
    assert quick(data, "apply", "--approve", "--repo", str(made.path)).code == 0
    made.commit({"host-1.yaml": CHANGED})
    return made, data


def index_of(data: Path) -> Path:
    (found,) = data.glob("index/*.db")
    return found


def plan(site: tuple[Repo, Path], *args: str, **more: Any) -> Result:
    return quick(site[1], "plan", "--json", "--repo", str(site[0].path), *args, **more)


def right(result: Result) -> None:
    """The one change that the newest commit makes."""
    assert result.code == 2, result.text
    assert {item["group"] for item in result.json["changes"]} == {"host/shop/web-01"}


def without_index(data: Path) -> None:
    for file in data.glob("index/*"):
        file.unlink()


@contextmanager
def held(file: Path) -> Iterator[sqlite3.Connection]:
    """Somebody else writes the index, and does not end."""
    with closing(sqlite3.connect(file, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE about SET value = value")
        yield connection


def test_processes_that_plan_at_once_without_an_index(site: tuple[Repo, Path]) -> None:
    made, data = site
    for _ in range(3):
        without_index(data)
        env = {name: value for name, value in os.environ.items() if not name.startswith("OCTOFLEET_")}
        env |= {"OCTOFLEET_DATA_DIR": str(data), "OCTOFLEET_MEMORY__ENABLED": "true", "PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "reconciler.cli", "plan", "--json", "--repo", str(made.path)]
        running = [subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
        for process in running:
            out, err = process.communicate(timeout=60)
            right(Result(code=process.returncode, out=out, err=err))
            assert not err


@pytest.mark.parametrize("moment", range(1, 8))
def test_a_process_killed_while_it_builds(site: tuple[Repo, Path], moment: int, monkeypatch: pytest.MonkeyPatch) -> None:
    made, data = site
    without_index(data)
    left = moment

    def tick(statement: str) -> None:
        nonlocal left
        if statement.startswith(
            ("COMMIT", "DELETE FROM identity", "INSERT OR REPLACE INTO manifest", "INSERT INTO finding", "INSERT INTO secret")
        ):
            left -= 1
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    connect = index_file._connect

    def traced(path: Path | None) -> sqlite3.Connection:
        connection = connect(path)
        connection.set_trace_callback(tick)
        return connection

    with monkeypatch.context() as patch:
        patch.setattr(index_file, "_connect", traced)
        code = forked(data, "plan", "--repo", str(made.path))
    assert code in (-signal.SIGKILL, 2)
    assert code == -signal.SIGKILL or moment > 4
    found = plan(site)
    right(found)
    assert not found.err


def test_a_plan_goes_on_while_another_process_writes(site: tuple[Repo, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    right(plan(site))
    monkeypatch.setattr(index_file, "BUSY_MS", 200)
    with held(index_of(site[1])):
        site[0].commit({"host-2.yaml": host("web-02", 2, spec="  packages: [nano]\n")})
        found = plan(site)
        assert {item["group"] for item in found.json["changes"]} == {"host/shop/web-01", "host/shop/web-02"}
        assert not found.err
    assert plan(site).json["id"] == found.json["id"]


@pytest.mark.parametrize("what", ["apply", "forget", "everything"])
def test_what_was_applied_while_another_process_writes_is_seen(site: tuple[Repo, Path], what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The index cannot follow, so the plan sees everything from the tree that it has, or without it."""
    made, data = site
    right(plan(site))
    monkeypatch.setattr(index_file, "BUSY_MS", 100)
    with held(index_of(data)) as connection:
        if what == "forget":
            assert quick(data, "forget", "host/shop/web-03", "--reason", "a test").code == 0
            wanted = {"host/shop/web-01", "host/shop/web-03"}
        else:
            assert quick(data, "apply", "--approve", "--repo", str(made.path)).code == 0
            made.commit({"host-2.yaml": host("web-02", 2, spec="  packages: [nano]\n")})
            wanted = {"host/shop/web-02"}
        if what == "everything":
            connection.execute("UPDATE about SET value = 'x' WHERE key = 'contract'")
            connection.execute("COMMIT")
            connection.execute("BEGIN IMMEDIATE")
        found = plan(site)
        assert {item["group"] for item in found.json["changes"]} == wanted
        assert not found.err
    assert plan(site).json["id"] == found.json["id"]


def test_what_is_parsed_while_another_process_writes_is_not_kept(tmp_path: Path) -> None:
    path = tmp_path / "index" / "x.db"
    index = Index(path, "0" * 64)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        assert index.parsed(b"a" * 20, lambda: b"one") == b"one"
        index.fresh()
        other.execute("ROLLBACK")
    assert b"a" * 20 not in dict(index.known())
    assert index.parsed(b"b" * 20, lambda: b"two") == b"two"
    index.fresh()
    assert not index.new and b"b" * 20 in dict(index.known())
    index.close()


def test_a_directory_in_its_place(site: tuple[Repo, Path]) -> None:
    file = index_of(site[1])
    without_index(site[1])
    file.mkdir()
    found = plan(site)
    assert found.code == 1 and str(file) in found.json["error"]["message"] and found.json["error"]["code"] == "index"
    assert found.json["error"]["hint"] == "remove it"


@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("kind", ["owner", "group", "world"])
def test_a_file_that_others_may_write_to_is_not_read(site: tuple[Repo, Path], kind: str) -> None:
    right(plan(site))
    file = index_of(site[1])
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("UPDATE manifest SET open = 0")
        connection.execute("UPDATE about SET value = 'forged' WHERE key = 'contract'")
        connection.commit()
    if kind == "owner":
        os.chown(file, 65534, 65534)
    else:
        file.chmod(0o660 if kind == "group" else 0o606)
    found = plan(site)
    right(found)
    assert "another user" in found.err and str(file) in found.err
    made = file.lstat()
    assert (made.st_uid, made.st_mode & 0o777) == (0, 0o600)
    assert not plan(site).err


@pytest.mark.parametrize("target", ["text", "empty", "database", "store", "nowhere"])
def test_a_link_in_its_place_is_not_followed(site: tuple[Repo, Path], tmp_path: Path, target: str) -> None:
    right(plan(site))
    file, other = index_of(site[1]), tmp_path / "other"
    without_index(site[1])
    match target:
        case "text":
            other.write_text("mine\n")
        case "empty":
            other.touch()
        case "database":
            with closing(sqlite3.connect(other)) as connection:
                connection.execute("CREATE TABLE mine (a)")
                connection.commit()
        case "store":
            other = site[1] / "octofleet.db"
    file.symlink_to(other)
    before = other.read_bytes() if target != "nowhere" else b""
    found = plan(site)
    right(found)
    assert "symbolic link" in found.err and str(file) in found.err
    assert not file.is_symlink()
    if target == "nowhere":
        assert not other.exists()
    elif target != "store":
        assert other.read_bytes() == before


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
def test_an_index_directory_that_cannot_be_written(site: tuple[Repo, Path]) -> None:
    directory = site[1] / "index"
    subprocess.run(["mount", "--bind", str(directory), str(directory)], check=False)
    if subprocess.run(["mount", "-o", "remount,ro,bind", str(directory)], check=False).returncode:
        pytest.skip("cannot mount here")
    try:
        found = plan(site)
        assert found.code == 1 and str(directory) in found.json["error"]["message"] and found.json["error"]["code"] == "index"
        assert "--data-dir" in found.json["error"]["hint"]
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)
    right(plan(site))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can mount")
@pytest.mark.parametrize("spare", [0, 8192, 40_000, 100_000])
def test_a_full_disk_under_the_index(site: tuple[Repo, Path], spare: int) -> None:
    """An error that names it, and a right plan as soon as there is room: whatever was written so far."""
    directory = site[1] / "index"
    without_index(site[1])
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(directory)], check=False).returncode:
        pytest.skip("only root can mount a small disk")
    try:
        free = os.statvfs(directory).f_bavail * os.statvfs(directory).f_frsize
        (directory / "filler").write_bytes(b"x" * (free - spare))
        found = plan(site)
        assert found.code == 2 or (found.code == 1 and "index" in found.json["error"]["message"]), found.text
        assert "internal error" not in found.text and (spare > 8192 or found.code == 1)
        (directory / "filler").unlink()
        right(plan(site))
    finally:
        subprocess.run(["umount", "-l", str(directory)], check=True)


def test_files_of_gone_trees_are_dropped_from_a_file_that_is_too_large(site: tuple[Repo, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made, data = site
    first = index_of(data)
    for text in ("UTC", "Asia/Tokyo", "Europe/Rome"):
        made.commit({"host-2.yaml": host("web-02", 2, spec=f"  timezone: {text}\n")})
        assert quick(data, "apply", "--approve", "--repo", str(made.path)).code == 0
    right_now = "SELECT count(*) FROM parsed WHERE blob IN (SELECT blob FROM manifest)", "SELECT count(DISTINCT blob) FROM manifest"
    with closing(sqlite3.connect(first)) as connection:
        everything = connection.execute("SELECT count(*) FROM parsed").fetchone()[0]
        held_now = connection.execute(right_now[1]).fetchone()[0]
    assert everything > held_now
    monkeypatch.setattr(index_file, "MAX_BYTES", 1)
    made.commit({"host-3.yaml": host("web-03", 3, spec="  timezone: Asia/Tokyo\n")})
    assert quick(data, "apply", "--approve", "--repo", str(made.path)).code == 0
    assert plan(site).code == 0
    with closing(sqlite3.connect(first)) as connection:
        total, kept, wanted = (connection.execute(sql).fetchone()[0] for sql in ("SELECT count(*) FROM parsed", *right_now))
    assert total == kept == wanted
