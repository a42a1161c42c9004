"""Rollouts in a run: the real worker does what the phases allow, and nothing else."""

from pathlib import Path

import pytest

from reconciler import gating
from reconciler.drivers.memory import Fault
from reconciler.errors import Refused
from reconciler.report.text import plan_lines
from reconciler.report.view import View
from tests.gate.site import Site
from tests.store.databases import database_url, kind

__all__ = ["database_url", "kind"]

WEB = [f"web-{number:02d}" for number in range(1, 11)]


def test_a_canary_waits_for_a_person_and_then_the_rest_goes_out(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=5, rollout="{canary: 1, promote: canary}")
    site.settle()
    site.change(1, 2, 3, 4, 5)
    planned = site.plan()
    shown = "\n".join(line.text for line in plan_lines(View(plan=planned.plan)))
    assert (
        "5 hosts in 2 parts" in shown and "1. canary: web-01" in shown and "2. the rest, when a person promotes it: web-02, web-03" in shown
    )
    run = site.begin()
    site.work()
    assert site.changed() == {"web-01"} and site.states(run) == ["ended", "due"]
    with pytest.raises(Refused, match="no rollout"):
        gating.promoted(site.installation, run, "why", soaked=False, tenant="lab", track=None)
    (moved,) = gating.promoted(site.installation, run, "it looks well", soaked=False, tenant=None, track=None)
    assert moved.title == "the rest"
    site.work()
    assert site.changed() == set(WEB[:5]) and site.ended(run) == "done" and site.states(run) == ["ended", "ended"]
    assert not site.plan().plan.changes


def test_each_batch_soaks(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=4, rollout="{serial: 2, soak: 1h}")
    site.settle()
    site.change(1, 2, 3, 4)
    run = site.begin()
    site.work()
    assert site.changed() == {"web-01", "web-02"}
    (first, second) = site.phases(run)
    with site.store.read() as connection:
        now = connection.now()
    assert first.state == "ended" and second.state == "due" and second.opens_at is not None and 3500 < second.opens_at - now <= 3600
    site.work()
    assert site.changed() == {"web-01", "web-02"}, "it has not soaked yet"
    site.write("UPDATE phase SET opens_at = ? WHERE number = 1", now - 1)
    site.work()
    assert site.changed() == set(WEB[:4]) and site.ended(run) == "done"


def test_the_third_failure_stops_it_until_a_person_says_that_it_goes_on(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=10, rollout="{serial: 2, maxFailures: 2}", batch=1, concurrency=1)
    site.settle()
    site.change(*range(1, 11))
    run = site.begin()
    for name in ("web-02", "web-03", "web-06"):
        site.world.fail(f"memory/config/shop/{name}", Fault.UNKNOWN)
    site.work()
    assert site.changed() == {"web-01", "web-04", "web-05"}, "nothing begins after the third failure"
    assert site.ended(run) == "running" and set(site.states(run)) == {"ended", "stopped"}
    note = site.phases(run)[-1].note
    assert "3 hosts have failed, and 2 may" in note and "web-06" in note
    gating.promoted(site.installation, run, "known hosts", soaked=False, tenant=None, track=None)
    site.work()
    assert site.changed() == {"web-01", "web-04", "web-05", *WEB[6:]} and site.ended(run) == "failed"


def test_what_was_taken_before_the_stop_does_not_begin(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=6, rollout="{serial: 5}", batch=1, concurrency=1)
    site.settle()
    site.change(*range(1, 7))
    run = site.begin()
    site.world.fail("memory/config/shop/web-01", Fault.UNKNOWN)
    site.work()
    assert len(site.changed()) == 0, "one at a time, and the first has failed"
    assert site.ended(run) == "running" and "stopped" in site.states(run)
    ((open_items,),) = site.rows("SELECT count(*) FROM item WHERE run = ? AND status = '' AND address LIKE ?", run, "memory/config/%")
    assert open_items == 5


def test_a_host_that_is_not_well_after_its_soak_counts_as_failed(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=3, rollout="{canary: 1, soak: 1m, health: true}")
    site.settle()
    site.change(1, 2, 3)
    run = site.begin()
    site.work()
    assert site.changed() == {"web-01"} and [phase.title for phase in site.phases(run)][:2] == ["canary", "canary: health"]
    site.world.put("memory/config/shop/web-01", {"broken": True})
    site.write("UPDATE phase SET opens_at = 0")
    site.work()
    ((error,),) = site.rows("SELECT error FROM item WHERE run = ? AND action = 'check' AND status = 'failed'", run)
    assert error == "after its soak it is not as desired any more"
    assert site.changed() == set() and "stopped" in site.states(run)


def test_well_hosts_pass(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=3, rollout="{canary: 1, soak: 1m, health: true}")
    site.settle()
    site.change(1, 2, 3)
    run = site.begin()
    for _ in range(4):
        site.work()
        site.write("UPDATE phase SET opens_at = 0 WHERE opens_at IS NOT NULL")
    assert site.changed() == {"web-01", "web-02", "web-03"} and site.ended(run) == "done"
    assert not site.plan().plan.changes, "a check changes nothing, and leaves no drift"


def test_the_rollout_in_force_is_the_recorded_one(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=3, rollout="{canary: 1, promote: canary}")
    site.settle()
    site.repo.commit(
        {"profile.yaml": (site.repo.path / "profile.yaml").read_text().replace("  rollout: {canary: 1, promote: canary}\n", "")}
    )
    site.change(1, 2, 3)
    run = site.begin()
    site.work()
    assert site.changed() == {"web-01"}, "one commit cannot loosen it and use that"
    gating.promoted(site.installation, run, "yes", soaked=False, tenant=None, track=None)
    site.work()
    site.change(1, 2, 3, spec="  packages: [htop, strace]\n")
    assert site.plan().plan.phases == (), "from now on it is gone"
