"""What every forge keeps about what it sends, as one suite; and the world that such suites are about."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pygit2
import pytest

from tests.peers.forges.double import SECRET, Double, Project, PullState
from webhooks.forge import (
    Client,
    Commented,
    Delivery,
    Forge,
    PullChanged,
    Pushed,
    Unreadable,
    Unverified,
)

T = TypeVar("T")
PROJECT = "acme/fleet"
FAR = 10**30
KINDS = ("opened", "pushed", "closed", "merged", "commented", "branch")
DEEP = b'{"a":' * 100_000 + b"1" + b"}" * 100_000


@dataclass
class World:
    """A forge's double with a project on disk, and the forge as Octofleet has it."""

    double: Double
    project: Project
    forge: Forge
    root: Path

    def ask(self, question: Callable[[Client], Awaitable[T]]) -> T:
        """Ask its client something, in an event loop of its own."""

        async def asking() -> T:
            try:
                return await question(self.forge.client)
            finally:
                await self.forge.client.close()

        return asyncio.run(asking())

    def commit(self, branch: str, text: str, *, git: Path | None = None) -> str:
        """Put a commit on a branch, which may be new."""
        return commit(git or self.project.git, branch, text)

    def pull(self, branch: str = "change", **more: Any) -> PullState:
        """A pull request of one commit."""
        if branch not in pygit2.Repository(str(more.get("fork") or self.project.git)).branches.local:
            self.commit(branch, branch, git=more.get("fork"))
        return self.double.open(self.project, branch, **more)

    def delivery(self, kind: str, pull: PullState | None, **more: str) -> Delivery:
        """What the forge sends of something."""
        headers, body = self.double.payload(kind, self.project, pull, **more)
        return Delivery(headers={name.lower(): value for name, value in headers.items()}, body=body)

    def example(self, kind: str) -> Delivery:
        """A delivery of a kind, of a pull request of its own."""
        if kind == "branch":
            return self.delivery(kind, None, branch="main", before="1" * 40, after="2" * 40)
        pull = next(iter(self.project.pulls.values()), None) or self.pull()
        return self.delivery(
            kind, pull, **({"author": "grace", "body": "octofleet plan ✓", "comment": "41"} if kind == "commented" else {})
        )


def commit(git: Path, branch: str, text: str) -> str:
    """Put a commit on a branch of a bare repository; a new branch begins at `main`."""
    there = pygit2.Repository(str(git))
    who = pygit2.Signature("Ada", "ada@example.net", int(time.time()), 0)
    tip = there.branches.local.get(branch) or there.branches.local.get("main")
    builder = there.TreeBuilder(tip.peel(pygit2.Tree)) if tip else there.TreeBuilder()
    builder.insert(f"{text}.yaml".replace("/", "-"), there.create_blob(text.encode()), pygit2.enums.FileMode.BLOB)
    if branch not in there.branches.local and tip:
        there.branches.local.create(branch, tip.peel(pygit2.Commit))
    parents = [tip.target] if tip else []
    return str(there.create_commit(f"refs/heads/{branch}", who, who, text, builder.write(), parents))


