"""`octofleet status --why`: every reason, in a database as real work leaves it; the same lines for three and for three thousand."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.apply.worker import Terms
from reconciler.cli.standing import MOST, document, other_lines, run_lines, source_lines
from reconciler.drivers.breaker import BreakerState, State
from reconciler.drivers.memory import Fault
from reconciler.reason import CODES, Why, together
from reconciler.settings import Apply
from reconciler.store.halt import cancel_run, pause_run, resume_run
from reconciler.store.leases import Room, WorkerRow, claim, workers
from reconciler.store.records import save_source
from reconciler.store.waiting import LaneRow
from reconciler.types.plan import Deferred
from reconciler.why import Whys, whys
from tests.apply.runs import Bench
from tests.cli.command import quick
from tests.drivers.contract import host
from tests.fleets import fleet, repo
from tests.fleets import host as manifest

RUN = "run-1"
BROKEN = BreakerState(key="cloud/eu", state=State.OPEN, failures=5, since=1.0, next_try=time.time() + 60, last_error="no answer")
CLOSED = BreakerState(key="cloud/us", state=State.CLOSED, failures=0, since=1.0, next_try=None, last_error="")


class Asked(Bench):
    """A bench that is asked why."""

    settings = Apply()
    known = frozenset({"memory"})

    def why(self, *breakers: BreakerState) -> Whys:
        with self.store.read() as connection:
            return whys(connection, settings=self.settings, living=workers(connection), drivers=lambda: self.known, breakers=breakers)

    def waits(self) -> dict[str, Why]:
        (run,) = self.why().runs
        return {why.code: why for why in run.waits}

    @contextmanager
    def alive(self) -> Iterator[None]:
        """A worker lives that takes nothing by itself."""
        with self.worker(terms=Terms(lease_s=3600)):
            yield

    def take(self, number: int = 1) -> None:
        with self.store.write() as connection:
            (worker,) = workers(connection)
            claim(connection, worker.id, Room(slots=number, drivers={"memory": number}))

    def set(self, **values: Any) -> None:
        """The first step stands so."""
        with self.store.write() as connection:
            for column, value in values.items():
                connection.run(f"UPDATE step SET {column} = ? WHERE run = ? AND seq = 0", (value, RUN))


@pytest.fixture
def bench(tmp_path: Path) -> Asked:
    made = Asked(tmp_path)
    made.begin(made.plan(host("web-1"), host("web-2")))
    return made


def test_no_worker_lives(bench: Asked) -> None:
    waits = bench.waits()
    assert waits.keys() == {"no-worker", "earlier-wave"}
    assert waits["no-worker"].next == f"octofleet resume {RUN} goes on"
    assert waits["no-worker"].what == ("memory of shop, wave 0: 1",)


def test_a_place_is_all_that_it_needs(bench: Asked) -> None:
    with bench.alive():
        assert bench.waits().keys() == {"due", "earlier-wave"}


def test_a_worker_has_it(bench: Asked) -> None:
    with bench.alive():
        bench.take()
        found = bench.waits()["under-way"]
        (worker,) = bench.why().workers
    assert found.what == ("step 0 (memory, shop)",) and worker.name in found.text
    assert found.since is not None and found.since <= time.time()


def test_its_worker_is_gone(bench: Asked) -> None:
    with bench.alive():
        bench.set(owner="dead")
        assert "interrupted" in bench.waits()
        bench.set(owner="", state="started")
        assert "interrupted" in bench.waits()


def test_an_operation_goes_on(bench: Asked) -> None:
    with bench.alive():
        now = time.time()
        bench.set(state="waiting", note="an operation is going on in the world", due_at=now + 20, started_at=now - 5)
        found = bench.waits()["operation"]
    assert found.again == pytest.approx(now + 20) and found.deadline == pytest.approx(now - 5 + bench.settings.deadline_s)
    assert f"octofleet cancel {RUN}" in found.next


def test_it_is_tried_again(bench: Asked) -> None:
    with bench.alive():
        bench.set(attempts=2, note="the world is busy (attempt 2 of 5)", due_at=time.time() + 20)
        assert "the world is busy (attempt 2 of 5)" in bench.waits()["retry"].text


def test_it_needs_another_change_or_time(bench: Asked) -> None:
    with bench.alive():
        bench.set(note="waits for memory/machine/shop/web-1", due_at=time.time() + 1)
        assert bench.waits()["needs"].text == "it waits for memory/machine/shop/web-1"
        bench.set(state="started", note="what was begun may still show up in the world", due_at=time.time() + 9)
        assert "settling" in bench.waits()


def test_no_driver_here(bench: Asked) -> None:
    bench.known = frozenset()
    with bench.alive():
        assert "driver memory" in bench.waits()["no-driver"].text


def test_limits(bench: Asked) -> None:
    with bench.alive():
        bench.take()
        with bench.store.write() as connection:
            connection.run("UPDATE step SET wave = 0 WHERE run = ? AND seq = 1", (RUN,))
            connection.run("UPDATE lane SET open = open + 1 WHERE run = ? AND wave = 0", (RUN,))
        bench.settings = Apply(driver_limits={"memory": 1})
        assert "apply.driver_limits" in bench.waits()["driver-limit"].text
        bench.settings = Apply(tenant_limit=1)
        assert "apply.tenant_limit" in bench.waits()["tenant-limit"].text
        bench.settings = Apply(tenant_limit=2, driver_limits={"memory": 2})
        assert "due" in bench.waits()


def test_paused_with_the_reason(bench: Asked) -> None:
    with bench.store.write() as connection:
        pause_run(connection, RUN, "the window is over")
    (run,) = bench.why().runs
    assert run.said is not None and run.said[1] == "paused: the window is over"
    assert {why.code for why in run.waits} == {"paused", "earlier-wave"}
    assert any("the window is over" in line.text for line in run_lines(run, time.time()))


def test_a_second_reason_replaces_the_first_and_the_time_is_that_of_the_pause(bench: Asked) -> None:
    with bench.store.write() as connection:
        connection.run("UPDATE run SET started_at = ? WHERE id = ?", (time.time() - 7200, RUN))
        pause_run(connection, RUN, "before")
        resume_run(connection, RUN)
        connection.run("UPDATE log SET at = at - 3600")
        pause_run(connection, RUN, "one")
        connection.run("UPDATE log SET at = at - 600")
        pause_run(connection, RUN, "two")
    (run,) = bench.why().runs
    assert run.said is not None and run.said[1] == "paused: two"
    assert 599 < time.time() - run.since < 3000, "since the first of both, and not since the run began or was paused before"
    assert "paused for 10 min" in next(run_lines(run, run.since + 600)).text


def test_cancelling_with_the_reason(bench: Asked) -> None:
    with bench.alive():
        bench.take()
        with bench.store.write() as connection:
            cancel_run(connection, RUN, "a mistake", give_up=False)
        (run,) = bench.why().runs
        assert run.said is not None and run.said[1] == "cancelled: a mistake"
        assert {why.code for why in run.waits} == {"under-way"}
        bench.set(owner="")
        assert "cancelling" in bench.waits()


def test_what_failed_last_and_backs_off(tmp_path: Path) -> None:
    bench = Asked(tmp_path)
    bench.world.fail("memory/config/shop/web-*", Fault.PARTIAL)
    plan = bench.plan(host("web-1"), host("web-2"))
    with bench.store.write() as connection:
        save_source(connection, "f", "nowhere", "c", time.time())
    bench.apply(plan)
    found = bench.why()
    (source,) = found.sources
    assert source.last_run is not None and source.last_run.id == RUN
    failed = {why.code: why for why in source.failed}
    assert failed["partial"].what == ("memory/config/shop/web-1", "memory/config/shop/web-2")
    assert failed["partial"].text == "only a part was applied"
    (waiting,) = found.backoff
    assert (waiting.code, waiting.number) == ("backing-off", 2) and waiting.again is not None and waiting.again > time.time()
    assert "failed 1 time: only a part was applied" in waiting.text
    assert {why.code for why in source.unsettled} == {"differs"}


def test_only_breakers_that_are_not_closed(bench: Asked) -> None:
    (why,) = bench.why(BROKEN, CLOSED).breakers
    assert (why.code, why.what) == ("breaker-open", ("cloud/eu",)) and "no answer" in why.text
    assert any("by this process" in line.text for line in other_lines(bench.why(BROKEN)))


def test_every_code_is_explained_and_made_somewhere() -> None:
    from reconciler import reason, why, why_machines, why_repository, why_source
    from reconciler.store import followed

    source = "".join(Path(str(part.__file__)).read_text() for part in (reason, why, why_machines, why_repository, why_source, followed))
    statuses = {"failed", "partial", "stale", "expired", "cancelled", "superseded"}
    assert {code for code in CODES.keys() - statuses if source.count(f'"{code}"') < 2} == set()


def one(number: int, text: str = "no answer") -> Why:
    return Why(code="failed", text=text, next="mend it", what=(f"a/b/c/{number:05}",), number=1)


@pytest.mark.parametrize("many", [3, 3000])
def test_many_of_a_kind_are_as_readable_as_few(bench: Asked, many: int) -> None:
    (run,) = bench.why().runs
    told = [line.text for line in run_lines(replace(run, failed=together(map(one, range(many)))), time.time())]
    listed = [line for line in told if "a/b/c/" in line]
    assert len(listed) == min(many, MOST)
    assert any(f"and {many - MOST:,} more" in line for line in told) == (many > MOST)
    assert any(f"failed ({many:,}): no answer" in line for line in told)
    assert all(len(line) < 200 for line in told)


def test_many_reasons_are_counted_too(bench: Asked) -> None:
    (run,) = bench.why().runs
    told = [line.text for line in run_lines(replace(run, failed=together(one(n, f"error {n}") for n in range(3000))), time.time())]
    assert len(told) < 80 and any("more reasons; --json has all" in line for line in told)


def test_many_tenants_are_counted(bench: Asked) -> None:
    (run,) = bench.why().runs
    lanes = tuple(LaneRow(wave=wave, driver="boot", tenant=f"t{n:03}", open=2) for wave in (0, 2) for n in range(500))
    told = [line.text.split() for line in run_lines(replace(run, lanes=lanes), time.time())]
    assert ["wave", "0", "boot", "500", "tenants", "1,000", "open", "steps"] in told and not any("t001" in line for line in told)


def test_the_document_has_all(bench: Asked) -> None:
    found = document(bench.why(BROKEN))
    assert found.keys() == {"at", "workers", "runs", "sources", "backoff", "breakers"}
    assert found["runs"][0].keys() >= {"run", "state", "said", "changes", "lanes", "waiting", "failed"}
    assert found["runs"][0]["changes"] == {"open": 6}
    assert found["breakers"][0]["code"] == "breaker-open"


def test_the_command(tmp_path: Path) -> None:
    data, git = tmp_path / "data", repo(tmp_path / "git", fleet(2))
    assert "nothing has been applied" in quick(data, "status", "--why").out
    assert quick(data, "apply", "--repo", str(git.path), "--approve").code == 0
    told = quick(data, "status", "--why")
    assert (told.code, told.out.count("\n")) == (0, 2) and "all were last seen as recorded" in told.out
    git.commit({"host-2.yaml": manifest("web-02", 2, spec="  profile: nowhere\n").replace("  profile: base\n", "")})
    quick(data, "apply", "--repo", str(git.path), "--approve")
    told, found = quick(data, "status", "--why"), quick(data, "status", "--why", "--json")
    assert told.code == found.code
    assert found.json["why"]["sources"][0]["name"] == "test"
    assert "why" not in quick(data, "status", "--json").json


def test_what_the_newest_plan_puts_off(bench: Asked, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler import why_source

    put_off = (Deferred(address="a/b/c/d", code="desired-unknown", reason="its manifest has problems"),)
    monkeypatch.setattr(why_source, "newest_deferred", lambda *_: put_off)
    with bench.store.write() as connection:
        save_source(connection, "f", "nowhere", "c", time.time())
    (source,) = bench.why().sources
    (found,) = source.deferred
    assert found.text == "its manifest has problems (desired-unknown)" and "octofleet validate" in found.next
    assert any("put off by the newest plan: 1 resource" in line.text for line in source_lines(source, time.time()))


def test_a_worker_of_elsewhere_is_named(bench: Asked) -> None:
    found = bench.why()
    row = WorkerRow(id="w", name="elsewhere:1", role="worker", version="1", started_at=found.now, until=found.now + 9)
    assert any("elsewhere:1 (worker, version 1)" in line.text for line in other_lines(replace(found, workers=(row,))))
