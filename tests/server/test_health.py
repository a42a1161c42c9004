"""`/healthz` and `/readyz` tell the truth: real databases that are locked, removed or read-only, a worker that stopped, a heartbeat that hangs."""

import http.client
import os
import socket
import sqlite3
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiohttp import web

from reconciler.apply.worker import Terms
from reconciler.errors import OctofleetError, Permanent
from reconciler.server.app import listening
from reconciler.server.health import Pulse
from reconciler.store.engine import Connection, Store, sqlite_url
from tests.apply.runs import Bench
from tests.server.process import Process, Served, serving

WITHIN_S = 0.3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    made = Store(sqlite_url(tmp_path))
    yield made
    made.close()


def until(true: Callable[[], bool]) -> None:
    """Wait until something holds; fails after a long while."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_process_that_is_well(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with bench.worker() as worker, serving(Process(store=bench.store, worker=worker)) as served:
        assert served.reasons("/healthz") == served.reasons("/readyz") == []
        assert served.get("/elsewhere")[0] == 404


def test_a_locked_database_is_not_ready_until_it_is_free(store: Store, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "octofleet.db", isolation_level=None)
    with serving(Process(store=store), within_s=WITHIN_S) as served:
        assert served.reasons("/readyz") == []
        other.execute("BEGIN IMMEDIATE")
        before = threading.active_count()
        for _ in range(4):
            ((code, text),) = served.reasons("/readyz")
            assert code == "database" and "has not answered for" in text
            assert served.reasons("/healthz") == [], "the process itself is well, and its endpoint does not hang"
        assert threading.active_count() <= before + 1, "one question hangs, however often it is asked"
        other.execute("ROLLBACK")
        until(lambda: served.reasons("/readyz") == [])
    other.close()


def test_a_removed_and_a_replaced_database(store: Store, tmp_path: Path) -> None:
    file = tmp_path / "octofleet.db"
    with serving(Process(store=store)) as served:
        assert served.reasons("/readyz") == []
        kept = file.read_bytes()
        file.unlink()
        ((code, text),) = served.reasons("/readyz")
        assert code == "database" and "is gone" in text
        assert not file.exists(), "nobody made an empty one"
        file.write_bytes(kept)
        ((code, text),) = served.reasons("/readyz")
        assert code == "database" and "was replaced" in text


@contextmanager
def unprivileged() -> Iterator[None]:
    """Root may write everything, so be somebody else."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


def test_a_read_only_database_is_not_ready() -> None:
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        store = Store(sqlite_url(directory))
        store.close()  # the next connection is a new one
        directory.chmod(0o555)
        (directory / "octofleet.db").chmod(0o444)
        with serving(Process(store=store)) as served, unprivileged():
            ((code, text),) = served.reasons("/readyz")
        assert code == "database" and "read" in text
        directory.chmod(0o755)


def test_a_database_of_a_newer_octofleet_is_not_ready(store: Store) -> None:
    with serving(Process(store=store)) as served:
        with store.write() as connection:
            connection.run("UPDATE alembic_version SET version_num = '9999'")
        assert served.reasons("/readyz") == [], "that migration says that older code may go on"
        with store.write() as connection:
            connection.run("UPDATE about SET value = '9998' WHERE key = 'readable_from'")
        ((code, text),) = served.reasons("/readyz")
        assert code == "migration" and "9999" in text


def test_the_question_changes_nothing(store: Store) -> None:
    def kept(connection: Connection) -> list[tuple[str, str]]:
        return list(connection.rows("SELECT key, value FROM about ORDER BY key"))

    with store.read() as connection:
        before = kept(connection)
    with serving(Process(store=store)) as served:
        assert served.reasons("/readyz") == []
    with store.read() as connection:
        assert kept(connection) == before != []


