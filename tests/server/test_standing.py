"""Gates, pull requests, audit trail, alerts, providers, workers and access over HTTP: each sees his own, in two tenants."""

from collections.abc import Iterator

import pytest

from reconciler.drivers.breaker import State
from tests.gate.site import Site
from tests.server.site import Web, web
from tests.server.tenants import CALLERS, OF_BANK, change_both, fill, two_tenants
from tests.store.databases import KINDS, database

PEOPLE = {"token:shop": "shop", "github:ben": "bank"}
PAGES = ("/gates", "/pulls", "/audit", "/alerts", "/providers", "/workers", "/access")


@pytest.fixture(scope="module", params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    path = tmp_path_factory.mktemp("standing")
    with database(str(request.param), path) as url:
        made = two_tenants(path, url)
        change_both(made)
        made.begin()
        fill(made)
        yield made
        made.store.close()


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Web]:
    with web(site.installation, *CALLERS) as found:
        yield found


@pytest.mark.parametrize(
    "path", [*PAGES, "/pulls/hub/acme/fleet/1", "/pulls/hub/acme%2Ffleet/1", "/access?action=approve", "/audit?run=&who="]
)
def test_nothing_of_another_tenant(served: Web, path: str) -> None:
    for by in ("github:sam", "github:vera"):
        page = served.page(path, by)
        api = served.page(f"/api/v1{path}", by)
        assert (page.status, api.status) == (200, 200)
        assert [word for word in OF_BANK if word in page.text + api.text] == [], path


@pytest.mark.parametrize("path", PAGES)
def test_root_sees_both(served: Web, path: str) -> None:
    text = served.page(path, "github:root").text
    assert "bank" in text or "vault" in text or (path == "/providers" and "vault-01" in text)


def test_gates(served: Web) -> None:
    found = served.page("/api/v1/gates", "github:vera").json
    assert [(window["name"], window["open"]) for window in found["windows"]] == [("shop/nights", True)]
    assert [(one["scope"], one["by"], one["reason"]) for one in found["pauses"]] == [
        ("tenant/shop", "github:shop", "shop counts"),
        ("fleet", "", ""),
    ], "why all of it is paused may name others"
    narrow = served.page("/api/v1/gates", "github:narrow").json
    assert [window["name"] for window in narrow["windows"]] == ["bank/nights"] and [one["scope"] for one in narrow["pauses"]] == ["fleet"]


def test_a_scope_is_paused_and_goes_on_by_who_may(served: Web, site: Site) -> None:
    for scope, by, status in (
        ("tenant/bank", "github:sam", 403),
        ("fleet", "github:sam", 403),
        ("host/*/web-01", "github:sam", 403),
        ("tenant/shop", "github:vera", 403),
        ("nowhere", "github:sam", 400),
    ):
        answer = served.form("/pauses", by, {"scope": scope, "reason": "it is late"})
        assert answer.status == status and "bank" not in answer.text.replace(scope, "")
    assert served.form("/pauses", "github:sam", {"scope": "host/shop/web-01", "duration": "2h", "reason": "late"}).status == 303
    ((pause, identity),) = site.rows("SELECT id, identity FROM pause WHERE scope = ?", "host/shop/web-01")
    assert identity == "github:sam"
    assert served.form(f"/pauses/{pause}/end", "github:ben", {}).status == 404, "it is not there for him"
    assert served.form(f"/pauses/{pause}/end", "github:vera", {}).status == 403
    assert served.form(f"/pauses/{pause}/end", "github:sam", {}).status == 303
    assert site.rows("SELECT 1 FROM pause WHERE id = ? AND ended_at IS NULL", pause) == []
    rows = served.page("/api/v1/audit?who=github:sam", "github:root").json["items"]
    assert [(row["action"], row["tenants"]) for row in rows] == [("resume", ["shop"]), ("pause", ["shop"])]


def test_a_window_is_overridden_by_who_may(served: Web) -> None:
    asked = {"window": "bank/nights", "duration": "2h", "reason": "an emergency"}
    assert served.form("/windows/override", "github:sam", asked).status == 404
    assert served.form("/windows/override", "github:narrow", asked).status == 403
    assert served.form("/windows/override", "github:ben", asked).status == 303
    (window,) = served.page("/api/v1/gates", "github:ben").json["windows"]
    assert window["overriddenUntil"]
    assert served.form("/windows/override", "github:ben", asked | {"end": "true"}).status == 303
    (window,) = served.page("/api/v1/gates", "github:ben").json["windows"]
    assert window["overriddenUntil"] is None


def test_pulls(served: Web) -> None:
    (mine,) = served.page("/api/v1/pulls", "github:vera").json["items"]
    assert (mine["number"], mine["title"], mine["whole"]) == (1, "more for web-02", True) and len(mine["plan"]) == 64
    assert [one["number"] for one in served.page("/api/v1/pulls", "github:root").json["items"]] == [1, 2, 3]
    first = served.page("/api/v1/pulls?limit=2", "github:root").json
    assert [one["number"] for one in served.page(f"/api/v1/pulls?limit=2&cursor={first['next']}", "github:root").json["items"]] == [3]
    assert f"/pulls?limit=2&amp;cursor={first['next']}" in served.page("/pulls?limit=2", "github:root").text


def test_the_search_leads_to_pulls(served: Web) -> None:
    (hit,) = served.page("/api/v1/search?q=acme", "github:vera").json["items"]
    assert (hit["kind"], hit["title"]) == ("pull", "acme/fleet#1")
    assert served.page("/api/v1" + hit["href"], "github:vera").json["pull"]["number"] == 1
    assert len(served.page("/api/v1/search?q=acme", "github:root").json["items"]) == 3


