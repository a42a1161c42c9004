"""The apply loop against a world that moves, lies, fails, stops answering and takes long."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.apply.attempt import Patience
from reconciler.apply.worker import Terms
from reconciler.drivers.driver import Context, Results, Step
from reconciler.drivers.memory import Fault, MemoryDriver
from reconciler.errors import Permanent, Refused, Stale
from reconciler.store.journal import Begun, Lease, Waits, write
from reconciler.store.observations import load_observations, open_addresses
from reconciler.store.records import load_records
from reconciler.store.runs import load_steps
from reconciler.types.canonical import NOTHING
from reconciler.types.change import Action
from reconciler.types.observation import Present, Unknown
from reconciler.types.outcome import Outcome, Pending, Status
from tests.apply.runs import Bench
from tests.drivers.contract import host
from tests.store.databases import database

MACHINE, CONFIG, ROLE = "memory/machine/shop/web-01", "memory/config/shop/web-01", "memory/role/shop/web-01.web"
DONE, FAILED, PARTIAL, STALE, CANCELLED = Status.DONE, Status.FAILED, Status.PARTIAL, Status.STALE, Status.CANCELLED


@pytest.fixture(params=[("sqlite", 0.0), ("sqlite", 0.03), ("postgresql", 0.0), ("postgresql", 0.03)], ids=str)
def bench(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Bench]:
    kind, operation_s = request.param
    with database(kind, tmp_path) as url:
        yield Bench(tmp_path, url=url, operation_s=operation_s)


def test_a_plan_after_a_successful_apply_is_empty(bench: Bench) -> None:
    assert set(bench.apply(bench.plan(host("web-01"), host("web-02"))).values()) == {DONE}
    assert bench.state() == "done"
    assert not bench.plan(host("web-01"), host("web-02")).changes


def test_a_world_that_changed_after_the_plan_is_stale_and_left_alone(bench: Bench) -> None:
    bench.apply(bench.plan(host("web-01")))
    plan = bench.plan(host("web-01", firmware="uefi"))
    bench.world.put(MACHINE, {"values": {"by": "hand"}})
    effects = len(bench.world.effects())
    assert bench.apply(plan, "run-2") == {MACHINE: STALE}
    assert len(bench.world.effects()) == effects and bench.state("run-2") == "failed"
    with bench.store.read() as connection:
        assert open_addresses(connection, "f") == [MACHINE]


def test_a_world_that_is_there_already_is_done_without_an_effect(bench: Bench) -> None:
    plan = bench.plan(host("web-01"))
    for resource in bench.resources(host("web-01")):
        bench.world.put(resource.address, resource.spec)
    assert set(bench.apply(plan).values()) <= {DONE, STALE}
    assert not [effect for effect in bench.world.effects() if effect[2] in (MACHINE, CONFIG)]


@pytest.mark.parametrize(
    ("fault", "status"), [(Fault.LYING, PARTIAL), (Fault.PARTIAL, PARTIAL), (Fault.UNKNOWN, FAILED), (Fault.FLAKY, FAILED)]
)
def test_faults_become_outcomes_and_dependents_do_not_begin(tmp_path: Path, fault: Fault, status: Status) -> None:
    bench = Bench(tmp_path)
    plan = bench.plan(host("web-01"), host("web-02"))
    bench.world.fail("*machine*web-01", fault, 1000)
    ended = bench.apply(plan)
    assert ended[MACHINE] is status or fault is Fault.FLAKY
    assert ended[CONFIG] is CANCELLED and ended[ROLE] is CANCELLED
    assert bench.state() == "failed"
    if fault is not Fault.FLAKY:
        assert ended["memory/config/shop/web-02"] is DONE, "another host's trouble is its own"
    with bench.store.read() as connection:
        found = load_records(connection, [MACHINE])
        assert found[MACHINE].digest == NOTHING if fault is Fault.PARTIAL else MACHINE not in found, "what may be half made is ours"
    bench.world.heal()
    again = bench.plan(host("web-01"), host("web-02"))
    assert {c.address for c in again.changes} >= {MACHINE, CONFIG, ROLE}
    assert set(bench.apply(again, "run-2").values()) == {DONE}


def test_a_failed_change_is_looked_at_again_even_if_its_commit_is_taken_back(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.apply(bench.plan(host("web-01")))
    plan = bench.plan(host("web-01", timezone="Europe/Rome"))
    bench.world.fail("*config*", Fault.PARTIAL)
    assert bench.apply(plan, "run-2") == {CONFIG: PARTIAL}
    with bench.store.read() as connection:
        assert open_addresses(connection, "f") == [CONFIG]
    bench.world.heal()
    assert [change.address for change in bench.plan(host("web-01")).changes] == [CONFIG]


@pytest.mark.parametrize("deleted", [False, True])
def test_removals_forget_and_delete(bench: Bench, deleted: bool) -> None:
    bench.apply(bench.plan(host("web-01")))
    if deleted:
        bench.world.remove(MACHINE)
        bench.world.remove(CONFIG)
    plan = bench.plan(gone=[MACHINE, CONFIG, ROLE])
    expected = Action.FORGET if deleted else Action.DELETE
    assert {c.address: c.action for c in plan.changes} == {ROLE: Action.FORGET, CONFIG: expected, MACHINE: expected}
    assert set(bench.apply(plan, "run-2").values()) == {DONE}
    with bench.store.read() as connection:
        assert not load_records(connection, [MACHINE, CONFIG, ROLE]) and not load_observations(connection, [MACHINE, CONFIG, ROLE])


def test_a_move_keeps_the_thing_and_its_record(bench: Bench) -> None:
    bench.apply(bench.plan(host("web-01")))
    moved = replace(host("web-20"), moved_from=("shop", "web-01"))
    plan = bench.plan(moved)
    assert {c.action for c in plan.changes} == {Action.MOVE}
    assert set(bench.apply(plan, "run-2").values()) == {DONE}
    assert not [a for a in bench.world.things() if "web-01" in a]
    with bench.store.read() as connection:
        assert not load_records(connection, [MACHINE]) and load_records(connection, [MACHINE.replace("web-01", "web-20")])
    assert not bench.plan(replace(host("web-20"))).changes


def test_adopting_takes_the_worlds_id_into_the_record(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    for resource in bench.resources(host("web-01")):
        bench.world.put(resource.address, resource.spec)
    plan = bench.plan(host("web-01"))
    assert {c.action for c in plan.changes} == {Action.ADOPT}
    bench.apply(plan)
    with bench.store.read() as connection:
        assert load_records(connection, [MACHINE])[MACHINE].external_id.startswith("id-")
        assert not open_addresses(connection, "f"), "what was adopted is settled"


@dataclass(frozen=True, kw_only=True)
class Odd(MemoryDriver):
    """Answers wrongly: `answer` makes of the real results what the driver says."""

    answer: Any = None

    def apply(self, step: Step, context: Context) -> Results:
        return self.answer(super().apply(step, context))  # type: ignore[no-any-return]


def raising(error: BaseException) -> Any:
    def answer(results: Mapping[str, object]) -> Results:
        raise error

    return answer


@pytest.mark.parametrize(
    ("answer", "status"),
    [
        (lambda results: {}, FAILED),
        (lambda results: {"memory/other/t/x": Outcome(status=DONE)}, FAILED),
        (lambda results: results | {"memory/other/t/x": Outcome(status=DONE)}, DONE),
        (raising(ValueError("surprise")), FAILED),
        (raising(SystemExit(3)), FAILED),
        (raising(Stale("moved on")), STALE),
        (raising(Permanent("no", hint="pay")), FAILED),
        (lambda results: {a: Pending(operation='{"step": "nobody"}', poll_after_s=0.01) for a in results}, DONE),
    ],
)  # fmt: skip
def test_odd_answers_never_lose_a_change(tmp_path: Path, answer: Any, status: Status) -> None:
    bench = Bench(tmp_path)
    bench.driver = Odd(world=bench.world, answer=answer)
    plan = bench.plan(host("web-01"))
    ended = bench.apply(plan)
    assert ended[MACHINE] is status and set(ended) == {MACHINE, CONFIG, ROLE}
    assert bench.state() == ("done" if status is DONE else "failed")


def test_what_had_ended_before_a_failure_stays_as_it_ended(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.driver = Odd(world=bench.world, answer=raising(ValueError("surprise")))
    plan = bench.plan(host("web-01"), host("web-02"))
    machine = next(r for r in bench.resources(host("web-01")) if r.address == MACHINE)
    bench.world.put(MACHINE, machine.spec)
    ended = bench.apply(plan)
    assert ended[MACHINE] is DONE and ended["memory/machine/shop/web-02"] is FAILED


def test_an_operation_that_never_ends_expires(tmp_path: Path) -> None:
    bench = Bench(tmp_path, operation_s=60)
    ended = bench.apply(bench.plan(host("web-01")), terms=Terms(patience=Patience(deadline_s=0.05)))
    assert ended[MACHINE] is Status.EXPIRED and ended[CONFIG] is CANCELLED


def test_cancelled_between_steps_it_stays_open_and_goes_on(bench: Bench) -> None:
    plan = bench.plan(host("web-01"))
    stop: list[bool] = []
    run = bench.begin(plan)
    ended = bench.go(run.id, lambda: bool(stop), told=lambda *_: stop.append(True), terms=Terms(slots=1))
    assert ended == {MACHINE: DONE} and bench.state() == "running"
    assert set(bench.go(run.id).values()) == {DONE}
    assert bench.state() == "done" and len(bench.world.effects()) == 3


def test_a_step_interrupted_while_it_waited_finishes_what_its_operation_never_began(tmp_path: Path) -> None:
    """Two machines in one step; the process died after it noted the operation of the first and before it began the second."""
    bench = Bench(tmp_path, operation_s=0.02)
    plan = bench.plan(host("web-01"), host("web-02"))
    run = bench.begin(plan)
    with bench.store.read() as connection:
        step = load_steps(connection, run.id)[0]
    first = next(r for r in bench.resources(host("web-01")) if r.address == MACHINE)
    from reconciler.drivers.driver import Target, Work

    handles: list[str] = []
    work = Work(action=Action.CREATE, target=Target(address=MACHINE, desired=first))
    bench.driver.apply(Step(id=f"{run.id}.{step.seq}", work=(work,)), bench.context(checkpoint=handles.append))
    with bench.store.write() as connection:
        lease = Lease(run=run.id, step=step.seq, fence=step.fence)
        assert write(connection, [Begun(lease=lease)]) == [""] and write(connection, [Waits(lease=lease, operations=(handles[0],))]) == [""]
    assert set(bench.go(run.id).values()) == {DONE}
    assert sorted(a for _, action, a in bench.world.effects() if "machine" in a) == [MACHINE, MACHINE.replace("1", "2")]


def test_after_an_interruption_it_waits_until_a_lost_creation_would_show(tmp_path: Path) -> None:
    bench = Bench(tmp_path, settle_s=100.0)
    plan = bench.plan(host("web-01"))
    run = bench.begin(plan)
    with bench.store.write() as connection:
        write(connection, [Begun(lease=Lease(run=run.id, step=0, fence=0))])
        connection.run("UPDATE step SET started_at = started_at - 30 WHERE seq = 0")
    with bench.worker(now=lambda: time.time() + 5000) as worker:  # his clock is wrong; the database's counts
        (attempt,) = worker.take()
        attempt.result()
    with bench.store.read() as connection:
        (step,) = load_steps(connection, run.id, [0])
        assert 60 < step.due_at - connection.now() <= 70 and step.state == "started" and step.owner == ""
        assert "may still show up" in step.note


def test_what_it_needs_is_looked_for_ever_more_seldom(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    run = bench.begin(bench.plan(host("web-01")))
    with bench.store.write() as connection:
        connection.run("UPDATE lane SET open = 0 WHERE wave = 0")  # as if what comes first were another tenant's
    with bench.worker() as worker:
        for fence, pause_s in ((0, 1.0), (1, 2.0), (100, 10.0)):
            with bench.store.write() as connection:
                connection.run("UPDATE step SET due_at = 0, fence = ? WHERE wave > 0", (fence,))
                before = connection.now()
            (attempt,) = worker.take()
            attempt.result()
            with bench.store.read() as connection:
                (step,) = load_steps(connection, run.id, [1])
                assert step.due_at - connection.now() <= pause_s <= step.due_at - before
            assert step.note.startswith("waits for ") and step.state == "ready"


def test_two_runs_never_hold_one_resource(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    plan = bench.plan(host("web-01"))
    bench.begin(plan)
    with pytest.raises(Refused, match="run-1") as caught:
        bench.begin(plan, "run-2")
    assert "octofleet resume run-1" in caught.value.hint


def test_a_driver_that_is_gone_is_named(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    plan = bench.plan(host("web-01"))
    bench.begin(plan)
    with bench.worker(drivers={}) as worker:
        assert worker.take() == [], "nobody begins what it cannot do"
    assert bench.state() == "running"


def test_an_observation_that_fails_before_a_step_changes_nothing(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.apply(bench.plan(host("web-01")))
    plan = bench.plan(host("web-01", timezone="Europe/Rome"))
    bench.world.fail("*", Fault.UNKNOWN)
    before = bench.world.effects()
    assert bench.apply(plan, "run-2") == {CONFIG: FAILED}
    assert bench.world.effects() == before
    with bench.store.read() as connection:
        seen = load_observations(connection, [CONFIG])[CONFIG]
    assert isinstance(seen, Unknown) and not isinstance(seen, Present | Sequence)
