"""What an attempt that takes over has to know: what is under way, when it was cut short, and whether the step is still its own."""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.apply.attempt import Patience
from reconciler.apply.worker import Terms
from reconciler.drivers.driver import Context, Results, Step, Target
from reconciler.drivers.memory import MemoryDriver
from reconciler.errors import RetryLater
from reconciler.store.engine import Store, Unavailable
from reconciler.store.journal import Begun, Lease, Waits, write
from reconciler.store.leases import next_due, take_away, workers
from reconciler.store.runs import load_steps
from reconciler.types.outcome import Outcome, Pending, Status
from tests.apply.runs import Bench
from tests.drivers.contract import host

MACHINES = [f"memory/machine/shop/web-0{number}" for number in (1, 2)]


@dataclass(frozen=True, kw_only=True)
class Handles(MemoryDriver):
    """An operation for each machine. `cut`: how many calls are cut short after all have begun; `deaf`: how often the last cannot be asked about."""

    cut: list[int] = field(default_factory=list)
    deaf: list[int] = field(default_factory=list)
    calls: list[str] = field(default_factory=list)

    def apply(self, step: Step, context: Context) -> Results:
        results: dict[str, Outcome | Pending] = {}
        for work in step.work:
            where = work.target.address
            if where not in MACHINES:
                results |= super().apply(Step(id=step.id, work=(work,)), context)
                continue
            self.calls.append(where)
            handle = self._begin(f"{step.id}-{where[-1]}", work, work.target.desired.spec if work.target.desired else None)
            context.checkpoint(handle)
            results[where] = Pending(operation=handle, poll_after_s=0.01)
        if self.cut and set(results) & set(MACHINES):
            self.cut.pop()
            raise RetryLater("the line is cut", after_s=0.01)
        return results

    def poll(self, operation: str, context: Context) -> Results:
        if self.deaf and json.loads(operation)["step"].endswith("-2"):
            self.deaf.pop()
            raise RetryLater("busy", after_s=0.01)
        return super().poll(operation, context)


def test_every_operation_that_was_begun_is_asked_about(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    driver = bench.driver = Handles(world=bench.world, operation_s=0.2, cut=[1])
    assert set(bench.apply(bench.plan(host("web-01"), host("web-02"))).values()) == {Status.DONE}
    assert driver.calls == MACHINES, "none was begun again"


def test_an_operation_that_cannot_be_asked_about_does_not_hide_another(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    driver = bench.driver = Handles(world=bench.world, operation_s=0.2, deaf=[1])
    assert set(bench.apply(bench.plan(host("web-01"), host("web-02"))).values()) == {Status.DONE}
    assert driver.calls == MACHINES, "none was begun again"


@dataclass(frozen=True, kw_only=True)
class Robbed(MemoryDriver):
    """While it looks, somebody takes the lease away."""

    store: Store
    armed: list[bool]
    applied: list[str] = field(default_factory=list)

    def observe(self, targets: Sequence[Target], context: Context) -> Mapping[str, Any]:
        if self.armed:
            with self.store.write() as connection:
                owners = {owner for (owner,) in connection.rows("SELECT owner FROM step WHERE owner <> ''")}
                take_away(connection, sorted(owners), "lost")
        return super().observe(targets, context)

    def apply(self, step: Step, context: Context) -> Results:
        self.applied.append(step.id)
        return super().apply(step, context)


def test_a_step_that_was_lost_while_it_was_looked_at_is_not_resumed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    driver = bench.driver = Robbed(world=bench.world, store=bench.store, armed=[])
    run = bench.begin(bench.plan(host("web-01")))
    with bench.store.write() as connection:
        assert write(connection, [Begun(lease=Lease(run=run.id, step=0, fence=0))]) == [""]
    driver.armed.append(True)
    with bench.worker() as worker:
        (attempt,) = worker.take()
        attempt.result()
    assert driver.applied == []


def test_an_operation_does_not_expire_by_a_wrong_clock(tmp_path: Path) -> None:
    bench = Bench(tmp_path, operation_s=0.2)
    ended = bench.apply(bench.plan(host("web-01")), now=lambda: time.time() + 5000, terms=Terms(patience=Patience(deadline_s=60)))
    assert set(ended.values()) == {Status.DONE}


def test_the_settle_time_counts_from_the_last_call_that_was_cut_short(tmp_path: Path) -> None:
    bench = Bench(tmp_path, settle_s=100.0)
    run = bench.begin(bench.plan(host("web-01")))
    with bench.store.write() as connection:
        write(connection, [Begun(lease=Lease(run=run.id, step=0, fence=0))])
        now = connection.now()
        connection.run("UPDATE step SET started_at = ?, fence = 2 WHERE seq = 0", (now - 1000,))
        query = "INSERT INTO attempt (run, step, fence, worker, at, ended_at, result, error) VALUES (?, 0, ?, 'w', 0, ?, ?, '')"
        connection.run_many(query, [(run.id, 1, now - 30, "lost"), (run.id, 2, now - 5, "waiting")])
    with bench.worker() as worker:
        (attempt,) = worker.take()
        attempt.result()
    with bench.store.read() as connection:
        (step,) = load_steps(connection, run.id, [0])
        assert 60 < step.due_at - connection.now() <= 70


def test_a_worker_outlives_a_database_that_is_away_when_it_asks_whether_all_is_done(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    run = bench.begin(bench.plan(host("web-01")))
    away = [1, 2]

    def done() -> bool:
        if away:
            away.pop()
            raise Unavailable("away")
        return bench.state(run.id) == "done"

    with bench.worker() as worker:
        worker.work(done)
    assert not away


def test_what_a_worker_cannot_take_does_not_keep_it_busy(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.begin(bench.plan(host("web-01")))
    with bench.store.read() as connection:
        now = connection.now()
        due = next_due(connection)
        assert due is not None and due <= now, "somebody else could take it at once"
        assert next_due(connection, after=now) is None


def test_a_plan_without_changes_is_a_run_that_has_ended(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.begin(bench.plan())
    assert bench.state() == "done"


def test_waits_names_what_the_journal_knows(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    run = bench.begin(bench.plan(host("web-01")))
    lease = Lease(run=run.id, step=0, fence=0)
    with bench.store.write() as connection:
        write(connection, [Begun(lease=lease)])
        write(connection, [Waits(lease=lease, operations=("a", "b"))])
        write(connection, [Begun(lease=lease)])
        (step,) = load_steps(connection, run.id, [0])
    assert step.state == "started" and step.operations == ("a", "b"), "begun again, it still has to ask about both"


def test_after_an_outage_nobody_is_judged_by_whoever_was_late_himself(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.begin(bench.plan(host("web-01")))
    with bench.worker() as one, bench.worker() as other:
        with bench.store.write() as connection:  # as if nobody had reached the database for longer than a lease
            connection.run("UPDATE worker SET until = 1")
        for worker in (one, other):
            worker._lives_until = 1.0
        one.beat()
        with bench.store.read() as connection:
            assert {row.id for row in workers(connection)} == {one.id, other.id}, "the other has had no chance yet"
        one.beat()
        with bench.store.read() as connection:
            assert {row.id for row in workers(connection)} == {one.id}, "it did not come back"
