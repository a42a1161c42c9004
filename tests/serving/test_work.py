"""Runs that several are at, or that a person stops: nobody is judged too soon, held up by others, or told what is no longer so."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import pytest

from reconciler import beginning
from reconciler.applying import cancel
from reconciler.beginning import begin
from reconciler.drivers.driver import Context, Results, Step
from reconciler.drivers.memory import Fault, MemoryDriver, World
from reconciler.errors import Refused, RetryLater
from reconciler.jobs import Jobs
from reconciler.planning import make_plan
from reconciler.settings import Apply, Settings
from reconciler.store.engine import Store
from reconciler.store.leases import workers
from reconciler.types.request import Request
from reconciler.working import worker
from tests.fleets import Chosen, fleet, installation, octofleet, repo
from tests.ha.kept import until
from tests.store.databases import database, database_url, kind

__all__ = ["database_url", "kind"]


class Site:
    """A plan of a new fleet, that is not applied yet."""

    def __init__(self, path: Path, url: str, hosts: int = 3, slots: int = 16) -> None:
        self.world = World(str(path / "world.db"))
        made = installation(path / "data", MemoryDriver(world=self.world, batch=1, concurrency=slots))
        self.installation: Chosen = replace(made, settings=Settings(database_url=url, apply=Apply(slots=slots)))
        self.repo = repo(path / "repo", fleet(hosts=hosts))
        self.plan = make_plan(self.installation, self.installation.repository(str(self.repo.path)), Request())

    @property
    def store(self) -> Store:
        return self.installation.store

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        with self.store.read() as connection:
            return list(connection.rows(query))

    def write(self, query: str) -> None:
        with self.store.write() as connection:
            connection.run(query)


@pytest.fixture
def site(tmp_path: Path, database_url: str) -> Site:
    return Site(tmp_path, database_url)


@pytest.fixture
def on_postgresql(tmp_path: Path) -> Iterator[Site]:
    with database("postgresql", tmp_path) as url:
        yield Site(tmp_path, url, hosts=12, slots=5)


def test_two_that_begin_one_plan_at_once_begin_one_run(site: Site) -> None:
    together = Barrier(2)

    def one(number: int) -> str:
        together.wait()
        return begin(site.installation, site.plan.row, approved=True)

    with ThreadPoolExecutor(2) as pool:
        assert len(set(pool.map(one, range(2)))) == 1
    assert site.rows("SELECT count(*) FROM run") == [(1,)]


def test_a_run_begins_by_the_clock_of_the_database(on_postgresql: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site = on_postgresql
    monkeypatch.setattr(beginning.time, "time", lambda: 1.0)
    run = begin(site.installation, site.plan.row, approved=True)
    assert site.rows("SELECT started_at FROM run") != [(1.0,)] and not run.startswith("1970")


def test_cancelling_judges_no_worker_that_is_late(site: Site) -> None:
    run = begin(site.installation, site.plan.row, approved=True)
    with worker(site.installation, "worker") as one:
        with site.store.write() as connection:  # it has begun a step, and then nobody could reach the database for an hour
            connection.run("UPDATE step SET state = 'started', owner = ?, fence = 1 WHERE seq = 0", (one.id,))
            connection.run("INSERT INTO attempt VALUES (?, 0, 1, ?, 0, NULL, '', '')", (run, one.id))
            connection.run("UPDATE worker SET until = 1")
        assert cancel(site.installation, run, "enough") == "cancelling"
        with site.store.read() as connection:
            assert [row.id for row in workers(connection)] == [one.id]
        assert site.rows("SELECT owner, fence FROM step WHERE seq = 0") == [(one.id, 1)]
        assert site.rows("SELECT DISTINCT status FROM item WHERE step > 0") == [("cancelled",)], "what had not begun has ended"
        assert cancel(site.installation, run, "for good", give_up=True) == "cancelled"
    assert site.rows("SELECT DISTINCT status FROM item") == [("cancelled",)]
    assert site.rows("SELECT owner, fence, state FROM step WHERE seq = 0") == [("", 2, "ended")], "the worker cannot write any more"
    assert site.rows("SELECT result FROM attempt") == [("lost",)]


def test_the_command_gives_up_when_told_to(tmp_path: Path) -> None:
    with database("sqlite", tmp_path) as url:
        site = Site(tmp_path, url)
        run = begin(site.installation, site.plan.row, approved=True)
        site.write("INSERT INTO worker VALUES ('w', 'elsewhere:1', 'worker', '', 0, 9e12)")
        site.write("UPDATE step SET state = 'started', owner = 'w', fence = 1 WHERE seq = 0")
        env = {"OCTOFLEET_DATABASE_URL": url}
        said = octofleet(tmp_path / "data", "cancel", run, "--reason", "the driver is gone", env=env)
        assert said.code == 0 and "what has begun is brought to its end" in said.out and "--give-up" in said.out
        said = octofleet(tmp_path / "data", "cancel", run, "--reason", "the driver is gone", "--give-up", env=env)
        assert said.code == 0 and "is cancelled" in said.out and site.rows("SELECT state FROM run") == [("cancelled",)]


def test_a_heartbeat_waits_for_no_claim(on_postgresql: Site) -> None:
    site = on_postgresql
    begin(site.installation, site.plan.row, approved=True)
    with worker(site.installation, "worker") as one, ThreadPoolExecutor(1) as pool:
        with site.store.write(alone=False) as connection:
            connection.row("SELECT id FROM run FOR UPDATE")
            claiming = pool.submit(one.take)
            until(one._claiming.locked, "the claim", within_s=60)
            waiting = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
            until(lambda: site.rows(waiting), "the claim that waits for the run", within_s=60)
            before = site.rows("SELECT until FROM worker")
            one.beat()
            assert site.rows("SELECT until FROM worker") > before and not claiming.done()
        assert claiming.result(60), "then it has its steps"


def test_a_slow_step_keeps_no_other_from_being_taken(on_postgresql: Site) -> None:
    site = on_postgresql
    slow = "memory/machine/shop/web-01"
    site.world.fail(slow, Fault.SLOW, 20)
    begin(site.installation, site.plan.row, approved=True)
    ended = "SELECT address FROM item WHERE substr(address, 1, 15) = 'memory/machine/' AND status <> ''"
    stop = Event()
    with worker(site.installation, "worker") as one, ThreadPoolExecutor(1) as pool:
        working = pool.submit(Jobs(site.store, one, concurrency=1).run, stop)
        try:
            until(lambda: len(site.rows(ended)) >= 11, "the machines that are not slow", within_s=60)
        finally:
            stop.set()
        assert (slow,) not in site.rows(ended)
        working.result(60)


def test_what_the_database_refuses_ends_the_worker(site: Site) -> None:
    begin(site.installation, site.plan.row, approved=True)
    with worker(site.installation, "worker") as one:
        site.write("ALTER TABLE attempt RENAME TO elsewhere")
        assert one.take() == [] and one.trouble is not None and one.trouble.code == "store"
        site.write("ALTER TABLE elsewhere RENAME TO attempt")


def test_who_has_lost_his_lease_is_told_to_return_and_stops_nothing_in_the_world(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Somebody else has the step then: what goes on in the world is his."""
    seen: list[tuple[bool, bool]] = []
    run = begin(site.installation, site.plan.row, approved=True)
    with worker(site.installation, "worker") as one:
        real = MemoryDriver.apply

        def apply(driver: MemoryDriver, step: Step, context: Context) -> Results:
            site.write("UPDATE step SET owner = 'somebody', fence = fence + 1 WHERE owner <> ''")
            before = context.cancelled()
            one.beat()
            seen.append((not before and context.cancelled(), context.stopped()))
            return real(driver, step, context)

        monkeypatch.setattr(MemoryDriver, "apply", apply)
        for _ in range(9):
            if not seen:
                wait(one.take(run))
                site.write("UPDATE step SET due_at = 0")
    assert seen[0] == (True, False) and not any(stopped for _, stopped in seen)


