"""One run over HTTP: its changes and its log in parts, what it waits for, and a person's words; nothing of another tenant on any of it."""

from collections.abc import Iterator

import pytest

from reconciler.server.answer import Doors
from reconciler.store.archive import move_log
from tests.cli.command import quick
from tests.gate.site import Site
from tests.server.site import Web, web
from tests.server.tenants import CALLERS, OF_BANK, OPS, change_both, two_tenants


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("run")
    made = two_tenants(path, f"sqlite:///{path / 'q.db'}")
    change_both(made)
    made.begin()
    return made


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Web]:
    with web(site.installation, *CALLERS) as found:
        yield found


def runs(served: Web) -> tuple[str, str]:
    """The open run, and the one that has ended."""
    newest, oldest = served.api("/runs", "token:shop").json["items"]
    return newest["run"], oldest["run"]


PAGES = ("", "/changes", "/changes?limit=1", "/log", "/log?step=0", "/log?host=web")


@pytest.mark.parametrize("path", PAGES)
def test_nothing_of_another_tenant(served: Web, path: str) -> None:
    for run in runs(served):
        for text in (served.api(f"/runs/{run}{path}", "token:shop").text, served.page(f"/runs/{run}{path}", "github:vera").text):
            assert run in text and not [word for word in OF_BANK if word in text]


def test_everything_shows_to_who_sees_all(served: Web) -> None:
    _, ended = runs(served)
    assert "vault-01" in served.page(f"/runs/{ended}/log?limit=500", "github:root").text
    assert "vault-01" in served.page(f"/runs/{ended}/changes?limit=500", "github:root").text


def test_who_sees_a_part_of_a_tenant_sees_only_that(served: Web) -> None:
    for run in runs(served):
        for path in ("", "/changes", "/log"):
            text = served.page(f"/runs/{run}{path}", "github:narrow").text
            assert "vault-02" not in text and "web-0" not in text


def test_changes_in_parts_and_by_what_is_asked_for(served: Web, site: Site) -> None:
    _, run = runs(served)
    found, cursor = [], ""
    while True:
        part = served.api(f"/runs/{run}/changes?limit=2&cursor={cursor}", "token:shop").json
        found += [(item["step"], item["address"]) for item in part["items"]]
        if not (cursor := part["next"]):
            break
    assert found == sorted(set(found)) and len(found) == part["run"]["changes"]["done"]
    of_host = served.api(f"/runs/{run}/changes?host=WEB-01&limit=500", "token:shop").json["items"]
    assert of_host and all("web-01" in item["address"] for item in of_host)
    of_step = served.api(f"/runs/{run}/changes?step={found[-1][0]}", "token:shop").json["items"]
    assert of_step and {item["step"] for item in of_step} == {found[-1][0]}
    assert not served.api(f"/runs/{run}/changes?outcome=bad", "token:shop").json["items"]
    assert served.api(f"/runs/{run}/changes?outcome=lost", "token:shop").status == 400


def test_a_log_is_followed_by_the_number_of_its_lines(served: Web, site: Site) -> None:
    _, run = runs(served)
    whole = served.api(f"/runs/{run}/log?limit=500", "token:shop").json
    lines, after = [], 0
    while True:
        part = served.api(f"/runs/{run}/log?limit=2&after={after}", "token:shop").json
        lines += part["lines"]
        after = part["after"]
        if not part["more"]:
            break
    assert lines == whole["lines"] and lines
    assert move_log(site.store, site.installation.blobs, run) and not site.rows("SELECT 1 FROM log WHERE run = ?", run)
    assert served.api(f"/runs/{run}/log?limit=500", "token:shop").json["lines"] == whole["lines"], "from the archive"
    assert served.api(f"/runs/{run}", "token:shop").json["log"]


