"""Rollouts in a run: the real worker does what the phases allow, and nothing else."""

import time
from pathlib import Path
from unittest import mock

import pytest

from reconciler import gating
from reconciler.applying import pause
from reconciler.drivers.memory import Fault
from reconciler.errors import Refused
from reconciler.report.text import plan_lines
from reconciler.report.view import View
from reconciler.settings import Apply
from reconciler.store.audit import entries
from reconciler.store.halt import resume_run
from reconciler.types.audit import Row
from reconciler.why import whys
from reconciler.working import worker
from tests.fleets import host
from tests.gate.site import QUIET, Site
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


@pytest.mark.parametrize(
    ("third", "before"), [("web-05", set()), ("web-06", {"web-05"})], ids=["not-even-of-its-own-batch", "not-the-next-batch"]
)
def test_the_third_failure_stops_it_until_a_person_says_that_it_goes_on(
    tmp_path: Path, database_url: str, third: str, before: set[str]
) -> None:
    site = Site(tmp_path, database_url, hosts=10, rollout="{serial: 2, maxFailures: 2}", batch=1, concurrency=1)
    site.settle()
    site.change(*range(1, 11))
    run = site.begin()
    for name in ("web-02", "web-03", third):
        site.world.fail(f"memory/config/shop/{name}", Fault.UNKNOWN)
    site.work()
    assert site.changed() == {"web-01", "web-04"} | before, "nothing begins after the third failure"
    assert site.ended(run) == "running" and set(site.states(run)) == {"ended", "stopped"}
    note = site.phases(run)[-1].note
    assert "3 hosts have failed, and 2 may" in note and third in note
    gating.promoted(site.installation, run, "known hosts", soaked=False, tenant=None, track=None)
    site.work()
    assert site.changed() == set(WEB) - {"web-02", "web-03", third} and site.ended(run) == "failed"


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


class Clock:
    """The database's clock, in a person's hands."""

    def __init__(self) -> None:
        self.now = time.time()

    def __enter__(self) -> "Clock":
        self._patch = mock.patch("time.time", lambda: self.now)
        self._patch.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._patch.stop()


def expirations(site: Site, run: str) -> list[Row]:
    with site.store.read() as connection:
        return entries(connection, action="expire", run=run)


def beat(site: Site) -> None:
    with worker(site.installation, "worker"):
        pass


@pytest.mark.parametrize(
    "rollout", ["{canary: 1, promote: canary, promoteWithin: 24h}", "{canary: 1, promoteWithin: 24h}"], ids=["promote", "stopped"]
)
def test_nobody_is_waited_for_for_ever(tmp_path: Path, rollout: str) -> None:
    with Clock() as clock:
        site = Site(tmp_path, f"sqlite:///{tmp_path / 'q.db'}", hosts=3, rollout=rollout)
        site.settle()
        clock.now += 1
        site.change(1, 2, 3)
        run = site.begin()
        if "promote:" not in rollout:
            site.world.fail("memory/config/shop/web-01", Fault.UNKNOWN)
        site.work()
        (waiting,) = [phase for phase in site.phases(run) if phase.deadline_at is not None]
        assert waiting.deadline_at == clock.now + 86_400 and waiting.title == "the rest"
        for moved in (86_399, -200_000, 86_399):  # also a clock that steps back
            clock.now = waiting.deadline_at - 86_400 + moved
            beat(site)
            assert site.ended(run) == "running" and not expirations(site, run)
        clock.now = waiting.deadline_at
        beat(site)
        beat(site)
        assert site.ended(run) == "failed" and site.states(run)[-1] == "ended"
        ((error,),) = site.rows("SELECT DISTINCT error FROM item WHERE run = ? AND status = 'expired'", run)
        assert error.startswith("nobody promoted the rollout") and "the rest" in error
        (row,) = expirations(site, run)
        assert row.identity == "system:worker" and row.details["changes"] > 0 and row.tenants == ["shop"]
        assert "web-02" not in site.changed()
        with site.store.read() as connection:
            found = whys(connection, settings=Apply(), living=(), drivers=lambda: ("memory",))
        assert [why.next for source in found.sources for why in source.failed if why.code == "unpromoted"]
        clock.now -= 300_000
        beat(site)
        assert site.ended(run) == "failed" and len(expirations(site, run)) == 1, "what has ended stays so, whatever the clock says"


def test_who_promotes_or_pauses_it_in_time_is_not_cut_short(tmp_path: Path) -> None:
    with Clock() as clock:
        site = Site(
            tmp_path, f"sqlite:///{tmp_path / 'q.db'}", hosts=3, rollout="{canary: 1, soak: 1h, promote: canary, promoteWithin: 1h}"
        )
        site.settle()
        site.change(1, 2, 3)
        run = site.begin()
        site.work()
        clock.now += 5400
        beat(site)
        assert site.ended(run) == "running", "the soak comes before"
        pause(site.installation, run, "I am at it")
        clock.now += 7200
        beat(site)
        assert site.ended(run) == "paused"
        gating.promoted(site.installation, run, "well", soaked=False, tenant=None, track=None)
        beat(site)
        with site.store.write() as connection:
            resume_run(connection, run)
        site.work()
        assert site.ended(run) == "done" and not expirations(site, run)


def test_many_hosts_that_join_go_out_in_parts_and_one_alone_at_once(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=2, rollout="{canary: 1, serial: 2, promote: canary}")
    assert site.plan().plan.phases == (), "no rule is in force before the first apply"
    site.settle()
    site.change(3)
    run = site.begin()
    site.work()
    assert site.ended(run) == "done" and site.changed() == {"web-03"} and site.states(run) == []
    site.change(4, 5, 6, 7)
    run = site.begin()
    site.work()
    assert site.changed() == {"web-03", "web-04"} and site.ended(run) == "running", "the canary of those that join"
    gating.promoted(site.installation, run, "well", soaked=False, tenant=None, track=None)
    site.work()
    assert site.changed() == set(WEB[2:7]) and site.ended(run) == "done"
    site.change(1, 8, 9)
    assert [phase.groups for phase in site.plan().plan.phases] == [("host/shop/web-01",), ("host/shop/web-08", "host/shop/web-09")]


def test_a_new_host_cannot_loosen_the_rollout_whose_name_it_takes(tmp_path: Path) -> None:
    site = Site(tmp_path, f"sqlite:///{tmp_path / 'q.db'}", hosts=3, rollout="{name: web, canary: 1, maxFailures: 1}")
    site.settle()
    site.change(2, 3)
    site.change(4, spec=f"{QUIET}  rollout: {{name: web, serial: 50, maxFailures: 50, canary: 3}}\n")
    site.repo.commit({"aa.yaml": host("aa-01", 9, spec=f"{QUIET}  rollout: {{name: web, maxFailures: 50, canary: 3}}\n")})
    phases = site.plan().plan.phases
    assert {phase.max_failures for phase in phases} == {1}
    assert [phase.groups for phase in phases] == [("host/shop/web-02",), ("host/shop/web-03", "host/shop/aa-01", "host/shop/web-04")]
