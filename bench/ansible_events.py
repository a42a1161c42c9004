"""What playbooks tell of their tasks: how many results one process stores in a second, beside plain `executemany` of the same rows.

In: nothing. Out: rows, for SQLite and, where there is one, PostgreSQL.
"""

import os
import sqlite3
import time
from collections.abc import Callable, Iterator

import psycopg

from bench.durable import database
from bench.measure import Machine, Row, peak_mib
from bench.results import Found, Options, told
from reconciler.apply.journal import Journal
from reconciler.apply.telling import Telling
from reconciler.store.engine import Store
from reconciler.store.journal import Lease
from reconciler.store.leases import Room, WorkerRow, beat, claim
from reconciler.store.plans import save_plan
from reconciler.store.runs import Item, JournalRun, JournalStep, create_run
from reconciler.store.tasks import TASK
from reconciler.types.change import Action
from reconciler.types.plan import Plan
from reconciler.types.task import PlayTold, TaskTold

NAME, TITLE = "events", "Results of tasks"
BEGINNINGS = ("events, ",)
NOTE = """Results of tasks, told 500 at a time as the driver of Ansible tells them, until all of them are durable: each batch is an entry of the journal,
written under the lease of its step by a thread of its own. "Hosts" are results. The floor is `executemany` of the same rows into the same table, 500 in
each transaction, without any of this. AWX publishes 1,100 to 1,630 events a second for a control node."""
FINDINGS = """The journal adds a look at the lease, and a millisecond's wait for more to write, to each batch."""
RESULTS, BATCH, LEAST = 30_000, 500, 3_000


def measure(machine: Machine, options: Options) -> Found:
    """Every row of the subject."""
    number = RESULTS // 6 if options.hosts == (1_000,) else RESULTS
    rows, skipped = [], []
    for kind in ("SQLite", "PostgreSQL"):
        try:
            rows.append(told(_row(machine, kind, number)))
        except Exception as error:
            if kind == "SQLite":
                raise
            skipped.append(f"{kind}: {error}")
    return Found(rows=rows, skipped=skipped)


def _row(machine: Machine, kind: str, number: int) -> Row:
    with database(kind, machine.directory) as url:
        store = Store(url)
        began, used = time.perf_counter(), time.process_time()
        _ours(store, _lease(store), number)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - used
        with store.read() as connection:
            assert connection.scalar("SELECT count(*) FROM task") == number
        floor = _timed(lambda: _plain(kind, url, number))
        store.close()
    return Row(
        name=f"events, stored, {kind}",
        hosts=number,
        seconds=seconds,
        cpu_s=cpu_s,
        peak_mib=peak_mib(os.getpid()),
        floor=floor,
        ratio=seconds / floor,
        against="plain executemany",
        bar=f"at least {LEAST:,} a second ({number / seconds:,.0f})",
        met=number / seconds >= LEAST,
    )


def _timed(work: Callable[[], None]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _lease(store: Store) -> Lease:
    with store.write() as connection:
        plan = save_plan(
            connection, Plan(source="f", scope="", commit="c", base=None, created_at=0.0, expires_at=0.0, changes=()), "nowhere"
        )
        step = JournalStep(seq=0, wave=0, driver="d", tenant="t", items=(Item(address="d/k/t/a", change=0, action=Action.CREATE),))
        create_run(
            connection, JournalRun(id="run", plan=plan, source="f", state="running", started_at=0.0, ended_at=None, reason=""), [step]
        )
        beat(connection, WorkerRow(id="w", name="w", role="apply", version="", started_at=0.0, until=connection.now() + 600))
        ((run, (taken,)),) = claim(connection, "w", Room(slots=1, drivers={"d": 1})).items()
        return Lease(run=run, step=taken.seq, fence=taken.fence)


def _tasks(number: int) -> Iterator[tuple[TaskTold, ...]]:
    for start in range(0, number, BATCH):
        yield tuple(
            TaskTold(
                tenant="t",
                host=f"web-{n % 500:04d}",
                name=f"Install the package {n // 500}",
                place="playbooks/site.yml:12",
                status="changed",
                at=1.8e9 + n,
                seconds=0.5,
                message="",
            )
            for n in range(start, start + BATCH)
        )


def _ours(store: Store, lease: Lease, number: int) -> None:
    telling = Telling(Journal(store), lease, most=number)
    for tasks in _tasks(number):
        telling.tell(PlayTold(tasks=tasks))
    telling.close()


def _plain(kind: str, url: str, number: int) -> None:
    columns = ", ".join(f'"{name}"' for name in TASK)
    place = "?" if kind == "SQLite" else "%s"
    query = f"INSERT INTO task ({columns}) VALUES ({', '.join([place] * len(TASK))})"
    raw = sqlite3.connect(url.removeprefix("sqlite:///")) if kind == "SQLite" else psycopg.connect(url)
    for part in _tasks(number):
        rows = [("run", 0, one.tenant, one.host, one.name, one.place, one.status, one.at, one.seconds, one.message) for one in part]
        raw.cursor().executemany(query, rows)
        raw.commit()
    raw.close()