def test_a_run_that_is_to_be_stopped_is_told_so_and_not_tried_again(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    run = begin(site.installation, site.plan.row, approved=True)
    stopped: list[bool] = []

    def apply(driver: MemoryDriver, step: Step, context: Context) -> Results:
        stopped.append(context.stopped())
        if len(stopped) == 1:
            cancel(site.installation, run, "enough", stop=True)
            one.beat()
            stopped.append(context.stopped())
        raise RetryLater("it is away", after_s=60.0)

    monkeypatch.setattr(MemoryDriver, "apply", apply)
    installed = replace(
        site.installation, settings=Settings(database_url=site.installation.settings.database_url, apply=Apply(slots=1, attempts=9))
    )
    with worker(installed, "worker") as one:
        for _ in range(6):
            wait(one.take(run))
            site.write("UPDATE step SET due_at = 0")
    assert stopped[:2] == [False, True] and len(stopped) == 2, "and no call after that"
    assert site.rows("SELECT state FROM run") == [("cancelled",)]
    errors = {error for (error,) in site.rows("SELECT DISTINCT error FROM item WHERE status = 'cancelled'")}
    assert errors == {"the run was cancelled", "it was stopped before it was tried again; the log has what was done of it"}


def test_what_is_cancelled_can_be_stopped_later_and_given_up_after_that(site: Site) -> None:
    run = begin(site.installation, site.plan.row, approved=True)
    with worker(site.installation, "worker") as one:
        site.write(f"UPDATE step SET state = 'started', owner = '{one.id}', fence = 1 WHERE seq = 0")
        site.write("UPDATE step SET state = 'started', due_at = 9e12 WHERE seq = 1")
        assert cancel(site.installation, run, "enough") == "cancelling"
        assert site.rows("SELECT due_at FROM step WHERE seq = 1") == [(9e12,)]
        assert cancel(site.installation, run, "it hangs", stop=True) == "cancelling"
        assert site.rows("SELECT due_at FROM step WHERE seq = 1") == [(0.0,)], "what waits to be tried again ends now"
        assert cancel(site.installation, run, "nobody can", give_up=True) == "cancelled"


def test_what_is_given_up_cannot_be_stopped_as_well(site: Site) -> None:
    run = begin(site.installation, site.plan.row, approved=True)
    with pytest.raises(Refused, match="cannot be stopped as well"):
        cancel(site.installation, run, "enough", stop=True, give_up=True)
    assert site.rows("SELECT state, stop FROM run") == [("running", False)]
