"""`/metrics` after a real apply: what it counts, that the usual linters like it, that it is bounded, and what it says without a database."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from reconciler.drivers.breaker import BreakerState, State
from reconciler.drivers.memory import Fault
from reconciler.drivers.wrap import Wrapped
from reconciler.events import happened
from reconciler.stages import count
from reconciler.store.engine import Store, sqlite_url
from reconciler.store.leases import WorkerRow, beat
from reconciler.store.postings import know_forge, want
from reconciler.store.pulls import PullKey
from reconciler.store.records import save_source
from reconciler.store.standing import DUE, UNSETTLED, standing
from reconciler.types.change import Action
from tests.apply.runs import Bench
from tests.conftest import program
from tests.drivers.contract import host
from tests.server.process import Process, Served, serving

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]
BROKEN = BreakerState(key="cloud/eu", state=State.OPEN, failures=5, since=1.0, next_try=2.0, last_error="no answer")


def samples(text: str) -> Samples:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def applied(path: Path) -> Bench:
    """A bench whose driver is wrapped as the product's are."""
    bench = Bench(path)
    bench.driver = Wrapped(driver=bench.driver)
    return bench


def scrape_of_an_apply(path: Path, **more: float) -> str:
    """What a process tells while a worker lives and after runs that ended in all ways; shared with the test of the dashboards."""
    bench = applied(path)
    bench.world.fail("memory/config/shop/web-2", Fault.PARTIAL)
    bench.world.fail("memory/role/*", Fault.FLAKY, 1)
    state = Process(store=bench.store, providers=[BROKEN])
    with serving(state, kept_s=0, **more) as served:
        plan = bench.plan(host("web-1"), host("web-2"))
        with bench.store.write() as connection:
            save_source(connection, "f", "nowhere", "c", 1000.0)
            know_forge(connection, "hub")
            want(connection, PullKey(forge="hub", project="acme/fleet", number=1), "comment", b"text")
        bench.apply(plan)
        happened("delivery", forge="hub", result="accepted", seconds=0.01)
        happened("posted", forge="hub", pull="hub/acme/fleet#1", what="comment")
        happened("posting-failed", forge="hub", pull="hub/acme/fleet#1", what="comment", error="Later")
        happened("polled", forge="hub")
        happened("boot-decision", decision="local")
        happened("installation-ended", state="expired")
        count("tftp_transfers")
        count("dhcp_offered")
        bench.begin(bench.plan(host("web-1"), host("web-2"), host("web-3")), "run-2")
        with bench.worker() as state.worker:
            return served.get("/metrics")[1]


