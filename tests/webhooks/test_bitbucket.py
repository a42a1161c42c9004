"""Bitbucket Cloud keeps the contract; what is its own."""

import json
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest

from reconciler.settings import Forge as Rules
from tests.peers.forges.bitbucket import USER, Bitbucket, account_id
from tests.peers.forges.double import BOT, TOKEN, Double, PullState
from tests.webhooks.contract import TAG, Contract
from tests.webhooks.deliveries import PROJECT, World
from webhooks.bitbucket import BitbucketReader, make
from webhooks.forge import Commented, Delivery, Forge, Gone, Pushed, Verdict

COMMENTED = {
    "actor": {"type": "user", "nickname": "ada", "account_id": "557058:ada"},
    "repository": {"type": "repository", "full_name": "acme/fleet"},
    "pullrequest": {"type": "pullrequest", "id": 9},
    "comment": {
        "id": 17, "content": {"raw": "octofleet plan", "markup": "markdown"}, "user": {"nickname": "grace", "account_id": "557058:grace"},
        "created_on": "2026-01-02T03:04:05.138375+00:00", "updated_on": "2026-01-02T03:04:05.141013+00:00",
    },
}  # fmt: skip
PUSH = {
    "repository": {"full_name": "acme/fleet"},
    "push": {
        "changes": [
            {
                "old": {"type": "branch", "name": "main", "target": {"hash": "1" * 40}},
                "new": {"type": "branch", "name": "main", "target": {"hash": "2" * 40}},
            },
            {"old": None, "new": {"type": "tag", "name": "v1", "target": {"hash": "2" * 40}}},
            {"old": {"type": "branch", "name": "done", "target": {"hash": "3" * 40}}, "new": None},
        ]
    },
}


def forge(url: str, token: str = TOKEN, user: str = "") -> Forge:
    return make(Rules(name="cloud", type="bitbucket", url=url, user=user), lambda: token)


def sent(event: str, body: object) -> Delivery:
    return Delivery(headers={"x-event-key": event}, body=json.dumps(body).encode())


class TestBitbucket(Contract):
    words: ClassVar = {Verdict.PENDING: "INPROGRESS", Verdict.SUCCESS: "SUCCESSFUL", Verdict.FAILURE: "FAILED", Verdict.ERROR: "FAILED"}
    reacts = False

    def double(self) -> Double:
        return Bitbucket()

    def forge(self, url: str) -> Forge:
        return forge(url)

    def other(self, url: str) -> Forge:
        return forge(url, "wrong-token")

    def login(self, name: str) -> str:
        return account_id(name)

    def vanish(self, world: World, state: PullState, comment: str) -> None:
        assert isinstance(world.double, Bitbucket)
        world.double.deleted.add(comment)

    def idle(self) -> Iterator[tuple[dict[str, str], object]]:
        yield {}, {}
        for key in ("repo:fork", "pullrequest:comment_updated", "pullrequest:comment_deleted", "issue:created"):
            yield {"x-event-key": key}, COMMENTED
        for changed in ({"updated_on": "2026-01-02T03:14:05+00:00"}, {"deleted": True}, {"pending": True}, {"user": None}):
            comment = COMMENTED["comment"] | changed  # type: ignore[operator]
            yield {"x-event-key": "pullrequest:comment_created"}, COMMENTED | {"comment": comment}

    def test_an_account_may_call_with_its_address_and_token(self, world: World) -> None:
        world.forge = forge(world.double.url, user=USER)
        assert world.ask(lambda client: client.account()) == account_id(BOT)

    def test_a_head_is_whole_and_looked_up_once(self, world: World) -> None:
        state = world.pull()
        for _ in range(2):
            assert len(world.ask(lambda client: client.pull(PROJECT, state.number)).head) == 40
        assert [path.endswith("/commits") for _, path in world.double.calls].count(True) == 1
        world.commit("change", "more")
        assert world.ask(lambda client: client.pull(PROJECT, state.number)).head == state.head

    def test_a_fork_is_fetched_from_where_it_is(self, world: World) -> None:
        state = world.pull("theirs", fork=self.fork(world), author="mallory")
        found = world.ask(lambda client: client.pull(PROJECT, state.number))
        assert (found.head_url, found.head_branch) == ("https://bitbucket.org/mallory/fleet.git", "theirs")
        world.double.lost.add(state.number)
        assert world.ask(lambda client: client.pull(PROJECT, state.number)).head_url == ""

    def test_what_has_no_known_repository_is_trusted_as_little_as_a_fork(self, world: World, monkeypatch: pytest.MonkeyPatch) -> None:
        state, shown = world.pull(), Bitbucket._api

        def hidden(double: Bitbucket, *of: Any) -> dict[str, Any]:
            made: dict[str, Any] = shown(double, *of)
            return made | {"destination": made["destination"] | {"repository": None}}

        monkeypatch.setattr(Bitbucket, "_api", hidden)
        assert world.ask(lambda client: client.pull(PROJECT, state.number)).fork

    def test_a_branch_with_quotes_is_asked_for(self, world: World) -> None:
        world.commit('a"b', "base")
        state = world.pull(base='a"b')
        found = world.ask(lambda client: client.open_pulls(PROJECT, 'a"b'))
        assert [one.number for one in found] == [state.number]

    def test_a_tag_without_html_is_found(self, world: World) -> None:
        state, tag = world.pull(), "[//]: # (octofleet:pull)"
        first = world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{tag}\n\none", tag, ""))
        assert world.ask(lambda client: client.put_comment(PROJECT, state.number, f"{tag}\n\ntwo", tag, "")) == first
        assert TAG not in state.comments[0].body and not world.forge.html


def test_documented_deliveries_are_read() -> None:
    reader = BitbucketReader()
    (event,) = reader.events(sent("pullrequest:comment_created", COMMENTED))
    assert isinstance(event, Commented)
    assert (event.project, event.number, event.comment, event.author) == ("acme/fleet", 9, "17", "557058:grace")
    assert list(reader.events(sent("repo:push", PUSH))) == [
        Pushed(project="acme/fleet", branch="main", before="1" * 40, after="2" * 40),
        Pushed(project="acme/fleet", branch="done", before="3" * 40, after=""),
    ]


def test_a_nickname_is_no_identity() -> None:
    comment = COMMENTED["comment"] | {"user": {"nickname": "grace", "display_name": "Grace"}}  # type: ignore[operator]
    assert list(BitbucketReader().events(sent("pullrequest:comment_created", COMMENTED | {"comment": comment}))) == []


def test_a_head_that_is_gone_is_gone(tmp_path: object) -> None:
    import asyncio

    from webhooks.bitbucket import BitbucketClient, _Branch, _Pull, _Side

    side = _Side(branch=_Branch(name="a"))
    found = _Pull(id=1, title="", state="OPEN", source=side, destination=side)
    client = forge("http://127.0.0.1:9").client
    assert isinstance(client, BitbucketClient)
    with pytest.raises(Gone):
        asyncio.run(client._pull("a/b", found))