def test_stopping_is_not_ready_but_healthy(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    state = Process(store=bench.store)
    with bench.worker() as worker, serving(state) as served:
        state.stopping = True
        assert [code for code, _ in served.reasons("/readyz")] == ["stopping"]
        state.stopping, state.worker = False, worker
        assert served.reasons("/readyz") == []
        worker.stop()
        assert [code for code, _ in served.reasons("/readyz")] == ["stopping"]
        assert served.reasons("/healthz") == []


def test_a_worker_that_gave_up_is_unhealthy(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with bench.worker() as worker, serving(Process(store=bench.store, worker=worker)) as served:
        worker.trouble = Permanent("the disk is full", code="store")
        ((code, text),) = served.reasons("/healthz")
        assert code == "trouble" and "the disk is full" in text
        worker.trouble = None


def test_a_heartbeat_that_hangs_is_unhealthy_until_it_moves(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    other = sqlite3.connect(tmp_path / "octofleet.db", isolation_level=None)
    with bench.worker(terms=Terms(lease_s=0.3)) as worker, serving(Process(store=bench.store, worker=worker)) as served:
        assert served.reasons("/healthz") == []
        other.execute("BEGIN IMMEDIATE")
        until(lambda: [code for code, _ in served.reasons("/healthz")] == ["standing-still"])
        ((_, text),) = served.reasons("/healthz")
        assert "the thread beat has not moved" in text
        other.execute("ROLLBACK")
        until(lambda: served.reasons("/healthz") == [])
    other.close()


def test_a_worker_whose_threads_have_ended_is_unhealthy(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with bench.worker(terms=Terms(lease_s=0.3)) as worker:
        pass
    with serving(Process(store=bench.store, worker=worker)) as served:
        until(lambda: [code for code, _ in served.reasons("/healthz")] == ["standing-still"])


def test_a_loop_that_stands_still_is_unhealthy(store: Store) -> None:
    state = Process(store=store, loop=Pulse(name="loop", age_s=2.9, period_s=1.0))
    with serving(state) as served:
        assert served.reasons("/healthz") == []
        state.loop = Pulse(name="loop", age_s=3.1, period_s=1.0)
        ((code, text),) = served.reasons("/healthz")
        assert code == "standing-still" and "loop" in text


def test_an_address_that_is_taken_is_an_error(store: Store) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with (
            pytest.raises(OctofleetError, match=f"cannot listen on 127.0.0.1 port {port}: Address already in use"),
            listening(web.Application(), "127.0.0.1", port),
        ):
            pass


def ask(served: Served) -> None:
    with pytest.raises((ConnectionError, http.client.HTTPException)):
        served.get("/readyz")


def test_the_server_ends_although_a_request_hangs(store: Store, tmp_path: Path) -> None:
    other = sqlite3.connect(tmp_path / "octofleet.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with serving(Process(store=store), within_s=600) as served:
        asked = threading.Thread(target=ask, args=(served,))
        asked.start()
        until(lambda: any(thread.name == "asking" for thread in threading.enumerate()))
    assert not any(thread.name == "http" for thread in threading.enumerate())
    asked.join(30)
    assert not asked.is_alive(), "whoever asked is told that nothing more comes"
    other.close()


def test_the_port_is_free_afterwards(store: Store) -> None:
    with serving(Process(store=store)) as served:
        port = served.port
    with pytest.raises(ConnectionRefusedError):
        Served(port).get("/healthz")


def test_make_app_needs_no_database(tmp_path: Path) -> None:
    class Away(Process):
        @property
        def store(self) -> Store:  # type: ignore[override]
            raise OctofleetError("the database does not answer", code="store-unavailable")

        @store.setter
        def store(self, value: Store) -> None:
            pass

    with serving(Away(store=None)) as served:  # type: ignore[arg-type]
        assert served.reasons("/healthz") == []
        assert [code for code, _ in served.reasons("/readyz")] == ["database"]
        assert "octofleet_database_up 0.0" in served.get("/metrics")[1]
