"""Pull requests of people who mean harm, and what goes wrong in the middle: who holds what, whose word counts for what, what goes on afterwards."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pygit2
import pytest

from reconciler.errors import Permanent
from reconciler.store.engine import Unavailable, sqlite_url
from reconciler.store.postings import open_postings
from reconciler.store.pulls import Command, save_command
from tests.fleets import FLEET
from tests.peers.forges.double import PullState
from tests.webhooks.site import PEOPLE, PullSite
from webhooks import looking, speaking
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
    assert "may run engines" in site.say(evil, "olga", f"octofleet plan {evil.head}")
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
    assert "another head" in site.say(pull, "olga", f"octofleet plan {seen}")
    assert site.row(pull).trusted == ""
    assert "all of its id" in site.say(pull, "olga", f"octofleet plan {pull.head[:12]}")
    assert site.row(pull).trusted == "", "the beginning of an id is trusted, which another head may share"
    assert "may run engines" in site.say(pull, "olga", f"octofleet plan {pull.head}")
    assert site.row(pull).trusted == pull.head


@pytest.mark.parametrize("lost", ["the pull request", "the repository"])
def test_what_comments_say_where_nobody_can_look_is_answered(site: PullSite, lost: str) -> None:
    site.change("more", 1)
    pull = site.open("more")
    site.look(pull)
    if lost == "the pull request":
        del site.project.pulls[pull.number]
    else:
        site.work.looking.rules = {}
    write_down(site, pull, "olga", "octofleet lock mine")
    row = site.look(pull)
    assert row.state == "closed" and answers(site) == [row.note.partition(";")[0]]
    assert not site.work.once(), "it is looked at again and again"


@pytest.mark.parametrize("word", ["plan", "unlock"])
def test_a_word_outlives_what_goes_wrong_after_it(site: PullSite, fork: Path, monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    theirs = fork if word == "plan" else None
    site.change("more", 1, git=theirs)
    pull = site.open("more", fork=theirs)
    site.look(pull)

    def broken(*_: object, **__: object) -> Any:
        raise RuntimeError("a mistake")

    with monkeypatch.context() as patch:
        patch.setattr(looking, "told", broken)
        site.say(pull, "olga", f"octofleet plan {pull.head}" if word == "plan" else "octofleet unlock")
    row = site.row(pull)
    assert row.failures == 1 and (row.trusted if word == "plan" else row.let_go) == pull.head
    site.look(pull)
    assert site.status(pull).verdict is Verdict.SUCCESS and locks(site) == ({pull.number} if word == "plan" else set())


def test_a_command_that_met_a_database_that_is_away_waits(site: PullSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.change("more", 1)
    pull = site.open("more")
    site.look(pull)

    def away(*_: object, **__: object) -> Any:
        raise Unavailable("away")

    with monkeypatch.context() as patch, pytest.raises(Unavailable):
        patch.setattr(speaking, "take_locks", away)
        site.say(pull, "olga", "octofleet lock mine")
    assert answers(site) == [], "it counts as done"
    assert site.work.once() and "locked" in answers(site)[-1]


def test_what_was_merged_has_the_branch_looked_at_once(tmp_path: Path) -> None:
    """Not again and again, where it cannot be planned to its end."""
    with PullSite(tmp_path, sqlite_url(tmp_path)) as site:
        site.apply_branch()
        asked = "SELECT 1 FROM repository WHERE asked_at IS NOT NULL"
        site.commit("broken", {"fleet.yaml": None})
        broken = site.open("broken")
        site.look(broken)
        site.double.merge(site.project, broken)
        site.look(broken)
        assert site.rows(asked)
        site.apply_branch()
        assert not site.rows(asked) and site.rows("SELECT code FROM repository") == [("failing",)]
        site.look(broken)
        assert not site.rows(asked), "a branch that cannot be planned is planned all the time"
        assert "not applied yet" in site.comment(broken) and "Fleet" in site.comment(broken)


def test_what_never_came_to_the_branch_is_told(site: PullSite) -> None:
    tip = pygit2.Repository(str(site.git)).references["refs/heads/main"].target
    site.change("more", 1)
    pull = site.open("more")
    site.look(pull)
    site.double.merge(site.project, pull)
    pygit2.Repository(str(site.git)).references.create("refs/heads/main", tip, force=True)
    site.look(pull)
    site.apply_branch()
    row = site.look(pull)
    assert not site.rows("SELECT 1 FROM repository WHERE asked_at IS NOT NULL"), "the branch is looked at all the time"
    assert "the branch has not got" in site.comment(pull) and row.due_at < 1e11


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
        assert "may not plan-untrusted" in site.say(pull, "mallory", f"octofleet plan {pull.head}")
        assert site.row(pull).trusted == "" and site.row(pull).plan is None
        assert "there is no plan" in site.say(pull, "mallory", "octofleet lock mine") and locks(site) == set()


@pytest.mark.parametrize("error", [RuntimeError("a mistake"), Unavailable("gone"), RecursionError(), Permanent("no space")])
def test_what_breaks_a_look_breaks_no_other_and_is_tried_again(site: PullSite, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    site.change("evil", 1)
    site.change("good", 2)
    evil, good = site.open("evil"), site.open("good")
    with monkeypatch.context() as patch:

        def broken(*_: object, **__: object) -> Any:
            raise error

        patch.setattr(looking, "make_plan", broken)
        with suppress(Unavailable):
            site.look(evil)
    if not isinstance(error, Unavailable):
        assert site.status(evil).verdict is Verdict.ERROR and "could not be planned" in site.comment(evil), "it is being planned for ever"
        assert site.row(evil).failures == 1 and site.row(evil).plan is None
    site.write("UPDATE pull SET due_at = 0")
    site.look(good)
    for _ in range(5):
        site.work.once()
    assert site.row(good).plan is not None and site.row(evil).plan is not None
    assert site.status(evil).verdict is Verdict.SUCCESS


def test_a_tag_is_no_branch(site: PullSite) -> None:
    before = site.rows("SELECT applied_commit FROM source")
    evil = site.change("evil", 1)
    pygit2.Repository(str(site.git)).references.create("refs/tags/main", evil)
    site.apply_branch()
    assert site.rows("SELECT applied_commit FROM source") == before and len(site.rows("SELECT id FROM run")) == 1, "a tag was applied"
    site.change("more", 2)
    pull = site.open("more")
    site.look(pull)
    assert "on 1 host" in site.status(pull).text


def test_an_approval_without_a_name_is_of_what_stood_there(site: PullSite) -> None:
    site.commit("less", {"host-3.yaml": None})
    pull = site.open("less", author="mallory")
    site.look(pull)
    site.post(pull)
    site.commit("less", {"host-2.yaml": None})
    site.look(pull)
    write_down(site, pull, "petra", "octofleet approve")
    site.look(pull)
    assert "a newer plan" in answers(site)[-1] and site.rows("SELECT id FROM approval") == [], "what was approved was not shown yet"
    assert "approved" in site.say(pull, "petra", "octofleet approve")


def test_who_opened_it_is_its_author_however_fast_it_is_merged(tmp_path: Path) -> None:
    text = FLEET + "  approvals:\n    - {name: four-eyes, risks: [destructive], notAuthor: true}\n"
    with PullSite(tmp_path, sqlite_url(tmp_path), fleet_text=text) as site:
        site.apply_branch()
        site.commit("less", {"host-3.yaml": None}, author=pygit2.Signature("somebody", "else@example.net"))
        pull = site.open("less", author="ada")
        site.look(pull)
        assert "approved" in site.say(pull, "ada", "octofleet approve")
        site.double.merge(site.project, pull)
        site.apply_branch()
        assert len(site.rows("SELECT id FROM run")) == 1, "his own word was enough"


def test_a_flood_of_comments_is_worked_off_and_keeps_no_comment_of_ours_waiting(site: PullSite) -> None:
    site.change("more", 1)
    pull = site.open("more")
    site.look(pull)
    for _ in range(120):
        write_down(site, pull, "mallory", "octofleet explode")
    site.look(pull)
    assert len(answers(site)) == 50
    with site.store.read() as connection:
        first = [item.what.split(" ")[0] for item in open_postings(connection, "hub", 2)]
    assert sorted(first) == ["comment", "status"], "reactions go first"
    while site.work.once():
        pass
    assert len(answers(site)) == 120, "nobody works on the rest"


def test_a_merged_one_is_not_asked_about_again_and_again(tmp_path: Path) -> None:
    with PullSite(tmp_path, sqlite_url(tmp_path), apply_on="comment") as site:
        site.change("more", 1)
        pull = site.open("more")
        site.look(pull)
        site.double.merge(site.project, pull)
        site.apply_branch()
        site.look(pull)
        asked = len(site.double.calls)
        site.look(pull)
        assert len(site.double.calls) == asked, "the forge was asked what cannot change"


def test_answers_and_statuses_tell_no_names(site: PullSite) -> None:
    site.change("more", 1)
    pull = site.open("more")
    site.look(pull)
    for body in ("lock mine", "approve", "plan", "pause too hot", "unlock"):
        said = site.say(pull, "mallory", f"octofleet {body}")
        assert "mallory" not in said and "root" not in said and "olga" not in said
    assert "mallory" not in site.comment(pull)


def test_what_a_lease_that_was_taken_away_finds_is_not_told(site: PullSite, monkeypatch: pytest.MonkeyPatch) -> None:
    site.change("more", 1)
    pull = site.open("more")
    before = looking.make_plan

    def slow(*given: Any, **more: Any) -> Any:
        made = before(*given, **more)
        site.write("UPDATE pull SET fence = fence + 1, owner = ''")
        return made

    with monkeypatch.context() as patch:
        patch.setattr(looking, "make_plan", slow)
        site.look(pull)
    assert site.comment(pull) == "" and locks(site) == set()
    while site.work.once():
        pass
    assert site.comment(pull) and locks(site) == {pull.number}


@pytest.mark.parametrize("time", [-1, 0, 2**33, 2**40])
def test_odd_commits_are_merged_or_told(site: PullSite, time: int) -> None:
    site.change("more", 1, author=pygit2.Signature("\u202eevil", "x" * 3000, time, 0))
    site.change("main", 3)
    pull = site.open("more", title="x\ud7ff\u202e" * 2000)
    row = site.look(pull)
    assert row.failures == 0 and row.plan is not None


def test_an_ancestor_and_nothing_and_another_history(site: PullSite) -> None:
    git = pygit2.Repository(str(site.git))
    tip = git.references["refs/heads/main"].target
    git.references.create("refs/heads/old", tip)
    site.change("main", 3)
    pull = site.open("old")
    site.look(pull)
    assert site.status(pull).verdict is Verdict.SUCCESS
    empty = git.create_commit(None, git[tip].author, git[tip].author, "alone", git[tip].peel(pygit2.Tree).id, [])
    git.references.create("refs/heads/alone", empty)
    other = site.open("alone")
    assert site.look(other).failures == 0
