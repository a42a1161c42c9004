"""Real processes: `octofleet serve` and `octofleet worker` that are killed, paused, stopped in order and started again in the middle of a run."""

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest

from reconciler.drivers.memory import Fault, World
from tests.conftest import ROOT
from tests.fleets import fleet, host, octofleet, repo
from tests.store.databases import KINDS, database

PATIENCE_S = 60
HOSTS = 20


class Site:
    """A repository, a database, and a simulated world that the processes share. `home(n)` is a data directory."""

    def __init__(self, path: Path, url: str, kind: str) -> None:
        self.path, self.url, self.kind = path, url, kind
        self.repo = repo(path / "repo", fleet(hosts=HOSTS))
        self.world = World(str(path / "world.db"))
        self.env = {
            "OCTOFLEET_DATABASE_URL": url,
            "OCTOFLEET_MEMORY__ENABLED": "true",
            "OCTOFLEET_MEMORY__PATH": str(path / "world.db"),
            "OCTOFLEET_MEMORY__OPERATION_S": "0.3",
            "OCTOFLEET_BOOT__DIRECTORY": str(path / "boot"),
            "OCTOFLEET_APPLY__LEASE_S": "2",
            "OCTOFLEET_APPLY__SLOTS": "4",
        }

    def home(self, name: str) -> Path:
        return self.path / (name if self.kind == "postgresql" else "data")

    @contextmanager
    def process(self, name: str, *args: str, **env: str) -> Iterator[subprocess.Popen[str]]:
        known = {key: value for key, value in os.environ.items() if not key.startswith("OCTOFLEET_")}
        said = known | self.env | {"OCTOFLEET_DATA_DIR": str(self.home(name)), "PYTHONPATH": str(ROOT)} | env
        with (self.path / f"{name}.log").open("a") as log:
            made = subprocess.Popen(
                [sys.executable, "-m", "reconciler.cli", *args], env=said, stdout=log, stderr=log, cwd=self.path, text=True
            )
        try:
            yield made
        finally:
            made.kill()
            made.wait()

    def serve(self, name: str = "serve", **env: str) -> Any:
        return self.process(name, "serve", "--repo", str(self.repo.path), **env)

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        if self.kind == "postgresql":
            with psycopg.connect(self.url) as connection:
                return connection.execute(query.encode()).fetchall()
        connection = sqlite3.connect(self.path / "octofleet.db")
        try:
            return connection.execute(query).fetchall()
        except sqlite3.OperationalError:
            return []
        finally:
            connection.close()

    def until(self, done: Callable[[], Any], what: str) -> Any:
        end = time.monotonic() + PATIENCE_S
        while not (found := done()):
            logs = "\n".join(path.read_text() for path in sorted(self.path.glob("*.log")))
            assert time.monotonic() < end, f"{what} did not happen\n{logs}\n{self.rows('SELECT seq, state, owner, fence, note FROM step')}"
            time.sleep(0.02)
        return found

    def paused(self, process: subprocess.Popen[str]) -> bool:
        """Pause a process; where it holds the one lock of an SQLite file that stops everybody, also that of the world, let it go on."""
        process.send_signal(signal.SIGSTOP)
        files = [self.path / "world.db", *([] if self.kind == "postgresql" else [self.path / "octofleet.db"])]
        for file in files:
            database = sqlite3.connect(file, timeout=0.1, isolation_level=None)
            try:
                database.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                process.send_signal(signal.SIGCONT)
                return False
            finally:
                database.close()
        return True

    def begun(self) -> bool:
        return bool(self.rows("SELECT 1 FROM step WHERE state IN ('started', 'waiting') LIMIT 1"))

    def calling(self) -> set[str]:
        """The workers that are in a call, or died in one."""
        return {owner for (owner,) in self.rows("SELECT owner FROM step WHERE owner <> '' AND state = 'started'")}

    def ended(self) -> str:
        found = self.rows("SELECT state FROM run WHERE ended_at IS NOT NULL")
        return str(found[0][0]) if found else ""

    def check(self) -> None:
        """Every change ended once, as done; the world is as it should be; nothing was done twice but under the same step, which looked again."""
        assert self.ended() == "done"
        assert {status for (status,) in self.rows("SELECT status FROM item")} == {"done"}
        assert self.rows("SELECT open FROM lane WHERE open <> 0") == [] and self.rows("SELECT run FROM hold") == []
        assert sum("machine" in where for where in self.world.things()) == HOSTS
        again = octofleet(self.home("look"), "plan", "--refresh", "--repo", str(self.repo.path), env=self.env)
        assert again.code == 0, again.text

    def repeated(self) -> Counter[tuple[str, str]]:
        effects = Counter((action, where) for _, action, where in self.world.effects())
        return effects - Counter(set(effects))


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


