"""Pull requests of people who mean harm, and what goes wrong in the middle: who holds what, whose word counts for what, what goes on afterwards."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pygit2
import pytest

from reconciler.store.engine import Unavailable, sqlite_url
from reconciler.store.pulls import Command, save_command
from tests.fleets import FLEET
from tests.peers.forges.double import PullState
from tests.webhooks.site import PEOPLE, PullSite
from webhooks import work
from webhooks.forge import Verdict


@pytest.fixture
def site(tmp_path: Path) -> Iterator[PullSite]:
    with PullSite(tmp_path, sqlite_url(tmp_path)) as made:
        made.apply_branch()
        yield made


@pytest.fixture
def fork(site: PullSite, tmp_path: Path) -> Path:
    path = tmp_path / "fork.git"
    pygit2.clone_repository(str(site.git), str(path), bare=True)
    return path


def locks(site: PullSite) -> set[int]:
    return {number for (number,) in site.rows("SELECT DISTINCT number FROM pull_lock")}


def write_down(site: PullSite, pull: PullState, author: str, body: str, *, at: float = 0.0) -> None:
    """A comment that nobody has worked on yet."""
    made = site.double.say(site.project, pull, author, body)
    with site.store.write() as connection:
        found = Command(
            forge="hub", comment=made.id, project="acme/fleet", number=pull.number, author=author, body=body, at=at or connection.now()
        )
        assert save_command(connection, found)


def answers(site: PullSite) -> list[str]:
    return [text for (text,) in site.rows("SELECT answer FROM pull_command WHERE done_at IS NOT NULL ORDER BY at, comment")]


def test_a_fork_that_nobody_trusts_holds_nothing(site: PullSite, fork: Path) -> None:
    site.change("evil", 1, 2, 3, git=fork)
    evil = site.open("evil", author="mallory", fork=fork)
    site.look(evil)
    site.change("good", 1, 2)
    good = site.open("good")
    site.look(good)
    assert locks(site) == {good.number} and site.status(good).verdict is Verdict.SUCCESS
    site.say(good, "olga", "octofleet unlock")
    site.look(evil)
    assert "may run engines" in site.say(evil, "olga", f"octofleet plan {evil.head[:12]}")
    assert locks(site) == {evil.number}, "who is trusted holds as everybody does"
    site.change("evil", 1, packages="tmux", git=fork)
    site.double.pushed(site.project, evil)
    site.look(evil)
    assert locks(site) == set(), "a head that nobody trusts kept what the last one held"


def test_what_goes_elsewhere_holds_nothing_and_says_so(site: PullSite) -> None:
    site.commit("side", {"x.txt": "x"})
    site.change("more", 1)
    pull = site.open("more")
    site.look(pull)
    assert locks(site) == {pull.number}
    pull.base = "side"
    assert "not followed" in site.say(pull, "olga", "octofleet pause too hot")
    assert locks(site) == set() and site.rows("SELECT id FROM pause") == []
    assert site.status(pull).verdict is not Verdict.SUCCESS, "a status of another branch stands"
    pull.base = "main"
    site.look(pull)
    assert locks(site) == {pull.number} and site.status(pull).verdict is Verdict.SUCCESS


def test_who_trusts_a_head_has_seen_it(site: PullSite, fork: Path) -> None:
    site.change("evil", 1, git=fork)
    pull = site.open("evil", author="mallory", fork=fork)
    site.look(pull)
    seen = pull.head
    write_down(site, pull, "olga", "octofleet plan")
    site.change("evil", 2, git=fork)
    site.double.pushed(site.project, pull)
    assert pull.head != seen
    row = site.look(pull)
    assert row.trusted == "", "a head is trusted that was pushed after the word"
    assert pull.head[:12] in answers(site)[-1]
    assert "another head" in site.say(pull, "olga", f"octofleet plan {seen[:12]}")
    assert site.row(pull).trusted == ""
    assert "may run engines" in site.say(pull, "olga", f"octofleet plan {pull.head[:12]}")
    assert site.row(pull).trusted == pull.head


def test_the_name_of_another_fleet_gives_no_rights(tmp_path: Path) -> None:
    theirs = PEOPLE.replace('"github:olga"', '"github:mallory"').replace('"github:petra", "github:ada"', '"github:mallory"')
    with PullSite(tmp_path, sqlite_url(tmp_path)) as site:
        site.apply_branch()
        other = tmp_path / "other"
        other.mkdir()
        with PullSite(
            other, sqlite_url(tmp_path), fleet_text=FLEET.replace("name: test", "name: beta"), files={"people.yaml": theirs}
        ) as beta:
            beta.apply_branch()
        assert {name for (name,) in site.rows("SELECT name FROM source")} == {"test", "beta"}
        fork = tmp_path / "fork.git"
        pygit2.clone_repository(str(site.git), str(fork), bare=True)
        site.commit("evil", {"fleet.yaml": FLEET.replace("name: test", "name: beta")}, git=fork)
        pull = site.open("evil", author="mallory", fork=fork)
        site.look(pull)
        assert "another repository" in site.comment(pull) and site.status(pull).verdict is not Verdict.SUCCESS
        assert "may not plan-untrusted" in site.say(pull, "mallory", f"octofleet plan {pull.head[:12]}")
        assert site.row(pull).trusted == "" and site.row(pull).plan is None
        assert "octofleet" in site.say(pull, "mallory", "octofleet lock mine") and locks(site) == set()


@pytest.mark.parametrize("error", [RuntimeError("a mistake"), Unavailable("gone"), RecursionError()])
def test_what_breaks_a_look_breaks_no_other_and_is_tried_again(site: PullSite, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    site.change("evil", 1)
    site.change("good", 2)
    evil, good = site.open("evil"), site.open("good")
    with monkeypatch.context() as patch:

        def broken(*_: object, **__: object) -> Any:
            raise error

        patch.setattr(work, "make_plan", broken)
        with suppress(Unavailable):
            site.look(evil)
    site.write("UPDATE pull SET due_at = 0")
    assert site.look(good).plan is not None or site.look(good).plan is not None
    while site.work.once():
        pass
    assert site.row(evil).plan is not None, "nobody looks at it any more"
