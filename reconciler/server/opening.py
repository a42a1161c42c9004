"""The HTTP server of a process as it runs: what machines watch everywhere, the API and the pages where it serves."""

from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event

from aiohttp import web

from reconciler import signing_in
from reconciler.server.answer import Doors
from reconciler.server.app import make_app
from reconciler.server.doorstep import Doorstep
from reconciler.server.own_account import OwnAccount
from reconciler.server.process import Process
from reconciler.server.routes import ROUTES
from reconciler.server.site import Site
from reconciler.server.threads import Threads
from reconciler.serving import Serving

DOORS = Doors(by_session=signing_in.caller_of_session, by_token=signing_in.caller_of_token)


@contextmanager
def opened(parts: Serving, stop: Event) -> Iterator[web.Application]:
    """The application of a process while the block lasts; `stop` is set when it is told to stop."""
    process = Process(parts=parts, stop=stop)
    if parts.loop is None:
        yield make_app(process, parts.parts)
        return
    threads = Threads(parts.installation)
    site = Site(parts.installation, ROUTES, DOORS, threads, Doorstep(threads), OwnAccount(threads))
    try:
        yield make_app(process, parts.parts, site)
    finally:
        site.close()
