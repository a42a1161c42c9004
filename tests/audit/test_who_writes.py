"""What people say and what follows from it is in the trail, in the transaction that it is about."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler import applying, beginning
from reconciler.applying import apply_plan, cancel, pause, resume, unfinished
from reconciler.beginning import begin
from reconciler.errors import Refused
from reconciler.identity.local import whoami
from reconciler.planning import make_plan
from reconciler.settings import Retention
from reconciler.store import audit
from reconciler.store.audit import entries, verify
from reconciler.store.engine import Store
from reconciler.store.retention import prune
from reconciler.types.audit import LOOP, WORKER, Row
from reconciler.types.request import Request
from tests.fleets import host
from tests.serving.test_loop import Site
from tests.store.databases import KINDS, database


@pytest.fixture(params=KINDS)
def site(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Site]:
    with database(request.param, tmp_path) as url:
        yield Site(tmp_path, url)


def told(store: Store) -> list[Row]:
    """All rows, oldest first; the chain is whole."""
    with store.read() as connection:
        found = entries(connection, limit=1000)[::-1]
        assert verify(connection).rows == len(found)
    return found


def said(store: Store) -> list[tuple[str, str]]:
    return [(row.identity, row.action) for row in told(store)]


def planned(site: Site) -> tuple[int, Any]:
    made = make_plan(site.installation, site.installation.repository(str(site.repo.path)), Request())
    return made.row, made.plan


def test_an_apply_and_its_end(site: Site) -> None:
    row, plan = planned(site)
    run = apply_plan(site.installation, row, approved=True, reason="the first https://ada:pw@example.com").run
    applied, ended = told(site.store)
    assert (applied.identity, applied.action, applied.run, applied.plan, applied.commit) == (whoami(), "apply", run, plan.id, plan.commit)
    assert applied.source == "test" and applied.tenants == ["shop"] and applied.reason == "the first https://example.com"
    assert applied.details["approved"] is True and applied.details["causes"] == {"commit": len(plan.changes)}
    assert applied.details["changes"] == len(plan.changes) == sum(applied.details["actions"].values())
    assert (ended.identity, ended.action, ended.run, ended.plan) == (WORKER, "run-ended", run, plan.id)
    assert ended.details == {"state": "done", "changes": {"done": len(plan.changes)}}


def test_pause_resume_cancel_each_with_its_reason(site: Site) -> None:
    row, _ = planned(site)
    run = begin(site.installation, row, approved=False, identity="github:ada", author="Grace <grace@example.com>")
    assert begin(site.installation, row, approved=True) == run, "an open run is not begun again"
    pause(site.installation, run, "lunch", identity="github:ada")
    resume(site.installation, run)
    assert said(site.store) == [("github:ada", "apply"), ("github:ada", "pause"), (whoami(), "resume"), (WORKER, "run-ended")]
    assert told(site.store)[0].details["author"] == "Grace <grace@example.com>" and told(site.store)[1].reason == "lunch"
    site.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n")})
    row, _ = planned(site)
    run = begin(site.installation, row, approved=False)
    assert cancel(site.installation, run, "a mistake", give_up=True, identity="github:ada") == "cancelled"
    last = told(site.store)[-2:]
    assert [(of.action, of.run, of.reason) for of in last] == [("run-ended", run, ""), ("cancel", run, "a mistake")]
    assert (
        last[0].details["state"] == "cancelled" and last[1].details == {"stop": False, "giveUp": True} and last[1].identity == "github:ada"
    )


def test_what_is_refused_leaves_no_row(site: Site) -> None:
    with pytest.raises(Refused):
        pause(site.installation, "nope", "why")
    with pytest.raises(Refused):
        cancel(site.installation, "nope", "why")
    row, _ = planned(site)
    site.round()
    number = len(told(site.store))
    with site.store.write() as connection:
        connection.run("UPDATE plan SET expires_at = 1")
    site.work()
    with pytest.raises(Refused):
        begin(site.installation, row, approved=True)
    assert said(site.store)[number:] == [(whoami(), "resume"), (WORKER, "run-ended")]


@pytest.mark.parametrize("what", ["begin", "pause", "cancel"])
def test_nothing_is_done_that_cannot_be_recorded(site: Site, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    """One transaction: if its row cannot be written, nothing has happened."""
    row, _ = planned(site)
    run = begin(site.installation, row, approved=False) if what != "begin" else ""

    def fails(*args: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(beginning if what == "begin" else applying, "record", fails)
    with pytest.raises(ZeroDivisionError):
        if what == "begin":
            begin(site.installation, row, approved=False)
        else:
            getattr(applying, what)(site.installation, run, "why")
    assert [found.state for found in unfinished(site.installation)] == (["running"] if run else [])


def test_a_run_does_not_end_without_its_row(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.store import journal

    def fails(*args: object) -> None:
        raise ZeroDivisionError

    row, _ = planned(site)
    run = begin(site.installation, row, approved=False)
    monkeypatch.setattr(journal, "run_ended", fails)
    with pytest.raises(Exception, match="ZeroDivisionError"):
        resume(site.installation, run)
    assert [found.id for found in unfinished(site.installation)] == [run]
    monkeypatch.setattr(journal, "run_ended", audit.run_ended)
    resume(site.installation, run)
    assert said(site.store)[-1] == (WORKER, "run-ended") and [row.action for row in told(site.store)].count("run-ended") == 1


def test_the_loop_acts_as_itself_and_names_the_commits_author(site: Site) -> None:
    site.round()
    (applied,) = told(site.store)
    assert (applied.identity, applied.action, applied.details["approved"]) == (LOOP, "apply", False)
    assert "<" in applied.details["author"]
    site.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n")})
    site.round()
    superseded = told(site.store)[1]
    assert (superseded.identity, superseded.action, superseded.run) == (LOOP, "supersede", applied.run) and superseded.details[
        "changes"
    ] > 0
    assert superseded.details["author"] == applied.details["author"] and superseded.commit != applied.commit


def test_healing_is_told_from_applying(site: Site) -> None:
    site.settle()
    where = "memory/config/shop/web-01"
    site.world.put(where, site.world.things()[where][0] | {"packages": ["by-hand"]})
    with site.store.write() as connection:
        connection.run("UPDATE repository SET at = 0")
    site.round()
    assert said(site.store)[-1] == (LOOP, "heal") and told(site.store)[-1].details["causes"].keys() == {"drift"}


def test_pruning_tells_what_goes_and_the_trail_stays(site: Site) -> None:
    site.settle()
    site.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n")})
    site.settle()
    with site.store.write() as connection:
        connection.run("UPDATE run SET ended_at = 2.0, started_at = started_at - 1000 WHERE id = (SELECT min(id) FROM run)")
    before = told(site.store)
    keep = Retention(runs_days=1, plans_days=1, log_days=1)
    prune(site.store, site.installation.blobs, keep, before[-1].at + 3600, dry_run=True)
    assert told(site.store) == before
    found = prune(site.store, site.installation.blobs, keep, before[-1].at + 3600, identity="local:ada")
    after = told(site.store)
    assert found.runs == 1 and after[:-1] == before and (after[-1].identity, after[-1].action) == ("local:ada", "prune")
    assert after[-1].details == {
        "going": {"logs": 0, "runs": 1, "plans": 0, "forgets": 0, "pulls": 0, "installs": 0, "blobs": 0},
        "olderThanDays": {"runs": 1, "plans": 1, "logs": 1},
    }
    prune(site.store, site.installation.blobs, keep, before[-1].at + 3600)
    assert told(site.store) == after, "nothing went"
