"""Of a word that is none of those that a field takes it is said which there are, for every such field of every route."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.reading.paging import words_of
from reconciler.reading.picture import State
from reconciler.server.route import Route
from reconciler.server.routes import ROUTES
from tests.server.site import Web, web
from tests.server.tenants import CALLERS, two_tenants

FIELDS = [(route, name) for route in ROUTES if route.method == "GET" for name in words_of(route.asks)]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    path: Path = tmp_path_factory.mktemp("words")
    with web(two_tenants(path, f"sqlite:///{path / 'q.db'}").installation, *CALLERS) as found:
        yield found


def test_all_of_them_are_known() -> None:
    found = {f"{route.name}.{name}" for route, name in FIELDS}
    assert found >= {
        "getOverview.period", "listHosts.state", "listPulls.state", "listRuns.state", "listRunChanges.outcome", "listChanges.action", "listChanges.cause",
        "listChanges.risk", "getPlan.action", "getAccess.action",
    }  # fmt: skip


@pytest.mark.parametrize(("route", "name"), FIELDS, ids=lambda one: one.name if isinstance(one, Route) else one)
def test_a_word_that_is_none_is_told_which_there_are(served: Web, route: Route, name: str) -> None:
    path = route.path.replace("{run}", "r").replace("{plan}", "p")
    answer = served.page(f"/api/v1{path}?{name}=bogus", "github:root")
    assert answer.status == 400 and answer.json["code"] == "usage", answer.text
    assert answer.json["detail"] == f"there is no {name} 'bogus'"
    assert answer.json["hint"] == f"{name} is one of: {', '.join(filter(None, words_of(route.asks)[name]))}"
    assert "$." not in answer.text and "regex" not in answer.text


def test_the_states_of_hosts(served: Web) -> None:
    page = served.page("/hosts?state=bogus", "github:vera")
    assert page.status == 400 and f"state is one of: {', '.join(State)}" in page.text
    assert served.page("/runs?state=", "github:vera").status == 200
