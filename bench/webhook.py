"""Webhooks: how many deliveries one process stores before it answers, beside a bare handler that writes the same rows; and how soon a push to a pull
request is answered with the comment of its plan.

In: nothing. Out: rows, for SQLite and, where there is one, PostgreSQL.
"""

import json
import sqlite3
import statistics
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg

from bench.durable import database
from bench.measure import Machine, Row, peak_mib
from bench.pushed import Place
from bench.results import Found, Options, told

NAME, TITLE = "webhook", "Webhooks"
BEGINNINGS = ("webhook, ",)
NOTE = """GitHub's deliveries to one process over HTTP, each about another pull request: verified, read, stored durably with what they ask for, then answered.
*Burst*: all at once over 50 connections. *Paced*: 200 begin in each second; the column "seconds" is the 99th percentile of an answer. "Hosts" are
deliveries. The floor is a bare aiohttp handler that verifies nothing and writes the same rows, each delivery in a transaction of its own, sent the same.

*Push to comment*: `octofleet serve` follows a seeded fleet whose forge is a double of GitHub on the same cores; a branch of an open pull request moves to
a commit that changes one host, the double delivers that, and the time ends when the comment names the new head. All calls are HTTP, the fetch is Git's, and
what is planned is the merge. "CPU s" are the server's. The floor is `octofleet plan` for such a commit, which fetches and plans in a new process. On SQLite."""
FINDINGS = """One thread commits what has come meanwhile together, so a burst needs few commits; what is left is aiohttp's own work for a request. A delivery
that comes alone is committed alone, and waits for one durable write.

From push to comment, in a server that stays (10,000 hosts, 115 ms for a push): a Git process that fetches takes 35, the merge 45, of which libgit2 spends 33
on writing all trees anew, whatever differs (this alone grows with the fleet), the plan 14, the comment with the files' differences 10, asking the forge for
the pull request 5. The rest is the queue's: two statuses and the comment, each a call and a row. Waiting is none of it: storing a delivery wakes the work
on pull requests, and that wakes the queue."""
BURST, PACED, RATE = 1_000, 2_000, 200
BURST_S, ANSWER_S = 10.0, 0.1
FLEET, PUSHES, COMMANDS, COMMENT_S = 10_000, 20, 5, 3.0


@dataclass(frozen=True, kw_only=True)
class Sent:
    """What a sender and a receiver said."""

    seconds: float
    p99_s: float
    cpu_s: float
    peak_mib: float
    lost: int


def measure(machine: Machine, options: Options) -> Found:
    """Every row of the subject."""
    quick = options.hosts == (1_000,)
    rows, skipped = [], []
    for kind in ("SQLite", "PostgreSQL"):
        try:
            rows += [told(row) for row in _rows(machine, kind, 400 if quick else PACED)]
        except Exception as error:
            if kind == "SQLite":
                raise
            skipped.append(f"{kind}: {error}")
    rows += [told(row) for row in _pushes(machine, 1_000 if quick else FLEET, 8 if quick else PUSHES)]
    return Found(rows=rows, skipped=skipped)


def _rows(machine: Machine, kind: str, paced: int) -> list[Row]:
    ours, bare = (_sent(machine, kind, receiver, BURST, 0) for receiver in ("octofleet", "bare"))
    slow, floor = (_sent(machine, kind, receiver, paced, RATE) for receiver in ("octofleet", "bare"))
    rate = BURST / ours.seconds
    return [
        Row(
            name=f"webhook, burst, {kind}",
            hosts=BURST,
            seconds=ours.seconds,
            cpu_s=ours.cpu_s,
            peak_mib=ours.peak_mib,
            floor=bare.seconds,
            ratio=ours.seconds / bare.seconds,
            against="a bare handler",
            bar=f"at most {BURST_S:g} s, at least {RATE} a second (it is {rate:,.0f}), none lost ({ours.lost} lost)",
            met=ours.seconds <= BURST_S and rate >= RATE and not ours.lost,
        ),
        Row(
            name=f"webhook, {RATE} a second, p99 of an answer, {kind}",
            hosts=paced,
            seconds=slow.p99_s,
            cpu_s=slow.cpu_s,
            peak_mib=slow.peak_mib,
            floor=floor.p99_s,
            ratio=slow.p99_s / floor.p99_s,
            against="a bare handler",
            bar=f"at most {ANSWER_S * 1000:g} ms, none lost ({slow.lost} lost)",
            met=slow.p99_s <= ANSWER_S and not slow.lost,
        ),
    ]


def _pushes(machine: Machine, hosts: int, turns: int) -> Iterator[Row]:
    place = Place(machine, hosts)
    floor, found = statistics.median(place.by_command(COMMANDS)), place.pushes(turns)
    for name, seconds in (("p50", statistics.median(found.seconds)), (f"worst of {turns}", max(found.seconds))):
        yield Row(
            name=f"webhook, push to comment, {name}",
            hosts=hosts,
            seconds=seconds,
            cpu_s=found.cpu_s,
            peak_mib=found.peak_mib,
            floor=floor,
            ratio=seconds / floor,
            against="octofleet plan, which fetches, p50",
            bar=f"under {COMMENT_S:g} s, the forge's double included",
            met=seconds < COMMENT_S,
        )


def _sent(machine: Machine, kind: str, receiver: str, number: int, rate: int) -> Sent:
    with database(kind, machine.directory) as url:
        command = [sys.executable, "-m", "bench.hooks", receiver, url]
        environment = machine.environment({"HUB_TOKEN": "t", "HUB_SECRET": "s"})
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment) as process:
            assert process.stdin is not None and process.stdout is not None
            port = process.stdout.readline().decode().strip()
            cost = machine.python("-m", "bench.hooks", "send", port, str(number), str(rate))
            most_mib = peak_mib(process.pid)
            process.stdin.close()
            cpu_s = float(process.stdout.readline())
        said: dict[str, Any] = json.loads(cost.out.splitlines()[-1])
        kept = stored(kind, url)
    assert said["statuses"].get("202", 0) <= kept, "a delivery that was accepted is lost"
    return Sent(seconds=said["seconds"], p99_s=said["p99_s"], cpu_s=cpu_s, peak_mib=most_mib, lost=number - kept)


def stored(kind: str, url: str) -> int:
    """How many deliveries the database has."""
    query = "SELECT count(*) FROM delivery"
    if kind == "SQLite":
        found = sqlite3.connect(url.removeprefix("sqlite:///"))
        number = int(found.execute(query).fetchone()[0])
        found.close()
        return number
    with psycopg.connect(url) as connection:
        row = connection.execute(query.encode()).fetchone()
        assert row is not None
        return int(row[0])
