"""GitLab keeps the contract; what is its own."""

import base64
import json
import time
from collections.abc import Iterator
from typing import ClassVar

import pytest

from reconciler.errors import OctofleetError
from reconciler.settings import Forge as Rules
from tests.peers.forges.double import BOT, SECRET, TOKEN, Double, Fault
from tests.peers.forges.gitlab import SIGNING, GitLab
from tests.webhooks.contract import Contract
from tests.webhooks.deliveries import PROJECT, Deliveries, World
from webhooks.forge import Commented, Delivery, Denied, Forge, Later, PullState, Status, Unreadable, Unverified, Verdict
from webhooks.gitlab import GitLabReader, make

NOTE = {
    "object_kind": "note",
    "user": {"id": 1, "name": "Administrator", "username": "root"},
    "project": {"id": 5, "path_with_namespace": "gitlab-org/infra/gitlab-test"},
    "object_attributes": {
        "id": 1244, "note": "octofleet plan", "noteable_type": "MergeRequest", "author_id": 1, "created_at": "2015-05-17 18:21:36 UTC",
        "updated_at": "2015-05-17 18:21:36 UTC", "project_id": 5, "system": False, "action": "create",
    },
    "merge_request": {"id": 7, "iid": "1", "target_branch": "markdown", "source_branch": "master", "state": "opened"},
}  # fmt: skip


def forge(url: str, token: str = TOKEN) -> Forge:
    return make(Rules(name="lab", type="gitlab", url=url), lambda: token)


def noted(**changed: object) -> Delivery:
    body = NOTE | {"object_attributes": NOTE["object_attributes"] | changed}  # type: ignore[operator]
    return Delivery(headers={"x-gitlab-event": "Note Hook"}, body=json.dumps(body).encode())


class TestGitLab(Contract):
    words: ClassVar = {Verdict.PENDING: "pending", Verdict.SUCCESS: "success", Verdict.FAILURE: "failed", Verdict.ERROR: "failed"}

    def double(self) -> Double:
        return GitLab()

    def forge(self, url: str) -> Forge:
        return forge(url)

    def other(self, url: str) -> Forge:
        return forge(url, "wrong-token")

    def signs(self) -> bool:
        return False

    def idle(self) -> Iterator[tuple[dict[str, str], object]]:
        yield {}, {"object_kind": "tag_push", "ref": "refs/tags/v1"}
        yield {}, {"object_kind": "pipeline"}
        tag = {
            "object_kind": "push",
            "ref": "refs/tags/v1",
            "before": "0" * 40,
            "after": "1" * 40,
            "project": {"path_with_namespace": "a/b"},
        }
        yield {}, tag

    def test_a_fast_forward_is_merged_as_its_head(self, world: World) -> None:
        state = world.pull()
        assert isinstance(world.double, GitLab)
        world.double.merge(world.project, state)
        world.double.forwarded.add(state.number)
        assert world.ask(lambda client: client.pull(PROJECT, state.number)).merged_as == state.head

    def test_what_is_being_merged_is_still_open(self, world: World) -> None:
        state = world.pull()
        state.state = "locked"
        assert world.ask(lambda client: client.pull(PROJECT, state.number)).state is PullState.OPEN

    def test_the_account_is_asked_anew_when_the_token_is_another(self, world: World) -> None:
        tokens = ["wrong-token"]
        world.forge = make(Rules(name="lab", type="gitlab", url=world.double.url), lambda: tokens[0])
        with pytest.raises(Denied):
            world.ask(lambda client: client.account())
        for tokens[0], calls in ((TOKEN, 2), (TOKEN, 2)):
            assert world.ask(lambda client: client.account()) == BOT
            assert len(world.double.calls) == calls
        tokens[0] = "wrong-token"
        with pytest.raises(Denied):
            world.ask(lambda client: client.account())

    def test_a_status_that_gitlab_refuses_otherwise_is_told(self, world: World) -> None:
        state = world.pull()
        said = '{"message": "Cannot transition status via :enqueue from :canceled"}'
        world.double.faults.append(Fault(400, {"Content-Type": "application/json"}, text=said))
        with pytest.raises(Unreadable):
            status = Status(context="c", verdict=Verdict.SUCCESS, text="")
            world.ask(lambda client: client.put_status(PROJECT, state.head, status))

    def test_nested_groups_are_one_path(self, world: World) -> None:
        world.project = world.double.project("acme/infra/über/fleet", world.project.git)
        state = world.pull()
        assert world.ask(lambda client: client.pull("acme/infra/über/fleet", state.number)).project == "acme/infra/über/fleet"

    def test_unchanged_lists_are_asked_for_conditionally(self, world: World) -> None:
        state = world.pull()
        first = world.ask(lambda client: client.open_pulls(PROJECT, "main"))
        assert world.ask(lambda client: client.open_pulls(PROJECT, "main")) == first
        assert world.double.unchanged == 1
        state.title = "Another"
        assert world.ask(lambda client: client.open_pulls(PROJECT, "main"))[0].title == "Another"
        assert world.double.unchanged == 1

    def test_notes_of_gitlab_itself_are_nobodys(self, world: World) -> None:
        state = world.pull()
        world.double.say(world.project, state, "ada", "hello")
        assert [one.body for one in world.ask(lambda client: client.comments(PROJECT, state.number, 0.0))] == ["hello"]