class Deliveries:
    """What every forge keeps about what it sends."""

    def double(self) -> Double:
        raise NotImplementedError

    def forge(self, url: str) -> Forge:
        raise NotImplementedError

    def login(self, name: str) -> str:
        """What identifies an account that people call so."""
        return name

    @pytest.fixture
    def world(self, tmp_path: Path) -> Iterator[World]:
        git = tmp_path / "fleet.git"
        pygit2.init_repository(str(git), bare=True, initial_head="main")
        commit(git, "main", "first")
        with self.double().running() as double:
            yield World(double=double, project=double.project(PROJECT, git), forge=self.forge(double.url), root=tmp_path)

    @pytest.mark.parametrize("kind", ["opened", "pushed", "closed", "merged"])
    def test_what_happens_to_a_pull_request_is_an_event(self, world: World, kind: str) -> None:
        state = world.pull()
        delivery = world.delivery(kind, state)
        world.forge.reader.verify(delivery, [SECRET, self.secret()], time.time())
        assert world.forge.reader.events(delivery) == [PullChanged(project=PROJECT, number=state.number)]

    def test_a_comment_is_an_event(self, world: World) -> None:
        delivery = world.example("commented")
        (event,) = world.forge.reader.events(delivery)
        assert isinstance(event, Commented)
        assert (event.project, event.number, event.comment) == (PROJECT, 1, "41")
        assert (event.author, event.body) == (self.login("grace"), "octofleet plan ✓")
        assert abs(event.at - time.time()) < 600

    @pytest.mark.parametrize(("before", "after"), [("1" * 40, "2" * 40), ("", "2" * 40), ("1" * 40, "")])
    def test_a_push_is_an_event(self, world: World, before: str, after: str) -> None:
        delivery = world.delivery("branch", None, branch="feature/ü", before=before, after=after)
        assert world.forge.reader.events(delivery) == [Pushed(project=PROJECT, branch="feature/ü", before=before, after=after)]

    def test_a_delivery_keeps_its_id(self, world: World) -> None:
        one, two = world.example("opened"), world.example("opened")
        reader = world.forge.reader
        assert reader.id(one) == reader.id(one) != reader.id(two)
        bare = [Delivery(headers={}, body=body) for body in (one.body, b"{}")]
        assert len({reader.id(each) for each in bare}) == 2
        odd = Delivery(headers=dict.fromkeys(one.headers, "x" * 5000), body=one.body)
        assert len(reader.id(odd)) <= 100

    def secret(self) -> str:
        """What its double signs with."""
        return SECRET

    @pytest.mark.parametrize("kind", KINDS)
    def test_only_what_is_signed_is_believed(self, world: World, kind: str) -> None:
        reader, delivery, now = world.forge.reader, world.example(kind), time.time()
        reader.verify(delivery, ["another", self.secret()], now)
        reader.verify(delivery, [self.secret(), "another"], now)
        forged = [(delivery, secrets) for secrets in ([], [""], ["another"], [self.secret() + "x"])]
        forged += [(Delivery(headers=headers, body=delivery.body), [self.secret()]) for headers in self.unsigned(delivery)]
        if self.signs():
            forged.append((Delivery(headers=delivery.headers, body=delivery.body + b" "), [self.secret()]))
        for found, secrets in forged:
            with pytest.raises(Unverified) as error:
                reader.verify(found, secrets, now)
            assert self.secret() not in str(error.value) and "octofleet plan" not in str(error.value)

    def signs(self) -> bool:
        """Whether deliveries are signed, and not only carry a secret."""
        return True

    def unsigned(self, delivery: Delivery) -> Iterator[dict[str, str]]:
        """The headers without what vouches for them, or with something wrong."""
        vouching = [name for name in delivery.headers if "signature" in name or "token" in name]
        yield {name: value for name, value in delivery.headers.items() if name not in vouching}
        for wrong in ("", "sha256=", "sha256=" + "0" * 64, "é" * 64, "v1,"):
            yield dict(delivery.headers) | dict.fromkeys(vouching, wrong)

    @pytest.mark.parametrize("kind", KINDS)
    def test_whatever_is_wrong_in_a_delivery_it_is_unreadable_or_nothing(self, world: World, kind: str) -> None:
        delivery = world.example(kind)
        good = world.forge.reader.events(delivery)
        assert good
        read = 0
        for body in (
            b"",
            b"null",
            b"[]",
            b"{}",
            b"\xff\xfe",
            b'"x"',
            b"1e999",
            DEEP,
            delivery.body[:-1],
            *broken(json.loads(delivery.body)),
        ):
            try:
                found = world.forge.reader.events(Delivery(headers=delivery.headers, body=body))
            except Unreadable as error:
                assert len(str(error)) < 500
                read += 1
            else:
                assert all(0 < getattr(event, "number", 1) < 2**31 for event in found)
        assert read > 5

    def test_what_does_not_matter_is_no_event(self, world: World) -> None:
        for headers, body in self.idle():
            assert list(world.forge.reader.events(Delivery(headers=headers, body=json.dumps(body).encode()))) == []

    def idle(self) -> Iterator[tuple[dict[str, str], object]]:
        """Deliveries that mean nothing here."""
        yield {}, {}


def broken(value: Any) -> Iterator[bytes]:
    """A document with one thing wrong each: a part gone, or something else in its place."""
    for path in list(_paths(value)):
        for change in (None, "x", 7, -1, FAR, {}, [], "../..", "\x00", "gone"):
            made = json.loads(json.dumps(value))
            there = made
            for step in path[:-1]:
                there = there[step]
            if change == "gone" and isinstance(there, dict):
                del there[path[-1]]
            else:
                there[path[-1]] = change
            yield json.dumps(made).encode()


def _paths(value: Any, here: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    if here:
        yield here
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from _paths(inner, (*here, key))
