"""The API and the pages as routes of the HTTP server: reads a request as far as it is not too large, has it answered in a thread, writes the answer."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path

from aiohttp import web

from reconciler.errors import OctofleetError, Refused
from reconciler.events import Repeated
from reconciler.reading.paging import Raw
from reconciler.server import render
from reconciler.server.answer import FORM, JSON, Answer, Asked, Doors, answered, refusal
from reconciler.server.route import API, Route
from reconciler.server.threads import Threads
from reconciler.wiring import Installation

COOKIE = "__Host-octofleet"
BODY_MOST = 1 << 20
"""Bytes of a body."""
HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; font-src 'self'; form-action 'self'; "
        "frame-ancestors 'none'; base-uri 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "private, no-store",
}
"""On every answer; RFC 9110 and the Fetch, CSP and Permissions Policy specifications."""
STATIC = Path(__file__).parent / "static"
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Site:
    """The routes of one server. `close` lets go of its threads."""

    def __init__(self, installation: Installation, routes: Sequence[Route], doors: Doors, *, threads: Threads | None = None) -> None:
        self._doors, self._routes = doors, routes
        self._threads = threads or Threads(installation)
        self._trouble = Repeated()
        render.SAID.update({route.name: route.said for route in routes if route.said})

    def add_to(self, app: web.Application) -> None:
        """Add every route to an application."""
        for route in self._routes:
            app.router.add_route(route.method, API + route.path, self._handler(route, people=False))
            if route.template or route.then or route.answers is Raw:
                app.router.add_route(route.method, route.page or route.path, self._handler(route, people=True))

        app.router.add_static("/static", STATIC)

    def _handler(self, route: Route, *, people: bool) -> Handler:
        async def handle(request: web.Request) -> web.StreamResponse:
            try:
                asked = await read(request, route, people=people)
                found = await self._threads.run(lambda installation: answered(installation, self._doors, asked))
            except OctofleetError as error:
                found = refusal(error, people=people)
            return written(found)

        return handle

    def close(self) -> None:
        """Answer nothing more."""
        self._threads.close()


def written(answer: Answer) -> web.Response:
    """An answer on its way."""
    headers = HEADERS | dict(answer.headers) | ({"Content-Type": answer.kind} if answer.body else {})
    if "ETag" in headers:
        headers["Cache-Control"] = "private, no-cache"
    return web.Response(status=answer.status, body=answer.body or None, headers=headers)


async def read(request: web.Request, route: Route, *, people: bool) -> Asked:
    """What came in a request. Raises `Refused`."""
    query, body, csrf = _once(request.query.items()), b"", request.headers.get("X-CSRF-Token", "")
    if route.method != "GET":
        _check_site(request)
        body = await _body(request)
        if people:
            if request.content_type != FORM:
                raise Refused("a form is expected", hint=f"send it as {FORM}", code="type")
            query = _once((await request.post()).items())
            csrf = query.pop("csrf", csrf)
        elif body and request.content_type != JSON:
            raise Refused(f"the body is {request.content_type}", hint=f"send {JSON}", code="type")
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return Asked(
        route=route,
        path=dict(request.match_info),
        url=str(request.rel_url),
        people=people,
        query=query,
        body=body,
        kind=request.content_type,
        cookie=request.cookies.get(COOKIE, ""),
        bearer=token.strip() if scheme.lower() == "bearer" else "",
        csrf=csrf,
        known=request.headers.get("If-None-Match", ""),
    )


async def _body(request: web.Request) -> bytes:
    try:
        return await request.read()
    except web.HTTPRequestEntityTooLarge:
        raise Refused(f"the body is larger than {BODY_MOST:,} bytes", hint="send less", code="too-large") from None


def _check_site(request: web.Request) -> None:
    """Browsers say where a request comes from: from no other site anything is changed."""
    if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
        raise Refused("the request comes from another site", hint="open the page itself, and send it from there", code="csrf")


def _once(items: Iterable[tuple[str, object]]) -> dict[str, str]:
    """Fields by name. Raises `Refused` for one that is there twice, or no text."""
    found: dict[str, str] = {}
    for name, text in items:
        if name in found or not isinstance(text, str):
            raise Refused(f"{name} is there twice, or is no text", hint="name each field once", code="usage")
        found[name] = text
    return found
