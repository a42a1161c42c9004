"""Pages of a large fleet: how soon their first byte comes, and how large they are.

In: nothing. Out: rows, on SQLite, beside a bare handler.
"""

import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from statistics import median
from urllib.parse import quote

from bench import fleets
from bench.measure import Machine, Row, cpu_s, peak_mib
from bench.results import Found, Options, told
from bench.seed import SOURCE
from reconciler.reading.paging import cursor_of

NAME, TITLE = "pages", "Pages of a large fleet"
BEGINNINGS = ("pages, ",)
NOTE = """One process answers a browser that asks for one page after the other; every twentieth host has drifted, the plan has a change of every host in
1,000 groups that read differently, and each of 60 runs had 500 changes. "Seconds" are the 99th percentile of the time to the first byte, "CPU s" those of the
server for a page. The ratio is of the 50th percentiles: to a bare handler of the same library in the same process, which sends as many bytes and is asked in
turn with the page. *The picture* is what a process knows in memory of all hosts, made once when it starts; MiB are what it adds, and its floor reads the same
rows and does nothing with them. On SQLite."""
FINDINGS = """Lists of hosts, drift and search cost what they show, for any fleet. The page of a host read all records of the fleet (110 of its 130
CPU ms), for want of an index by manifest alone, and so did each failed step of a run; both go by the index of source and manifest now. Half of what
is left of that page is finding the lines that set its values. A page of drift ended after 500 hosts, however much had drifted of them; it ends after
80 kB of JSON.

The first look at a plan of 100,000 changes read all of them once in each process (1.3 s), and one that was narrowed folded the rest again (0.44 s at
p99). Now an outline is stored beside each plan, as columns: of each change its kind, manifest and file, of each manifest its shape. A page counts and
folds by kinds and shapes, and reads from the database the changes that it shows. Not here: the first page of a host after a process has lost the index compares
all records with the commit, as a plan would (4 CPU s for 10,000 hosts), and waits for that."""
HOSTS, TURNS, BLOCK = 100_000, 100, 10
FIRST_S, MOST_KB = 0.2, 300.0
COOKIE = {"Cookie": "__Host-octofleet=bench"}


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a page took: seconds to its first byte, once for each time, and of a bare one; the server's CPU seconds for one; kB."""

    seconds: list[float]
    bare_s: list[float]
    cpu_s: float
    kb: float


def measure(machine: Machine, options: Options) -> Found:
    """Every row of the subject."""
    quick = options.hosts == (1_000,)
    hosts, turns = (1_000, 10) if quick else (HOSTS, TURNS)
    directory = machine.directory / f"pages-{hosts}"
    data, location = directory / "data", f"file://{fleets.make(hosts, directory / 'fleet.git')}"
    machine.python("-m", "bench.seed", data, location, str(hosts))
    plan = machine.python("-m", "bench.paged", "fill", data, location, str(hosts)).out.strip()
    with _serving(machine, str(data)) as (server, said):
        port, picture = said["port"], said["picture"]
        rows = [
            told(
                Row(
                    name="pages, the picture of the fleet",
                    hosts=hosts,
                    seconds=picture["seconds"],
                    cpu_s=picture["cpu_s"],
                    peak_mib=picture["mib"],
                    floor=picture["floor_s"],
                    ratio=picture["cpu_s"] / picture["floor_s"],
                    against="reading the same rows",
                )
            )
        ]
        for name, path, times in _pages(hosts, plan, turns):
            asked = _asked(server.pid, port, path, times)
            rows.append(told(_row(name, hosts, asked, peak_mib(server.pid))))
    return Found(rows=rows)


def _pages(hosts: int, plan: str, turns: int) -> Iterator[tuple[str, str, int]]:
    """Name, path and how often it is asked for."""
    late = hosts - hosts // 40
    cursor = quote(cursor_of(fleets.tenant_of(late), SOURCE, f"h{late:06d}"))
    yield "overview", "/", turns
    yield "hosts", "/hosts", turns
    yield "hosts, 500 of them", "/hosts?limit=500", turns
    yield "hosts, a late page", f"/hosts?cursor={cursor}", turns
    yield "hosts, drifted, by a part of the name", "/hosts?state=drifted&text=h0007", turns
    yield "hosts, a name that none has", "/hosts?text=nothing-of-the-kind", turns
    yield "one host", f"/hosts/{fleets.tenant_of(hosts // 2)}/h{hosts // 2:06d}", turns
    yield "drift", "/drift", turns
    yield "drift, 500 hosts", "/drift?limit=500", turns
    yield "search", "/search?q=h0007", turns
    yield f"a plan of {hosts:,} changes, the first time", f"/plans/{plan}", 1
    yield f"a plan of {hosts:,} changes", f"/plans/{plan}", turns
    yield "a plan's changes of one driver, 500 of them", f"/plans/{plan}?driver=boot&limit=500", turns
    yield "plans", "/plans", turns
    yield "runs", "/runs", turns
    yield "one run", "/runs/00000000", turns


def _row(name: str, hosts: int, asked: Asked, most_mib: float) -> Row:
    p99_s, bare_s = sorted(asked.seconds)[int(len(asked.seconds) * 0.99)], median(asked.bare_s)
    p50_s = median(asked.seconds)
    return Row(
        name=f"pages, {name}",
        hosts=hosts,
        seconds=p99_s,
        cpu_s=asked.cpu_s,
        peak_mib=most_mib,
        floor=bare_s,
        ratio=p50_s / bare_s,
        against="as many bytes of a bare handler",
        bar=f"at most {FIRST_S * 1000:g} ms and {MOST_KB:g} kB (half within {p50_s * 1000:.1f} ms; {asked.kb:.0f} kB)",
        met=p99_s <= FIRST_S and asked.kb <= MOST_KB,
    )


def _asked(pid: int, port: int, path: str, turns: int) -> Asked:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    took, bare, spent, size = list[float](), list[float](), 0.0, 0
    for _ in range(0, turns, BLOCK):
        before = cpu_s(pid)
        for _ in range(min(BLOCK, turns)):
            seconds, found = _ask(connection, path)
            took.append(seconds)
            size = max(size, found)
        spent += cpu_s(pid) - before
        bare += [_ask(connection, f"/bare/{size}")[0] for _ in range(BLOCK)]
    connection.close()
    return Asked(seconds=took, bare_s=bare, cpu_s=spent / len(took), kb=size / 1000)


def _ask(connection: http.client.HTTPConnection, path: str) -> tuple[float, int]:
    began = time.perf_counter()
    connection.request("GET", path, headers=COOKIE)
    answer = connection.getresponse()
    seconds = time.perf_counter() - began
    body = answer.read()
    assert answer.status == 200, f"{path} answered {answer.status}: {body[:500].decode()}"
    return seconds, len(body)


@contextmanager
def _serving(machine: Machine, data: str) -> Iterator[tuple["subprocess.Popen[bytes]", dict[str, dict[str, float]]]]:
    command = [sys.executable, "-m", "bench.paged", "serve", data]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=machine.environment()) as server:
        assert server.stdin is not None and server.stdout is not None
        yield server, json.loads(server.stdout.readline())
        server.stdin.close()
