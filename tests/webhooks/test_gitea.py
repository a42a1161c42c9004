"""Gitea and Forgejo keep the contract; what is their own."""

import json
from collections.abc import Iterator
from typing import ClassVar

import pytest

from reconciler.errors import OctofleetError
from reconciler.settings import Forge as Rules
from tests.peers.forges.double import SECRET, TOKEN, Double
from tests.peers.forges.gitea import Gitea
from tests.webhooks.contract import Contract
from tests.webhooks.deliveries import PROJECT, Deliveries, World
from webhooks.forge import Commented, Delivery, Forge, PullChanged, Unverified, Verdict
from webhooks.gitea import GiteaReader, make

COMMENTED = {
    "action": "created",
    "issue": {"id": 1, "number": 3, "title": "A pull request", "pull_request": {"merged": False, "merged_at": None}, "state": "open"},
    "comment": {
        "id": 12, "body": "octofleet plan", "user": {"id": 2, "login": "grace"}, "created_at": "2026-01-02T03:04:05+01:00",
        "updated_at": "2026-01-02T03:04:05+01:00",
    },
    "repository": {"id": 5, "full_name": "acme/fleet"},
    "sender": {"id": 2, "login": "grace"},
    "is_pull": True,
}  # fmt: skip
SYNCHRONIZED = {"action": "synchronized", "number": 3, "pull_request": {"number": 3}, "repository": {"full_name": "acme/fleet"}}


def forge(url: str, token: str = TOKEN) -> Forge:
    return make(Rules(name="tea", type="gitea", url=url), lambda: token)


def sent(event: str, body: object) -> Delivery:
    return Delivery(headers={"x-gitea-event": event}, body=json.dumps(body).encode())


class TestGitea(Contract):
    words: ClassVar = {Verdict.PENDING: "pending", Verdict.SUCCESS: "success", Verdict.FAILURE: "failure", Verdict.ERROR: "error"}

    def double(self) -> Double:
        return Gitea()

    def forge(self, url: str) -> Forge:
        return forge(url)

    def other(self, url: str) -> Forge:
        return forge(url, "wrong-token")

    def idle(self) -> Iterator[tuple[dict[str, str], object]]:
        yield {}, {}
        yield {"x-gitea-event": "issues"}, {"action": "opened"}
        yield {"x-gitea-event": "issue_comment"}, COMMENTED | {"action": "edited"}
        yield {"x-gitea-event": "issue_comment"}, COMMENTED | {"action": "deleted"}
        yield {"x-gitea-event": "issue_comment"}, COMMENTED | {"is_pull": False, "issue": {"number": 3, "pull_request": None}}
        tag = {"ref": "refs/tags/v1", "before": "0" * 40, "after": "1" * 40, "repository": {"full_name": "acme/fleet"}}
        yield {"x-gitea-event": "push"}, tag

    def test_what_anybody_may_push_for_review_is_as_a_fork(self, world: World) -> None:
        state = world.pull()
        assert isinstance(world.double, Gitea)
        world.double.agit.add(state.number)
        assert world.ask(lambda client: client.pull(PROJECT, state.number)).fork

    def test_a_reaction_that_its_settings_do_not_allow_is_no_error(self, world: World) -> None:
        state = world.pull()
        said = world.double.say(world.project, state, "ada", "octofleet plan")
        assert isinstance(world.double, Gitea)
        world.double.reactions_refused = True
        world.ask(lambda client: client.acknowledge(PROJECT, state.number, said.id))
        assert said.reactions == []


class TestForgejo(Deliveries):
    """The same with Forgejo's headers."""

    def double(self) -> Double:
        return Gitea(forgejo=True)

    def forge(self, url: str) -> Forge:
        return forge(url)

    def test_its_own_signature_decides(self, world: World) -> None:
        delivery = world.example("opened")
        wrong = dict(delivery.headers) | {"x-forgejo-signature": "0" * 64}
        with pytest.raises(Unverified):
            world.forge.reader.verify(Delivery(headers=wrong, body=delivery.body), [SECRET], 0.0)


def test_documented_deliveries_are_read() -> None:
    reader = GiteaReader()
    (event,) = reader.events(sent("issue_comment", COMMENTED))
    assert event == Commented(project="acme/fleet", number=3, comment="12", author="grace", body="octofleet plan", at=1767319445.0)
    for kind in ("pull_request", "pull_request_sync", "pull_request_label", "pull_request_approved"):
        assert list(reader.events(sent(kind, SYNCHRONIZED))) == [PullChanged(project="acme/fleet", number=3)]


def test_what_was_migrated_is_nobodys_word() -> None:
    from webhooks.gitea import _Comment, _comment, _User

    times = {"created_at": "2026-01-02T03:04:05Z", "updated_at": "2026-01-02T03:04:05Z"}
    assert not _comment(_Comment(id=1, body="", user=_User(login="root"), original_author="ada", **times)).original


def test_it_needs_a_url() -> None:
    with pytest.raises(OctofleetError) as error:
        forge("")
    assert "/api/v1" in str(error.value.hint)