@pytest.fixture(params=KINDS)
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    with database(request.param, tmp_path) as url:
        yield Site(tmp_path, url, request.param)


def test_killed_and_started_again_the_run_goes_on(site: Site) -> None:
    site.world.fail("memory/config/*", Fault.SLOW, 0.5)  # calls that are under way when the process dies
    killed: set[str] = set()
    for _ in range(3):
        with site.serve() as process:
            killed |= site.until(lambda dead=frozenset(killed): site.calling() - dead, "a call under way")
            process.send_signal(signal.SIGKILL)
            process.wait()
    ready = (site.path / "serve.log").read_text().count("is ready")
    with site.serve() as process:
        site.until(site.ended, "the end of the run")
        site.until(lambda: (site.path / "serve.log").read_text().count("is ready") > ready, "the process, which may be late")
        process.terminate()
        assert process.wait(PATIENCE_S) == 0
    site.check()
    lost = site.rows("SELECT count(*) FROM attempt WHERE result = 'lost'")[0][0]
    assert lost >= 1 and sum(site.repeated().values()) <= lost, "no more is repeated than was in flight"
    assert len(site.rows("SELECT id FROM run")) == 1


@pytest.mark.parametrize("site", ["postgresql"], indirect=True)  # on SQLite the server, which wakes itself, may leave nothing to the others
def test_a_worker_that_dies_is_replaced_by_the_others(site: Site) -> None:
    with site.process("w1", "worker") as one, site.process("w2", "worker"), site.serve(OCTOFLEET_MEMORY__OPERATION_S="1"):
        site.until(
            lambda: site.rows("SELECT 1 FROM attempt JOIN worker ON worker.id = attempt.worker WHERE worker.role = 'worker'"),
            "a worker's step",
        )
        one.send_signal(signal.SIGKILL)
        site.until(site.ended, "the end of the run")
    site.check()


@pytest.mark.parametrize(
    "site", ["postgresql"], indirect=True
)  # a process that is frozen while it writes stops everybody on SQLite: docs/limits.md
def test_a_worker_that_comes_back_from_a_long_pause_writes_nothing(site: Site) -> None:
    with site.serve("sleeper", OCTOFLEET_MEMORY__OPERATION_S="0.3") as sleeper:
        site.until(lambda: site.rows("SELECT 1 FROM step WHERE owner <> ''") and site.begun(), "a step under way")
        site.until(lambda: site.paused(sleeper), "a pause in which it does not hold the whole of SQLite")
        held = site.rows("SELECT run, seq, fence FROM step WHERE owner <> ''")
        with site.process("other", "worker"):
            site.until(site.ended, "the end of the run")
            written = site.rows("SELECT step, address, status, ended_at FROM item ORDER BY step, address")
            sleeper.send_signal(signal.SIGCONT)
            site.until(lambda: len(site.rows("SELECT id FROM worker")) == 2, "the sleeper's return")
            time.sleep(0.5)
    assert written == site.rows("SELECT step, address, status, ended_at FROM item ORDER BY step, address")
    after = {(run, seq): fence for run, seq, fence in site.rows("SELECT run, seq, fence FROM step")}
    assert all(after[run, seq] > fence for run, seq, fence in held), "its leases were taken away"
    site.check()


def test_told_to_stop_it_hands_over(site: Site) -> None:
    with site.serve() as process:
        site.until(site.begun, "a step under way")
        process.terminate()
        assert process.wait(PATIENCE_S) == 0, "in order"
    assert site.rows("SELECT seq FROM step WHERE owner <> ''") == [] and site.rows("SELECT id FROM worker") == []
    assert not site.rows("SELECT 1 FROM attempt WHERE result IN ('', 'lost')"), "nothing was lost"
    with site.serve():
        site.until(site.ended, "the end of the run")
    site.check()
    assert not site.repeated()


def test_cancelled_by_a_person_while_it_runs(site: Site) -> None:
    with site.serve(OCTOFLEET_MEMORY__OPERATION_S="3"):
        site.until(site.begun, "a step under way")
        (run,) = site.rows("SELECT id FROM run")[0]
        told = octofleet(site.home("person"), "cancel", run, "--reason", "wrong day", env=site.env)
        assert told.code == 0, told.text
        site.until(site.ended, "the end of the run")
    assert site.ended() == "cancelled"
    assert {status for (status,) in site.rows("SELECT DISTINCT status FROM item")} <= {"done", "cancelled"}
    assert site.rows("SELECT run FROM hold") == [] and site.rows("SELECT open FROM lane WHERE open <> 0") == []


