"""`plan --timings`, `plan --metrics-out`, and traces that the environment asks for: the plan itself is told as ever."""

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.cli.command import quick
from tests.fleets import Result, octofleet, repo


@pytest.fixture
def where(tmp_path: Path) -> tuple[str, ...]:
    return "--repo", str(repo(tmp_path / "repo").path)


def stages(told: Result) -> list[str]:
    return [line[:28].strip() for line in told.err.splitlines() if " ms " in line]


def test_timings_go_to_stderr_after_the_plan(tmp_path: Path, where: tuple[str, ...]) -> None:
    data = tmp_path / "data"
    plain, told = octofleet(data, "plan", *where), octofleet(data, "plan", *where, "--timings")
    assert (plain.code, stages(plain)) == (2, []) and told.code == 2
    assert "Verdict" in told.out and " ms " not in told.out
    assert {"all", "imports", "plan", "compile", "resources", "records", "observe", "decide", "store", "show"} <= set(stages(told))
    shares = [float(line.split("%")[0].split()[-1]) for line in told.err.splitlines() if line.startswith(("  imports", "  plan", "  rest"))]
    assert sum(shares) == pytest.approx(100.0, abs=0.2)
    for name in ("documents parsed", "hosts resolved", "rows read", "bytes hashed"):
        assert any(line.startswith(name) for line in told.err.splitlines())


def test_stdout_stays_one_document(tmp_path: Path, where: tuple[str, ...]) -> None:
    told = quick(tmp_path / "data", "plan", *where, "--timings", "--json")
    assert told.code == 2 and told.json["changes"] and "show" in stages(told)


def test_metrics_for_the_textfile_collector(tmp_path: Path, where: tuple[str, ...]) -> None:
    out = tmp_path / "textfile" / "octofleet.prom"
    out.parent.mkdir()
    for _ in range(2):
        assert quick(tmp_path / "data", "plan", *where, "--metrics-out", str(out)).code == 2
    families = {family.name: family for family in text_string_to_metric_families(out.read_text())}
    counts = {s.labels["stage"]: s.value for s in families["octofleet_stage_seconds"].samples if s.name.endswith("_count")}
    assert {"plan", "compile", "show"} <= set(counts) and counts["plan"] == 1, "of this run alone"
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    assert out.stat().st_mode & 0o777 == 0o644, "node_exporter is another user"


def test_metrics_that_cannot_be_written_are_an_error(tmp_path: Path, where: tuple[str, ...]) -> None:
    (tmp_path / "directory").mkdir()
    for place, said in ((tmp_path / "directory", "cannot write"), (tmp_path / "typo" / "octofleet.prom", "there is no directory")):
        told = quick(tmp_path / "data", "plan", *where, "--metrics-out", str(place))
        assert told.code == 1 and said in told.err
    assert not (tmp_path / "typo").exists()


def test_a_trace_of_a_plan(tmp_path: Path, where: tuple[str, ...]) -> None:
    told = octofleet(tmp_path / "data", "plan", *where, "--json", env={"OTEL_TRACES_EXPORTER": "console"})
    assert told.code == 2 and told.json["changes"], "spans do not go to stdout"
    decoder, spans, rest = json.JSONDecoder(), [], told.err.strip()
    while rest:
        span, end = decoder.raw_decode(rest)
        spans.append(span)
        rest = rest[end:].strip()
    assert {"octofleet.plan", "octofleet.compile", "octofleet.show"} <= {span["name"] for span in spans}
    assert len({span["context"]["trace_id"] for span in spans}) == 1


def test_a_trace_is_sent_to_a_collector(tmp_path: Path, where: tuple[str, ...]) -> None:
    got: list[tuple[str, bytes]] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append((self.path, self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        env = {"OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "OTEL_EXPORTER_OTLP_COMPRESSION": "none"}
        told = octofleet(tmp_path / "data", "plan", *where, env=env)
        server.shutdown()
    assert told.code == 2 and "warning" not in told.err
    assert {path for path, _ in got} == {"/v1/traces"}
    assert all(name in b"".join(body for _, body in got) for name in (b"octofleet.plan", b"octofleet.compile", b"octofleet.show"))


def test_without_the_extra_a_trace_is_a_warning(tmp_path: Path, where: tuple[str, ...]) -> None:
    hidden = tmp_path / "hidden"
    hidden.mkdir()
    (hidden / "sitecustomize.py").write_text("import sys\nsys.modules['opentelemetry'] = None\n")
    path = f"{hidden}:{Path(__file__).parents[2]}"
    told = octofleet(tmp_path / "data", "plan", *where, env={"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PYTHONPATH": path})
    assert told.code == 2 and "Verdict" in told.out
    (line,) = (line for line in told.err.splitlines() if line.startswith("warning: "))  # a slow machine tells of progress too
    assert "OTEL_EXPORTER_OTLP_ENDPOINT is set" in line and "octofleet[otel]" in line and "Traceback" not in told.err
