"""The fleets over HTTP: how they stand, one host, drift, the search; and nothing of another tenant."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from reconciler import stages
from reconciler.drivers.memory import Fault
from reconciler.reading import drift
from reconciler.reading.watch import watch
from reconciler.sampling import Sampling
from tests.fleets import host
from tests.gate.site import Site
from tests.server.site import Answered, Web, web
from tests.server.tenants import CALLERS, OF_BANK, change_both, look_again, spoil, two_tenants
from tests.store.databases import database_url, kind

__all__ = ["database_url", "kind"]

HOST = "/hosts/shop/web-01"
API_PATHS = [
    "/overview",
    "/overview/chart.svg",
    "/hosts",
    "/hosts?text=a",
    HOST,
    f"{HOST}/runs",
    "/drift",
    "/search?q=a",
    "/search?q=host/",
    "/search?q=memory/",
    "/search?q=id-",
    "/explain?ref=web-01",
    "/hosts/web-01",
    "/render?ref=host/shop/web-01",
    "/status",
]
PAGES = ["/" if path == "/overview" else path for path in API_PATHS if not path.startswith(("/render", "/hosts/web-01"))]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """One host of each tenant has drifted."""
    path = tmp_path_factory.mktemp("fleet")
    made = two_tenants(path, f"sqlite:///{path / 'q.db'}")
    spoil(made, "memory/config/shop/web-01", timezone="Europe/Paris")
    spoil(made, "memory/config/bank/vault-01", timezone="Europe/Rome")
    look_again(made)
    Sampling(made.installation).once()
    return made


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Web]:
    with web(site.installation, *CALLERS) as found:
        yield found


@pytest.fixture
def fresh(tmp_path: Path, database_url: str) -> Iterator[tuple[Site, Web]]:
    made = two_tenants(tmp_path, database_url)
    with web(made.installation, *CALLERS) as found:
        yield made, found


def states(found: Web, site: Site, by: str = "github:root") -> dict[str, str]:
    """Of every host, as it is now."""
    watch(site.installation).look()
    answer = found.api("/hosts", by) if by.startswith("token") else found.ask("GET", "/api/v1/hosts", Cookie=f"__Host-octofleet={by}")
    return {item["name"]: item["state"] for item in answer.json["items"]}


def api(served: Web, path: str, by: str) -> Answered:
    return served.ask("GET", f"/api/v1{path}", Cookie=f"__Host-octofleet={by}")


def test_numbers_are_of_what_one_sees(served: Web) -> None:
    mine = served.api("/overview", "token:shop").json
    assert mine["hosts"] == {"converged": 2, "changing": 0, "drifted": 1, "unknown": 0, "failed": 0}
    assert [one["tenant"] for one in mine["tenants"]] == ["shop"]
    all_of_it = api(served, "/overview", "github:root").json
    assert sum(all_of_it["hosts"].values()) == 5 and all_of_it["hosts"]["drifted"] == 2
    (memory,) = [one for one in all_of_it["drivers"] if one["driver"] == "memory"]
    assert memory["hosts"]["drifted"] == 2 and memory["hosts"]["converged"] == 3
    (record,) = [one for one in all_of_it["drivers"] if one["driver"] == "fleet"]
    assert record["hosts"]["converged"] == 5


def test_over_time_each_sees_his_tenants(served: Web) -> None:
    (moment,) = served.api("/overview", "token:shop").json["history"]
    assert moment["hosts"]["drifted"] == 1 and moment["at"] % 300 == 0
    (moment,) = api(served, "/overview", "github:root").json["history"]
    assert moment["hosts"]["drifted"] == 2 and moment["hosts"]["converged"] == 3
    assert api(served, "/overview", "github:narrow").json["history"] == [], "samples are of whole tenants"


def test_the_chart_is_an_image_with_a_policy_of_its_own(served: Web) -> None:
    chart = served.page("/overview/chart.svg?period=week", "github:vera")
    assert chart.headers["Content-Type"] == "image/svg+xml" and "sandbox" in chart.headers["Content-Security-Policy"]
    assert " style=" not in served.page("/", "github:vera").text, "the policy of pages forbids it"


@pytest.mark.parametrize("path", API_PATHS)
def test_nothing_of_another_tenant_for_programs(served: Web, path: str) -> None:
    answer = served.api(path, "token:shop")
    assert answer.status == 200 and not [word for word in OF_BANK if word in answer.text]


@pytest.mark.parametrize("path", PAGES)
def test_nothing_of_another_tenant_on_pages(served: Web, path: str) -> None:
    answer = served.page(path, "github:vera")
    assert answer.status == 200 and not [word for word in OF_BANK if word in answer.text]


@pytest.mark.parametrize(
    "path", ["/hosts/bank/vault-01", "/explain?ref=vault-01", "/render?ref=host/bank/vault-01", "/validate", "/hosts/bank/none"]
)
def test_what_is_not_seen_is_not_there(served: Web, path: str) -> None:
    answer = served.api(path, "token:shop")
    assert answer.status == 404 and answer.json["code"].startswith("no-")
    seen = {name: served.api(f"/hosts/bank/{name}", "token:shop").json["detail"] for name in ("vault-01", "none")}
    assert seen["vault-01"].replace("vault-01", "none") == seen["none"]


@pytest.mark.parametrize("path", API_PATHS)
def test_nobody_sees_nothing(served: Web, path: str) -> None:
    answer = api(served, path, "github:nobody")
    assert not [word for word in (*OF_BANK, "test") if word in answer.text], "not even the Fleet's name"


def test_a_scope_shows_its_host_alone(served: Web) -> None:
    assert [item["name"] for item in api(served, "/hosts", "github:narrow").json["items"]] == ["vault-01"]
    assert [item["name"] for item in api(served, "/drift", "github:narrow").json["items"]] == ["vault-01"]
    assert sum(api(served, "/overview", "github:narrow").json["hosts"].values()) == 1
    assert api(served, "/hosts/bank/vault-02", "github:narrow").status == 404
    assert "vault-02" not in api(served, "/search?q=vault", "github:narrow").text


def test_hosts_in_parts_and_filtered(served: Web) -> None:
    first = served.api("/hosts?limit=2", "token:shop").json
    second = served.api(f"/hosts?limit=2&cursor={first['next']}", "token:shop").json
    assert [item["name"] for item in first["items"] + second["items"]] == ["web-01", "web-02", "web-03"] and not second["next"]
    for query, names in {
        "state=drifted": ["web-01"],
        "text=b-03": ["web-03"],
        "text=shop/web-02": ["web-02"],
        "text=sho": ["web-01", "web-02", "web-03"],
        "tenant=bank": [],
        "driver=memory&state=drifted": ["web-01"],
        "driver=fleet&state=drifted": [],
    }.items():
        assert [item["name"] for item in served.api(f"/hosts?{query}", "token:shop").json["items"]] == names, query
    assert served.api("/hosts?state=odd", "token:shop").status == 400
    assert "converged, changing, drifted, unknown, failed" in served.page("/hosts?state=odd", "github:vera").text
    assert "web-01" in served.page("/hosts?text=web&tenant=&driver=&state=", "github:vera").text, "as the form sends it"


def test_a_host_shows_its_three_sides_and_who_set_what(served: Web) -> None:
    document = served.api(HOST, "token:shop").json
    assert document["state"] == "drifted" and document["profile"] == "base" and document["roles"] == ["web"]
    config = document["resources"][0]
    assert config["address"] == "memory/config/shop/web-01" and config["differs"], "what differs comes first"
    field = config["fields"][0]
    assert field["row"]["path"] == "/values/timezone"
    assert field["row"]["sides"] == {"desired": "UTC", "recorded": "UTC", "observed": "Europe/Paris"}
    assert field["setter"]["origin"] == {"path": "fleet.yaml", "line": 6, "column": 5}
    assert not [one for one in document["resources"][1:] if one["differs"]]
    assert {one["status"] for one in document["runs"]["items"]} == {"done"}
    page = served.page(HOST, "github:vera").text
    assert "Europe/Paris" in page and "fleet.yaml:6:5" in page


def test_what_no_driver_can_look_at_is_not_known(site: Site) -> None:
    """Neither how it stands nor what is wanted of it, on every page alike."""
    without = replace(site.installation, extra=())
    with web(without, *CALLERS) as served:
        watch(without).look()
        (row,) = [one for one in api(served, "/hosts", "github:root").json["items"] if one["name"] == "web-02"]
        document = served.api("/hosts/shop/web-02", "token:shop").json
        assert row["state"] == document["state"] == "unknown"
        assert row["drivers"] == document["drivers"] == {"boot": "converged", "fleet": "converged", "memory": "unknown"}
        gone = [one for one in document["resources"] if one["driver"] == "memory"]
        assert {(one["seen"], one["wanted"], one["differs"], one["seenWhy"]) for one in gone} == {
            ("unknown", None, False, "the driver memory is not in this installation: nobody can look at it (no-driver)")
        }
        assert {one["wanted"] for one in document["resources"] if one not in gone} == {True}
        numbers = served.api("/overview", "token:shop").json
        assert numbers["hosts"]["unknown"] == 3 and numbers["hosts"]["converged"] == 0
        page = served.page("/hosts/shop/web-02", "github:vera").text
        assert "is not in this installation" in page and "not wanted" not in page and "differs" not in page.replace('class="differs"', "")


def test_much_drift_is_told_in_parts(served: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(drift, "MOST_BYTES", 10)
    first = served.page("/api/v1/drift", "github:root").json
    second = served.page(f"/api/v1/drift?cursor={first['next']}", "github:root").json
    assert [len(part["items"]) for part in (first, second)] == [1, 1] and first["items"] != second["items"]


def test_drift_is_told_with_its_fields(served: Web) -> None:
    (found,) = served.api("/drift", "token:shop").json["items"]
    (config,) = found["resources"]
    assert (found["ref"], config["address"], config["seen"]) == ("host/shop/web-01", "memory/config/shop/web-01", "differs")
    assert [row["sides"] for row in config["fields"]] == [{"recorded": "UTC", "observed": "Europe/Paris"}]
    assert served.api("/drift?driver=boot", "token:shop").json["items"] == []


def test_drift_is_looked_for_in_parts(served: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = served.page("/api/v1/drift", "github:root").json["items"]
    for bound in ("MOST_LOOKED_AT", "MOST_BYTES"):
        with monkeypatch.context() as patch:
            patch.setattr(drift, bound, 1)
            found, cursor = list[Any](), ""
            for _ in range(20):
                part = served.page(f"/api/v1/drift?cursor={cursor}", "github:root").json
                assert len(part["items"]) <= 1
                found, cursor = found + part["items"], part["next"]
                if not cursor:
                    break
        assert found == whole and len(whole) == 2


def test_the_search_finds_each_kind(served: Web, site: Site) -> None:
    ((run, plan),) = site.rows('SELECT run.id, plan.id FROM run JOIN plan ON plan."row" = run.plan')
    ((external_id, commit),) = site.rows('SELECT external_id, "commit" FROM record WHERE address = ?', "memory/machine/shop/web-02")

    def kinds(text: str, by: str = "token:shop") -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for hit in served.api(f"/search?q={text}", by).json["items"]:
            found.setdefault(hit["kind"], []).append(hit["title"])
        return found

    assert kinds("web-0")["host"] == ["shop/web-01", "shop/web-02", "shop/web-03"]
    assert kinds(run[:10])["run"] == [run] and plan[:12] in kinds(plan[:8])["plan"] and kinds(commit[:8])["commit"] == [commit[:12]]
    assert kinds(external_id)["resource"] == ["memory/machine/shop/web-02"]
    assert kinds("memory/config/shop/web-03") == {"resource": ["memory/config/shop/web-03"]}
    assert kinds("x") == {} and kinds("vault") == {} and kinds("memory/config/bank") == {}


def test_explain_is_as_the_command_says(served: Web) -> None:
    (value,) = served.api("/explain?ref=shop/web-01&field=spec.timezone", "token:shop").json["values"]
    assert value["settings"][-1]["value"] == "UTC" and value["settings"][-1]["origin"]["line"] == 6
    assert served.api("/explain?ref=shop/web-01&field=spec.nothing", "token:shop").status == 404


def test_a_host_by_its_name_alone(tmp_path: Path) -> None:
    """For each the one that he sees; where there are several, they are named, and only to who sees them."""
    site = two_tenants(tmp_path, f"sqlite:///{tmp_path / 'q.db'}")
    site.repo.commit({"twin.yaml": host("web-01", 120, tenant="bank")})
    site.settle()
    with web(site.installation, *CALLERS) as served:
        for by, where in (("github:vera", "/hosts/shop/web-01"), ("github:ben", "/hosts/bank/web-01")):
            page = served.page("/hosts/web-01", by)
            assert (page.status, page.headers.get("Location")) == (303, where), by
        assert served.api("/hosts/web-02", "token:shop").json["ref"] == "host/shop/web-02"
        several = served.page("/hosts/web-01", "github:root")
        assert several.status == 404 and all(f'<a href="/hosts/{one}/web-01">' in several.text for one in ("shop", "bank"))
        for path in ("/hosts/web-0", "/hosts/shop/web-0", "/explain?ref=web-0", "/explain?host=web-0", "/hosts/shop%2Fweb-0"):
            mine = served.page(path, "github:vera")
            assert mine.status == 404 and "or none that you may see" in mine.text, path
            assert '<a href="/hosts/shop/web-03">' in mine.text and '<a href="/search?q=web-0">' in mine.text, path
            assert not [word for word in OF_BANK if word in mine.text], path
        for by, name in (("github:vera", "vault-01"), ("github:nobody", "web-01"), ("github:narrow", "web-01"), ("github:vera", "none")):
            for path in (f"/hosts/{name}", f"/explain?host={name}"):
                none = served.page(path, by)
                assert none.status == 404 and '<a href="/hosts">' in none.text and "/hosts/" not in none.text, (by, path)
        assert (
            "Which" not in served.page("/explain", "github:vera").text and "UTC" in served.page("/explain?host=web-02", "github:vera").text
        )


def test_a_boot_file_as_text(served: Web) -> None:
    document = served.api(HOST, "token:shop").json
    rendered = served.api(f"/render?ref={document['ref']}", "token:shop").json["files"]
    assert rendered.keys() == set(document["files"])
    for name, text in rendered.items():
        answer = served.page(f"{HOST}/files/{quote(name, safe='')}", "github:vera")
        assert answer.headers["Content-Type"].startswith("text/plain") and answer.text == text
    assert any("web-01" in text for text in rendered.values())
    assert served.page(f"{HOST}/files/none", "github:vera").status == 404


def test_states_follow_what_happens(fresh: tuple[Site, Web]) -> None:
    site, served = fresh
    all_are = {"web-01", "web-02", "web-03", "vault-01", "vault-02"}
    assert states(served, site) == dict.fromkeys(all_are, "converged")
    change_both(site)
    site.world.fail("memory/config/shop/web-01", Fault.PARTIAL)
    site.begin()
    now = states(served, site)
    assert {name for name, state in now.items() if state == "changing"} == {"web-01", "vault-01"}
    site.work()
    now = states(served, site)
    assert now["web-01"] == "failed" and now["vault-01"] == "converged" and now["web-02"] == "converged"
    site.write("DELETE FROM backoff")
    site.world.heal()
    site.settle()
    assert states(served, site) == dict.fromkeys(all_are, "converged")
    site.world.fail("memory/config/shop/web-02", Fault.UNKNOWN)
    look_again(site)
    assert states(served, site)["web-02"] == "unknown"
    site.world.heal()
    look_again(site)
    site.world.remove("memory/config/bank/vault-02")
    look_again(site)
    now = states(served, site)
    assert (now["web-02"], now["vault-02"]) == ("converged", "drifted")


def test_hosts_come_and_go(fresh: tuple[Site, Web]) -> None:
    site, served = fresh
    site.repo.commit({"host-4.yaml": host("web-04", 4), "host-3.yaml": None})
    site.begin()
    assert states(served, site)["web-04"] == "changing"
    site.work()
    now = states(served, site)
    assert now["web-04"] == "converged" and "web-03" not in now


def test_drift_is_healed_by_who_may(fresh: tuple[Site, Web]) -> None:
    site, served = fresh
    spoil(site, "memory/config/shop/web-01", timezone="Europe/Paris")
    look_again(site)
    fields = {"ref": "host/shop/web-01", "reason": "it was by mistake"}
    for by, status in (("github:vera", 403), ("github:nobody", 404), ("github:ben", 404)):
        assert served.form("/drift/heal", by, fields).status == status, by
    done = served.form("/drift/heal", "github:sam", fields)
    assert done.status == 303 and done.headers["Location"].startswith("/drift?text=shop%2Fweb-01")
    assert site.rows("SELECT identity FROM audit WHERE action = 'heal'") == [("github:sam",)]
    site.work()
    assert states(served, site)["web-01"] == "converged"
    assert site.world.things()["memory/config/shop/web-01"][0]["values"]["timezone"] == "UTC"
    again = served.api("/drift/heal", "token:shop", body=fields)
    assert again.status == 403, "the token is not good for it"


def test_status_is_whole_for_who_sees_all(served: Web, site: Site) -> None:
    (mine,) = served.api("/status", "token:shop").json["sources"]
    (whole,) = api(served, "/status", "github:root").json["sources"]
    assert whole["unsettled"].keys() == {"memory/config/shop/web-01", "memory/config/bank/vault-01"}
    assert mine["unsettled"].keys() == {"memory/config/shop/web-01"} and mine["resources"] < whole["resources"]
    assert (mine["resources"],) in site.rows("SELECT count(*) FROM record WHERE \"group\" LIKE 'host/shop/%'")
    assert api(served, "/validate", "github:root").json["valid"]


def test_asking_again_reads_next_to_nothing(served: Web, site: Site) -> None:
    watch(site.installation).look()
    found: list[int] = []

    def told(what: str, number: int) -> None:
        if what == "rows_read":
            found.append(number)

    stages.counters.append(told)
    try:
        served.api("/hosts", "token:shop")
        watch(site.installation)._asked_at = float("-inf")
        served.api("/hosts", "token:shop")
    finally:
        stages.counters.remove(told)
    assert 0 < sum(found) <= 40, "who may see what, and whether anything has changed: no host"
