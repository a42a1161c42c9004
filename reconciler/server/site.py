"""The API and the pages as routes of the HTTP server: reads a request as far as it is not too large, has it answered in a thread, writes the answer."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import msgspec
from aiohttp import web

from reconciler.errors import OctofleetError, Refused
from reconciler.reading.paging import Ask, Raw
from reconciler.server import openapi
from reconciler.server.answer import FORM, JSON, Answer, Asked, Doors, Form, answered, list_fields, refusal
from reconciler.server.proxies import client_address
from reconciler.server.route import API, Route
from reconciler.server.streams import Streams
from reconciler.server.threads import LONG, QUICK, Threads
from reconciler.server.written import HEADERS, written
from reconciler.wiring import Installation

COOKIE = "__Host-octofleet"
BODY_MOST = 1 << 20
"""Bytes of a body."""
KNOWN_MOST = 4096
"""Of so many cookies and tokens it is remembered whose they are, those that came last."""
STATIC = Path(__file__).parent / "static"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Adds(Protocol):
    """Something more of the site, with handlers of its own."""

    def add_to(self, app: web.Application) -> None:
        """Add its routes to an application."""


class Site:
    """The routes of one server, answered in these threads, and what more there is beside them. `close` lets go of all."""

    def __init__(self, installation: Installation, routes: Sequence[Route], doors: Doors, threads: Threads, *more: Adds) -> None:
        self._routes, self._doors, self._threads, self._more = routes, doors, threads, more
        self._streams = Streams(installation, doors, threads)
        self._known: dict[str, str] = {}
        self._said = {route.name: route.said for route in routes}

    def add_to(self, app: web.Application) -> None:
        """Add every route to an application."""
        for route in self._routes:
            app.router.add_route(route.method, API + route.path, self._handler(route, people=False))
            if route.template or route.then or route.answers is Raw:
                app.router.add_route(route.method, route.page or route.path, self._handler(route, people=True))
        for more in self._more:
            more.add_to(app)
        app.router.add_get(API + "/openapi.json", self._described())
        app.router.add_static("/static", STATIC)

    def _described(self) -> Handler:
        """The API itself as a document: of this version, of nobody's fleet, so for everybody."""
        found = Answer(status=200, body=msgspec.json.encode(openapi.document(self._routes)))

        async def handle(request: web.Request) -> web.StreamResponse:
            del request
            return written(found)

        return handle

    def _handler(self, route: Route, *, people: bool) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            asked = await read(request, route, people=people)
            asked = replace(asked, said=self._said.get(asked.query.get("said", ""), ""))
            key = asked.bearer or asked.cookie
            of, lane = self._known.get(key, client_address(request)), LONG if route.long else QUICK
            found = await self._threads.run(lambda installation: answered(installation, self._doors, asked), of=of, lane=lane)
            self._know(key, found.by)
            if found.follows is not None:
                return await self._streams.serve(request, asked, found, HEADERS)
            return written(found)

        return safely(handle, people=people)

    def _know(self, key: str, by: str) -> None:
        """Who came with a cookie or token, so that what he asks next is his, however many he has and wherever he is."""
        self._known.pop(key, None)
        if by:
            self._known[key] = by
        if len(self._known) > KNOWN_MOST:
            del self._known[next(iter(self._known))]

    def close(self) -> None:
        """Answer nothing more."""
        self._streams.close()
        self._threads.close()


def safely(handler: Handler, *, people: bool = True) -> Handler:
    """The same, which answers whatever is raised on purpose."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except OctofleetError as error:
            return written(refusal(error, people=people))

    return handle


async def read(request: web.Request, route: Route, *, people: bool) -> Asked:
    """What came in a request. Raises `Refused`."""
    form: Form = {}
    query, body, csrf = _once(request.query.items()), b"", request.headers.get("X-CSRF-Token", "")
    if route.method != "GET" and people:
        form = await form_of(request, route.asks)
        csrf = str(form.pop("csrf", csrf))
    elif route.method != "GET":
        body = await _body(request)
        if body and request.content_type != JSON:
            raise Refused(f"the body is {request.content_type}", hint=f"send {JSON}", code="type")
    if route.stream and (last := request.headers.get("Last-Event-ID", "")):
        query["after"] = last
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return Asked(
        route=route,
        path=dict(request.match_info),
        url=str(request.rel_url),
        people=people,
        query=query,
        form=form,
        body=body,
        kind=request.content_type,
        cookie=request.cookies.get(COOKIE, ""),
        bearer=token.strip() if scheme.lower() == "bearer" else "",
        csrf=csrf,
        known=request.headers.get("If-None-Match", ""),
        by_itself="X-By-Itself" in request.headers,
    )


async def form_of(request: web.Request, asks: type[Ask]) -> dict[str, str | list[str]]:
    """The fields of a form; of what is a list where it is `asks`, all that have its name. Raises `Refused`."""
    await _body(request)
    if request.content_type != FORM:
        raise Refused("a form is expected", hint=f"send it as {FORM}", code="type")
    items, lists = list((await request.post()).items()), list_fields(asks)
    found: dict[str, str | list[str]] = dict(_once((name, text) for name, text in items if name not in lists))
    for name, text in items:
        if name in lists:
            found[name] = [*found.get(name, ()), str(text)]
    return found


async def _body(request: web.Request) -> bytes:
    _check_site(request)
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused(f"the body is larger than {BODY_MOST:,} bytes", hint="send less", code="too-large") from None


def _check_site(request: web.Request) -> None:
    """Browsers say where a request comes from: from no other site anything is changed."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none") or _foreign(
        request.headers.get("Origin"), request.host
    ):
        raise Refused("the request comes from another site", hint="open the page itself, and send it from there", code="csrf")


def _foreign(origin: str | None, host: str) -> bool:
    """Whether a page of another host sends it: what says nothing is no browser, or an old one, and has no `Origin` of another."""
    return origin is not None and origin.partition("://")[2] != host


def _once(items: Iterable[tuple[str, object]]) -> dict[str, str]:
    """Fields by name. Raises `Refused` for one that is there twice, or no text."""
    found: dict[str, str] = {}
    for name, text in items:
        if name in found or not isinstance(text, str):
            raise Refused(f"{name} is there twice, or is no text", hint="name each field once", code="usage")
        found[name] = text
    return found
