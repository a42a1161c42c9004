"""A server with bounds for tests, and raw sockets to it."""

import asyncio
import json
import socket
import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

from aiohttp import web
from multidict import CIMultiDict

from reconciler.server.app import Terms, listening
from reconciler.server.connection import stay_open
from reconciler.server.proxies import client_address, is_https
from reconciler.server.refused import add_headers
from reconciler.server.terms import Limits
from reconciler.server.tls import Certificate
from reconciler.settings_http import networks

PATIENCE_S = 60.0
LONG = 1 << 24
"""Bytes: far more than the buffers of two sockets."""


@dataclass(frozen=True)
class Answer:
    status: int
    headers: CIMultiDict[str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """`stay` lets go of the handlers that hang; `ended` counts streams whose reader has gone, `failed` requests whose body did not come."""

    port: int = 0
    trusted: tuple[str, ...] = ()
    ended: list[str] = field(default_factory=list)
    stay: Event = field(default_factory=Event)

    @contextmanager
    def connected(self, sent: bytes = b"") -> Iterator[socket.socket]:
        with socket.create_connection(("127.0.0.1", self.port), timeout=PATIENCE_S) as made:
            made.sendall(sent)
            yield made

    def ask(self, sent: bytes) -> Answer:
        """Send bytes and read one answer."""
        with self.connected(sent) as made:
            return read(made)


def get(path: str = "/", *headers: str) -> bytes:
    return "\r\n".join((f"GET {path} HTTP/1.1", "Host: x", *headers, "", "")).encode()


def read(made: socket.socket | ssl.SSLSocket) -> Answer:
    """One answer with a length."""
    file = made.makefile("rb")
    status = int(file.readline().split()[1])
    headers = CIMultiDict[str]()
    while line := file.readline().strip():
        name, _, text = line.decode().partition(":")
        headers[name] = text.strip()
    return Answer(status, headers, file.read(int(headers.get("Content-Length", "0"))))


def closed(made: socket.socket) -> bool:
    """Waits until the server has closed it, whatever it sends before; with nothing unread, or with a reset."""
    try:
        while made.recv(65536):
            pass
    except ConnectionResetError:
        pass
    return True


@contextmanager
def server(*, trusted: tuple[str, ...] = (), certificate: Certificate | None = None, **limits: Any) -> Iterator[Server]:
    """It says who asks at `/`, reads a body at `/body`, breaks at `/broken`, writes much at `/long`, hangs at `/hang`, and streams at `/events`."""
    found = Server(trusted=trusted)

    async def who(request: web.Request) -> web.Response:
        return web.json_response({"client": client_address(request), "https": is_https(request)})

    async def body(request: web.Request) -> web.Response:
        return web.json_response({"bytes": len(await request.read())})

    async def broken(request: web.Request) -> web.Response:
        raise RuntimeError("the password is hunter2")

    async def long(request: web.Request) -> web.StreamResponse:
        return web.Response(body=b"x" * LONG)

    async def hang(request: web.Request) -> web.Response:
        await asyncio.to_thread(found.stay.wait, PATIENCE_S)
        return web.Response()

    async def events(request: web.Request) -> web.StreamResponse:
        stay_open(request)
        response = web.StreamResponse(headers={"X-Accel-Buffering": "no", "Content-Type": "text/event-stream"})
        await response.prepare(request)
        try:
            await response.write(b"data: first\n\n")
            await asyncio.to_thread(found.stay.wait, PATIENCE_S)
            while True:
                await response.write(b"data: more\n\n" * 5000)
        finally:
            found.ended.append("events")

    app = web.Application(client_max_size=1000)
    app.on_response_prepare.append(add_headers)
    app.router.add_get("/", who)
    app.router.add_get("/readyz", who)
    app.router.add_get("/long", long)
    app.router.add_get("/broken", broken)
    app.router.add_get("/hang", hang)
    app.router.add_get("/events", events)
    app.router.add_post("/body", body)
    terms = Terms(limits=Limits(**limits), trusted=networks(trusted), certificate=certificate)
    with listening(app, "127.0.0.1", 0, terms) as found.port:
        try:
            yield found
        finally:
            found.stay.set()
