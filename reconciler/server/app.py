"""The HTTP server of a process: `/healthz`, `/readyz` and `/metrics` for machines that watch, routes of plugins, and the site for people and programs.

In: what this process is (`health.State`). Out: an application, and a server for it in a thread of its own. No question to the database is asked in
the event loop, so that one which hangs never hangs an endpoint.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from threading import Event, Thread

from aiohttp import web
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from reconciler import metrics
from reconciler.errors import OctofleetError
from reconciler.plugins import Part
from reconciler.server.asking import Asking, TooLong
from reconciler.server.health import Reason, State, document, stopping, unhealthy, unready
from reconciler.server.scrape import KEPT_S, look, page
from reconciler.server.site import BODY_MOST, Site
from reconciler.store.standing import Standing

WITHIN_S = 2.0
"""How long an endpoint waits for the database."""
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


@contextmanager
def listening(app: web.Application, host: str, port: int) -> Iterator[int]:
    """Serve it in a thread with its own event loop while the block lasts; gives the port, a free one for 0. Raises `OctofleetError` if the address
    cannot be used."""
    served = _Served(app, host, port)
    thread = Thread(target=served.run, name="http", daemon=True)
    thread.start()
    served.began.wait()
    if served.error is not None:
        thread.join()
        hint = "name another address, or end whoever uses it"
        raise OctofleetError(f"cannot listen on {host} port {port}: {served.error}", hint=hint, code="listen") from served.error
    try:
        yield served.port
    finally:
        served.stop()
        thread.join()


class _Served:
    """An application on its way through its life in one thread."""

    def __init__(self, app: web.Application, host: str, port: int) -> None:
        self.began, self.port = Event(), port
        self.error: OSError | None = None
        self._app, self._host = app, host

    def run(self) -> None:
        """The thread."""
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop, self._end = asyncio.get_running_loop(), asyncio.Event()
        runner = web.AppRunner(self._app, access_log=None, shutdown_timeout=CLOSE_S)
        try:
            await runner.setup()
            await web.TCPSite(runner, self._host, self.port).start()
            self.port = runner.addresses[0][1]
        except OSError as error:
            self.error = error
        finally:
            self.began.set()
        if self.error is None:
            await self._end.wait()
        await runner.cleanup()

    def stop(self) -> None:
        """Serve nothing more."""
        self._loop.call_soon_threadsafe(self._end.set)
