"""Tasks over HTTP: for programs and for people, and nothing of another tenant."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.store.tasks import save_tasks
from tests.gate.site import Site
from tests.server.site import Web, web
from tests.server.tenants import CALLERS, EVIL, OF_BANK, played, two_tenants


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("tasks")
    made = two_tenants(path, f"sqlite:///{path / 'q.db'}")
    with made.store.write() as connection:
        run = connection.scalar("SELECT id FROM run ORDER BY started_at LIMIT 1")
        save_tasks(connection, [(run, step, 1, played(tenant, time.time() - 500, 2)) for step, tenant in enumerate(("shop", "bank"))])
    return made


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Web]:
    with web(site.installation, *CALLERS) as found:
        yield found


@pytest.fixture
def run(site: Site) -> str:
    return str(site.rows("SELECT id FROM run ORDER BY started_at LIMIT 1")[0][0])


PATHS = ("/tasks", "/tasks/slowest", "/runs/{run}/tasks", "/runs/{run}", "/hosts/shop/web-02")


@pytest.mark.parametrize("path", PATHS)
def test_nothing_of_another_tenant_and_nothing_that_runs(served: Web, run: str, path: str) -> None:
    for text in (served.api(path.format(run=run), "token:shop").text, served.page(path.format(run=run), "github:vera").text):
        assert "Install 1" in text and not [word for word in OF_BANK if word in text]
    page = served.page(path.format(run=run), "github:root").text
    assert EVIL not in page and ("bank.yml:3" in page or "hosts" in path) and len(page) < 300_000
    assert "Install 1" not in served.page(path.format(run=run), "github:nobody").text


def test_who_sees_one_host_sees_its_results_and_no_numbers(served: Web, run: str) -> None:
    seen = served.page("/api/v1/tasks", "github:narrow").json["items"]
    assert {(one["tenant"], one["host"]) for one in seen} == {("bank", "vault-01")}
    assert served.page("/api/v1/tasks/slowest", "github:narrow").json["items"] == []
    assert served.page(f"/api/v1/runs/{run}/tasks", "github:narrow").json["items"] == []


def test_failures_come_first_with_the_slowest_host(served: Web, run: str) -> None:
    found = served.api(f"/runs/{run}/tasks", "token:shop").json
    assert [(one["name"], one["slowest"], one["counts"]) for one in found["items"]] == [
        ("Install 1", "web-02", {"ok": 3, "changed": 1, "failed": 1}),
        ("Install 0", "web-02", {"ok": 3, "changed": 1}),
    ]
    first = served.api(f"/runs/{run}/tasks?limit=1", "token:shop").json
    then = served.api(f"/runs/{run}/tasks?limit=1&cursor={first['next']}", "token:shop").json
    assert [one["name"] for one in first["items"] + then["items"]] == ["Install 1", "Install 0"] and not then["next"]


@pytest.mark.parametrize(
    ("query", "number"),
    [
        ("", 4),
        ("status=failed", 2),
        ("host=shop/web-01", 2),
        ("search=NO SPACE", 2),
        ("search=install 1", 2),
        ("run={run}", 4),
        ("days=1&status=unreachable", 0),
    ],
)
def test_lists_are_narrowed(served: Web, run: str, query: str, number: int) -> None:
    found = served.api(f"/tasks?{query.format(run=run).replace(' ', '%20')}", "token:shop").json
    assert len(found["items"]) == number and not found["next"]
    assert [one["at"] for one in found["items"]] == sorted((one["at"] for one in found["items"]), reverse=True)


def test_a_list_in_parts(served: Web) -> None:
    first = served.api("/tasks?limit=3", "token:shop").json
    then = served.api(f"/tasks?limit=3&cursor={first['next']}", "token:shop").json
    assert (len(first["items"]), len(then["items"])) == (3, 1)


def test_what_cannot_be_asked(served: Web) -> None:
    for query in ("host=web-01", "run=nowhere", "status=odd", "days=0"):
        refused = served.api(f"/tasks?{query}", "token:shop")
        assert refused.status in (400, 404, 409, 422), query


def test_a_page_of_a_large_run_is_small(tmp_path: Path) -> None:
    made = two_tenants(tmp_path, f"sqlite:///{tmp_path / 'q.db'}")
    with made.store.write() as connection:
        large = connection.scalar("SELECT id FROM run ORDER BY started_at LIMIT 1")
        for step in range(20):
            save_tasks(connection, [(large, step, 1, played("shop", time.time() - 500, 100))])
    with web(made.installation, *CALLERS) as found:
        for path in (f"/runs/{large}", f"/runs/{large}/tasks?limit=500", "/tasks?limit=500", "/tasks/slowest?limit=500"):
            answer = found.page(path, "github:root")
            assert answer.status == 200 and len(answer.text.encode()) < 300_000, path
