"""The doctor finds what is broken, calls it by its name, and says how to mend it; what is well it leaves alone."""

import os
import sqlite3
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler import accounts
from reconciler.blobs.directory import DirectoryBlobs
from reconciler.cli.doctor import _blobs, _repositories
from reconciler.cli.doctor_database import CLOCK_S, clock, database_findings, replication
from reconciler.cli.doctor_http import listens
from reconciler.cli.finding import FAILED, OK, WARNING, Finding, program
from reconciler.identity.access import Identity
from reconciler.settings import Followed, Http, Settings
from reconciler.source.repository import Repository
from reconciler.store.engine import HEAD, Store, sqlite_url
from reconciler.wiring import open_installation
from tests.cli.command import quick
from tests.fleets import repo
from tests.operations.rows import add, everything
from tests.peers import postgresql


def findings(data: Path, code: int = 0, **env: str) -> dict[str, dict[str, Any]]:
    done = quick(data, "doctor", "--json", env=env)
    assert done.code == code, done.text
    found = {item["name"]: item for item in done.json["findings"]}
    for item in found.values():
        assert item.keys() == {"name", "status", "found", "hint", "ok"} and item["ok"] is (item["status"] == OK)
        assert item["hint"] or item["status"] == OK
    return found


@pytest.fixture
def data(tmp_path: Path) -> Path:
    made = tmp_path / "data"
    assert quick(made, "status").code == 0
    return made


def test_a_sound_installation(data: Path, database_url: str) -> None:
    found = findings(data, OCTOFLEET_DATABASE_URL=database_url)
    here = {
        "data directory",
        "key",
        "index directory",
        "database",
        "database tables",
        "blob store",
        "boot directory",
        "plugins and drivers",
    }
    assert {found[name]["status"] for name in here} == {OK}
    assert found["database tables"]["found"] == f"migration {HEAD}"
    assert ("clock" in found, "database file" in found) == ((True, False) if database_url.startswith("postgres") else (False, True))
    assert "pass" not in found["database"]["found"]
    again = quick(data, "doctor", env={"OCTOFLEET_DATABASE_URL": database_url})
    assert again.code == 0 and "ok      database: " in again.out and "failed" not in again.out


def test_it_leaves_nothing_behind(data: Path, store: Store) -> None:
    before = everything(store)
    assert all(finding.status != FAILED for finding in database_findings(store))
    assert everything(store) == before
    findings(data)
    assert list((data / "blobs").iterdir()) == [] and not list(data.rglob(".octofleet-*"))


def test_others_may_look_in(data: Path) -> None:
    (data / "key").write_bytes(bytes(32))
    data.chmod(0o755)
    (data / "key").chmod(0o644)
    found = findings(data)
    assert (found["data directory"]["status"], found["key"]["status"]) == (WARNING, WARNING)
    assert "chmod 700" in found["data directory"]["hint"] and "chmod 600" in found["key"]["hint"]


def test_a_key_that_is_none(data: Path) -> None:
    (data / "key").write_bytes(b"short")
    assert findings(data, 1)["key"]["status"] == FAILED


def test_a_damaged_database_file(data: Path) -> None:
    store = Store(sqlite_url(data))
    with store.write() as connection:
        for number in range(200):
            add(connection, "spec", digest=f"{number:064}", body=bytes(1000))
    store.close()
    with sqlite3.connect(data / "octofleet.db") as raw:
        raw.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (page,) = raw.execute("SELECT rootpage FROM sqlite_master WHERE name = 'spec'").fetchone()
    raw.close()
    with (data / "octofleet.db").open("r+b") as file:
        file.seek((page - 1) * 4096)
        file.write(os.urandom(100))
    found = findings(data, 1)["database file"]
    assert found["status"] == FAILED and "octofleet restore" in found["hint"]


def test_a_database_that_cannot_be_opened(data: Path) -> None:
    found = findings(data, 1, OCTOFLEET_DATABASE_URL=f"sqlite:///{data}/nowhere/octofleet.db")
    assert found["database"]["status"] == FAILED and "database tables" not in found and found["index directory"]["status"] == OK


