"""The same on both kinds of database, and with a PostgreSQL that is killed or frozen; a process of the product's own parts."""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from threading import Event

import pytest

from reconciler.drivers.memory import MemoryDriver, World
from reconciler.events import listeners
from reconciler.server.process import Process as Real
from reconciler.serving import serving as parts_of
from reconciler.settings import Apply, Followed
from reconciler.store.engine import Store, Unavailable
from reconciler.store.leases import workers
from reconciler.store.standing import standing
from reconciler.why import whys
from tests.apply.runs import Bench
from tests.drivers.contract import host
from tests.fleets import fleet, installation, repo
from tests.peers.postgresql import Server, server
from tests.server.process import Process, serving
from tests.server.test_health import until
from tests.store.databases import database_url, kind

__all__ = ["database_url", "kind"]


@pytest.fixture
def own() -> Iterator[Server]:
    """A server that only this test has, so that it may end it."""
    with server() as made:
        yield made


def test_numbers_and_reasons(tmp_path: Path, database_url: str) -> None:
    bench = Bench(tmp_path, url=database_url)
    bench.begin(bench.plan(host("web-1"), host("web-2")))
    with bench.worker() as worker, bench.store.read() as connection:
        found = standing(connection)
        said = whys(connection, settings=Apply(), living=workers(connection), drivers=lambda: ["memory"])
        assert worker.id in {row.id for row in said.workers}
    assert (found.runs["running"], found.steps["ready"], found.due, found.workers) == (1, 3, 1, 1)
    assert {why.code: why.number for why in said.runs[0].waits} == {"due": 1, "earlier-wave": 2}
    bench.store.close()


def test_ready_and_scraped(tmp_path: Path, database_url: str) -> None:
    store = Store(database_url)
    with serving(Process(store=store)) as served:
        assert served.reasons("/readyz") == []
        assert "octofleet_database_up 1.0" in served.get("/metrics")[1]
    store.close()


def test_postgresql_that_is_killed_and_comes_back(tmp_path: Path, own: Server) -> None:
    bench = Bench(tmp_path, url=own.url(own.make()))
    told: list[str] = []
    listeners.append(lambda name, fields: told.append(name))
    try:
        with bench.worker() as worker, serving(Process(store=bench.store, worker=worker), kept_s=0) as served:
            assert served.reasons("/readyz") == []
            own.kill()
            assert [code for code, _ in served.reasons("/readyz")] == ["database"]
            assert "octofleet_database_up 0.0" in served.get("/metrics")[1]
            assert served.reasons("/healthz") == [], "it waits, and needs no restart"
            with pytest.raises(Unavailable):
                worker.beat()  # as its thread will find, too
            until(lambda: worker.reach.away_since is not None)
            own.start()
            until(lambda: served.reasons("/readyz") == [])
            until(lambda: worker.reach.away_since is None)
            assert "octofleet_database_up 1.0" in served.get("/metrics")[1]
    finally:
        listeners.pop()
    assert told.count("database-away") == told.count("database-back") == 1
    bench.store.close()


def test_postgresql_that_is_frozen_hangs_no_endpoint(tmp_path: Path, own: Server) -> None:
    store = Store(own.url(own.make()))
    with serving(Process(store=store), within_s=0.3) as served:
        assert served.reasons("/readyz") == []
        pids = [int(pid) for (pid,) in own.run("SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend'")]
        postmaster = int((own.data / "postmaster.pid").read_text().split()[0])
        frozen = [pid for pid in (postmaster, *pids) if Path("/proc", str(pid)).exists()]
        for pid in frozen:
            with suppress(ProcessLookupError):  # one that only answered a question ends by itself
                os.kill(pid, signal.SIGSTOP)
        try:
            ((code, _),) = served.reasons("/readyz")
            assert code == "database"
            assert "octofleet_database_up 0.0" in served.get("/metrics")[1]
            assert served.reasons("/healthz") == []
        finally:
            for pid in frozen:
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
        until(lambda: served.reasons("/readyz") == [])
    store.close()


def test_the_parts_of_the_product(tmp_path: Path) -> None:
    git = repo(tmp_path / "git", fleet(1))
    made = installation(tmp_path / "data", MemoryDriver(world=World(str(tmp_path / "memory.db"))))
    stop = Event()
    rules = [Followed(location=str(git.path))]
    with parts_of(made, "serve", rules, stop.is_set) as parts:
        state = Real(parts=parts, stop=stop)
        with serving(state) as served:  # type: ignore[arg-type]
            assert served.reasons("/healthz") == served.reasons("/readyz") == []
            until(lambda: "octofleet_source_applied_timestamp_seconds{" in served.get("/metrics")[1])
            assert [pulse.name for pulse in state.pulses()] == ["loop"] and state.role == "serve"
            assert {breaker.key for breaker in state.breakers()} >= {"memory"}
            stop.set()
            assert [code for code, _ in served.reasons("/readyz")] == ["stopping"]
    made.close()
