"""The journal and what people say to runs: nothing counts twice, and nobody takes for written what is not."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from reconciler.apply.journal import Journal
from reconciler.apply.steps import laid_out
from reconciler.errors import OctofleetError
from reconciler.store.engine import Connection
from reconciler.store.halt import cancel_run, pause_run, resume_run
from reconciler.store.journal import Begun, Ended, Entry, Freed, Lease, write
from reconciler.store.leases import Room, WorkerRow, beat, claim
from reconciler.store.plans import save_plan
from reconciler.store.records import applied_commit
from reconciler.store.runs import JournalRun, create_run, load_run, load_steps, read_log
from reconciler.types.outcome import Status
from tests.apply.runs import Bench
from tests.drivers.contract import host

ROOM = Room(slots=10, drivers={"memory": 10, "": 10})


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    made = Bench(tmp_path, batch=1)
    made.begin(made.plan(host("web-01"), host("web-02")))
    return made


def taken(connection: Connection, worker: str = "w") -> list[Lease]:
    """What a worker is given."""
    beat(connection, WorkerRow(id=worker, name=worker, role="apply", version="", started_at=0.0, until=connection.now() + 60))
    return [Lease(run=run, step=step.seq, fence=step.fence) for run, steps in claim(connection, worker, ROOM).items() for step in steps]


def test_a_cancelled_run_is_not_brought_back_by_pausing_it(bench: Bench) -> None:
    with bench.store.write() as connection:
        taken(connection)
        cancel_run(connection, "run-1", "why", give_up=False)
        pause_run(connection, "run-1", "why")
        resume_run(connection, "run-1")
        found = load_run(connection, "run-1")
    assert found is not None and found.state == "cancelling"


def test_of_a_paused_run_what_has_begun_goes_on(bench: Bench) -> None:
    with bench.store.write() as connection:
        write(connection, [Begun(lease=Lease(run="run-1", step=1, fence=0))])
        pause_run(connection, "run-1", "why")
        assert [lease.step for lease in taken(connection)] == [1]
        resume_run(connection, "run-1")
        assert [lease.step for lease in taken(connection)] == [0]


def test_a_lease_given_back_twice_counts_once(bench: Bench) -> None:
    with bench.store.write() as connection:
        lease = taken(connection)[0]
        back = Freed(lease=lease, result="retry", after_s=0.0)
        assert [write(connection, [back]), write(connection, [back])] == [[""], [""]]
        (step,) = load_steps(connection, "run-1", [lease.step])
    assert step.attempts == 1


def test_an_end_written_twice_counts_once(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.begin(bench.plan(host("web-01"), host("web-02")))
    with bench.store.write() as connection:
        lease = taken(connection)[0]
        where = "memory/machine/shop/web-01"
        ended = Ended(lease=lease, statuses={where: (Status.FAILED, "no")}, lines=["failed"])
        assert [write(connection, [ended]), write(connection, [ended])] == [[""], [""]]
        assert connection.scalar("SELECT failures FROM backoff WHERE address = ?", (where,)) == 1
        assert [text for _, _, text in read_log(connection, "run-1")] == ["failed"]


def test_the_commit_of_an_older_run_does_not_replace_that_of_a_newer_one(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    plans = [bench.plan(host("web-01")), bench.plan(host("web-02"))]
    with bench.store.write() as connection:
        for number, plan in enumerate(plans):
            row = save_plan(connection, replace(plan, commit=f"c{number}"), "nowhere")
            run = JournalRun(id=f"run-{number}", plan=row, source="f", state="running", started_at=number, ended_at=None, reason="")
            create_run(connection, run, laid_out(plan.changes, {"memory": bench.driver.info})[0])
        for number in (1, 0):
            for step in load_steps(connection, f"run-{number}"):
                statuses = {item.address: (Status.DONE, "") for item in step.items}
                write(connection, [Ended(lease=Lease(run=f"run-{number}", step=step.seq, fence=0), statuses=statuses)])
        assert applied_commit(connection, "f") == ("c1", "nowhere")


def test_an_entry_that_cannot_be_written_does_not_take_others_with_it(bench: Bench) -> None:
    journal, lease = Journal(bench.store), Lease(run="run-1", step=0, fence=0)
    journal.say(lease, object())  # type: ignore[arg-type]
    journal.write(Begun(lease=lease))
    with bench.store.read() as connection:
        assert load_steps(connection, "run-1", [0])[0].state == "started"
    with pytest.raises((OctofleetError, sqlite3.Error)):
        journal.write(Ended(lease=lease, statuses={"memory/machine/shop/web-01": (Status.FAILED, object())}))  # type: ignore[dict-item]


def test_nobody_takes_for_written_what_another_thread_could_not_write(bench: Bench) -> None:
    class Broken:
        @contextmanager
        def write(self, *, alone: bool = True) -> Iterator[Connection]:
            raise RuntimeError("surprise")
            yield

    said: list[str] = []

    def until_both(seconds: float) -> None:
        while not said and len(journal._waiting) < 2:
            time.sleep(0.001)

    journal = Journal(Broken(), wait=until_both)  # type: ignore[arg-type]

    def record(entry: Entry) -> None:
        try:
            journal.write(entry)
            said.append("written")
        except RuntimeError as error:
            said.append(str(error))

    threads = [Thread(target=record, args=(Begun(lease=Lease(run="run-1", step=step, fence=0)),)) for step in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert said == ["surprise"] * 2