class TestSigned(Deliveries):
    """The same with signing tokens."""

    def double(self) -> Double:
        return GitLab(signing=True)

    def forge(self, url: str) -> Forge:
        return forge(url)

    def secret(self) -> str:
        return SIGNING

    @pytest.mark.parametrize("apart", [-301, 301])
    def test_an_old_one_is_refused(self, world: World, apart: int) -> None:
        delivery = world.example("opened")
        with pytest.raises(Unverified, match="clocks"):
            world.forge.reader.verify(delivery, [SIGNING], time.time() + apart)

    def test_id_and_time_are_signed(self, world: World) -> None:
        delivery = world.example("opened")
        for name, value in (("webhook-id", "another"), ("webhook-timestamp", str(int(time.time()) + 5)), ("webhook-id", "")):
            with pytest.raises(Unverified):
                world.forge.reader.verify(
                    Delivery(headers=dict(delivery.headers) | {name: value}, body=delivery.body), [SIGNING], time.time()
                )

    def test_a_token_replaces_a_secret_while_both_are_valid(self, world: World) -> None:
        signed, carried = world.example("opened"), Delivery(headers={"x-gitlab-token": SECRET}, body=b"{}")
        for delivery in (signed, carried):
            world.forge.reader.verify(delivery, [SECRET, SIGNING], time.time())

    def test_a_signing_token_is_never_accepted_as_a_secret(self) -> None:
        with pytest.raises(Unverified):
            GitLabReader().verify(Delivery(headers={"x-gitlab-token": SIGNING}, body=b"{}"), [SIGNING], time.time())

    def test_a_signing_token_that_is_none_is_told_without_it(self, world: World) -> None:
        broken = "whsec_not base64!"
        with pytest.raises(Unverified, match="base64") as error:
            world.forge.reader.verify(world.example("opened"), [broken], time.time())
        assert broken not in str(error.value)
        assert base64.b64decode(SIGNING.removeprefix("whsec_"))


def test_a_documented_note_is_read() -> None:
    (event,) = GitLabReader().events(noted())
    assert event == Commented(
        project="gitlab-org/infra/gitlab-test", number=1, comment="1244", author="root", body="octofleet plan", at=1431886896.0
    )


@pytest.mark.parametrize(
    "changed",
    [
        {"action": "update"},
        {"system": True},
        {"noteable_type": "Commit"},
        {"noteable_type": "Issue"},
        {"action": "", "updated_at": "2015-05-17 18:22:00 UTC"},
    ],
)
def test_notes_that_are_no_comments_of_now_are_none(changed: dict[str, object]) -> None:
    assert list(GitLabReader().events(noted(**changed))) == []


def test_the_id_stays_when_gitlab_tries_again() -> None:
    headers = {"idempotency-key": "f5e57e4a", "x-gitlab-event-uuid": "one"}
    first = Delivery(headers=headers, body=b"{}")
    assert (
        GitLabReader().id(first) == GitLabReader().id(Delivery(headers=headers | {"x-gitlab-event-uuid": "two"}, body=b"{}")) == "f5e57e4a"
    )


def test_an_unprepared_merge_request_is_for_later(tmp_path: object) -> None:
    from webhooks.gitlab import _MergeRequest, _pull

    found = _MergeRequest(iid=1, title="", state="opened", source_branch="a", target_branch="b", target_project_id=1, web_url="")
    with pytest.raises(Later):
        _pull("a/b", found)


@pytest.mark.parametrize("url", ["ftp://x", "https://user:secret@git.example.net", "git.example.net", "https://git.example.net?x=1"])
def test_a_url_that_is_none_is_told(url: str) -> None:
    with pytest.raises(OctofleetError) as error:
        forge(url)
    assert "lab" in error.value.message and "secret" not in error.value.message
