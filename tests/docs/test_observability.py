"""docs/observability.md lists every endpoint, metric, event, alert and reason, and nothing else."""

import re
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from reconciler.events import EVENTS
from reconciler.reason import CODES
from reconciler.server import health
from reconciler.server.app import make_app
from tests.conftest import ROOT
from tests.server.process import Process, serving
from tests.server.test_metrics import scrape_of_an_apply

EVENTS_TEXT = (ROOT / "reconciler" / "events.py").read_text()
PAGE = (ROOT / "docs" / "observability.md").read_text()


def rows(heading: str) -> list[list[str]]:
    """The cells of the tables of a section, without what is below a deeper or the next heading."""
    section = re.split(rf"^#+ {re.escape(heading)}$", PAGE, flags=re.MULTILINE)[1]
    section = re.split(r"^#+ ", section, maxsplit=1, flags=re.MULTILINE)[0]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("| `")]


def names(heading: str) -> list[str]:
    return [name for row in rows(heading) for name in re.findall(r"`([^`]+)`", row[0])]


def test_every_metric_with_its_type_and_labels(tmp_path: Path) -> None:
    told: dict[str, tuple[str, set[str]]] = {}
    for family in text_string_to_metric_families(scrape_of_an_apply(tmp_path)):
        if family.name.startswith("octofleet_"):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = {label for sample in family.samples for label in sample.labels}
            told[name] = family.type, labels - {"le"}
    listed = [row for heading in ("Of the database", "Of the process") for row in rows(heading)]
    assert {row[0].strip("`"): (row[1], set(re.findall(r"`(\w+)`", row[2]))) for row in listed} == told
    assert len(listed) == len(told)


def test_every_event_with_its_level() -> None:
    assert {row[0].strip("`"): row[1] for row in rows("Log lines")} == {name: level for name, (level, _) in EVENTS.items()}


def test_every_event_happens_somewhere() -> None:
    source = "".join(path.read_text() for package in ("reconciler", "webhooks") for path in (ROOT / package).rglob("*.py"))
    assert {name for name in EVENTS if f'"{name}"' not in source.replace(EVENTS_TEXT, "")} == set()


def test_nothing_is_logged_but_events() -> None:
    """A line of the log is an event of the list: nobody else writes one."""
    found = (path for package in ("reconciler", "webhooks") for path in (ROOT / package).rglob("*.py"))
    files = {path.relative_to(ROOT).as_posix(): path.read_text() for path in found}
    writers = {name for name, text in files.items() if re.search(r"\blogger\(", text)}
    assert writers == {"reconciler/events.py", "reconciler/logs.py"}
    assert [name for name in EVENTS if not re.fullmatch(r"[a-z]+(-[a-z]+)*", name)] == []


def test_every_reason() -> None:
    assert sorted(names("Why something waits")) == sorted(CODES)


def test_every_endpoint_and_every_reason_of_it(tmp_path: Path) -> None:
    listed = [row[0].strip("`") for row in rows("Endpoints")]
    source = Path(health.__file__).read_text() + Path(make_app.__code__.co_filename).read_text()
    codes = set(re.findall(r'Reason\(code="([^"]+)"', source))
    assert set(listed) == {"/healthz", "/readyz", "/metrics"} | codes
    with serving(Process(store=None)) as served:  # type: ignore[arg-type]
        assert served.get("/healthz")[0] == 200
    routes = set(re.findall(r'add_get\("([^"]+)"', source))
    assert routes == {"/healthz", "/readyz", "/metrics"}


def test_every_alert() -> None:
    rules = yaml.safe_load((ROOT / "docs/dashboards/alerts.yaml").read_text())["groups"]
    assert names("Dashboards and alerts") == [rule["alert"] for group in rules for rule in group["rules"]]


@pytest.mark.parametrize("name", ["fleet.json", "runs.json", "drivers.json", "alerts.yaml"])
def test_what_is_named_is_there(name: str) -> None:
    assert f"`{name}`" in PAGE and (ROOT / "docs/dashboards" / name).is_file()
