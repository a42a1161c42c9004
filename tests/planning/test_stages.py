"""Stages: what `timed` collects and tells, the Prometheus histogram, and the OpenTelemetry spans."""

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from reconciler import events, metrics, stages, tracing
from reconciler.stages import WORK, count, counted, lines, since_start_s, stage, timed
from tests.conftest import ROOT


@pytest.fixture(autouse=True)
def nothing_left_around() -> Iterator[None]:
    before = list(stages.around), list(stages.counters), list(events.listeners)
    yield
    stages.around[:], stages.counters[:], events.listeners[:] = before


def work() -> None:
    with stage("outer"):
        for _ in range(3):
            with stage("inner"):
                count("rows_read", 5)
    with stage("last"):
        count("hosts_resolved")


def test_stages_nest_and_work_is_counted() -> None:
    with timed(imports_s=2.0) as timings:
        work()
    assert list(timings.root.inner) == ["imports", "outer", "last"]
    assert timings.root.inner["outer"].inner["inner"].times == 3
    assert timings.root.seconds >= 2.0 and dict(timings.counts) == {"rows_read": 15, "hosts_resolved": 1}


def test_nothing_is_kept_where_nobody_asks() -> None:
    rows = iter((1, 2))
    assert counted("rows_read", rows) is rows
    work()
    with timed() as timings:
        pass
    work()
    assert not timings.root.inner and not timings.counts


def test_rows_are_counted_as_far_as_they_are_taken() -> None:
    with timed() as timings:
        assert list(counted("rows_read", iter("abc"))) == ["a", "b", "c"]
        some = iter(counted("rows_read", iter("abc")))
        next(some)
        del some
    assert timings.counts["rows_read"] == 4


def test_the_table_is_aligned_and_sums_up() -> None:
    with timed(imports_s=1.0) as timings:
        work()
    told = list(lines(timings))
    names = [line[:28].rstrip() for line in told]
    assert names[:6] == ["all", "  imports", "  outer", "    inner", "    rest", "  last"]
    assert names[-len(WORK) :] == [name.replace("_", " ") for name in WORK]
    assert "100.0%" in told[0] and told[3].endswith("in 3 parts")
    assert {line.index(" ms ") for line in told[: -len(WORK)]} == {28 + 1 + 12}
    assert {len(line) for line in told[-len(WORK) :]} == {28 + 1 + 12}


def test_the_time_since_the_start_is_that_of_the_process() -> None:
    program = "import time; time.sleep(0.3); from reconciler.stages import since_start_s; print(since_start_s())"
    began = time.monotonic()
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, cwd=ROOT)
    assert 0.3 <= float(done.stdout) + 0.02 <= time.monotonic() - began + 0.04
    assert since_start_s() > 0


def test_each_stage_is_a_histogram(tmp_path: Path) -> None:
    registry = metrics.enable()
    work()
    metrics.write(registry, tmp_path / "octofleet.prom")
    (family, *_) = text_string_to_metric_families((tmp_path / "octofleet.prom").read_text())
    assert (family.name, family.type) == ("octofleet_stage_seconds", "histogram")
    found = {sample.labels["stage"]: sample.value for sample in family.samples if sample.name.endswith("_count")}
    assert found == {"outer": 1, "inner": 3, "last": 1}
    highest = [sample.value for sample in family.samples if sample.labels.get("le") == "+Inf" and sample.labels["stage"] == "inner"]
    assert highest == [3]
    assert [path.name for path in tmp_path.iterdir()] == ["octofleet.prom"], "nothing is left beside it"


def test_the_histogram_goes_to_a_servers_registry() -> None:
    mine = CollectorRegistry()
    assert metrics.enable(mine) is mine
    work()
    assert mine.get_sample_value("octofleet_stage_seconds_count", {"stage": "inner"}) == 3


def test_each_stage_is_a_span_inside_the_one_around_it() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.enable(provider)
    with stage("plan"):
        work()
    spans = exporter.get_finished_spans()
    assert [span.name for span in spans] == [f"octofleet.{name}" for name in ("inner", "inner", "inner", "outer", "last", "plan")]
    by_id = {span.context.span_id: span.name for span in spans if span.context}
    above = [by_id[span.parent.span_id] if span.parent else None for span in spans]
    assert above == ["octofleet.outer"] * 3 + ["octofleet.plan"] * 2 + [None]


def test_a_stage_that_fails_is_a_span_that_failed() -> None:
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.enable(provider)
    with timed() as timings, pytest.raises(ValueError, match="no"), stage("plan"):
        raise ValueError("no")
    (span,) = exporter.get_finished_spans()
    assert not span.status.is_ok and timings.root.inner["plan"].times == 1


@pytest.mark.parametrize("value", [None, "", "none"])
def test_nothing_is_traced_unless_asked_for(monkeypatch: pytest.MonkeyPatch, value: str | None) -> None:
    for name in tracing.ASKING:
        monkeypatch.delenv(name, raising=False)
    if value is not None:
        monkeypatch.setenv("OTEL_TRACES_EXPORTER", value)
    assert tracing.enable_if_asked() is None and not stages.around


def test_an_unknown_exporter_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", "pigeon")
    warning = tracing.enable_if_asked()
    assert warning is not None and "there is no exporter pigeon" in warning and not stages.around
