"""Bitbucket Data Center keeps the contract; what is its own."""

import json
from collections.abc import Iterator
from typing import ClassVar

import pytest

from reconciler.settings import Forge as Rules
from tests.peers.forges.bitbucket_server import COMMENT_MOST, BitbucketServer
from tests.peers.forges.double import BOT, TOKEN, Double
from tests.webhooks.contract import TAG, Contract
from tests.webhooks.deliveries import PROJECT, World
from webhooks.bitbucket_server import BitbucketServerReader, make
from webhooks.forge import Commented, Delivery, Forge, PullChanged, Pushed, Unreadable, Verdict

REPOSITORY = {"slug": "repository", "id": 84, "name": "repository", "project": {"key": "PROJ", "id": 84}}
PULL = {"id": 11, "version": 1, "title": "A change", "toRef": {"id": "refs/heads/master", "repository": REPOSITORY}}
COMMENTED = {
    "eventKey": "pr:comment:added",
    "date": "2017-09-19T11:21:06+1000",
    "actor": {"name": "admin", "id": 1},
    "pullRequest": PULL,
    "comment": {
        "id": 62, "version": 0, "text": "octofleet plan", "author": {"name": "admin"}, "createdDate": 1505784066751,
        "updatedDate": 1505784066751, "comments": [], "tasks": [],
    },
    "commentParentId": 43,
}  # fmt: skip


def forge(url: str, token: str = TOKEN, user: str = "") -> Forge:
    return make(Rules(name="dc", type="bitbucket-server", url=url, user=user), lambda: token)


def sent(body: object) -> Delivery:
    return Delivery(headers={}, body=json.dumps(body).encode())


class TestBitbucketServer(Contract):
    words: ClassVar = {Verdict.PENDING: "INPROGRESS", Verdict.SUCCESS: "SUCCESSFUL", Verdict.FAILURE: "FAILED", Verdict.ERROR: "FAILED"}
    known_lost = False

    def double(self) -> Double:
        return BitbucketServer()

    def forge(self, url: str) -> Forge:
        return forge(url)

    def other(self, url: str) -> Forge:
        return forge(url, "wrong-token")

    def idle(self) -> Iterator[tuple[dict[str, str], object]]:
        yield {"x-event-key": "diagnostics:ping"}, {"test": True}
        for key in ("pr:comment:edited", "pr:comment:deleted", "repo:forked", "mirror:repo_synchronized"):
            yield {}, COMMENTED | {"eventKey": key}
        yield {}, COMMENTED | {"comment": COMMENTED["comment"] | {"version": 1}}  # type: ignore[operator]
        change = {"refId": "refs/tags/v1", "fromHash": "0" * 40, "toHash": "1" * 40}
        yield {}, {"eventKey": "repo:refs_changed", "repository": REPOSITORY, "changes": [change]}

    def test_a_user_may_call_with_the_token_as_password(self, world: World) -> None:
        world.forge = forge(world.double.url, user=BOT)
        assert world.ask(lambda client: client.account()) == BOT

    def test_an_edit_that_somebody_was_faster_than_is_made_again(self, world: World) -> None:
        state = world.pull()
        first = world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{TAG} one", TAG, ""))
        (comment,) = world.double.ours(state)
        read, raced = world.double.answered_read, []  # type: ignore[attr-defined]

        def race() -> None:
            if not raced:
                raced.append(1)
                world.double.edit(comment, "by somebody else")

        read.append(race)
        assert world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{TAG} two", TAG, first)) == first
        assert comment.body == f"{TAG} two" and raced

    def test_answers_are_comments_too(self, world: World) -> None:
        state = world.pull()
        said = [world.double.say(world.project, state, "ada", f"answer {number}") for number in range(4)]
        assert isinstance(world.double, BitbucketServer)
        world.double.answers |= {said[1].id: said[0].id, said[2].id: said[1].id}
        found = world.ask(lambda client: client.comments(PROJECT, state.number, 0.0))
        assert {one.comment for one in found} == {one.id for one in said}

    def test_a_version_without_reactions_is_no_error(self, world: World) -> None:
        with BitbucketServer(reactions=False).running() as double:
            project = double.project(PROJECT, world.project.git)
            state = double.open(project, "main")
            said = double.say(project, state, "ada", "octofleet plan")
            world.forge = forge(double.url)
            world.ask(lambda client: client.acknowledge(PROJECT, state.number, said.id))
            assert said.reactions == []

    def test_what_is_longer_than_allowed_is_told(self, world: World) -> None:
        state = world.pull()
        with pytest.raises(Unreadable, match="32768"):
            world.ask(lambda client: client.put_comment(PROJECT, state.number, "x" * (COMMENT_MOST + 1), TAG, ""))


def test_documented_deliveries_are_read() -> None:
    reader = BitbucketServerReader()
    event = Commented(project="PROJ/repository", number=11, comment="62", author="admin", body="octofleet plan", at=1505784066.751)
    assert list(reader.events(sent(COMMENTED))) == [event]
    for key in ("pr:opened", "pr:from_ref_updated", "pr:to_ref_updated", "pr:modified", "pr:merged", "pr:declined", "pr:deleted"):
        assert list(reader.events(sent({"eventKey": key, "pullRequest": PULL}))) == [PullChanged(project="PROJ/repository", number=11)]
    change = {"ref": {"id": "refs/heads/master", "type": "BRANCH"}, "refId": "refs/heads/master", "fromHash": "1" * 40, "toHash": "2" * 40}
    push = {"eventKey": "repo:refs_changed", "repository": REPOSITORY, "changes": [change | {"type": "UPDATE"}]}
    assert list(reader.events(sent(push))) == [Pushed(project="PROJ/repository", branch="master", before="1" * 40, after="2" * 40)]
