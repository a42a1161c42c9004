"""Rollouts that are taken back by themselves: once, in words, and never blindly."""

import subprocess
from pathlib import Path
from typing import Any
from unittest import mock

import msgspec
import pytest

from reconciler import gating, rollback
from reconciler.applying import cancel
from reconciler.drivers.memory import Fault
from reconciler.errors import RetryLater
from reconciler.loop import Loop
from reconciler.planning import Planned, make_plan
from reconciler.rollback import TRAILER, branch_for
from reconciler.settings import Apply
from reconciler.settings import Followed as Rules
from reconciler.store.audit import entries
from reconciler.store.followed import Followed, followed
from reconciler.store.rollbacks import RollbackRow, load_rollback
from reconciler.store.runs import list_runs, read_log
from reconciler.types.audit import ROLLBACK, Row
from reconciler.types.request import Request
from reconciler.why import whys
from reconciler.working import worker
from tests.gate.site import Site
from tests.store.databases import database_url, kind

__all__ = ["database_url", "kind"]

REVERT = "{canary: 1, onStop: revert}"


def git(where: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(where), *arguments], check=True, capture_output=True, text=True).stdout.strip()


class Following(Site):
    """A fleet whose bare repository is followed: as a remote one, or in place."""

    def __init__(self, path: Path, url: str, rollout: str, *, local: bool = False, hosts: int = 3, **rules: Any) -> None:
        super().__init__(path, url, hosts=hosts, rollout=rollout, batch=1)
        self.hosts = hosts
        self.bare = path / "bare.git"
        subprocess.run(["git", "clone", "-q", "--bare", str(self.repo.path), str(self.bare)], check=True)
        git(self.repo.path, "remote", "add", "origin", str(self.bare))
        self.branch = git(self.bare, "symbolic-ref", "--short", "HEAD")
        self.rules = Rules(location=str(self.bare) if local else self.bare.as_uri(), **rules)
        self.serve(settle=True)

    def push(self, *numbers: int, spec: str = "  packages: [htop]\n") -> str:
        """Another package for these hosts, on the followed branch."""
        git(self.repo.path, "pull", "-q", "--rebase", "origin", self.branch)
        self.change(*numbers, spec=spec)
        git(self.repo.path, "push", "-q", "origin", f"HEAD:{self.branch}")
        return self.head()

    def head(self) -> str:
        return git(self.bare, "rev-parse", self.branch)

    def round(self, *, due: bool = True) -> Followed:
        """One round of a server's loop."""
        if due:
            self.write("UPDATE repository SET due_at = 0")
        with worker(self.installation, "serve") as one:
            one.beat()
            Loop(self.installation, [self.rules], one.id, lambda: None).once()
        with self.store.read() as connection:
            (found,) = followed(connection)
        return found

    def serve(self, *, settle: bool = False) -> None:
        """Look, and do all that can be done."""
        for _ in range(50):
            self.round()
            self.work()
            if not settle or (self.runs() and not self.rows("SELECT 1 FROM run WHERE ended_at IS NULL")):
                return
            self.write("UPDATE phase SET opens_at = 0, promote = ?", False)
        raise AssertionError("it never ends")

    def runs(self) -> list[str]:
        with self.store.read() as connection:
            return [run.id for run in list_runs(connection)]

    def plan(self) -> Planned:
        """Of what is followed."""
        return make_plan(self.installation, self.installation.repository(self.rules.location), Request())

    def failing(self, name: str) -> str:
        """A run of all hosts in which this one fails."""
        self.push(*range(1, self.hosts + 1))
        self.round()
        self.world.fail(f"memory/config/shop/{name}", Fault.UNKNOWN)
        self.work()
        return self.runs()[0]

    def stopped(self) -> str:
        """A run that has stopped: the canary fails."""
        run = self.failing("web-01")
        assert self.ended(run) == "running"
        return run

    def back(self, run: str) -> RollbackRow | None:
        with self.store.read() as connection:
            return load_rollback(connection, run)

    def said(self, run: str) -> list[Row]:
        """What the audit trail has of the rollback."""
        with self.store.read() as connection:
            return entries(connection, who=ROLLBACK, run=run)

    def log(self, run: str) -> str:
        with self.store.read() as connection:
            return "\n".join(text for *_, text in read_log(connection, run))


@pytest.fixture(params=[False, True], ids=["remote", "local"])
def site(tmp_path: Path, database_url: str, request: pytest.FixtureRequest) -> Following:
    return Following(tmp_path, database_url, REVERT, local=request.param)


@pytest.fixture
def quiet(tmp_path: Path) -> Following:
    """Where the kind of database and of repository does not matter."""
    return Following(tmp_path, f"sqlite:///{tmp_path / 'quiet.db'}", REVERT)


