"""Who has to wait for whom: one asker for himself, what takes long for its like, and nobody for ever."""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from reconciler.errors import RetryLater
from reconciler.identity.access import Action
from reconciler.reading.call import Call
from reconciler.reading.paging import Document
from reconciler.server.answer import Doors
from reconciler.server.route import Route
from reconciler.server.threads import LONG, PASSWORD, Lane, Threads
from reconciler.wiring import Installation
from tests.fleets import installation as made
from tests.server.raw import PATIENCE_S
from tests.server.site import Web, person, web


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    return made(tmp_path)


class Work:
    """Work that goes on until it is let go; who has begun."""

    def __init__(self) -> None:
        self.go, self.begun = Event(), list[str]()

    def of(self, who: str) -> Callable[[Installation], str]:
        def work(installation: Installation) -> str:
            self.begun.append(who)
            assert self.go.wait(PATIENCE_S)
            return who

        return work


def run(installation: Installation, story: Callable[[Threads, Work], Any], **more: Any) -> None:
    """A story with threads, which are let go of at the end."""
    threads, work = Threads(installation, **more), Work()

    async def told() -> None:
        try:
            await asyncio.wait_for(story(threads, work), PATIENCE_S)
        finally:
            work.go.set()

    try:
        asyncio.run(told())
    finally:
        threads.close()


def test_who_asks_much_waits_behind_himself(installation: Installation) -> None:
    async def story(threads: Threads, work: Work) -> None:
        many = [asyncio.ensure_future(threads.run(work.of("one"), of="one")) for _ in range(64)]
        await asyncio.sleep(0)
        assert await threads.run(lambda _: "answered", of="another") == "answered"
        assert len(work.begun) <= 2, "he has half of the threads"
        with pytest.raises(RetryLater, match="too much"):
            await threads.run(work.of("one"), of="one")
        assert await threads.run(lambda _: "still", of="another") == "still"
        work.go.set()
        assert await asyncio.gather(*many) == ["one"] * 64
        assert await threads.run(work.of("one"), of="one") == "one", "he has room again"

    run(installation, story)


@pytest.mark.parametrize(("lane", "at_once"), [(LONG, 2), (PASSWORD, 1)])
def test_what_takes_long_leaves_threads_to_all_else(installation: Installation, lane: Lane, at_once: int) -> None:
    async def story(threads: Threads, work: Work) -> None:
        some = [asyncio.ensure_future(threads.run(work.of(str(who)), of=str(who), lane=lane)) for who in range(lane.open_most)]
        await asyncio.sleep(0)
        for who in ("0", "63", "another"):
            assert await threads.run(lambda _: "answered", of=who) == "answered"
        assert len(work.begun) <= at_once
        with pytest.raises(RetryLater, match="too much"):
            await threads.run(work.of("another"), of="another", lane=lane)
        work.go.set()
        assert await asyncio.gather(*some) == [str(who) for who in range(64)]
        assert sorted(work.begun, key=int) == [str(who) for who in range(64)]

    run(installation, story)


def test_askers_take_turns(installation: Installation) -> None:
    async def story(threads: Threads, work: Work) -> None:
        first = asyncio.ensure_future(threads.run(work.of("held"), of="held"))
        await asyncio.sleep(0)
        rest = [asyncio.ensure_future(threads.run(work.of(who), of=who)) for who in ("a", "a", "a", "b", "c", "b")]
        await asyncio.sleep(0)
        work.go.set()
        await asyncio.gather(first, *rest)
        assert work.begun == ["held", "a", "b", "c", "a", "b", "a"]

    run(installation, story, number=1)


def test_what_has_not_begun_in_time_never_does(installation: Installation) -> None:
    async def story(threads: Threads, work: Work) -> None:
        for who in ("first", "late"):
            with pytest.raises(RetryLater, match="not answered within"):
                await threads.run(work.of(who), of=who)
        work.go.set()
        assert await _until(lambda: threads.run(work.of("next"), of="next")) == "next"
        assert work.begun == ["first", "next"]

    run(installation, story, number=1, within_s=0.3)


async def _until(ask: Callable[[], Any]) -> Any:
    while True:
        try:
            return await ask()
        except RetryLater:
            continue


class Shown(Document, frozen=True, kw_only=True):
    """What the routes of these tests answer."""

    by: str


@pytest.fixture
def slow() -> Iterator[Event]:
    go = Event()
    yield go
    go.set()


def test_one_identity_is_one_asker_however_it_comes(installation: Installation, slow: Event) -> None:
    """With as many sessions as it likes: others are answered meanwhile."""

    def answer(call: Call, ask: object) -> Shown:
        assert call.sight and (call.identity != "github:greedy" or slow.wait(PATIENCE_S))
        return Shown(by=call.identity)

    def ask(served: Web, by: str) -> int:
        return served.page("/api/v1/slow", by).status

    several = [person("github:greedy") for _ in range(3)]
    sessions = {f"greedy-{n}": caller for n, caller in enumerate(several)} | {"quick": person("github:quick")}
    doors = Doors(by_session=lambda _, cookie, use: sessions.get(cookie), by_token=lambda *_: None)
    route = Route(method="GET", path="/slow", name="slow", action=Action.VIEW, summary="", do=answer, answers=Shown)
    with web(installation, routes=[route], by=doors) as served, ThreadPoolExecutor(12) as pool:
        slow.set()
        assert [ask(served, name) for name in sessions] == [200] * 4, "now the server knows them"
        slow.clear()
        held = [pool.submit(ask, served, f"greedy-{n % 3}") for n in range(9)]
        assert [ask(served, "quick") for _ in range(5)] == [200] * 5
        assert not any(one.done() for one in held)
        slow.set()
        assert [one.result() for one in held] == [200] * 9
