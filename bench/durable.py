"""Durable apply: what the journal costs for each step, how soon others go on after a process was killed, and how soon a push is acted on.

In: nothing. Out: rows. PostgreSQL is a server of Debian's package, durable, on this machine; without it only SQLite is measured.
"""

import json
import os
import signal
import sqlite3
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import psycopg

from bench.measure import Machine, Row
from bench.results import Found, Options, told
from tests.fleets import fleet, host, repo
from tests.peers import postgresql

NAME, TITLE = "durable", "Durable apply"
BEGINNINGS = ("journal, ", "takeover, ", "push, ")
NOTE = """*Journal*: a run of creations by a driver that does nothing, taken to its end by one process with 50 steps at once; each is claimed, begun and
ended in the journal, with its record, its observation and its line of the log. The floor is as many rows written in as many durable transactions as
50 at once need at least (two for each 50 steps). *Takeover*: `octofleet serve` is killed with SIGKILL in the middle of a run, and another process that
shares the database and nothing else goes on: seconds from the kill until it has taken over; the lease is 3 s. *Push*: seconds from a commit in a followed
repository (looked at every second) to the first step of its run. "Hosts" are steps, or hosts of the fleet. PostgreSQL is durable, on the same cores."""
FINDINGS = """The journal: on SQLite a step costs about 0.5 ms of CPU in one process, whose threads share one core: that is the limit. A quarter of it is
writing and committing, a fifth taking steps and loading what they need, a third the attempt itself, a fifth threads that hand over to each other. On
PostgreSQL the process needs as much, and the server nearly as much again: the groups of 50 steps take turns between the two, each waiting for some
thirty round trips. Two thousand steps a second need two quiet cores and no waiting, or half the work.
What was found on the way: `UPDATE .. WHERE (a, b) IN (VALUES ..)` reads the whole table on SQLite, and PostgreSQL does as much while it has no statistics of
a new run, so that a step cost more the larger its run was; a claim sent three statements for each tenant; a writer of SQLite that waits sleeps for
longer and longer; a parameter of psycopg costs 2.5 µs, and there were fifty for each step."""
AT_ONCE = 50
LEASE_S = 3.0
STEPS_A_SECOND = 2000
ROUNDS = 5


def measure(machine: Machine, options: Options) -> Found:
    """Every row of the subject."""
    quick = options.hosts == (1_000,)
    steps = 2_000 if quick else 20_000
    rows, skipped = [], []
    for kind in ("SQLite", "PostgreSQL"):
        try:
            with database(kind, machine.directory) as url:
                rows.append(told(_journal(machine, kind, url, steps)))
        except Exception as error:
            if kind == "SQLite":
                raise
            skipped.append(f"{kind}: {error}")
            break
        for name, found in (("takeover", _takeovers), ("push", _pushes)):
            with database(kind, machine.directory) as url:
                rows.append(told(found(machine.directory / f"{name}-{kind}", kind, url, 1 if quick else ROUNDS)))
    return Found(rows=rows, skipped=skipped)


@contextmanager
def database(kind: str, directory: Path) -> Iterator[str]:
    """The URL of a new database."""
    if kind == "SQLite":
        yield f"sqlite:///{directory / f'bench-{time.monotonic_ns()}.db'}"
        return
    server = postgresql.Server(durable=True)
    try:
        server.start()
        yield server.url(server.make())
    finally:
        server.remove()


def _journal(machine: Machine, kind: str, url: str, steps: int) -> Row:
    cost = machine.python("-m", "bench.noop", url, str(steps), str(AT_ONCE))
    said = json.loads(cost.out.splitlines()[-1])
    floor = _floor(kind, url, machine.directory, steps)
    rate = steps / said["seconds"]
    return Row(
        name=f"journal, steps on {kind}, {AT_ONCE} at once",
        hosts=steps,
        seconds=said["seconds"],
        cpu_s=said["cpu_s"],
        peak_mib=cost.peak_mib,
        floor=floor,
        ratio=said["seconds"] / floor,
        against="the same rows in as few durable transactions",
        bar=f"at least {STEPS_A_SECOND:,} steps a second (it is {rate:,.0f})",
        met=rate >= STEPS_A_SECOND,
    )