@pytest.fixture(scope="module")
def scraped(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    yield scrape_of_an_apply(tmp_path_factory.mktemp("scrape"))


def test_what_an_apply_counts(scraped: str) -> None:
    found = samples(scraped)

    def total(name: str, **labels: str) -> float:
        return sum(value for (of, having), value in found.items() if of == name and labels.items() <= dict(having).items())

    assert total("octofleet_changes_total", driver="memory", action=Action.CREATE, status="done") == 3
    assert total("octofleet_changes_total", status="partial") == 1
    assert (
        total("octofleet_step_attempts_total", driver="memory", result="ended")
        == total("octofleet_step_seconds_count", driver="memory")
        > 0
    )
    assert total("octofleet_driver_retries_total") > 0
    assert total("octofleet_runs_ended_total", state="failed") == 1
    assert total("octofleet_journal_entries_per_commit_sum") >= total("octofleet_journal_commit_seconds_count") > 0
    assert total("octofleet_stage_seconds_count", stage="attempt") == total("octofleet_step_attempts_total")
    assert total("octofleet_postings_open", forge="hub") == total("octofleet_deliveries_total", forge="hub", result="accepted") == 1
    assert total("octofleet_delivery_seconds_count") == total("octofleet_polls_total", result="done") == 1
    assert [total("octofleet_postings_total", result=result) for result in ("posted", "failed")] == [1, 1]
    assert total("octofleet_leases_lost_total") == total("octofleet_takeovers_total") == 0
    assert total("octofleet_boot_decisions_total", decision="local") == total("octofleet_installations_ended_total", state="expired") == 1
    assert total("octofleet_tftp_transfers_total", result="complete") == total("octofleet_dhcp_packets_total", result="offered") == 1
    assert total("octofleet_build_info", version="1.2.3") == 1
    assert total("process_resident_memory_bytes") > 0
    states = {dict(labels)["state"]: value for (name, labels), value in found.items() if name == "octofleet_breaker_state"}
    assert states == {"closed": 0, "open": 1, "half-open": 0}


def test_what_the_database_says(scraped: str) -> None:
    found = samples(scraped)
    by_state = {dict(labels)["state"]: value for (name, labels), value in found.items() if name == "octofleet_runs"}
    assert by_state == {"running": 1, "paused": 0, "cancelling": 0}
    steps = {dict(labels)["state"]: value for (name, labels), value in found.items() if name == "octofleet_steps"}
    assert steps["ready"] > found["octofleet_steps_due", ()] > 0, "what waits for an earlier wave is not due"
    assert found["octofleet_oldest_due_step_seconds", ()] > 0
    assert found["octofleet_workers", ()] == 1
    assert found["octofleet_database_up", ()] == 1
    assert found["octofleet_resources_backing_off", ()] == 1
    assert found["octofleet_source_applied_timestamp_seconds", (("source", "f"),)] > 1000
    assert found["octofleet_resources_unsettled", (("source", "f"),)] > 0


def test_promtool_finds_nothing_to_say(scraped: str) -> None:
    promtool = program("promtool", "prometheus")
    done = subprocess.run([promtool, "check", "metrics"], input=scraped, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_metric_is_explained_and_told_once(scraped: str) -> None:
    families = list(text_string_to_metric_families(scraped))
    assert all(family.documentation for family in families)
    assert len({family.name for family in families}) == len(families)


def test_no_label_grows_with_the_work(scraped: str) -> None:
    labels = {name for (_, labels) in samples(scraped) for name, _ in labels}
    known = {
        "driver",
        "decision",
        "forge",
        "result",
        "action",
        "status",
        "state",
        "stage",
        "provider",
        "source",
        "version",
        "event",
        "le",
        "last",
        "age",
    }
    assert labels - known <= {"implementation", "major", "minor", "patchlevel"}
    assert "memory/config" not in scraped and "run-1" not in scraped


def test_paused_runs_have_no_due_steps_and_dead_workers_do_not_count(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.begin(bench.plan(host("web-1")))
    with bench.store.write() as connection:
        assert standing(connection).due == 1
        connection.run("UPDATE run SET state = 'paused'")
        beat(connection, WorkerRow(id="w", name="n", role="worker", version="1", started_at=0.0, until=connection.now() - 1))
        found = standing(connection)
    assert (found.due, found.oldest_due_s, found.workers) == (0, 0.0, 0)
    assert found.runs["paused"] == 1


def test_the_database_is_looked_at_once_for_many_scrapes(tmp_path: Path) -> None:
    class Counting(Store):
        looks = 0

        def read(self):  # type: ignore[no-untyped-def]
            self.looks += 1
            return super().read()

    store = Counting(sqlite_url(tmp_path))
    with serving(Process(store=store), kept_s=600) as served:
        for _ in range(5):
            assert "octofleet_database_up 1.0" in served.get("/metrics")[1]
    assert store.looks == 1


def test_the_process_is_told_without_the_database(tmp_path: Path) -> None:
    store = Store(sqlite_url(tmp_path))
    store.close()
    (tmp_path / "octofleet.db").write_bytes(b"this was a database" * 1000)
    with serving(Process(store=store)) as served:
        text = served.get("/metrics")[1]
    assert "octofleet_database_up 0.0" in text and "octofleet_build_info" in text
    assert "octofleet_runs{" not in text and "octofleet_workers " not in text, "nothing is better than something old"


@pytest.mark.parametrize("query", [DUE, UNSETTLED, "SELECT state, count(*) FROM step WHERE run = ? GROUP BY state"])
def test_every_look_goes_by_an_index(tmp_path: Path, query: str) -> None:
    store = Store(sqlite_url(tmp_path))
    with store.read() as connection:
        parameters = ("run", 1.0)[: query.count("?")]
        steps = [row[3] for row in connection.rows(f"EXPLAIN QUERY PLAN {query}", parameters)]
    assert any("USING" in step for step in steps)
    assert not any(step.startswith("SCAN") and "USING" not in step for step in steps), steps


def test_a_scrape_is_a_page_of_its_own_kind(tmp_path: Path) -> None:
    import http.client

    with serving(Process(store=Store(sqlite_url(tmp_path)))) as served:
        assert isinstance(served, Served)
        asked = http.client.HTTPConnection("127.0.0.1", served.port)
        asked.request("GET", "/metrics")
        assert asked.getresponse().headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
        asked.close()
