"""GitHub's client against the double: what it asks and tells, as user and as App, and what it does with refusals."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from reconciler.settings import Forge as Rules
from tests.peers.forges.double import BOT, TOKEN, Fault, Project
from tests.peers.forges.github import APP_ID, APP_SLUG, GithubDouble
from tests.webhooks.repositories import bare, commit
from webhooks.forge import Client, Denied, Gone, Later, PullState, Status, Unreadable, Verdict
from webhooks.forges import make_forge

T = TypeVar("T")
TAG = "<!-- tag -->"


@pytest.fixture
def double() -> Iterator[GithubDouble]:
    made = GithubDouble()
    with made.running():
        yield made


@pytest.fixture
def project(double: GithubDouble, tmp_path: Path) -> Project:
    return double.project("acme/fleet", bare(tmp_path / "fleet.git", one="1\n", two="2\n", three="3\n"))


def asked(double: GithubDouble, tmp_path: Path, call: Callable[[Client], Awaitable[T]], **more: str) -> T:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    rules = Rules(name="hub", type="github", url=double.url, **(more or {"token_file": str(tmp_path / "token")}))

    async def main() -> T:
        client = make_forge(rules).client
        try:
            return await call(client)
        finally:
            await client.close()

    return asyncio.run(main())


def test_a_pull_request_from_open_to_merged(double: GithubDouble, project: Project, tmp_path: Path) -> None:
    fork = bare(tmp_path / "fork.git", other="4\n")
    opened = double.open(project, "one", title="Zeilen & <b>", author="bob")
    forked = double.open(project, "other", author="eve", fork=fork)
    found = asked(double, tmp_path, lambda client: client.pull("acme/fleet", opened.number))
    assert (found.state, found.head, found.head_branch, found.base_branch) == (PullState.OPEN, opened.head, "one", "main")
    assert (found.author, found.title, found.fork, found.fetch) == ("bob", "Zeilen & <b>", False, "refs/pull/1/head")
    found = asked(double, tmp_path, lambda client: client.pull("acme/fleet", forked.number))
    assert found.fork and found.head == forked.head and found.head_url.endswith("eve/fleet.git")
    merged = double.merge(project, opened)
    double.close(project, forked)
    found = asked(double, tmp_path, lambda client: client.pull("acme/fleet", opened.number))
    assert (found.state, found.merged_as) == (PullState.MERGED, merged)
    found = asked(double, tmp_path, lambda client: client.pull("acme/fleet", forked.number))
    assert (found.state, found.merged_as) == (PullState.CLOSED, "")


def test_open_ones_come_in_pages_and_unchanged_ones_cost_nothing(double: GithubDouble, project: Project, tmp_path: Path) -> None:
    double.page = 2
    for branch in ("one", "two", "three"):
        double.open(project, branch)
    double.open(project, "one", base="two")

    async def twice(client: Client) -> list[list[int]]:
        return [[pull.number for pull in await client.open_pulls("acme/fleet", "main")] for _ in range(2)]

    assert asked(double, tmp_path, twice) == [[3, 2, 1]] * 2
    assert double.unchanged == 2, "both pages are asked for conditionally"
    assert len(asked(double, tmp_path, lambda client: client.open_pulls("acme/fleet", ""))) == 4


def test_comments_since_a_time(double: GithubDouble, project: Project, tmp_path: Path) -> None:
    pull = double.open(project, "one")
    for age, text in ((7200, "old"), (60, "octofleet plan"), (0, "thanks")):
        double.say(project, pull, "bob", text).at = float(int(time.time()) - age)
    found = asked(double, tmp_path, lambda client: client.comments("acme/fleet", 1, time.time() - 120))
    assert [(one.body, one.author) for one in found] == [("octofleet plan", "bob"), ("thanks", "bob")]


def test_one_comment_of_ours(double: GithubDouble, project: Project, tmp_path: Path) -> None:
    pull = double.open(project, "one")
    double.say(project, pull, "bob", f"not ours {TAG}")

    def put(text: str, known: str = "") -> str:
        return asked(double, tmp_path, lambda client: client.put_comment("acme/fleet", 1, f"{TAG}{text}", TAG, known))

    made = put("first")
    assert put("second", known=made) == put("third") == put("fourth", known="999") == made
    assert [one.body for one in double.ours(pull)] == [f"{TAG}fourth"], "one that is known, was found, or has vanished"
    pull.comments = [one for one in pull.comments if one.id != made]
    assert put("fifth", known=made) != made and len(double.ours(pull)) == 1


def test_what_was_edited_is_nobodys_word(double: GithubDouble, project: Project, tmp_path: Path) -> None:
    pull = double.open(project, "one")
    double.edit(double.say(project, pull, "petra", "looks good"), "octofleet approve")
    kept = double.say(project, pull, "petra", "octofleet help")
    found = asked(double, tmp_path, lambda client: client.comments("acme/fleet", 1, 0.0))
    assert [one.comment for one in found] == [kept.id]


def test_a_status_and_a_reaction(double: GithubDouble, project: Project, tmp_path: Path) -> None:
    pull = double.open(project, "one")
    said = double.say(project, pull, "bob", "octofleet plan")
    status = Status(context="octofleet/plan", verdict=Verdict.FAILURE, text="x" * 200, url="https://octofleet.example/plan")

    async def both(client: Client) -> None:
        await client.put_status("acme/fleet", pull.head, status)
        for _ in range(2):
            await client.acknowledge("acme/fleet", 1, said.id)
        with pytest.raises(Unreadable):
            await client.put_status("acme/fleet", "0" * 40, status)
        assert await client.account() == BOT and client.calls_left() == double.remaining

    asked(double, tmp_path, both)
    assert [(one.commit, one.state, len(one.text), one.url) for one in project.statuses] == [(pull.head, "failure", 140, status.url)]
    assert said.reactions == ["eyes"]


def test_an_app_renews_its_tokens(double: GithubDouble, project: Project, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    double.public_key = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
    file = tmp_path / "app.pem"
    plain = serialization.NoEncryption()
    file.write_bytes(key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain))
    pull = double.open(project, "one")

    async def go(client: Client) -> str:
        for text in ("first", "second"):
            await client.put_comment("acme/fleet", 1, f"{TAG}{text}", TAG, "")
        with pytest.raises(Gone):
            await client.pull("acme/elsewhere", 1)
        return await client.account()

    assert asked(double, tmp_path, go, app_id=APP_ID, app_key_file=str(file)) == f"{APP_SLUG}[bot]"
    assert len(double.given) == 1, "a token that holds is used again"
    assert [(one.author, one.body) for one in pull.comments] == [(f"{APP_SLUG}[bot]", f"{TAG}second")]
    double.token_s = 120.0
    asked(double, tmp_path, go, app_id=APP_ID, app_key_file=str(file))
    assert len(double.given) > 2, "one that is about to end is not"
    file.write_text("no key")
    with pytest.raises(Denied, match="no private key"):
        asked(double, tmp_path, go, app_id=APP_ID, app_key_file=str(file))


@pytest.mark.parametrize(
    ("fault", "raised", "after_s"),
    [
        (Fault(401), Denied, None),
        (Fault(403), Denied, None),
        (Fault(403, {"Retry-After": "17"}), Later, (17, 17)),
        (Fault(429), Later, (60, 60)),
        (Fault(429, {"Retry-After": "soon"}), Later, (60, 60)),
        (Fault(403, {"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "in 900"}), Later, (600, 901)),
        (Fault(502), Later, (10, 10)),
        (Fault(503, {"Retry-After": "5"}), Later, (5, 5)),
        (Fault(599), Later, (10, 10)),
        (Fault(404), Gone, None),
        (Fault(410), Gone, None),
        (Fault(422), Unreadable, None),
    ],
)
def test_what_a_refusal_means(
    double: GithubDouble, project: Project, tmp_path: Path, fault: Fault, raised: type[Exception], after_s: tuple[float, float] | None
) -> None:
    double.open(project, "one")
    headers = {name: str(int(time.time()) + 900) if text == "in 900" else text for name, text in fault.headers.items()}
    double.faults.append(replace(fault, headers=headers))
    with pytest.raises(raised) as caught:
        asked(double, tmp_path, lambda client: client.pull("acme/fleet", 1))
    assert TOKEN not in str(caught.value)
    if after_s:
        assert isinstance(caught.value, Later) and after_s[0] <= caught.value.after_s <= after_s[1]
    assert asked(double, tmp_path, lambda client: client.pull("acme/fleet", 1)).number == 1


def test_nothing_is_sent_beyond_the_limit(double: GithubDouble, project: Project, tmp_path: Path) -> None:
    double.open(project, "one")
    double.remaining, double.reset_at = 1, time.time() + 1000

    async def three(client: Client) -> None:
        await client.pull("acme/fleet", 1)
        for _ in range(2):
            with pytest.raises(Later) as caught:
                await client.pull("acme/fleet", 1)
            assert 900 < caught.value.after_s <= 1001

    asked(double, tmp_path, three)
    assert len(double.calls) == 1


def test_a_forge_that_is_away_or_has_no_token(double: GithubDouble, project: Project, tmp_path: Path) -> None:
    url, double.url = double.url, "http://127.0.0.1:9"
    with pytest.raises(Later):
        asked(double, tmp_path, lambda client: client.pull("acme/fleet", 1))
    double.url = url
    with pytest.raises(Denied, match="missing"):
        asked(double, tmp_path, lambda client: client.pull("acme/fleet", 1), token_file=str(tmp_path / "missing"))


def test_a_token_that_was_replaced_is_used_at_once(double: GithubDouble, project: Project, tmp_path: Path) -> None:
    double.open(project, "one")

    async def rotate(client: Client) -> int:
        (tmp_path / "token").write_text("expired")
        with pytest.raises(Denied):
            await client.pull("acme/fleet", 1)
        (tmp_path / "token").write_text(TOKEN)
        return (await client.pull("acme/fleet", 1)).number

    assert asked(double, tmp_path, rotate) == 1
    assert commit(project.git, "one", "again\n") == asked(double, tmp_path, lambda client: client.pull("acme/fleet", 1)).head