def test_a_stopped_rollout_is_reverted_and_the_revert_goes_its_own_way(site: Following) -> None:
    before = site.head()
    run = site.stopped()
    bad = site.head()
    site.world.heal()
    site.round(due=False)
    assert git(site.bare, "rev-parse", f"{site.branch}^") == bad, "on top, in the round that comes at once"
    assert git(site.bare, "diff", before, site.branch) == ""
    assert git(site.bare, "log", "-1", "--format=%an", site.branch) == ROLLBACK
    assert f"{TRAILER}: {run}" in git(site.bare, "log", "-1", "--format=%B", site.branch)
    assert site.ended(run) == "failed", "what has not begun of it is over"
    (row,) = site.said(run)
    assert row.action == "rollback" and row.details["how"] == "reverted" and row.details["made"] == site.head() and row.reason
    assert "taken back by itself" in site.log(run) and "1 host has failed" in site.log(run)
    site.work()
    site.serve(settle=True)
    assert site.changed() == set() and not site.plan().plan.changes
    assert site.runs().index(run) == 1, "one run of its own takes it back"


def test_it_happens_once_whoever_dies_in_between(site: Following) -> None:
    run = site.stopped()
    bad = site.head()
    real = rollback.move_on

    def dies_before(*arguments: Any) -> None:
        raise RetryLater("killed", after_s=1)

    def dies_after(*arguments: Any) -> None:
        real(*arguments)
        raise RetryLater("killed", after_s=1)

    for deadly in (dies_before, dies_after):
        with mock.patch.object(rollback, "move_on", deadly):
            site.round()
        assert site.said(run) == []
    made = site.head()
    assert git(site.bare, "rev-parse", f"{made}^") == bad
    site.push(2, spec="  packages: [strace]\n")
    site.round()
    (row,) = site.said(run)
    assert row.details["made"] == made and git(site.bare, "rev-list", "--count", f"{bad}..{site.branch}") == "2"
    site.round()
    assert len(site.said(run)) == 1


def test_two_at_once_make_one_commit(site: Following) -> None:
    """One server is held up just before it pushes, and loses its lease; the other does it all."""
    run = site.stopped()
    bad = site.head()
    real = rollback.move_on

    def held_up(*arguments: Any) -> None:
        with mock.patch.object(rollback, "move_on", real):
            repository = site.installation.repository(site.rules.location)
            rollback.take_back(site.installation, repository, site.rules)
        real(*arguments)

    with mock.patch.object(rollback, "move_on", held_up):
        site.round()
    assert git(site.bare, "rev-list", "--count", f"{bad}..{site.branch}") == "1"
    assert len(site.said(run)) == 1 and site.said(run)[0].details["how"] == "reverted"
    assert git(site.bare, "branch", "--list", "octofleet/*") == ""


def test_status_says_how_it_stands(quiet: Following) -> None:
    run = quiet.stopped()

    def stands() -> RollbackRow | None:
        with quiet.store.read() as connection:
            found = whys(connection, settings=Apply(), living=(), drivers=lambda: ("memory",))
        return next((one.rollback for one in found.runs if one.run.id == run), None) or found.sources[0].rollback

    wanted = stands()
    assert wanted is not None and "is about to be taken back by itself" in wanted.text
    quiet.round()
    done = stands()
    assert done is not None and done.text == f"the run was taken back by itself: commit {quiet.head()[:10]} on {quiet.branch}"


def test_a_branch_that_has_moved_is_not_touched(quiet: Following) -> None:
    run = quiet.stopped()
    newer = quiet.push(2, spec="  packages: [htop, strace]\n") and quiet.push(3)
    quiet.push(3, spec="  packages: [vim]\n")
    head = quiet.head()
    quiet.round()
    assert quiet.head() == head != newer
    (row,) = quiet.said(run)
    assert row.details["how"] == "left" and "later commits changed the same" in row.details["note"]


def test_a_branch_that_has_moved_elsewhere_gets_a_proposal(quiet: Following) -> None:
    run = quiet.stopped()
    quiet.repo.commit({"README.md": "more"})
    git(quiet.repo.path, "push", "-q", "origin", f"HEAD:{quiet.branch}")
    head = quiet.head()
    quiet.round()
    (row,) = quiet.said(run)
    assert quiet.head() == head and row.details["how"] == "proposed" and "moved on" in row.details["note"]
    assert git(quiet.bare, "rev-parse", f"{branch_for(run)}^") == head


def test_a_protected_branch_gets_a_proposal_that_says_so(quiet: Following) -> None:
    run = quiet.stopped()
    hook = quiet.bare / "hooks" / "update"
    hook.write_text(f"#!/bin/sh\n[ $1 != refs/heads/{quiet.branch} ]\n")
    hook.chmod(0o755)
    head = quiet.head()
    quiet.round()
    (row,) = quiet.said(run)
    assert quiet.head() == head and row.details["how"] == "proposed"
    assert "refused the push" in row.details["note"] and "declined" in row.details["note"]
    assert git(quiet.bare, "rev-parse", branch_for(run)) == row.details["made"]
    assert quiet.ended(run) == "running", "a proposal leaves the run to people"


def test_where_nothing_may_be_pushed_it_is_left_to_a_person(quiet: Following) -> None:
    run = quiet.stopped()
    hook = quiet.bare / "hooks" / "update"
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    quiet.round()
    (row,) = quiet.said(run)
    assert row.details["how"] == "left" and row.details["note"].count("refused the push") == 2


