"""The HTTP server of a process: `/healthz`, `/readyz` and `/metrics` for machines that watch, routes of plugins, and the site for people and programs.

In: what this process is (`health.State`). Out: an application, and a server for it in a thread of its own. No question to the database is asked in
the event loop, so that one which hangs never hangs an endpoint.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from socket import socket
from threading import Event, Thread
from typing import Any, cast

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from reconciler import metrics
from reconciler.errors import OctofleetError
from reconciler.plugins import Part
from reconciler.server.asking import Asking, TooLong
from reconciler.server.connection import Connection, answering
from reconciler.server.health import Reason, State, document, stopping, unhealthy, unready
from reconciler.server.refused import add_headers
from reconciler.server.scrape import KEPT_S, look, page
from reconciler.server.site import BODY_MOST, Site
from reconciler.server.terms import Inside, Limits
from reconciler.server.tls import Certificate, certificate
from reconciler.settings import Http
from reconciler.settings_http import Networks, networks
from reconciler.store.standing import Standing

WITHIN_S = 2.0
"""How long an endpoint waits for the database."""
BACKLOG = 1024
CLOSE_S = 0.3
"""How long a request that goes on may still take when the server ends."""
Handler = Callable[[web.Request], Awaitable[web.Response]]


def make_app(
    state: State, parts: Sequence[Part] = (), site: Site | None = None, *, within_s: float = WITHIN_S, kept_s: float = KEPT_S
) -> web.Application:
    """The application, with the routes of plugins and of the site; counts what the process does from now on. Once for each process: `metrics` listens to
    everything in it."""
    registry = CollectorRegistry()
    metrics.of_process(registry, state.version, lambda: [(breaker.key, breaker.state.value) for breaker in state.breakers()])
    app = web.Application(client_max_size=BODY_MOST)
    app.on_response_prepare.append(add_headers)
    app.router.add_get("/healthz", _healthz(state))
    app.router.add_get("/readyz", _readyz(state, Asking(lambda: unready(state), within_s=within_s)))
    app.router.add_get("/metrics", _metrics(registry, Asking(lambda: look(state.store), within_s=within_s, kept_s=kept_s)))
    for method, path, handler in (route for part in parts for route in part.routes):
        app.router.add_route(method, path, handler)
    if site is not None:
        site.add_to(app)
    return app


def _healthz(state: State) -> Handler:
    async def healthz(request: web.Request) -> web.Response:
        del request
        return _answer(state, list(unhealthy(state)))

    return healthz


def _readyz(state: State, asking: Asking[list[Reason]]) -> Handler:
    async def readyz(request: web.Request) -> web.Response:
        del request
        reasons = list(stopping(state))
        try:
            reasons += await asking.answer()
        except TooLong as error:
            reasons.append(Reason(code="database", text=f"the database has not answered for {error.since_s:.1f} s"))
        return _answer(state, reasons)

    return readyz


def _metrics(registry: CollectorRegistry, asking: Asking[Standing]) -> Handler:
    async def scrape(request: web.Request) -> web.Response:
        del request
        found: Standing | None
        try:
            found = await asking.answer()
        except (TooLong, OctofleetError):
            found = None
        return web.Response(body=page(registry, found), headers={"Content-Type": CONTENT_TYPE_PLAIN_0_0_4})

    return scrape


def _answer(state: State, reasons: list[Reason]) -> web.Response:
    return web.json_response(document(state, reasons), status=503 if reasons else 200)


@dataclass(frozen=True, kw_only=True)
class Terms:
    """On what terms a server takes connections. `inherited`: a socket that listens already."""

    limits: Limits = field(default_factory=Limits)
    trusted: Networks = ()
    certificate: Certificate | None = None
    inherited: socket | None = None


def terms_of(http: Http, inherited: socket | None = None) -> Terms:
    """What the settings say. Raises `OctofleetError` if the certificate cannot be used."""
    limits = Limits(connections=http.connections, of_client=http.connections_of_client)
    found = certificate((http.tls_certificate, http.tls_key))
    return Terms(limits=limits, trusted=networks(http.trusted_proxies), certificate=found, inherited=inherited)


def _why(error: OSError) -> str:
    """In the system's words, without what asyncio puts around them."""
    return os.strerror(error.errno) if error.errno is not None and error.errno > 0 else str(error)


@contextmanager
def listening(app: web.Application, host: str, port: int, terms: Terms = Terms()) -> Iterator[int]:
    """Serve it in a thread with its own event loop while the block lasts; gives the port, a free one for 0. Raises `OctofleetError` if the address
    cannot be used."""
    served = _Served(app, host, port, terms)
    thread = Thread(target=served.run, name="http", daemon=True)
    thread.start()
    served.began.wait()
    if served.error is not None:
        thread.join()
        hint = "name another address, or end whoever uses it"
        raise OctofleetError(f"cannot listen on {host} port {port}: {_why(served.error)}", hint=hint, code="listen") from served.error
    try:
        yield served.port
    finally:
        served.stop()
        thread.join()


class _Served:
    """An application on its way through its life in one thread."""

    def __init__(self, app: web.Application, host: str, port: int, terms: Terms) -> None:
        self.began, self.port = Event(), port
        self.error: OSError | None = None
        self._app, self._host, self._terms = app, host, terms

    def run(self) -> None:
        """The thread."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=CLOSE_S)
        server: asyncio.Server | None = None
        try:
            await runner.setup()
            server = await self._listen(runner)
            self.port = server.sockets[0].getsockname()[1]
        except OSError as error:
            self.error = error
        finally:
            self.began.set()
        if server is not None:
            await self._until_end()
            server.close()
        await runner.cleanup()

    async def _listen(self, runner: web.AppRunner) -> asyncio.Server:
        """aiohttp's runner makes the server; its connections are ours."""
        server, terms = cast(web.Server, runner.server), self._terms
        inside = Inside(limits=terms.limits, trusted=terms.trusted)
        server.request_handler = answering(server.request_handler, inside)
        shown = terms.certificate
        where: dict[str, Any] = {"sock": terms.inherited} if terms.inherited is not None else {"host": self._host, "port": self.port}
        return await self._loop.create_server(
            lambda: Connection(server, inside),
            **where,
            backlog=BACKLOG,
            ssl=shown.context if shown else None,
            ssl_handshake_timeout=terms.limits.handshake_s if shown else None,
            ssl_shutdown_timeout=terms.limits.handshake_s if shown else None,
        )

    async def _until_end(self) -> None:
        shown = self._terms.certificate
        following = asyncio.create_task(shown.follow()) if shown else None
        await self._end.wait()
        if following is not None:
            following.cancel()

    def stop(self) -> None:
        """Serve nothing more."""
        self._loop.call_soon_threadsafe(self._end.set)