def test_a_pull(served: Web) -> None:
    found = served.page("/api/v1/pulls/hub/acme/fleet/1", "github:vera").json
    assert [(one["author"], one["answer"]) for one in found["commands"]] == [("shop", "planned")]
    assert found["locks"] and all("/shop/" in one["address"] for one in found["locks"])
    for path in (
        "/pulls/hub/acme/fleet/2",
        "/pulls/hub/acme/fleet/3",
        "/pulls/hub/acme/fleet/x",
        "/pulls/hub/acme/fleet/99999999999999999999",
    ):
        assert served.page(path, "github:vera").status == 404
    assert served.page("/pulls/hub/acme/fleet/3", "github:root").status == 200


def test_the_audit_trail_is_read_by_tenant(served: Web) -> None:
    looks = {by: served.page("/api/v1/audit?action=look", by).json["items"] for by in ("github:root", "github:ben", "github:sam")}
    assert {by: [row["tenants"] for row in rows] for by, rows in looks.items()} == {
        "github:root": [[], ["bank", "shop"], ["bank"], ["shop"]],
        "github:ben": [["bank"]],
        "github:sam": [],
    }, "an operator reads none, an admin his tenant's"


def test_the_audit_trail_in_parts(served: Web) -> None:
    seqs, cursor = list[int](), ""
    while True:
        part = served.page(f"/api/v1/audit?limit=2&cursor={cursor}", "github:root").json
        seqs += [row["seq"] for row in part["items"]]
        if not (cursor := part["next"]):
            break
    assert seqs == list(range(max(seqs), 0, -1))
    assert served.page("/api/v1/audit?since=99999999999", "github:root").json["items"] == []


def test_alerts(served: Web) -> None:
    found = {by: [one["tenant"] for one in served.page("/api/v1/alerts", by).json["items"]] for by in ("github:root", "github:vera")}
    assert found == {"github:root": ["", "bank", "shop"], "github:vera": ["shop"]}


def test_providers(served: Web, site: Site) -> None:
    wrapped = site.installation.drivers["memory"]
    breakers = wrapped.breakers
    assert breakers is not None
    for _ in range(breakers.failures):
        with pytest.raises(ValueError, match="no answer"):
            breakers.call("memory/vault", lambda trial: (_ for _ in ()).throw(ValueError("no answer")), str)
    (memory,) = [one for one in served.page("/api/v1/providers", "github:root").json["drivers"] if one["driver"] == "memory"]
    *_, vault = memory["providers"]
    assert (memory["well"], vault["provider"], vault["state"], vault["lastError"]) == (False, "vault", State.OPEN.value, "no answer")
    assert vault["nextTry"]
    mine = served.page("/api/v1/providers", "github:vera").json
    (memory,) = [one for one in mine["drivers"] if one["driver"] == "memory"]
    assert (memory["well"], memory["providers"]) == (False, []), "whose provider that is he may not know"
    assert [one["address"] for one in mine["items"]] == ["memory/config/shop/web-01"]


def test_workers(served: Web) -> None:
    names = {
        by: [(one["name"], one["living"]) for one in served.page("/api/v1/workers", by).json["items"]]
        for by in ("github:root", "github:vera")
    }
    assert names == {"github:root": [("vault-machine:1", True)], "github:vera": [("", True)]}
    assert served.page("/api/v1/workers", "github:nobody").json["items"] == []


def test_access(served: Web) -> None:
    mine = served.page("/api/v1/access", "github:vera").json
    assert mine["me"] == "github:vera"
    assert {one["subject"] for fleet in mine["fleets"] for one in fleet["bindings"]} == {"github:sam", "token:shop", "github:vera"}
    (fleet,) = served.page("/api/v1/access?who=me", "github:narrow").json["fleets"]
    assert [(one["role"], one["scopes"]) for one in fleet["bindings"]] == [("operator", ["host/bank/vault-01"])]
    (fleet,) = served.page("/api/v1/access?who=github:sam&action=apply&tenant=shop", "github:vera").json["fleets"]
    assert [(one["tenant"], one["allowed"]) for one in fleet["decisions"]] == [("shop", True)]
    assert served.page("/api/v1/access?who=nobody", "github:vera").status == 400
    (fleet,) = served.page("/api/v1/access?who=github:ben&action=apply&tenant=bank", "github:vera").json["fleets"]
    assert fleet["decisions"] == fleet["bindings"] == []
    assert "As long as no RoleMapping is in force" in served.page("/access?who=github:ben", "github:vera").text


def test_buttons_are_for_who_may(served: Web) -> None:
    texts = {by: served.page("/gates", by).text + served.page("/plans", by).text for by in ("github:vera", "github:sam", "github:root")}
    words = ("Pause a part", "Go on", "Override a window", "Make a plan")
    assert {by: [word for word in words if word in text] for by, text in texts.items()} == {
        "github:vera": ["Make a plan"],
        "github:sam": ["Pause a part", "Go on", "Make a plan"],
        "github:root": list(words),
    }


def test_who_gives_a_role_is_a_line_of_a_file(served: Web, site: Site) -> None:
    (one,) = served.page("/api/v1/access?who=me", "github:sam").json["fleets"][0]["bindings"]
    origin = one["origin"]
    line = (site.repo.path / origin["path"]).read_text().splitlines()[origin["line"] - 1]
    assert "github:sam" in line and line[origin["column"] - 1 :].startswith('"github:sam"')
    assert f"{origin['path']}:{origin['line']}" in served.page("/access?who=me", "github:sam").text
    (decision,) = served.page("/api/v1/access?who=github:root&action=apply&tenant=shop", "github:root").json["fleets"][0]["decisions"]
    assert decision["allowed"] and "yaml:" in decision["reason"]