def test_a_branch_that_a_user_has_checked_out_is_not_moved_below_him(tmp_path: Path) -> None:
    site = Following(tmp_path, f"sqlite:///{tmp_path / 'q.db'}", REVERT, local=True)
    run = site.stopped()
    git(site.bare, "config", "core.bare", "false")
    site.round()
    assert site.said(run)[0].details["how"] == "proposed" and "checked out" in site.said(run)[0].details["note"]


def test_propose_makes_the_branch_alone(tmp_path: Path, database_url: str) -> None:
    site = Following(tmp_path, database_url, "{canary: 1, onStop: propose}")
    run = site.stopped()
    head = site.head()
    site.round()
    assert site.head() == head and git(site.bare, "rev-parse", f"{branch_for(run)}^") == head
    assert site.said(run)[0].details["how"] == "proposed" and site.ended(run) == "running"


def test_who_says_nothing_waits(tmp_path: Path) -> None:
    site = Following(tmp_path, f"sqlite:///{tmp_path / 'q.db'}", "{canary: 1}")
    run = site.stopped()
    head = site.head()
    site.round()
    assert site.head() == head and site.back(run) is None and git(site.bare, "branch", "--list", "octofleet/*") == ""


def test_in_force_is_the_recorded_rule(tmp_path: Path) -> None:
    site = Following(tmp_path, f"sqlite:///{tmp_path / 'q.db'}", "{canary: 1}")
    profile = (site.repo.path / "profile.yaml").read_text()
    site.repo.commit({"profile.yaml": profile.replace("{canary: 1}", REVERT)})
    run = site.stopped()
    assert site.back(run) is None, "the commit that opts in goes out by the rule before"


@pytest.mark.parametrize("word", ["promote", "cancel"])
def test_a_person_who_speaks_first_keeps_it(quiet: Following, word: str) -> None:
    run = quiet.stopped()
    if word == "promote":
        gating.promoted(quiet.installation, run, "known", soaked=False, tenant=None, track=None)
    else:
        cancel(quiet.installation, run, "mine")
    head = quiet.head()
    quiet.round()
    found = quiet.back(run)
    assert quiet.head() == head and found is not None and found.state == "left" and "a person" in found.note
    assert quiet.said(run) == []


def test_what_a_person_stops_is_not_taken_back(quiet: Following) -> None:
    quiet.push(1, 2, 3)
    quiet.round()
    run = quiet.runs()[0]
    cancel(quiet.installation, run, "mine")
    quiet.work()
    quiet.round()
    assert quiet.back(run) is None


def test_a_tag_named_like_the_branch_is_not_what_goes_on(quiet: Following) -> None:
    quiet.rules = msgspec.structs.replace(quiet.rules, branch=quiet.branch)
    before = quiet.head()
    bad = quiet.failing("web-03")
    git(quiet.bare, "tag", quiet.branch, before)
    quiet.world.heal()
    head = git(quiet.bare, "rev-parse", f"refs/heads/{quiet.branch}")
    quiet.round()
    assert quiet.said(bad)[0].details["how"] == "reverted"
    assert git(quiet.bare, "rev-parse", f"refs/heads/{quiet.branch}^") == head


def test_a_rollback_is_not_rolled_back(quiet: Following) -> None:
    run = quiet.failing("web-03")
    quiet.world.heal()
    quiet.round()
    assert quiet.said(run)[0].details["how"] == "reverted" and "web-03" not in quiet.changed() >= {"web-01"}
    quiet.world.fail("memory/config/shop/web-01", Fault.UNKNOWN)
    second, head = quiet.runs()[0], quiet.head()
    assert second != run
    quiet.work()
    quiet.round()
    assert quiet.head() == head
    (row,) = quiet.said(second)
    assert row.details["how"] == "left" and run in row.details["note"]


def test_a_failure_of_the_last_part_counts_too(tmp_path: Path) -> None:
    """Of the one host that the last part has: nothing of the run waits once it has failed."""
    site = Following(tmp_path, f"sqlite:///{tmp_path / 'q.db'}", REVERT, hosts=2)
    run = site.failing("web-02")
    assert site.ended(run) == "failed"
    site.world.heal()
    site.round()
    assert site.said(run)[0].details["how"] == "reverted"
    site.work()
    site.serve(settle=True)
    assert site.changed() == set()


def test_what_nobody_promoted_in_time_is_not_begun_again_by_itself(tmp_path: Path) -> None:
    site = Following(tmp_path, f"sqlite:///{tmp_path / 'q.db'}", "{canary: 1, promote: canary}", interval_s=1)
    site.push(1, 2, 3)
    site.serve()
    run = site.runs()[0]
    site.write("UPDATE phase SET deadline_at = 1 WHERE deadline_at IS NOT NULL")
    site.work()
    assert site.ended(run) == "failed"
    site.write("UPDATE repository SET at = 0")
    found = site.round()
    assert site.runs()[0] == run and found.code == "approval" and run in found.note and "octofleet apply" in found.next
    site.push(1, spec="  packages: [strace]\n")
    site.round()
    assert site.runs()[0] != run, "a newer commit goes its own way"
