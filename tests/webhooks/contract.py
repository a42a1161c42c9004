"""The contract that every forge keeps, as one suite, against its double. A forge's test file subclasses `Contract` and says how both are made.

class TestMine(Contract):
    words = {Verdict.PENDING: "pending", ...}
    def double(self): return MyDouble()
    def forge(self, url): return make(Rules(name="mine", type="mine", url=url), lambda: TOKEN)
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import ClassVar, TypeVar

import pygit2
import pytest

from tests.peers.forges.double import BOT, TOKEN, Fault, PullState
from tests.webhooks.deliveries import PROJECT, Deliveries, World
from webhooks import forge as contract
from webhooks.forge import (
    Client,
    Denied,
    Forge,
    Gone,
    Later,
    Status,
    Unreadable,
    Verdict,
)

T = TypeVar("T")
TAG = "<!-- octofleet:pull -->"


class Contract(Deliveries):
    """What every forge keeps."""

    words: ClassVar[Mapping[Verdict, str]]
    """How the forge says the verdicts of statuses."""
    reacts: ClassVar[bool] = True
    known_lost: ClassVar[bool] = True
    """Whether it tells that a fork was deleted."""
    vanishes: ClassVar[bool] = True

    def other(self, url: str) -> Forge:
        """The same with a token that the forge does not know."""
        raise NotImplementedError

    def hurry(self, forge: Forge, call_s: float) -> None:
        """Have a call of its client take no longer."""
        forge.client._http.origin.call_s = call_s  # type: ignore[attr-defined]

    def fork(self, world: World) -> Path:
        made = world.root / "fork.git"
        pygit2.clone_repository(str(world.project.git), str(made), bare=True)
        return made

    # -- pull requests

    def test_a_pull_request_is_as_the_forge_has_it(self, world: World) -> None:
        state = world.pull("feature/größer", title="Größer & <b>better</b> 🚀", author="ada")
        found = world.ask(lambda client: client.pull(PROJECT, state.number))
        assert (found.project, found.number, found.title) == (PROJECT, state.number, "Größer & <b>better</b> 🚀")
        assert (found.author, found.state, found.draft, found.fork) == (self.login("ada"), contract.PullState.OPEN, False, False)
        assert (found.head, found.head_branch, found.base_branch, found.merged_as) == (state.head, "feature/größer", "main", "")
        assert found.url.startswith("http") and str(state.number) in found.url
        if found.fetch:
            assert str(pygit2.Repository(str(world.project.git)).references[found.fetch].target) == found.head
        else:
            assert found.head_url.endswith(f"{PROJECT}.git")

    def test_a_push_moves_the_head(self, world: World) -> None:
        state = world.pull()
        first = world.ask(lambda client: client.pull(PROJECT, state.number))
        pushed = world.commit("change", "more")
        world.double.pushed(world.project, state)
        second = world.ask(lambda client: client.pull(PROJECT, state.number))
        assert second.head == pushed != first.head

    @pytest.mark.parametrize("squash", [False, True])
    def test_what_is_merged_names_the_commit_on_the_branch(self, world: World, squash: bool) -> None:
        state = world.pull()
        made = world.double.merge(world.project, state, squash=squash)
        found = world.ask(lambda client: client.pull(PROJECT, state.number))
        assert (found.state, found.merged_as) == (contract.PullState.MERGED, made)
        assert found.merged_as != found.head

    def test_what_is_closed_is_not_merged(self, world: World) -> None:
        state = world.pull()
        world.double.close(world.project, state)
        found = world.ask(lambda client: client.pull(PROJECT, state.number))
        assert (found.state, found.merged_as) == (contract.PullState.CLOSED, "")

    def test_a_draft_is_one(self, world: World) -> None:
        state = world.pull()
        state.draft = True
        assert world.ask(lambda client: client.pull(PROJECT, state.number)).draft

    def test_a_fork_is_told_apart_even_when_it_is_gone(self, world: World) -> None:
        state = world.pull("theirs", fork=self.fork(world), author="mallory")
        found = world.ask(lambda client: client.pull(PROJECT, state.number))
        assert found.fork and found.head == state.head
        if self.known_lost:
            world.double.lost.add(state.number)
            assert world.ask(lambda client: client.pull(PROJECT, state.number)).fork

    def test_open_pull_requests_onto_a_branch_are_found_on_all_pages(self, world: World) -> None:
        world.commit("release", "release")
        world.double.page_most = 2  # type: ignore[attr-defined]
        wanted = [world.pull(f"change-{number}").number for number in range(5)]
        other = world.pull("elsewhere", base="release").number
        world.double.close(world.project, world.pull("closed"))
        found = world.ask(lambda client: client.open_pulls(PROJECT, "main"))
        assert sorted(one.number for one in found) == wanted
        assert {one.state for one in found} == {contract.PullState.OPEN}
        found = world.ask(lambda client: client.open_pulls(PROJECT, ""))
        assert sorted(one.number for one in found) == [*wanted, other], "without a branch they are onto any"

    def test_one_of_ours_is_opened_from_a_branch(self, world: World) -> None:
        world.commit("octofleet/discovered-x", "new")
        opened = lambda client: client.open_pull(PROJECT, "octofleet/discovered-x", "main", "Größer & <b>", "Zeile 1\nline 2")  # noqa: E731
        made = world.ask(opened)
        state = world.project.pulls[made.number]
        assert (state.title, state.body, state.author, state.base) == ("Größer & <b>", "Zeile 1\nline 2", BOT, "main")
        assert (made.head_branch, made.fork, made.state) == ("octofleet/discovered-x", False, contract.PullState.OPEN)
        assert str(made.number) in made.url
        with pytest.raises((Unreadable, Denied, Gone, Later)):
            world.ask(opened)
        assert len(world.project.pulls) == 1

    def test_what_is_not_there_is_gone(self, world: World) -> None:
        for question in (
            lambda client: client.pull(PROJECT, 77),
            lambda client: client.pull("acme/other", 1),
            lambda client: client.open_pulls("acme/other", "main"),
            lambda client: client.comments(PROJECT, 77, 0.0),
            lambda client: client.put_comment(PROJECT, 77, "text", TAG, ""),
        ):
            with pytest.raises(Gone):
                world.ask(question)

    # -- comments

    def test_comments_come_in_order_from_a_time_on(self, world: World) -> None:
        state = world.pull()
        for number in range(5):
            said = world.double.say(world.project, state, "ada", f"Nummer {number} – ✓")
            said.at = 1_800_000_000.0 + 10 * number
        world.double.page_most = 2  # type: ignore[attr-defined]
        found = world.ask(lambda client: client.comments(PROJECT, state.number, 1_800_000_020.0))
        assert [(one.body, one.author, one.at) for one in found] == [
            (f"Nummer {number} – ✓", self.login("ada"), 1_800_000_000.0 + 10 * number) for number in (2, 3, 4)
        ]
        assert len(world.ask(lambda client: client.comments(PROJECT, state.number, 0.0))) == 5

    def test_what_was_edited_is_nobodys_word(self, world: World) -> None:
        state = world.pull()
        world.double.edit(world.double.say(world.project, state, "ada", "looks good"), "octofleet approve")
        kept = world.double.say(world.project, state, "ada", "octofleet plan")
        ours = world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{TAG} one", TAG, ""))
        world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{TAG} two", TAG, ours))
        found = world.ask(lambda client: client.comments(PROJECT, state.number, 0.0))
        assert {one.comment for one in found} == {kept.id, ours}

    def test_one_comment_is_edited_in_place(self, world: World) -> None:
        state = world.pull()
        first = world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{TAG} one", TAG, ""))
        again = world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{TAG} two", TAG, first))
        lost = world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{TAG} three", TAG, ""))
        assert first == again == lost
        assert [one.body for one in world.double.ours(state)] == [f"{TAG} three"]

    def test_only_our_own_comment_with_the_tag_is_edited(self, world: World) -> None:
        state = world.pull()
        world.double.say(world.project, state, "mallory", f"{TAG} I am Octofleet")
        world.double.say(world.project, state, BOT, "something else of ours")
        oldest = world.double.say(world.project, state, BOT, f"{TAG} old")
        world.double.say(world.project, state, BOT, f"{TAG} newer")
        assert world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{TAG} new", TAG, "")) == oldest.id
        bodies = [one.body for one in state.comments]
        assert bodies == [f"{TAG} I am Octofleet", "something else of ours", f"{TAG} new", f"{TAG} newer"]

    def test_a_comment_that_vanished_is_written_anew(self, world: World) -> None:
        state = world.pull()
        first = world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{TAG} one", TAG, ""))
        self.vanish(world, state, first)
        second = world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{TAG} two", TAG, first))
        assert second != first
        assert [one.body for one in state.comments if one.id == second] == [f"{TAG} two"]

    def vanish(self, world: World, state: PullState, comment: str) -> None:
        """Somebody deletes a comment."""
        del world.double
        state.comments[:] = [one for one in state.comments if one.id != comment]

    def test_a_comment_of_an_account_that_we_were_is_left(self, world: World) -> None:
        state = world.pull()
        theirs = world.double.say(world.project, state, "old-bot", f"{TAG} old")
        made = world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{TAG} new", TAG, theirs.id))
        assert made != theirs.id and theirs.body == f"{TAG} old"

    def test_the_longest_comment_goes(self, world: World) -> None:
        state = world.pull()
        body = TAG + "ü" * (32_000 - len(TAG))
        world.ask(lambda client: client.put_comment(PROJECT, state.number, body, TAG, ""))
        assert world.double.ours(state)[0].body == body

    # -- statuses, reactions, the account

    def test_a_status_says_each_verdict_and_again(self, world: World) -> None:
        state = world.pull()
        for verdict, word in self.words.items():
            status = Status(context="octofleet/plan", verdict=verdict, text="3 hosts ✓", url="https://octofleet.example.net/plans/1")
            for _ in range(2):
                world.ask(lambda client, status=status: client.put_status(PROJECT, state.head, status))  # type: ignore[misc]
            said = world.project.statuses[-1]
            assert (said.commit, said.context, said.state, said.text, said.url) == (
                state.head,
                status.context,
                word,
                status.text,
                status.url,
            )

    def test_a_status_needs_no_url_and_may_have_a_long_name(self, world: World) -> None:
        state = world.pull()
        for context in ("octofleet/" + "x" * 60 + "/a", "octofleet/" + "x" * 60 + "/b"):
            status = Status(context=context, verdict=Verdict.SUCCESS, text="t" * 140)
            world.ask(lambda client, status=status: client.put_status(PROJECT, state.head, status))  # type: ignore[misc]
        assert len({one.context for one in world.project.statuses}) == 2

    def test_a_command_is_acknowledged_and_again(self, world: World) -> None:
        state = world.pull()
        said = world.double.say(world.project, state, "ada", "octofleet plan")
        for _ in range(2):
            world.ask(lambda client: client.acknowledge(PROJECT, state.number, said.id))
        assert len(said.reactions) == (1 if self.reacts else 0)

    def test_the_account_is_asked_once(self, world: World) -> None:
        async def twice(client: Client) -> list[str]:
            return [await client.account(), await client.account()]

        assert world.ask(twice) == [self.login(BOT)] * 2
        assert len(world.double.calls) == 1

    # -- faults

    @pytest.mark.parametrize(
        ("fault", "error"),
        [
            (Fault(429, {"Retry-After": "42"}), Later),
            (Fault(500), Later),
            (Fault(502), Later),
            (Fault(503, {"Retry-After": "42"}), Later),
            (Fault(504), Later),
            (Fault(401), Denied),
            (Fault(403), Denied),
            (Fault(404), Gone),
            (Fault(200, {"Content-Type": "text/html"}, text=f"<html>{TOKEN}</html>"), Unreadable),
            (Fault(200, {"Content-Type": "application/json"}, text='{"number": "x"}'), Unreadable),
            (Fault(200, {"Content-Type": "application/json"}, text="[" * 50_000), Unreadable),
            (Fault(400, {"Content-Type": "application/json"}, text=f'{{"message": "bad {TOKEN}"}}'), Unreadable),
            (Fault(502, {"Content-Type": "text/html"}, text=f"<html>{TOKEN}</html>"), Later),
        ],
    )
    def test_a_fault_is_told_as_what_it_is(
        self, world: World, fault: Fault, error: type[Exception], caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.DEBUG)
        state = world.pull()
        status = Status(context="octofleet/plan", verdict=Verdict.SUCCESS, text="")
        questions: list[Callable[[Client], Awaitable[object]]] = [lambda client: client.pull(PROJECT, state.number)]
        if fault.status >= 400:
            questions.append(lambda client: client.put_status(PROJECT, state.head, status))
        for question in questions:
            world.double.faults.append(fault)
            before = len(world.double.calls)
            with pytest.raises(error) as caught:
                world.ask(question)
            assert len(world.double.calls) == before + 1
            assert TOKEN not in str(caught.value) + repr(caught.value) + caplog.text
            if "Retry-After" in fault.headers:
                assert isinstance(caught.value, Later) and caught.value.after_s == 42.0
        assert world.ask(questions[0])

    def test_what_the_rate_limit_allows_no_more_waits(self, world: World) -> None:
        state = world.pull()
        world.double.writes_left = 1
        world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{TAG} one", TAG, ""))
        with pytest.raises(Later) as caught:
            world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{TAG} two", TAG, ""))
        assert caught.value.after_s >= 1
        world.double.writes_left = None
        world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{TAG} two", TAG, ""))
        assert [one.body for one in world.double.ours(state)] == [f"{TAG} two"]

    def test_a_hang_ends(self, world: World) -> None:
        state = world.pull()
        self.hurry(world.forge, 0.3)
        world.double.faults.append(Fault(0, hang_s=5.0))
        with pytest.raises(Later):
            world.ask(lambda client: client.pull(PROJECT, state.number))

    def test_only_what_reads_is_asked_again_when_the_connection_breaks(self, world: World) -> None:
        state = world.pull()
        world.double.faults += [Fault(500, close=True)] * 2
        assert world.ask(lambda client: client.pull(PROJECT, state.number)).number == state.number
        assert [method for method, _ in world.double.calls][:3] == ["GET"] * 3
        world.double.calls.clear()
        world.double.faults.append(Fault(500, close=True))
        status = Status(context="octofleet/plan", verdict=Verdict.SUCCESS, text="")
        with pytest.raises(Later):
            world.ask(lambda client: client.put_status(PROJECT, state.head, status))
        assert [method for method, _ in world.double.calls] == ["POST"]

    @pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
    def test_no_redirect_leads_away(self, world: World, status: int) -> None:
        state = world.pull()
        with self.double().running() as elsewhere:
            away = Fault(status, {"Location": elsewhere.url.replace("127.0.0.1", "localhost") + "/x"})
            for where in (away, Fault(status, {"Location": "file:///etc/passwd"}), Fault(status, {"Location": f"{elsewhere.url}/x"})):
                world.double.faults.append(where)
                with pytest.raises(Unreadable):
                    world.ask(lambda client: client.pull(PROJECT, state.number))
            world.double.faults.append(away)
            with pytest.raises(Unreadable):
                world.ask(lambda client: client.put_status(PROJECT, state.head, Status(context="c", verdict=Verdict.ERROR, text="")))
            assert elsewhere.calls == []

    def test_a_wrong_token_is_denied(self, world: World) -> None:
        state = world.pull()
        world.forge = self.other(world.double.url)
        with pytest.raises(Denied) as caught:
            world.ask(lambda client: client.pull(PROJECT, state.number))
        assert "wrong-token" not in str(caught.value) and "401" in str(caught.value)

    def test_a_forge_that_is_away_is_for_later(self, world: World) -> None:
        state = world.pull()
        world.forge = self.forge("http://127.0.0.1:9")
        with pytest.raises(Later) as caught:
            world.ask(lambda client: client.pull(PROJECT, state.number))
        assert TOKEN not in str(caught.value)
