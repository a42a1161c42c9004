"""Runs over HTTP: for programs and for people, and nothing of another tenant."""

from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from reconciler.reading import runs
from reconciler.reading.kept import Kept
from reconciler.store.engine import Connection
from tests.gate.site import Site
from tests.server.site import Web, web
from tests.server.tenants import CALLERS, OF_BANK, change_both, two_tenants


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("runs")
    made = two_tenants(path, f"sqlite:///{path / 'q.db'}")
    change_both(made)
    made.begin()
    return made


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Web]:
    with web(site.installation, *CALLERS) as found:
        yield found


def test_a_list_in_parts(served: Web) -> None:
    first = served.api("/runs?limit=1", "token:shop").json
    second = served.api(f"/runs?limit=1&cursor={first['next']}", "token:shop").json
    assert [run["state"] for run in first["items"] + second["items"]] == ["running", "done"] and not second["next"]


def test_numbers_are_of_what_one_sees(served: Web) -> None:
    (run, _) = served.api("/runs", "token:shop").json["items"]
    assert run["changes"] == {"open": sum(run["changes"].values())} and not run["whole"] and run["reason"] == ""


def test_what_has_ended_is_counted_once(served: Web, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    counted, real = list[str](), runs.statuses

    def statuses(connection: Connection, run: str) -> dict[str, int]:
        counted.append(run)
        return real(connection, run)

    monkeypatch.setattr(runs, "statuses", statuses)
    monkeypatch.setattr(runs, "_counted", Kept(10))
    open_run, ended = (run["run"] for run in served.page("/api/v1/runs", "github:root").json["items"])
    for _ in range(5):
        shown = served.page("/api/v1/runs", "github:root").json["items"]
        assert [sum(run["changes"].values()) for run in shown] == [
            len(site.rows("SELECT 1 FROM item WHERE run = ?", r)) for r in (open_run, ended)
        ]
    assert counted.count(ended) == 1 and counted.count(open_run) >= 6
    monkeypatch.setattr(runs, "LARGE", 1)
    monkeypatch.setattr(runs, "_counted", Kept(10))
    monkeypatch.setattr(runs, "time", SimpleNamespace(monotonic=lambda: 1.0))
    counted.clear()
    for _ in range(5):
        served.page("/api/v1/runs", "github:root")
    assert counted.count(open_run) == 1


@pytest.mark.parametrize("path", ["/runs", "/runs/{run}"])
def test_nothing_of_another_tenant(served: Web, path: str) -> None:
    run = served.api("/runs", "token:shop").json["items"][0]["run"]
    for text in (served.api(path.format(run=run), "token:shop").text, served.page(path.format(run=run), "github:vera").text):
        assert run in text and not [word for word in OF_BANK if word in text]


def test_who_sees_nothing_is_told_that_there_is_nothing(served: Web) -> None:
    run = served.api("/runs", "token:shop").json["items"][0]["run"]
    assert served.page(f"/runs/{run}", "github:nobody").status == 404
    assert run not in served.page("/runs", "github:nobody").text


def test_a_run_is_paused_by_who_may(served: Web, site: Site) -> None:
    run = served.api("/runs", "token:shop").json["items"][0]["run"]
    refused = served.form(f"/runs/{run}/pause", "github:sam", {"reason": "it is late"})
    assert refused.status == 403 and not [word for word in OF_BANK if word in refused.text], "it reaches into another tenant"
    assert served.form(f"/runs/{run}/pause", "github:root", {"reason": "it is late"}, csrf="wrong").status == 403
    assert site.ended(run) == "running"
    done = served.form(f"/runs/{run}/pause", "github:root", {"reason": "it is late"})
    assert (done.status, done.headers["Location"]) == (303, f"/runs/{run}?said=pauseRun")
    assert site.ended(run) == "paused" and "The run is paused." in served.page(done.headers["Location"], "github:root").text


def test_who_has_not_signed_in_is_sent_to_do_so(served: Web) -> None:
    assert served.page("/runs?limit=2").headers["Location"] == "/sign-in?next=%2Fruns%3Flimit%3D2"
    answer = served.api("/runs", "wrong")
    assert (answer.status, answer.json["code"], answer.headers["WWW-Authenticate"]) == (401, "unauthenticated", "Bearer")


def test_whoever_sees_nothing_is_not_told_that_there_is_nothing(served: Web) -> None:
    for what in ("run", "plan"):
        assert f"There is no {what} that you may see." in served.page(f"/{what}s", "github:nobody").text


def test_what_has_not_changed_is_not_sent_again(served: Web) -> None:
    first = served.api("/runs", "token:shop")
    assert served.api("/runs", "token:shop", If_None_Match=first.headers["ETag"]).status == 304


@pytest.mark.parametrize("query", ["limit=0", "limit=x", "cursor=x", "what=1", "limit=1&limit=2"])
def test_a_wrong_question_is_told_what_is_wrong(served: Web, query: str) -> None:
    answer = served.api(f"/runs?{query}", "token:shop")
    assert (answer.status, answer.json["code"]) == (400, "usage") and answer.json["hint"]