def test_a_push_while_it_serves(site: Site) -> None:
    with site.serve():
        site.until(lambda: site.ended() == "done", "the first run")
        site.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n")})
        octofleet(site.home("person"), "reconcile", env=site.env)
        site.until(lambda: "htop" in str(site.world.things()["memory/config/shop/web-01"]), "the change")


@pytest.mark.parametrize(
    "host", ["127.0.0.1", pytest.param("[::1]", marks=pytest.mark.skipif(not has_ipv6(), reason="there is no IPv6 here"))]
)
def test_it_answers_over_http_and_says_so(site: Site, host: str) -> None:
    with site.serve("web", OCTOFLEET_LISTEN=f"{host}:0"):
        said = site.until(lambda: re.search(rf"at (http://{re.escape(host)}:\d+)", (site.path / "web.log").read_text()), "the address")
        for path in ("healthz", "readyz"):
            site.until(lambda path=path: answered(f"{said[1]}/{path}")[0] == 200, path)
        site.until(lambda: site.ended() == "done", "the end of the run")
        status, text = answered(f"{said[1]}/metrics")
    assert status == 200 and 'octofleet_changes_total{action="create",driver="memory",status="done"}' in text


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
@pytest.mark.parametrize(
    ("listen", "says"), [("", "no pages and no API: set listen"), ("0.0.0.0:0", "without encryption"), ("127.0.0.1:0", "")]
)
def test_it_says_whom_it_answers_as_it_begins(site: Site, listen: str, says: str) -> None:
    with site.serve("web", OCTOFLEET_LISTEN=listen):
        log = site.path / "web.log"
        site.until(lambda: "is ready" in log.read_text(), "a process that is ready")
        link = re.search(r"open (\S+)/invitation/\S+ once", log.read_text())
        assert (link and re.sub(r":\d+$", "", link[1])) == ("http://127.0.0.1" if listen else None), "one that can be opened"
        if link:
            made = octofleet(site.home("web"), "account", "add", "ben", env={"OCTOFLEET_DATABASE_URL": site.url, "OCTOFLEET_LISTEN": ""})
            assert made.out.startswith(f"{link[1]}/invitation/"), made.text
    for one in ("no pages and no API: set listen", "without encryption"):
        assert (one in log.read_text()) == (one == says)


@pytest.mark.parametrize("site", ["sqlite"], indirect=True)
@pytest.mark.parametrize("role", ["serve", "worker"])
@pytest.mark.parametrize("what", ["the file", "the directory", "another file"])
def test_a_database_that_is_taken_away_ends_it(site: Site, role: str, what: str) -> None:
    data = site.home("serve")
    args = ("serve", "--repo", str(site.repo.path)) if role == "serve" else ("worker",)
    with site.process("serve", *args, OCTOFLEET_DATABASE_URL="") as process:
        site.until(lambda: "is ready" in (site.path / "serve.log").read_text(), "a process that is ready")
        if what == "the directory":
            shutil.rmtree(data, ignore_errors=True)
        elif what == "the file":
            (data / "octofleet.db").unlink()
        else:
            (data / "octofleet.db").rename(data / "before.db")
            shutil.copy(data / "before.db", data / "octofleet.db")
        assert process.wait(PATIENCE_S) == 1
    said = (site.path / "serve.log").read_text()
    assert ("was replaced by another file" if what == "another file" else "is gone while it is in use") in said
    assert "error: " in said and "next: " in said and "Traceback" not in said
    if what == "the file":
        assert not (data / "octofleet.db").exists(), "no new one, which would look like an installation that knows nothing"


@pytest.mark.parametrize("listen", ["8080", "x", "127.0.0.1:", "127.0.0.1:99999", ":::"])
def test_an_address_that_is_none(tmp_path: Path, listen: str) -> None:
    told = octofleet(tmp_path / "data", "worker", env={"OCTOFLEET_LISTEN": listen})
    assert told.code == 1 and "HOST:PORT" in told.err and "Traceback" not in told.text


def test_an_address_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        told = octofleet(tmp_path / "data", "worker", env={"OCTOFLEET_LISTEN": f"127.0.0.1:{taken.getsockname()[1]}"})
    assert told.code == 1 and "next:" in told.err and "Traceback" not in told.text, told.text


def answered(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
