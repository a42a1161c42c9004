"""Every page of plans and runs, on both databases: for somebody of one tenant no word of another."""

import pytest

from tests.server.site import web
from tests.server.tenants import CALLERS, OF_BANK, change_both, two_tenants
from tests.store.databases import database

OF_PLANS = ("/plans", "/plans/{plan}", "/plans/{plan}?host=web&cause=commit", "/plans/{plan}/changes")
OF_RUNS = ("/runs", "/runs/{run}", "/runs/{run}/changes", "/runs/{run}/log")
NARROWED = ("/runs/{run}/changes?host=web&outcome=open", "/runs/{run}/changes?outcome=bad", "/runs/{run}/log?host=web&step=1")


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_a_walk_through_plans_and_runs(kind: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("walk")
    with database(kind, path) as url:
        site = two_tenants(path, url)
        change_both(site)
        site.begin()
        with web(site.installation, *CALLERS) as served:
            for run in served.api("/runs", "token:shop").json["items"]:
                for one in (*OF_PLANS, *OF_RUNS, *NARROWED):
                    found = one.format(plan=run["plan"], run=run["run"])
                    for by in ("github:root", "github:vera", "github:narrow"):
                        page = served.page(found, by)
                        assert page.status == 200, (found, by, page.text)
                        unseen = {"github:vera": OF_BANK, "github:narrow": ("web-0", "vault-02")}.get(by, ())
                        assert not [word for word in unseen if word in page.text], (found, by)
        site.store.close()
