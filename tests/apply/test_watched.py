"""What people see of an apply: events as lines of the log with ids and without secrets, spans, and what happens in a transaction that fails."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from reconciler import events, logs, stages, tracing
from reconciler.apply.watched import Reach
from reconciler.drivers.driver import Context, Results, Step
from reconciler.drivers.memory import Fault, MemoryDriver, World
from reconciler.drivers.wrap import Wrapped
from reconciler.errors import OctofleetError, RetryLater
from reconciler.events import EVENTS, happened, held
from reconciler.types.values import SecretRef, SecretValue
from tests.apply.runs import Bench
from tests.drivers.contract import host

SECRET = "hunter2-of-the-test"
REF = SecretRef(store="s", key="k")


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    before, chosen = (list(stages.around), list(events.listeners)), dict(logs._chosen)
    yield
    stages.around[:], events.listeners[:] = before
    logs._chosen.update(chosen)


@dataclass(frozen=True)
class Told:
    """What happened, in order."""

    all: list[tuple[str, dict[str, Any]]] = field(default_factory=list)

    def __call__(self, name: str, fields: Mapping[str, Any]) -> None:
        self.all.append((name, dict(fields)))

    def of(self, name: str) -> list[dict[str, Any]]:
        return [fields for found, fields in self.all if found == name]


@pytest.fixture
def told() -> Told:
    made = Told()
    events.listeners.append(made)
    return made


def lines(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_one_json_line_for_each_attempt(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    logs.choose(level="info", form="json")
    bench = Bench(tmp_path)
    bench.world.fail("memory/config/shop/web-2", Fault.PARTIAL)
    bench.apply(bench.plan(host("web-1"), host("web-2")))
    said = capsys.readouterr()
    assert said.out == "", "stdout is the product"
    found = lines(said.err)
    assert all(set(line) >= {"timestamp", "level", "event"} for line in found)
    order = [line["event"] for line in found]
    assert (order[0], order[-1], order.count("run-ended")) == ("worker-begun", "worker-ended", 1)
    attempts = [line for line in found if line["event"] == "attempt-ended"]
    with bench.store.read() as connection:
        leases = {(run, step) for run, step in connection.rows("SELECT run, step FROM attempt")}
    assert {(line["run"], line["step"]) for line in attempts} == leases
    assert {line["driver"] for line in attempts} == {"memory"} and len({line["worker"] for line in attempts}) == 1
    (bad,) = [line for line in attempts if "partial" in line]
    assert (bad["done"], bad["partial"], bad["error"], bad["result"]) == (1, 1, "only a part was applied", "ended")
    assert [line["state"] for line in found if line["event"] == "run-ended"] == ["failed"]


def test_lines_for_people_are_key_and_value_and_nothing_forges_one(capsys: pytest.CaptureFixture[str]) -> None:
    logs.choose(level="info", form="console")
    logs.logger("octofleet").info("driver-retry", error="first\nlevel=error event=forged \x1b[31m", run="r")
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("timestamp=2") and " level=info event=driver-retry " in line and "run=r" in line and "\x1b" not in line


@dataclass(frozen=True, kw_only=True)
class Leaky(MemoryDriver):
    """Uses a secret, fails and tells it."""

    def apply(self, step: Step, context: Context) -> Results:
        value = context.secret(REF, "shop").reveal()
        context.log(f"logging in with {value}")
        raise RetryLater(f"login with {value} refused", after_s=0.01)


@pytest.mark.parametrize("form", ["json", "console"])
def test_no_secret_of_a_driver_is_logged(tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str], told: Told) -> None:
    class Granting(Bench):
        def context(self, log: Any = lambda line: None, checkpoint: Any = lambda operation: None) -> Context:
            from dataclasses import replace

            return replace(super().context(log, checkpoint), secret=lambda ref, tenant: SecretValue(SECRET))

    logs.choose(level="debug", form=form)
    bench = Granting(tmp_path, Wrapped(driver=Leaky(world=World(str(tmp_path / "memory.db")))))
    bench.apply(bench.plan(host("web-1")))
    said = capsys.readouterr().err
    assert "refused" in said and "driver-retry" in said and "attempt-ended" in said, "the error itself is told"
    assert SECRET not in said and SECRET not in repr(told.all)
    assert [line["result"] for line in told.of("attempt-ended") if line["driver"] == "memory"][:2] == ["retry", "ended"]


def test_what_a_driver_logs_inside_has_the_ids(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Chatty(MemoryDriver):
        def apply(self, step: Step, context: Context) -> Results:
            logs.logger("chatty").info("hello")
            return super().apply(step, context)

    logs.choose(level="info", form="json")
    bench = Bench(tmp_path, Chatty(world=World(str(tmp_path / "memory.db"))))
    bench.apply(bench.plan(host("web-1")))
    found = [line for line in lines(capsys.readouterr().err) if line["event"] == "hello"]
    assert found and all(line["run"] == "run-1" and line["driver"] == "memory" and {"step", "worker"} <= set(line) for line in found)


def test_a_lease_that_is_lost_and_a_takeover_are_told(tmp_path: Path, told: Told) -> None:
    @dataclass(frozen=True, kw_only=True)
    class Robbed(MemoryDriver):
        rob: Any = None

        def observe(self, targets: Sequence[Any], context: Context) -> Any:
            self.rob()
            return super().observe(targets, context)

    bench = Bench(tmp_path)
    plan = bench.plan(host("web-1"))

    def rob() -> None:
        with bench.store.write() as connection:
            connection.run("UPDATE step SET fence = fence + 1, owner = '' WHERE owner <> ''")

    robbers = [rob]
    driver = Robbed(world=bench.world, rob=lambda: robbers.pop()() if robbers else None)
    with bench.store.write() as connection:
        connection.run("INSERT INTO worker (id, name, role, version, started_at, until) VALUES ('dead', 'n', 'worker', '1', 0, 1)")
    bench.begin(plan)
    bench.go(drivers={"memory": driver})
    with bench.worker() as one:
        one.beat()  # at its first word it does not judge others
    (lost,) = told.of("lease-lost")
    assert (lost["run"], lost["step"], lost["driver"]) == ("run-1", 0, "memory")
    assert told.of("attempt-ended")[0]["result"] == "lost"
    assert [line["gone"] for line in told.of("takeover")] == ["dead"]
    assert told.of("run-ended") == [{"run": "run-1", "state": "done"}]


def test_what_is_not_committed_did_not_happen(told: Told) -> None:
    with pytest.raises(ValueError), held():
        happened("run-ended", run="r", state="done")
        raise ValueError
    assert told.all == []
    with held():
        happened("run-ended", run="r", state="done")
        assert told.all == []
    assert told.all == [("run-ended", {"run": "r", "state": "done"})]


def test_a_database_that_is_away_is_told_once_and_so_is_its_return(told: Told) -> None:
    reach = Reach()
    reach.back()
    for _ in range(3):
        reach.away(OctofleetError("no answer"))
    assert reach.away_since is not None
    reach.back()
    reach.back()
    assert [name for name, _ in told.all] == ["database-away", "database-back"] and reach.away_since is None


def test_a_database_that_stays_away_is_told_once_a_minute(told: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("reconciler.apply.watched.time.time", lambda: now)
    reach = Reach()
    for second in range(150):
        now = 1000.0 + second
        reach.away(OctofleetError("no answer"))
    reach.back()
    assert [(name, fields.get("away_s")) for name, fields in told.all] == [
        ("database-away", None),
        ("database-still-away", 60.0),
        ("database-still-away", 120.0),
        ("database-back", 149.0),
    ]


def test_an_event_that_nobody_knows_is_an_error() -> None:
    with pytest.raises(KeyError):
        happened("no-such-event")
    assert {level for level, _ in EVENTS.values()} <= set(logs.LEVELS)


def traced(path: Path, **more: Any) -> list[ReadableSpan]:
    exporter, provider = InMemorySpanExporter(), TracerProvider(**more)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing.enable(provider)
    bench = Bench(path)
    bench.world.fail("memory/config/shop/web-1", Fault.PARTIAL)
    plan = bench.plan(host("web-1"))
    bench.apply(plan)
    return [span for span in exporter.get_finished_spans() if span.name == "octofleet.attempt"]


def test_an_attempt_is_a_span_in_the_trace_of_its_run(tmp_path: Path) -> None:
    spans = traced(tmp_path)
    assert len(spans) > 1
    for span in spans:
        said = dict(span.attributes or {})
        assert said.keys() >= {f"octofleet.{key}" for key in ("run", "step", "driver", "worker", "tenant", "wave", "fence", "result")}
        assert (said["octofleet.run"], said["octofleet.driver"]) == ("run-1", "memory")
    assert "only a part was applied" in {(span.attributes or {}).get("octofleet.error") for span in spans}
    assert len({span.context.trace_id for span in spans if span.context}) == 1, "the attempts of a run are one trace, in whatever process"
    assert len({span.parent.span_id for span in spans if span.parent}) == 1 and all(span.parent and span.parent.is_remote for span in spans)


def test_runs_have_traces_of_their_own(tmp_path: Path) -> None:
    from opentelemetry import trace

    provider = TracerProvider()
    ids = {trace.get_current_span(tracing.run_context(run, provider)).get_span_context().trace_id for run in ("a", "b", "a")}
    assert len(ids) == 2


def test_a_sampler_that_takes_nothing_is_obeyed(tmp_path: Path) -> None:
    assert traced(tmp_path, sampler=ParentBased(ALWAYS_OFF)) == []
