"""A server with its site, for tests: callers by token, and questions as programs and browsers ask them."""

import http.client
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

from reconciler.identity.access import Action, Identity
from reconciler.identity.caller import Caller
from reconciler.plugins import Part
from reconciler.server.answer import Doors
from reconciler.server.app import Terms, listening
from reconciler.server.route import API, Route
from reconciler.server.routes import ROUTES
from reconciler.server.site import COOKIE, Site
from reconciler.server.threads import Threads
from reconciler.wiring import Installation
from tests.server.process import Process
from tests.server.process import app as app_of

CSRF = "csrf-of-this-session"
TERMS = Terms()


def person(name: str, *, here: bool = False) -> Caller:
    """Somebody who has signed in: the value of his cookie is his name."""
    return Caller(identity=Identity(name=name, here=here), name=name, session=name, csrf=CSRF)


def token(name: str, *actions: Action) -> Caller:
    """An API token, whose secret is its name."""
    return Caller(identity=Identity(name=name), name=name, actions=frozenset(actions))


@dataclass(frozen=True)
class Answered:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass(frozen=True)
class Web:
    """A site that listens on this port."""

    port: int

    def ask(self, method: str, path: str, *, body: bytes | str = b"", **headers: str) -> Answered:
        asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        try:
            asked.request(method, path, body=body or None, headers={name.replace("_", "-"): text for name, text in headers.items()})
            answer = asked.getresponse()
            return Answered(answer.status, dict(answer.getheaders()), answer.read().decode())
        finally:
            asked.close()

    def api(self, path: str, by: str, *, method: str = "", body: object = None, **headers: str) -> Answered:
        """As a program with a token asks."""
        sent = b"" if body is None else json.dumps(body).encode()
        kind = {"Content_Type": "application/json"} if sent else {}
        return self.ask(method or ("POST" if sent else "GET"), API + path, body=sent, Authorization=f"Bearer {by}", **kind, **headers)

    def page(self, path: str, by: str = "", **headers: str) -> Answered:
        """As a browser asks."""
        return self.ask("GET", path, **({"Cookie": f"{COOKIE}={by}"} if by else {}), **headers)

    def form(self, path: str, by: str, fields: Mapping[str, str], *, csrf: str = CSRF, **headers: str) -> Answered:
        """As a browser sends a form."""
        sent = urlencode(dict(fields) | ({"csrf": csrf} if csrf else {}))
        kind = "application/x-www-form-urlencoded"
        return self.ask("POST", path, body=sent, Cookie=f"{COOKIE}={by}", Content_Type=kind, Sec_Fetch_Site="same-origin", **headers)


def doors(*callers: Caller) -> Doors:
    """Where these come in, and nobody else."""
    people = {one.session: one for one in callers if one.session}
    tokens = {one.name: one for one in callers if not one.session}
    return Doors(by_session=lambda _, cookie, use: people.get(cookie), by_token=lambda _, secret, use: tokens.get(secret))


@contextmanager
def web(
    installation: Installation,
    *callers: Caller,
    routes: Sequence[Route] = ROUTES,
    by: Doors | None = None,
    parts: Sequence[Part] = (),
    terms: Terms = TERMS,
) -> Iterator[Web]:
    """The site of an installation for these callers, or with other doors; and the routes of plugins."""
    site = Site(installation, routes, by or doors(*callers), Threads(installation))
    try:
        with app_of(Process(store=installation.store), parts=parts, site=site) as app, listening(app, "127.0.0.1", 0, terms) as port:
            yield Web(port)
    finally:
        site.close()
