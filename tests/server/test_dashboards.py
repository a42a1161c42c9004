"""The dashboards and alerts against a real scrape: every query can be parsed, and every metric and label in it exists."""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import ROOT, program
from tests.server.test_metrics import scrape_of_an_apply

DIRECTORY = ROOT / "docs" / "dashboards"
BOARDS = sorted(path.name for path in DIRECTORY.glob("*.json"))
ALERTS = DIRECTORY / "alerts.yaml"
ADDED = frozenset({"instance", "job"})
"""Prometheus puts these on whatever it scrapes."""


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """The labels of every sample of a process that has done an apply."""
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(scrape_of_an_apply(tmp_path_factory.mktemp("scrape"))):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


def board(name: str) -> dict[str, Any]:
    return json.loads((DIRECTORY / name).read_text())


def parsed(query: str) -> promql_parser.Expr:
    return promql_parser.parse(query.replace("$__rate_interval", "5m"))


class Use(NamedTuple):
    """A metric in a query, and the labels that it must have."""

    metric: str
    labels: frozenset[str]


def uses(node: Any, asked: frozenset[str] = frozenset()) -> Iterator[Use]:
    """Every selector below a node; `asked`: labels that what stands around it asks of it."""
    match node:
        case promql_parser.VectorSelector():
            yield Use(node.name, asked | {matcher.name for matcher in node.matchers.matchers})
        case promql_parser.MatrixSelector():
            yield from uses(node.vector_selector, asked)
        case promql_parser.AggregateExpr():
            assert node.modifier is None or node.modifier.type == promql_parser.AggModifierType.By, "by, so that it can be checked"
            yield from uses(node.expr, frozenset(node.modifier.labels if node.modifier else ()))
        case promql_parser.BinaryExpr():
            on = frozenset(node.modifier.matching.labels) if node.modifier and node.modifier.matching else frozenset()
            yield from uses(node.lhs, asked | on)
            yield from uses(node.rhs, asked | on)
        case promql_parser.Call():
            for argument in node.args:
                yield from uses(argument, asked)
        case promql_parser.ParenExpr() | promql_parser.UnaryExpr() | promql_parser.SubqueryExpr():
            yield from uses(node.expr, asked)
        case promql_parser.NumberLiteral() | promql_parser.StringLiteral():
            pass
        case _:
            raise AssertionError(f"what is {node!r}?")


def given(node: Any, labels: dict[str, set[str]]) -> set[str]:
    """The labels of what a query gives."""
    match node:
        case promql_parser.VectorSelector():
            return labels[node.name] | ADDED
        case promql_parser.MatrixSelector():
            return given(node.vector_selector, labels)
        case promql_parser.AggregateExpr():
            return set(node.modifier.labels) if node.modifier else set()
        case promql_parser.BinaryExpr():
            return given(node.lhs, labels) or given(node.rhs, labels)
        case promql_parser.Call():
            inner = set().union(*(given(argument, labels) for argument in node.args))
            return inner - {"le"} if node.func.name == "histogram_quantile" else inner
        case promql_parser.ParenExpr():
            return given(node.expr, labels)
        case _:
            return set()


def wrong(query: str, labels: dict[str, set[str]]) -> list[str]:
    """What does not exist of what a query uses."""
    found = list(uses(parsed(query)))
    assert found, f"{query} looks at nothing"
    return [
        f"{use.metric}: {sorted(use.labels - labels.get(use.metric, set()) - ADDED) or 'no such metric'}"
        for use in found
        if use.metric not in labels or not use.labels <= labels[use.metric] | ADDED
    ]


def queries() -> list[tuple[str, str, str]]:
    """Board, query and legend of every target."""
    return [
        (name, target["expr"], target["legendFormat"]) for name in BOARDS for panel in board(name)["panels"] for target in panel["targets"]
    ]


def alerts() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def test_there_are_four_boards() -> None:
    assert BOARDS == ["boot.json", "drivers.json", "fleet.json", "forges.json", "runs.json"] and len(queries()) > 30


@pytest.mark.parametrize(("name", "query", "legend"), queries())
def test_all_that_a_panel_uses_exists(name: str, query: str, legend: str, labels: dict[str, set[str]]) -> None:
    assert wrong(query, labels) == []
    assert set(re.findall(r"{{\s*(\w+)\s*}}", legend)) <= given(parsed(query), labels), legend


@pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])
def test_all_that_an_alert_uses_exists(rule: dict[str, Any], labels: dict[str, set[str]]) -> None:
    assert wrong(rule["expr"], labels) == []
    told = " ".join(rule["annotations"].values())
    assert set(re.findall(r"\$labels\.(\w+)", told)) <= given(parsed(rule["expr"]), labels)


@pytest.mark.parametrize(
    "query",
    [
        "octofleet_nothing",
        'octofleet_runs{nothing="a"}',
        "sum by (nothing) (octofleet_runs)",
        "rate(octofleet_steps_du[5m]) / on (state) octofleet_runs",
    ],
)
def test_what_does_not_exist_is_found(query: str, labels: dict[str, set[str]]) -> None:
    assert wrong(query, labels)


def test_every_metric_of_ours_is_on_a_board(labels: dict[str, set[str]]) -> None:
    shown = " ".join(query for _, query, _ in queries())
    ours = {re.sub(r"_(bucket|sum|count|created)$", "", name) for name in labels if name.startswith("octofleet_")}
    ours = {name.removesuffix("_total") for name in ours}
    assert {name for name in ours if name not in shown} == set()


@pytest.mark.parametrize("name", BOARDS)
def test_a_board_is_what_grafana_takes(name: str) -> None:
    found = board(name)
    assert found["schemaVersion"] >= 38 and found["uid"] == f"octofleet-{name.removesuffix('.json')}" and len(found["uid"]) <= 40
    assert "id" not in found, "Grafana gives one when it imports the board"
    panels = found["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    places = {
        (x, y)
        for p in panels
        for x in range(p["gridPos"]["x"], p["gridPos"]["x"] + p["gridPos"]["w"])
        for y in range(p["gridPos"]["y"], p["gridPos"]["y"] + p["gridPos"]["h"])
    }
    assert len(places) == sum(p["gridPos"]["w"] * p["gridPos"]["h"] for p in panels), "no panel lies over another"
    assert max(x for x, _ in places) < 24
    for panel in panels:
        assert panel["title"] and panel["description"] and panel["datasource"]["uid"] == "${datasource}"
        assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"])
    assert [variable["name"] for variable in found["templating"]["list"]] == ["datasource"]


def test_promtool_takes_the_rules_and_they_do_what_they_say(tmp_path: Path) -> None:
    promtool = program("promtool", "prometheus")
    cases = tmp_path / "alerts_test.yaml"
    cases.write_text((Path(__file__).parent / "alerts_test.yaml").read_text().replace("RULES", str(ALERTS)))
    for command in (["check", "rules", str(ALERTS)], ["test", "rules", str(cases)]):
        done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
    tried = {
        case["alertname"] for test in yaml.safe_load(cases.read_text())["tests"] for case in test["alert_rule_test"] if case["exp_alerts"]
    }
    assert tried == {rule["alert"] for rule in alerts()}, "each alert is seen to fire"