def test_a_database_server_that_is_not_there(data: Path) -> None:
    found = findings(data, 1, OCTOFLEET_DATABASE_URL="postgresql://octofleet:hunter2@127.0.0.1:1/octofleet")
    assert found["database"]["status"] == FAILED and "hunter2" not in str(found)


def test_a_database_that_nobody_can_write(store: Store) -> None:
    trigger = "CREATE TRIGGER t BEFORE INSERT ON about BEGIN SELECT RAISE(ABORT, 'no'); END"
    if store.url.startswith("postgres"):
        with store.write() as connection:
            connection.run("CREATE FUNCTION no() RETURNS trigger AS $$ BEGIN RAISE EXCEPTION 'no'; END $$ LANGUAGE plpgsql")
        trigger = "CREATE TRIGGER t BEFORE INSERT ON about FOR EACH ROW EXECUTE FUNCTION no()"
    with store.write() as connection:
        connection.run(trigger)
    assert next(database_findings(store)).status == FAILED


def test_a_database_of_a_newer_octofleet(store: Store) -> None:
    with store.write() as connection:
        connection.run("UPDATE alembic_version SET version_num = '9999'")
    found = {finding.name: finding for finding in database_findings(store)}["database tables"]
    assert found.status == WARNING and "upgrade" in found.hint


@pytest.mark.parametrize(
    ("before", "there", "after", "status"),
    [
        (100.0, 100.1, 100.2, OK),
        (100.0, 100.2 + CLOCK_S, 100.2, OK),
        (100.0, 100.3 + CLOCK_S, 100.2, WARNING),
        (100.0, 99.9 - CLOCK_S, 100.2, WARNING),
        (100.0, 105.0, 110.0, OK),
        (100.0, 1e9, 110.0, WARNING),
    ],
)
def test_clocks(before: float, there: float, after: float, status: str) -> None:
    """A slow answer is no wrong clock."""
    found = clock(before, there, after)
    assert found.status == status and (status == OK or ("behind" if there > after else "ahead") in found.found)


@pytest.mark.parametrize(
    ("standbys", "waited_for", "commit", "status"),
    [
        (0, 0, "on", OK),
        (1, 1, "on", OK),
        (2, 1, "remote_apply", OK),
        (1, 0, "on", WARNING),
        (1, 1, "local", WARNING),
        (1, 1, "off", WARNING),
    ],
)
def test_standbys(standbys: int, waited_for: int, commit: str, status: str) -> None:
    assert replication(standbys, waited_for, commit).status == status


def test_a_real_standby() -> None:
    """Not waited for at first, then it is."""
    with postgresql.server(durable=True) as primary, postgresql.server(durable=True, of=primary):
        store = Store(primary.url(primary.make()))

        def told() -> str:
            return next(finding.status for finding in database_findings(store) if finding.name == "postgresql replication")

        assert told() == WARNING
        primary.run("ALTER SYSTEM SET synchronous_standby_names = '*'", "SELECT pg_reload_conf()")
        until = time.monotonic() + 30
        while told() != OK and time.monotonic() < until:
            time.sleep(0.1)
        assert told() == OK
        store.close()


def test_a_server_that_forgets(database_url: str) -> None:
    """Those of the tests are told not to wait for the disk."""
    if not database_url.startswith("postgres"):
        return
    store = Store(database_url)
    found = {finding.name: finding for finding in database_findings(store)}["postgresql"]
    assert found.status == WARNING and "fsync" in found.hint
    store.close()


