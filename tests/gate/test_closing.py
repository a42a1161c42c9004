"""Windows, freezes and pauses in a run: what is behind a closed gate does not begin, and keeps nothing else."""

from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from reconciler import gating
from reconciler.apply.attempt import Attempt
from reconciler.errors import Refused
from reconciler.gate.closing import subjects_of
from reconciler.store.journal import Begun, Lease, write
from reconciler.store.records import save_records, save_specs
from reconciler.types.canonical import digest
from reconciler.types.resource import Recorded, Rules
from tests.fleets import host
from tests.gate.site import Site
from tests.store.databases import database_url, kind

__all__ = ["database_url", "kind"]

WINDOW = """\
apiVersion: octofleet/v1
kind: MaintenanceWindow
metadata: {{name: nights, tenant: shop}}
spec:
  mode: {mode}
  scopes: ["host/shop/web-01"]
  times:
    - {{start: "{start}", duration: 1h}}
"""
CLOSED = WINDOW.format(mode="open", start="2001-01-01T00:00")


@pytest.mark.parametrize("batch", [1, 20])
def test_what_is_outside_its_window_waits_and_the_rest_does_not(tmp_path: Path, database_url: str, batch: int) -> None:
    site = Site(tmp_path, database_url, hosts=3, batch=batch)
    site.settle()
    site.repo.commit({"window.yaml": CLOSED})
    site.settle()
    site.change(1, 2, 3)
    run = site.begin()
    site.work()
    assert site.changed() == {"web-02", "web-03"} and site.ended(run) == "running"
    notes = {note for (note,) in site.rows("SELECT note FROM step WHERE run = ? AND state <> 'ended' AND note <> ''", run)}
    assert any(
        "the maintenance window shop/nights is closed, and no time of it is left" in note and "octofleet override shop/nights" in note
        for note in notes
    )
    assert not site.rows("SELECT 1 FROM step WHERE run = ? AND owner <> ''", run), "it holds no worker"
    with pytest.raises(Refused, match="no window days"):
        gating.override(site.installation, "days", 60, "why")
    gating.override(site.installation, "shop/nights", 60, "the shop is down")
    site.work()
    assert site.changed() == {"web-01", "web-02", "web-03"} and site.ended(run) == "done"


def test_an_override_ends_by_itself(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=1)
    site.settle()
    site.repo.commit({"window.yaml": CLOSED})
    site.settle()
    gating.override(site.installation, "shop/nights", 60, "the shop is down")
    site.write("UPDATE override SET until = 1")
    site.change(1)
    site.begin()
    site.work()
    assert site.changed() == set()
    gating.override(site.installation, "shop/nights", 60, "again")
    gating.override(site.installation, "shop/nights", 0, "no")
    site.work()
    assert site.changed() == set(), "ended before its time"


def test_one_commit_cannot_end_a_freeze_and_use_that(tmp_path: Path, database_url: str) -> None:
    always = WINDOW.format(mode="freeze", start="2001-01-01T00:00").replace("duration: 1h", "duration: 90000d")
    site = Site(tmp_path, database_url, hosts=2)
    site.settle()
    site.repo.commit({"window.yaml": always})
    site.settle()
    site.repo.commit({"window.yaml": None})
    site.change(1, 2)
    run = site.begin()
    site.work()
    assert site.changed() == {"web-02"} and site.ended(run) == "running", "it holds until all else is done"


def test_a_pause_of_a_part_ends_by_itself_or_by_a_person(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=3)
    site.settle()
    made = gating.pause(site.installation, "host/shop/web-02", 3600, "somebody is at it")
    gating.pause(site.installation, "tenant/lab", 3600, "another tenant")
    site.change(1, 2, 3)
    run = site.begin()
    site.work()
    assert site.changed() == {"web-01", "web-03"}
    ((note,),) = site.rows("SELECT DISTINCT note FROM step WHERE run = ? AND state <> 'ended' AND note LIKE ?", run, "%paused%")
    assert "somebody is at it" in note and f"octofleet resume {made.id}" in note
    assert [pause.id for pause in gating.unpause(site.installation, "host/shop/web-02")] == [made.id]
    site.work()
    assert site.changed() == {"web-01", "web-02", "web-03"} and site.ended(run) == "done"
    gating.pause(site.installation, "fleet", 3600, "everything")
    site.write("UPDATE pause SET until = 1")
    site.change(1, 2, 3, spec="  packages: [strace]\n")
    site.settle()


@pytest.mark.parametrize("batch", [1, 20])
def test_a_pause_that_ends_just_as_something_is_put_off_for_it_keeps_nothing(tmp_path: Path, database_url: str, batch: int) -> None:
    site = Site(tmp_path, database_url, hosts=2, batch=batch)
    site.settle()
    made = gating.pause(site.installation, "fleet", 3600, "everything")
    site.change(1, 2)
    run = site.begin()
    leave = Attempt._leave

    def ended_meanwhile(self: Attempt, *arguments: Any, **more: Any) -> None:
        gating.unpause(site.installation, made.id)
        leave(self, *arguments, **more)

    with mock.patch.object(Attempt, "_leave", ended_meanwhile):
        site.work()
    assert site.ended(run) == "done"


def test_a_window_by_labels_that_comes_after_a_step_was_taken_keeps_it(tmp_path: Path, database_url: str) -> None:
    labelled = {"host-1.yaml": host("web-01", 1, metadata="  labels: {site: ams1}\n")}
    site = Site(tmp_path, database_url, hosts=1, files=labelled)
    site.settle()
    site.repo.commit({"host-1.yaml": host("web-01", 1, metadata="  labels: {site: ams1}\n", spec="  packages: [htop]\n")})
    planned = site.plan()
    run = site.begin()
    change = next(change for change in planned.plan.changes if change.address.startswith("memory/config/"))
    ((seq,),) = site.rows("SELECT step FROM item WHERE run = ? AND address = ?", run, change.address)
    begun = Begun(lease=Lease(run=run, step=seq, fence=0), source="test", subjects=subjects_of(change))
    spec = {"labels": {"site": "ams1"}, "times": [{"start": "2001-01-01T00:00", "duration": "1h"}]}
    window = Recorded(
        address="fleet/maintenancewindow/-/w", source="test", digest=digest(spec), rules=Rules(tenant=""), group="w", external_id="",
        observed_digest="", commit="c",
    )  # fmt: skip
    with site.store.write(alone=False) as connection:
        save_specs(connection, [spec])
        save_records(connection, [window])
    with site.store.write(alone=False) as connection:
        assert write(connection, [begun]) == ["gated"]


def test_a_gate_that_closes_after_a_step_was_taken_keeps_it(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=1)
    site.settle()
    site.change(1)
    planned = site.plan()
    run = site.begin()
    change = next(change for change in planned.plan.changes if change.address.startswith("memory/config/"))
    ((seq,),) = site.rows("SELECT step FROM item WHERE run = ? AND address = ?", run, change.address)
    begun = Begun(lease=Lease(run=run, step=seq, fence=0), source="test", subjects=subjects_of(change))
    gating.pause(site.installation, "host/shop/web-01", 3600, "stop")
    with site.store.write(alone=False) as connection:
        assert write(connection, [begun]) == ["gated"]
    gating.unpause(site.installation, "host/shop/web-01")
    with site.store.write(alone=False) as connection:
        assert write(connection, [begun]) == [""]
