"""Operations over HTTP: each sees those of his tenant, and nobody has one run, or looked at, where he may not."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from reconciler.drivers.ansible.driver import AnsibleDriver, AnsibleSettings
from reconciler.identity.access import Action
from tests.gate.site import Site
from tests.operating.place import PATCH
from tests.server.site import Web, token, web
from tests.server.tenants import CALLERS, NARROW, NOBODY, READS, ROOT, SAM, SHOP, VERA, two_tenants
from tests.store.databases import KINDS, database

RUNS = token("token:shop", Action.RUN, Action.VIEW)


def operation(name: str, tenant: str) -> str:
    metadata = f"{{name: {name}, tenant: {tenant}}}" if tenant else f"{{name: {name}}}"
    times = '[{start: "2199-01-01T00:00", duration: 1h}]'
    return (
        f"apiVersion: octofleet/v1\nkind: Operation\nmetadata: {metadata}\nspec: {{ansible: {{playbook: ops/patch.yml}}, times: {times}}}\n"
    )


@pytest.fixture(scope="module", params=KINDS)
def site(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[Site]:
    path = tmp_path_factory.mktemp("operations")
    with database(request.param, path) as url:
        site = two_tenants(path, url)
        site.installation = replace(site.installation, extra=(*site.installation.extra, AnsibleDriver(AnsibleSettings())))
        files = {f"op-{tenant or 'all'}.yaml": operation(f"patch-{tenant or 'all'}", tenant) for tenant in ("shop", "bank", "")}
        site.repo.commit(files | {"ops/patch.yml": PATCH})
        site.settle()
        yield site


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Web]:
    with web(site.installation, *CALLERS, RUNS) as found:
        yield found


def names(served: Web, by: Any) -> list[str]:
    answer = served.api("/operations", by.name) if not by.session else served.page("/api/v1/operations", by.session)
    assert answer.status == 200, answer.text
    return [item["name"] for item in answer.json["items"]]


def test_each_sees_those_of_his_tenant_and_those_of_all(served: Web) -> None:
    assert names(served, ROOT) == ["patch-all", "patch-bank", "patch-shop"]
    assert names(served, SAM) == names(served, VERA) == ["patch-all", "patch-shop"]
    assert names(served, NARROW) == ["patch-all", "patch-bank"]
    assert names(served, NOBODY) == []


def test_buttons_are_for_who_may(served: Web) -> None:
    assert 'value="shop/patch-shop"' in served.page("/operations", SAM.session).text
    shown = served.page("/operations", VERA.session).text
    assert "patch-shop" in shown and "shop/patch-shop" not in shown and "A playbook once" not in shown


@pytest.mark.parametrize(
    ("by", "body"),
    [
        (VERA, {"operation": "shop/patch-shop"}),
        (SAM, {"operation": "bank/patch-bank"}),
        (SAM, {"operation": "patch-all"}),
        (SAM, {"playbook": "ops/patch.yml", "on": "host/*/*"}),
        (SAM, {"playbook": "ops/patch.yml", "on": "host/bank/vault-01"}),
        (NARROW, {"operation": "bank/patch-bank"}),
        (NARROW, {"playbook": "ops/patch.yml", "on": "host/bank/vault-02"}),
        (NOBODY, {"playbook": "ops/patch.yml", "on": "host/shop/web-01"}),
    ],
)
def test_nobody_has_one_planned_where_he_may_not(served: Web, site: Site, by: Any, body: dict[str, Any]) -> None:
    before = site.rows("SELECT count(*) FROM plan")
    answer = served.form("/operations", by.session, {name: str(value) for name, value in body.items()})
    assert answer.status in (403, 404), answer.text
    assert "vault-02" not in answer.text.replace(str(body.get("on")), "")
    assert site.rows("SELECT count(*) FROM plan") == before, "not even a look at it was taken"


@pytest.mark.parametrize("by", [SHOP, READS])
def test_a_token_that_is_not_good_for_it(site: Site, by: Any) -> None:
    with web(site.installation, by) as served:
        assert served.api("/operations", by.name, body={"operation": "shop/patch-shop", "blind": True}).status == 403


def test_who_may_plans_it_and_the_plan_waits(served: Web, site: Site) -> None:
    answer = served.api(
        "/operations", RUNS.name, body={"playbook": "ops/patch.yml", "on": "host/shop/web-01 host/shop/web-02", "blind": True}
    )
    assert answer.status == 201, answer.text
    plan = answer.json["plan"] if "plan" in answer.json else answer.json["id"]
    shown = served.page(f"/plans/{plan}", SAM.session)
    assert shown.status == 200 and "web-01" in shown.text and "not looked at in check mode" in shown.text
    assert served.page(f"/plans/{plan}", NARROW.session).status == 404
    assert not site.rows("SELECT 1 FROM run WHERE ended_at IS NULL")


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "operation or a playbook"),
        ({"operation": "patch-none"}, "no Operation patch-none"),
        ({"playbook": "ops/patch.yml"}, "which hosts"),
        ({"playbook": "ops/patch.yml", "on": "host/shop/gone"}, "no host"),
        ({"playbook": "ops/patch.yml", "on": "host/shop/web-01", "risks": "boom"}, "no risk boom"),
        ({"playbook": "ops/patch.yml", "on": "host/shop/web-01", "serial": "x"}, "serial"),
        ({"source": "other", "operation": "patch-all"}, "no Fleet other"),
    ],
)
def test_what_is_wrong_is_said(served: Web, body: dict[str, Any], says: str) -> None:
    answer = served.form("/operations", ROOT.session, body)
    assert 400 <= answer.status < 500 and says in answer.text, answer.text[:2000]
