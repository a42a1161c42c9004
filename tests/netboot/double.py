"""A boot server of the test's own, to prove the laboratory without the product: a script, files, and a record of who called back."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from socket import socket

from aiohttp import web


class Calls:
    """What was asked (paths with queries) and what was posted, as it came."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.posted: list[dict[str, str]] = []

    @property
    def stages(self) -> list[str]:
        return [form["stage"] for form in self.posted]


@contextmanager
def serving(listener: socket, script: Callable[[], str], files: Path) -> Iterator[Calls]:
    """`/boot/ipxe` gives `script()`, `/files/` a directory, `/callback` records forms."""
    calls = Calls()

    @web.middleware
    async def record(request: web.Request, handler: Callable[[web.Request], object]) -> web.StreamResponse:
        calls.asked.append(request.path_qs)
        return await handler(request)  # type: ignore[no-any-return,misc]

    async def boot(_request: web.Request) -> web.Response:
        return web.Response(text=script())

    async def call_back(request: web.Request) -> web.Response:
        calls.posted.append({name: str(value) for name, value in (await request.post()).items()})
        return web.Response(text="ok\n")

    app = web.Application(middlewares=[record])  # type: ignore[list-item]
    app.router.add_get("/boot/ipxe", boot)
    app.router.add_post("/callback", call_back)
    app.router.add_static("/files", files)
    loop = asyncio.new_event_loop()

    async def start() -> web.AppRunner:
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        await web.SockSite(runner, listener).start()
        return runner

    runner = loop.run_until_complete(start())
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield calls
    finally:
        asyncio.run_coroutine_threadsafe(runner.cleanup(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