def test_a_blob_store_that_cannot_be_used(data: Path) -> None:
    (data / "blobs").write_text("a file")
    assert findings(data, 1)["blob store"]["status"] == FAILED
    s3 = {"STORE": "s3", "BUCKET": "b", "ENDPOINT": "http://127.0.0.1:1", "REGION": "r"}
    env = {f"OCTOFLEET_BLOBS__{name}": value for name, value in s3.items()} | {"AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "hunter2"}
    found = findings(data, 1, **env)["blob store"]
    assert found["status"] == FAILED and "blobs.endpoint" in found["hint"] and "hunter2" not in str(found)


@pytest.mark.parametrize("wrong", ["forgets", "keeps"])
def test_a_blob_store_that_lies(tmp_path: Path, wrong: str) -> None:
    class Lying(DirectoryBlobs):
        def get(self, name: str) -> bytes | None:
            return None if wrong == "forgets" else super().get(name)

        def delete(self, name: str) -> None:
            pass

    found = _blobs(Lying(directory=tmp_path))
    assert isinstance(found, Finding) and found.status == FAILED


def test_repositories_are_reached(tmp_path: Path) -> None:
    made = repo(tmp_path / "repo")
    installation = open_installation(tmp_path / "data")
    there, nowhere = str(made.path), str(tmp_path / "nowhere")
    rules = [
        Followed(location=there),
        Followed(location=nowhere),
        Followed(location=there, branch="nope"),
        Followed(location=there, branch="main"),
    ]
    found = list(_repositories(replace(installation, settings=Settings(repositories=rules))))
    assert [(finding.name, finding.status) for finding in found] == [
        ("repository 1", OK),
        ("repository 2", FAILED),
        ("repository 3", FAILED),
        ("repository 4", OK),
    ]
    assert "has no revision 'nope'" in found[2].found and found[2].hint
    assert list(_repositories(installation)) == []
    installation.close()


def test_the_newest_commit_of_a_repository_can_be_read(tmp_path: Path) -> None:
    made = repo(tmp_path / "repo")
    tree = Repository(str(made.path), made.path).commit().tree
    (made.path / ".git" / "objects" / tree[:2] / tree[2:]).unlink()
    data = tmp_path / "data"
    data.mkdir()
    (data / "octofleet.toml").write_text(f'[[repositories]]\nlocation = "{made.path}"\n')
    found = findings(data, 1)["repository 1"]
    assert found["status"] == FAILED and "lacks" in found["found"]


PROGRAMS = {
    "works": ("#!/bin/sh\necho works 1.0\n", OK),
    "fails": ("#!/bin/sh\nexit 3\n", FAILED),
    "broken": ("\x7fELF nonsense", FAILED),
    "none": (None, WARNING),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    text, status = PROGRAMS[name]
    if text is not None:
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    assert program(name, "install it").status == status


@pytest.mark.parametrize(
    ("listen", "http", "status"),
    [
        ("127.0.0.1:8080", Http(), OK),
        ("localhost:8080", Http(), OK),
        ("[::1]:8080", Http(), OK),
        ("0.0.0.0:8080", Http(), WARNING),
        ("[::]:8080", Http(), WARNING),
        ("octofleet.example.net:8080", Http(), WARNING),
        ("0.0.0.0:8080", Http(trusted_proxies=["10.0.0.5"]), OK),
        ("0.0.0.0:8443", Http(tls_certificate="/a", tls_key="/b"), OK),
    ],
)
def test_a_server_that_others_could_listen_to(listen: str, http: Http, status: str) -> None:
    found = listens(listen, http)
    assert (found.name, found.status) == ("listen", status) and listen in found.found


def test_whether_anybody_can_sign_in(data: Path) -> None:
    assert not {"accounts", "listen"} & findings(data).keys(), "nothing is served"
    served = {"OCTOFLEET_LISTEN": "127.0.0.1:8080"}
    found = findings(data, **served)["accounts"]
    assert found["status"] == WARNING and "one-time link" in found["hint"]
    installation = open_installation(data)
    try:
        accounts.accept(installation, accounts.first_link(installation) or "", "Ada", "a long enough password", "ada")
        assert findings(data, **served)["accounts"]["found"] == "1 account may sign in"
        accounts.set_enabled(installation, "ada", False, by=Identity(name="local:root", here=True))
    finally:
        installation.close()
    assert findings(data, **served)["accounts"]["status"] == WARNING
