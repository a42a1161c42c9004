"""The HTTP that forges share: origins, pages, limits, what is kept, what is never said."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from email.utils import formatdate
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest
from aiohttp import web

from reconciler.server.app import listening
from tests.peers.forges.double import TOKEN
from webhooks import http, session
from webhooks.forge import Denied, Gone, Later, Unreadable
from webhooks.http import Answer, Http, path_of

T = TypeVar("T")


class Item(msgspec.Struct):
    number: int


@contextmanager
def serving(handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Iterator[tuple[str, list[web.Request]]]:
    """Everything is answered by the handler; gives the URL and the requests that came."""
    came: list[web.Request] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        came.append(request)
        return await handler(request)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", answer)
    with listening(app, "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}", came


def ask(url: str, question: Callable[[Http], Awaitable[T]], **more: Any) -> T:
    async def asking() -> T:
        client = Http(url, lambda: {"Authorization": f"Bearer {TOKEN}"}, **more)
        try:
            return await question(client)
        finally:
            await client.close()

    return asyncio.run(asking())


def following(answer: Answer, page: object) -> str:
    del page
    return answer.next


async def numbers(client: Http) -> list[int]:
    return [item.number async for page in client.pages("/items", list[Item], following, size=1) for item in page]


def test_pages_follow_links_of_the_same_origin_only() -> None:
    links = {"": "/api/items?page=2", "2": "?page=3", "3": "http://elsewhere.example.net/items?page=4"}

    async def page(request: web.Request) -> web.Response:
        key = request.query.get("page", "")
        return web.json_response([{"number": int(key or 1)}], headers={"Link": f'<{links[key]}>; rel="next"'})

    with serving(page) as (url, came):
        with pytest.raises(Unreadable, match="leads away"):
            ask(url + "/api", numbers)
        assert [request.path_qs for request in came] == ["/api/items?size=1", "/api/items?page=2", "/api/items?page=3"]


@pytest.mark.parametrize(
    "there", ["http://user@127.0.0.1:{port}/x", "//elsewhere.example.net/x", "https://127.0.0.1:{port}/x", "http://[::1/x"]
)
def test_no_other_origin_is_asked(there: str) -> None:
    async def away(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": there.format(port=request.url.port)})

    with serving(away) as (url, came):
        with pytest.raises(Unreadable, match="leads away"):
            ask(url, lambda client: client.get("/a", Item))
        assert len(came) == 1


def test_a_link_that_is_none_is_told() -> None:
    async def page(request: web.Request) -> web.Response:
        return web.json_response([], headers={"Link": '<http://[::1/x>; rel="next"'})

    with serving(page) as (url, _), pytest.raises(Unreadable):
        ask(url, numbers)


def test_a_redirect_within_the_origin_is_followed_a_few_times() -> None:
    async def moved(request: web.Request) -> web.Response:
        if request.path == "/there":
            return web.json_response({"number": "7"})
        return web.Response(status=301, headers={"Location": "/there" if request.path == "/here" else request.path})

    with serving(moved) as (url, came):
        assert ask(url, lambda client: client.get("/here", Item)).number == 7
        came.clear()
        with pytest.raises(Unreadable, match="redirects"):
            ask(url, lambda client: client.get("/round", Item))
        assert len(came) == session.REDIRECTS + 1


def test_pages_without_an_end_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "PAGES", 5)

    async def page(request: web.Request) -> web.Response:
        return web.json_response([{"number": 1}], headers={"Link": '</items>; rel="next"'})

    with serving(page) as (url, came):
        with pytest.raises(Unreadable, match="more than 5 pages"):
            ask(url, numbers)
        assert len(came) <= 6


def test_an_answer_too_long_is_not_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "ANSWER_MOST", 1 << 20)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_compression(web.ContentCoding.gzip)
        await response.prepare(request)
        for _ in range(8):
            await response.write(b" " * (1 << 20))
        return response

    with serving(endless) as (url, _), pytest.raises(Unreadable, match="longer than"):
        ask(url, lambda client: client.get("/a", Item))


@pytest.mark.parametrize(
    ("headers", "after_s"),
    [
        ({}, 10),
        ({"Retry-After": "42"}, 42),
        ({"Retry-After": "0"}, 1),
        ({"Retry-After": "-5"}, 10),
        ({"Retry-After": "9" * 400}, 3600),
        ({"Retry-After": "soon"}, 10),
        ({"RateLimit-Reset": "30"}, 30),
        ({"X-RateLimit-Reset": "²"}, 10),
    ],
)
def test_how_long_a_forge_wants_to_be_left_alone(headers: dict[str, str], after_s: float) -> None:
    assert waits(headers) == after_s


def test_a_forge_names_the_moment_instead() -> None:
    assert 300 <= waits({"Retry-After": formatdate(time.time() + 600, usegmt=True)}) <= 600
    assert 300 <= waits({"RateLimit-Reset": str(int(time.time()) + 600)}) <= 600


def waits(headers: dict[str, str]) -> float:
    """How many seconds, after a refusal with these headers."""

    async def limited(request: web.Request) -> web.Response:
        return web.json_response({}, status=429, headers=headers)

    with serving(limited) as (url, _), pytest.raises(Later) as error:
        ask(url, lambda client: client.get("/a", Item))
    return error.value.after_s


def test_a_refusal_that_names_a_time_is_for_later() -> None:
    async def blocked(request: web.Request) -> web.Response:
        return web.json_response({}, status=403, headers={"Retry-After": "5"})

    with serving(blocked) as (url, _), pytest.raises(Later):
        ask(url, lambda client: client.get("/a", Item))


def test_what_is_kept_is_bounded_and_given_back_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "KEPT", 2)

    async def tagged(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == '"one"':
            return web.Response(status=304)
        return web.json_response({"number": 3}, headers={"ETag": '"one"'})

    async def several(client: Http) -> list[int]:
        return [(await client.get(path, Item)).number for path in ("/a", "/a", "/b", "/c", "/a")]

    with serving(tagged) as (url, came):
        assert ask(url, several) == [3] * 5
        assert [("If-None-Match" in request.headers) for request in came] == [False, True, False, False, False]


def test_no_token_is_said_though_a_server_says_it_again() -> None:
    async def echo(request: web.Request) -> web.Response:
        said = request.headers["Authorization"]
        return web.json_response({"error": f"no: {said}", "message": [said[7:]]}, status=int(request.query["status"]))

    with serving(echo) as (url, _):
        for status, error in ((403, Denied), (500, Later), (422, Unreadable)):
            with pytest.raises(error) as caught:
                ask(url, lambda client, status=status: client.get("/a", Item, status=status))  # type: ignore[misc]
            assert TOKEN not in str(caught.value) + repr(caught.value)
            assert "no: ***" in str(caught.value)


def test_nothing_of_the_environment_replaces_the_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))

    async def cookie(request: web.Request) -> web.Response:
        return web.json_response({"number": 1}, headers={"Set-Cookie": "session=1"})

    async def twice(client: Http) -> int:
        return (await client.get("/a", Item)).number + (await client.get("/b", Item)).number

    with serving(cookie) as (url, came):
        assert ask(url, twice) == 2
        assert {request.headers["Authorization"] for request in came} == {f"Bearer {TOKEN}"}
        assert not any("Cookie" in request.headers for request in came)


def test_a_proxy_of_the_environment_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async def proxy(request: web.Request) -> web.Response:
        return web.json_response({"number": 9})

    with serving(proxy) as (url, came):
        monkeypatch.setenv("http_proxy", url)
        monkeypatch.setenv("no_proxy", "other.example.net")
        assert ask("http://git.example.net", lambda client: client.get("/a", Item)).number == 9
        assert [request.headers["Host"] for request in came] == ["git.example.net"]


def test_certificates_that_are_not_there_are_told(tmp_path: Path) -> None:
    with pytest.raises(Later, match=r"missing\.pem"):
        ask("https://127.0.0.1:9", lambda client: client.get("/a", Item), ca_file=str(tmp_path / "missing.pem"))
    (tmp_path / "none.pem").write_text("nothing")
    with pytest.raises(Later, match=r"none\.pem"):
        ask("https://127.0.0.1:9", lambda client: client.get("/a", Item), ca_file=str(tmp_path / "none.pem"))


def test_a_path_cannot_be_left() -> None:
    assert path_of("repos", "../..", "a/b?c#d", "ü", 7) == "/repos/..%2F../a%2Fb%3Fc%23d/%C3%BC/7"
    for part in ("", ".", ".."):
        with pytest.raises(Gone):
            path_of("repos", part, "fleet")