def test_a_page_tells_what_a_run_waits_for(served: Web) -> None:
    run, _ = runs(served)
    page = served.api(f"/runs/{run}", "token:shop").json
    assert [why["code"] for why in page["waits"]][:1] == ["no-worker"] and page["waves"] and not page["said"]
    assert "Waits" in served.page(f"/runs/{run}", "github:root").text


def test_words_about_a_run_by_who_may(served: Web, site: Site) -> None:
    run, _ = runs(served)
    for word in ("pause", "resume", "cancel", "promote", "rollback"):
        refused = served.form(f"/runs/{run}/{word}", "github:sam", {"reason": "why"})
        assert refused.status == 403 and not [name for name in OF_BANK if name in refused.text], word
    assert served.form(f"/runs/{run}/pause", "github:root", {"reason": "secret word"}).status == 303
    assert "secret word" in served.page(f"/runs/{run}", "github:root").text
    assert "secret word" not in served.page(f"/runs/{run}", "github:vera").text
    assert served.form(f"/runs/{run}/resume", "github:root", {"reason": ""}).headers["Location"].endswith("said=resumeRun")
    assert site.ended(run) == "running"
    assert served.api(f"/runs/{run}/resume", "token:shop", body={}).status == 403, "its token is not good for that"
    back = served.form(f"/runs/{run}/rollback", "github:root", {"reason": "it was wrong"})
    assert back.headers["Location"].endswith("said=rollBackRun")
    assert served.form(f"/runs/{run}/cancel", "github:root", {"reason": "no more", "giveUp": "true"}).status == 303
    assert site.ended(run) == "cancelled"
    said = site.rows("SELECT DISTINCT action FROM audit WHERE run = ? AND identity = ?", run, "github:root")
    assert {action for (action,) in said} == {"pause", "resume", "rollback", "cancel"}


def test_a_rollout_is_promoted(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("rollout")
    rules = {"ops.yaml": OPS.split("---")[0]}
    made = Site(path, f"sqlite:///{path / 'q.db'}", hosts=3, rollout="{canary: 1, promote: canary}", files=rules)
    made.settle()
    made.change(1, 2, 3)
    run = made.begin()
    made.work()
    assert len(made.changed()) == 1
    with web(made.installation, *CALLERS) as served:
        assert served.api(f"/runs/{run}", "token:shop").status == 404, "nobody else is bound there"
        text = served.page(f"/runs/{run}", "github:root").text
        assert "Promote" in text and "Rollouts" in text and "canary" in text
        said = {"reason": "all is well", "tenant": "shop", "soaked": "true"}
        assert served.form(f"/runs/{run}/promote", "github:root", said).headers["Location"] == f"/runs/{run}?said=promoteRun"
        assert "no rollout of run" in served.form(f"/runs/{run}/promote", "github:root", said).text
    made.work()
    assert len(made.changed()) == 3


def test_a_run_as_a_file(site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    run = site.rows("SELECT id FROM run ORDER BY started_at LIMIT 1")[0][0]
    out = tmp_path_factory.mktemp("out") / "run.html"
    env = {"OCTOFLEET_DATABASE_URL": site.installation.settings.database_url}
    done = quick(site.installation.data_dir, "logs", run, "--out", str(out), env=env)
    assert done.code == 0, done.text
    text = out.read_text()
    assert run in text and "vault-01" in text and "href=" not in text
    assert quick(site.installation.data_dir, "logs", run, "--out", "run.pdf", env=env).code == 1


def test_a_page_that_asks_by_itself_keeps_no_session_from_being_idle(site: Site) -> None:
    used = list[bool]()
    one = next(found for found in CALLERS if found.session == "github:root")
    asking = Doors(by_session=lambda _, cookie, use: used.append(use) or one, by_token=lambda *_: None)  # type: ignore[func-returns-value]
    with web(site.installation, by=asking) as served:
        assert served.page("/runs", "github:root").status == 200
        assert served.ask("GET", "/runs", Cookie="__Host-octofleet=github:root", X_By_Itself="1").status == 200
    assert used == [True, False]
