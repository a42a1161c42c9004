"""One commit that changes a host and what would keep that from beginning: another name, another tenant, other labels, one more window."""

from pathlib import Path

import pytest

from reconciler import gating
from tests.fleets import TENANT, host
from tests.gate.site import QUIET, Site
from tests.store.databases import database_url, kind

__all__ = ["database_url", "kind"]

SHUT, ALWAYS = '[{start: "2001-01-01T00:00", duration: 1h}]', '[{start: "2001-01-01T00:00", duration: 90000d}]'


def window(name: str, times: str, more: str = "") -> str:
    return f"apiVersion: octofleet/v1\nkind: MaintenanceWindow\nmetadata: {{name: {name}, tenant: shop}}\nspec:\n{more}  times: {times}\n"


def moved(name: str, was: str, tenant: str = "shop") -> str:
    return host(name, 1, tenant=tenant, metadata=f"  moved: {{from: {was}}}\n", spec=QUIET)


LABELLED = host("web-01", 1, metadata="  labels: {site: ams1}\n")


@pytest.mark.parametrize(
    ("kept", "before", "commit"),
    [
        (window("w", SHUT, '  scopes: ["host/shop/web-*"]\n'), {}, {"host-1.yaml": moved("db-01", "web-01")}),
        (window("w", ALWAYS, "  mode: freeze\n"), {"lab.yaml": TENANT.replace("shop", "lab")}, {"host-1.yaml": moved("web-01", "shop/web-01", "lab")}),
        (window("w", SHUT, "  labels: {site: ams1}\n"), {"host-1.yaml": LABELLED}, {"host-1.yaml": host("web-01", 1, spec=QUIET)}),
        (window("w", SHUT, "  labels: {site: ams1}\n"), {"host-1.yaml": LABELLED}, {"host-1.yaml": moved("db-01", "web-01")}),
        (window("w", SHUT), {}, {"more.yaml": window("more", ALWAYS), "host-1.yaml": host("web-01", 1, spec=QUIET)}),
    ],
    ids=["renamed", "to another tenant", "without its labels", "renamed without its labels", "one more window"],
)  # fmt: skip
def test_a_window_keeps_what_it_was_about_when_the_run_began(
    tmp_path: Path, database_url: str, kept: str, before: dict[str, str], commit: dict[str, str]
) -> None:
    site = Site(tmp_path, database_url, hosts=1, files=before)
    site.settle()
    site.repo.commit({"window.yaml": kept})
    site.settle()
    site.repo.commit(commit)
    run = site.begin()
    site.work()
    assert site.changed() == set() and site.ended(run) == "running"
    gating.override(site.installation, "shop/w", 60, "why not")
    site.work()
    assert len(site.changed()) == 1 and site.ended(run) == "done"


def test_a_pause_keeps_a_host_that_gets_another_name(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=1)
    site.settle()
    gating.pause(site.installation, "host/shop/web-01", 3600, "somebody is at it")
    site.repo.commit({"host-1.yaml": moved("db-01", "web-01")})
    run = site.begin()
    site.work()
    assert site.changed() == set() and site.ended(run) == "running"
    gating.unpause(site.installation, "host/shop/web-01")
    site.work()
    assert site.changed() == {"db-01"} and site.ended(run) == "done"


def test_a_host_that_gets_another_name_goes_out_as_its_rollout_on_record_says(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=2, rollout="{canary: 1, promote: canary}")
    site.settle()
    site.repo.commit({f"host-{n}.yaml": host(f"db-{n:02d}", n, metadata=f"  moved: {{from: web-{n:02d}}}\n", spec=QUIET) for n in (1, 2)})
    run = site.begin()
    site.work()
    assert site.changed() == {"db-01"} and site.states(run) == ["ended", "due"]