def _floor(kind: str, url: str, directory: Path, steps: int) -> float:
    """Seconds of two durable transactions with a row for each of 50 steps, for all steps."""
    groups = range(2 * steps // AT_ONCE)
    values = [("x" * 100,)] * AT_ONCE
    if kind == "SQLite":
        database = sqlite3.connect(directory / "floor.db", isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute("CREATE TABLE IF NOT EXISTS t (x TEXT)")
        began = time.perf_counter()
        for _ in groups:
            database.execute("BEGIN IMMEDIATE")
            database.executemany("INSERT INTO t VALUES (?)", values)
            database.execute("COMMIT")
        seconds = time.perf_counter() - began
        database.close()
        return seconds
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE TABLE bench_floor (x text)")
        many = ", ".join(["(%s)"] * AT_ONCE)
        began = time.perf_counter()
        for _ in groups:
            with connection.transaction():
                connection.execute(f"INSERT INTO bench_floor VALUES {many}".encode(), [x for (x,) in values])
        return time.perf_counter() - began


class _Place:
    """A repository, a simulated world, and processes that share them and a database. Each process has a data directory of its own: what tells that
    another has died is its lease alone, as on another machine."""

    def __init__(self, directory: Path, kind: str, url: str, hosts: int, operation_s: float) -> None:
        directory.mkdir(parents=True)
        self.directory, self.kind, self.url = directory, kind, url
        self.repo = repo(directory / "repo", fleet(hosts=hosts))
        self.env = {
            "OCTOFLEET_DATABASE_URL": url,
            "OCTOFLEET_MEMORY__ENABLED": "true",
            "OCTOFLEET_MEMORY__PATH": str(directory / "world.db"),
            "OCTOFLEET_MEMORY__OPERATION_S": str(operation_s),
            "OCTOFLEET_BOOT__DIRECTORY": str(directory / "boot"),
            "OCTOFLEET_APPLY__LEASE_S": str(LEASE_S),
            "OCTOFLEET_APPLY__SLOTS": "4",
        }

    @contextmanager
    def process(self, name: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        known = {key: value for key, value in os.environ.items() if not key.startswith("OCTOFLEET_")}
        env = known | self.env | {"OCTOFLEET_DATA_DIR": str(self.directory / name)}
        with (self.directory / f"{name}.log").open("ab") as log:
            made = subprocess.Popen([sys.executable, "-m", "reconciler.cli", *arguments], env=env, stdout=log, stderr=log)
        try:
            yield made
        finally:
            made.kill()
            made.wait()

    def serve(self, name: str) -> Any:
        config = self.directory / "octofleet.toml"
        config.write_text(f'[[repositories]]\nlocation = "{self.repo.path}"\npoll_s = 1.0\n')
        return self.process(name, "serve", "--config", str(config))

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        if self.kind == "SQLite":
            database = sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=10)
            try:
                return database.execute(query).fetchall()
            except sqlite3.OperationalError:
                return []
            finally:
                database.close()
        try:
            with psycopg.connect(self.url) as connection:
                return connection.execute(query.encode()).fetchall()
        except psycopg.Error:
            return []

    def until(self, query: str, within_s: float = 120) -> list[tuple[Any, ...]]:
        end = time.monotonic() + within_s
        while not (found := self.rows(query)):
            if time.monotonic() > end:
                logs = "".join(path.read_text() for path in self.directory.glob("*.log"))
                raise SystemExit(f"never true: {query}\n{logs}")
            time.sleep(0.02)
        return found


def _takeovers(directory: Path, kind: str, url: str, rounds: int) -> Row:
    """Kill whoever works, in turn, while another process waits."""
    place = _Place(directory, kind, url, hosts=60, operation_s=0.5)
    waits = []
    with nullcontext():
        for number in range(rounds):
            with place.serve(f"a{number}") as first:
                place.until("SELECT 1 FROM step WHERE state IN ('started', 'waiting') AND owner <> ''")
                (worker,) = place.until("SELECT owner FROM step WHERE owner <> '' LIMIT 1")[0]
                with place.process(f"b{number}", "worker"):
                    place.until(f"SELECT 1 FROM worker WHERE id <> '{worker}'")
                    seen = time.time()
                    first.send_signal(signal.SIGKILL)
                    place.until(f"SELECT 1 WHERE NOT EXISTS (SELECT 1 FROM worker WHERE id = '{worker}')")
                    waits.append(time.time() - seen)
                    place.until("SELECT 1 FROM run WHERE ended_at IS NOT NULL AND id = (SELECT max(id) FROM run)")
            changed = {f"host-{n}.yaml": host(f"web-{n:02d}", n, spec=f"  packages: [p{number}]\n") for n in range(1, 61)}
            place.repo.commit(changed)
            if number + 1 < rounds:
                place.until("SELECT 1 FROM run WHERE ended_at IS NOT NULL")
    failed = place.rows("SELECT address FROM item WHERE status NOT IN ('done', '')")
    most = max(waits)
    return _row(
        f"takeover, after kill -9, {kind}",
        60,
        waits,
        f"at most the lease and 2 s, nothing lost ({len(failed)} lost)",
        most <= LEASE_S + 2 and not failed,
    )


def _pushes(directory: Path, kind: str, url: str, rounds: int) -> Row:
    """Commit, and see when the first step of its run is taken."""
    place = _Place(directory, kind, url, hosts=60, operation_s=0.0)
    waits = []
    with place.serve("a"):
        place.until("SELECT 1 FROM run WHERE ended_at IS NOT NULL")
        for number in range(rounds):
            time.sleep(0.37)
            at = time.time()
            place.repo.commit({"host-1.yaml": host("web-01", 1, spec=f"  packages: [p{number}]\n")})
            (first,) = place.until(f"SELECT min(at) FROM attempt WHERE at > {at} HAVING count(*) > 0")[0]
            waits.append(first - at)
            place.until(f"SELECT 1 FROM run WHERE ended_at > {at}")
    return _row(f"push, to the first step, {kind}", 60, waits, "at most 2 s", max(waits) <= 2)


def _row(name: str, hosts: int, waits: list[float], bar: str, met: bool) -> Row:
    found = Row(name=name, hosts=hosts, seconds=max(waits), cpu_s=0.0, peak_mib=0.0, floor=0.0, ratio=0.0, against="")
    median = statistics.median(waits)
    return replace(found, floor=median, ratio=max(waits) / median, against=f"the median of {len(waits)}", bar=bar, met=met)
