"""A page with every class and macro that pages use, and the pages of signing in, served as a plugin's routes with the headers of the site."""

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace as Doc
from typing import Any

from aiohttp import web
from jinja2 import ChoiceLoader, FileSystemLoader

from reconciler.identity.caller import Caller
from reconciler.plugins import Part
from reconciler.server import render
from reconciler.server.answer import HTML, Answer
from reconciler.server.site import COOKIE
from reconciler.server.written import HEADERS, written
from tests.server.site import person

MINE = FileSystemLoader(Path(__file__).parent / "pages")
ADA = person("account:ada")
LINES = [f"shop/web-01: {text}" for text in ("packages: htop installed", "service nginx: reloaded", "done")]
SIGN_IN = {"name": "", "next": "/runs", "wrong": "", "chosen": False}
WELCOME = {"path": "/invitation/x", "name": "ada", "reset": False, "typed": "", "display": "", "least": 12, "wrong": ""}


def choices(*names: str) -> list[Doc]:
    return [Doc(name=name, means=f"What {name} means, in a sentence.") for name in names]


def _account(now: float) -> dict[str, Any]:
    sessions = [
        Doc(this=True, made_at=now - 7000, seen_at=now - 3, source="192.0.2.17", agent="Firefox on Linux"),
        Doc(this=False, made_at=now - 90_000, seen_at=now - 5000, source="2001:db8::17", agent="Chromium on Android"),
    ]
    token = Doc(id="4be1", label="dashboard", actions=["view"], made_at=now - 900_000, last_used_at=None, expires_at=now + 900_000)
    account = {"display": "Ada Lovelace", "least": 12, "wrong": "", "secret": ""}
    return account | {
        "sessions": sessions,
        "tokens": [token],
        "reading": choices("view", "plan"),
        "changing": choices("apply", "pause", "break-windows"),
    }


def documents() -> Mapping[str, tuple[str, Caller | None, Mapping[str, Any]]]:
    """Template, caller and document of each path."""
    now = time.time()
    nothing = _account(now) | {
        "tokens": [],
        "secret": "octofleet_3vZx-example-of-a-secret-that-is-shown-once",
        "wrong": "the password is wrong",
    }
    return {
        "/specimen": ("specimen.html", ADA, {}),
        "/specimen/sign-in": ("sign-in.html", None, SIGN_IN),
        "/specimen/refused": ("sign-in.html", None, SIGN_IN | {"name": "ada", "wrong": "Name or password is wrong."}),
        "/specimen/welcome": ("welcome.html", None, WELCOME),
        "/specimen/first": ("welcome.html", None, WELCOME | {"name": "", "wrong": "The two passwords differ."}),
        "/specimen/account": ("account.html", ADA, _account(now)),
        "/specimen/nothing": ("account.html", ADA, nothing),
    }


def specimens() -> Part:
    """The routes; see `documents`, and beside them a form's target, a cookie and the events of a run."""
    loader = render.environment().loader
    assert isinstance(loader, ChoiceLoader)
    if MINE not in loader.loaders:
        loader.loaders = [*loader.loaders, MINE]
    shown = [("GET", path, _shown) for path in documents()]
    more = [("POST", "/specimen", _done), ("GET", "/specimen/cookie", _cookie), ("GET", "/specimen/events", _events)]
    return Part(name="specimen", routes=[*shown, *more])


async def _shown(request: web.Request) -> web.Response:
    template, caller, fields = documents()[request.path]
    body = render.page(template, caller, Doc(**fields, q=request.query.get("q", "")), said="specimen", here=request.path)
    return written(Answer(status=200, kind=HTML, body=body))


async def _done(request: web.Request) -> web.Response:
    fields = await request.post()
    return written(Answer(status=303, headers={"Location": f"/specimen?did={fields['reason']}"}))


async def _cookie(request: web.Request) -> web.Response:
    """Sets the cookie of a session as signing in does, and says which one came."""
    answer = written(
        Answer(status=200, kind=HTML, body=f"<title>x</title><link rel=icon href='data:,'>{request.cookies.get(COOKIE, 'none')}".encode())
    )
    answer.set_cookie(COOKIE, "kept", secure=True, httponly=True, samesite="Lax", path="/")
    return answer


async def _events(request: web.Request) -> web.StreamResponse:
    if request.query.get("after") != "41":
        raise web.HTTPBadRequest(text="the page shows the lines up to 41")
    answer = web.StreamResponse(headers=HEADERS | {"Content-Type": "text/event-stream"})
    await answer.prepare(request)
    told: list[tuple[str, Mapping[str, Any]]] = [
        ("log", {"step": 1, "at": 1_800_000_000 + n, "text": text}) for n, text in enumerate(LINES)
    ]
    told.append(("change", {"address": "shop/web-01", "status": "done"}))
    told.append(("phase", {"tenant": "shop", "track": "web", "number": 1, "state": "held"}))
    told.append(("run", {"state": "done", "endedAt": 1_800_000_009}))
    for name, data in told:
        await answer.write(f"event: {name}\ndata: {json.dumps(data)}\n\n".encode())
    while request.transport is not None and not request.transport.is_closing():
        await asyncio.sleep(0.05)  # the browser ends it
    return answer
