"""Streams for `bench.streams`, each part a process of its own: `octofleet DIR STEPS` and `bare DIR STEPS` serve while a run of so many steps goes on,
`read PORT STREAMS RATE` follows it over so many streams and asks RATE questions a second.

A server prints its port, begins the run at a line of its stdin, and prints its CPU seconds since then at the end of it. `bare` sends every half second what has
come into the log, as text, with the same library and the same bytes a line: what anybody would write first, who asks neither who reads nor what he has read.
The reader prints JSON: the seconds from a line's time to its arrival (the oldest line of each piece: the worst), the 99th percentile of an answer, and how
many streams saw the end.
"""

import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Thread

import aiohttp
from aiohttp import web

from bench.noop import Noop, begin, over, worker
from reconciler.drivers.driver import Context, Results, Step
from reconciler.identity.access import Identity
from reconciler.identity.caller import Caller
from reconciler.server.answer import Doors
from reconciler.server.app import Terms, listening
from reconciler.server.routes import ROUTES
from reconciler.server.site import Site
from reconciler.server.terms import Limits
from reconciler.server.threads import Threads
from reconciler.settings import Settings
from reconciler.store.engine import Store
from reconciler.wiring import Installation

SLOTS, STEP_S = 50, 0.4
"""A hundred and twenty steps a second, so that 2,000 take some seventeen."""
PEOPLE = 20
"""Who follows and asks: one of them may have so many streams and no more."""
TERMS = Terms(limits=Limits(of_client=4096))
"""All readers have one address."""
AT = b'"at":'


class Paced(Noop):
    """Each call takes a while."""

    def apply(self, step: Step, context: Context) -> Results:
        time.sleep(STEP_S)
        return super().apply(step, context)


def serve(app: web.Application, store: Store, steps: int) -> None:
    driver = Paced()
    begin(store, driver, steps)
    with listening(app, "127.0.0.1", 0, TERMS) as port, tempfile.TemporaryDirectory() as here:
        print(port, flush=True)
        sys.stdin.readline()
        before, one = time.process_time(), worker(store, driver, here, SLOTS)
        with one.working():
            one.work(lambda: over(store), "bench")
        sys.stdin.read()
        print(time.process_time() - before, flush=True)


def reader(name: str) -> Caller:
    return Caller(identity=Identity(name=f"local:{name}", here=True), name=name, actions=None)


def octofleet(directory: str, steps: int) -> None:
    installation = Installation(data_dir=Path(directory), settings=Settings())
    doors = Doors(by_session=lambda *_: None, by_token=lambda _, token, use: reader(token))
    site = Site(installation, ROUTES, doors, Threads(installation))
    app = web.Application()
    site.add_to(app)
    serve(app, installation.store, steps)
    site.close()


def bare(directory: str, steps: int) -> None:
    store = Store(f"sqlite:///{directory}/bare.db")
    open_to: list[asyncio.Queue[bytes]] = []

    async def events(request: web.Request) -> web.StreamResponse:
        response, queue = web.StreamResponse(headers={"Content-Type": "text/event-stream"}), asyncio.Queue[bytes]()
        await response.prepare(request)
        open_to.append(queue)
        while data := await queue.get():
            await response.write(data)
        return response

    async def runs(request: web.Request) -> web.Response:
        return web.json_response({"items": []})

    async def follow(app: web.Application) -> None:
        loop = asyncio.get_running_loop()

        def read() -> None:
            last, ended = 0, False
            while not ended:
                time.sleep(0.5)
                ended = over(store)
                with store.read() as connection:
                    rows = list(connection.rows("SELECT id, at, text FROM log WHERE id > ? ORDER BY id", (last,)))
                last = rows[-1][0] if rows else last
                lines = [
                    b'id: %d\nevent: log\ndata: {"at":%r,"text":"%s"}\n\n' % (number, at, b"x" * 2 * len(text)) for number, at, text in rows
                ]
                if lines:
                    loop.call_soon_threadsafe(give, b"".join(lines))
            loop.call_soon_threadsafe(give, b"")

        Thread(target=read, daemon=True).start()

    def give(data: bytes) -> None:
        for queue in open_to:
            queue.put_nowait(data)

    app = web.Application()
    app.router.add_get("/api/v1/runs/bench/events", events)
    app.router.add_get("/api/v1/runs", runs)
    app.on_startup.append(follow)
    serve(app, store, steps)


class Reader(asyncio.Protocol):
    """One stream: raw bytes, so that a thousand readers cost little beside the server that is measured."""

    def __init__(self, late: list[float], ended: asyncio.Queue[int], who: int) -> None:
        self.late, self._ended, self._who, self._pieces = late, ended, who, 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.write(
            b"GET /api/v1/runs/bench/events HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer p%d\r\nConnection: close\r\n\r\n" % self._who
        )

    def data_received(self, data: bytes) -> None:
        place = data.find(AT)
        if place < 0:
            return
        number = data[place + len(AT) : place + len(AT) + 30].split(b",")[0]
        if number.replace(b".", b"").isdigit() and len(number) > 12:
            self._pieces += 1
            self.late.append(time.time() - float(number))

    def connection_lost(self, error: Exception | None) -> None:
        self._ended.put_nowait(self._pieces)


def read(port: int, streams: int, rate: float) -> None:
    print(json.dumps(asyncio.run(_read(port, streams, rate))))


async def _read(port: int, streams: int, rate: float) -> dict[str, object]:
    loop, late, ended = asyncio.get_running_loop(), list[float](), asyncio.Queue[int]()
    for number in range(streams):
        await loop.create_connection(partial(Reader, late, ended, number % PEOPLE), "127.0.0.1", port)
        if number % 50 == 49:
            await asyncio.sleep(0.1)
    await asyncio.sleep(2)
    print("open", flush=True)
    took, statuses = list[float](), list[int]()

    async def ask(session: aiohttp.ClientSession) -> None:
        at = time.perf_counter()
        async with session.get(f"http://127.0.0.1:{port}/api/v1/runs", headers={"Authorization": f"Bearer p{asked % PEOPLE}"}) as answer:
            await answer.read()
            statuses.append(answer.status)
        took.append(time.perf_counter() - at)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began, asked, pending = time.perf_counter(), 0, set[asyncio.Task[None]]()
        while ended.qsize() < streams and time.perf_counter() - began < 180:
            while asked < (time.perf_counter() - began) * rate:
                task = asyncio.create_task(ask(session))
                pending.add(task)
                task.add_done_callback(pending.discard)
                asked += 1
            await asyncio.sleep(0.005)
        seconds = time.perf_counter() - began
        await asyncio.gather(*pending)
    told = [ended.get_nowait() for _ in range(ended.qsize())]
    return {
        "late_s": _part(late, 1.0),
        "late_p99_s": _part(late, 0.99),
        "p99_s": _part(took, 0.99),
        "ended": sum(pieces > 0 for pieces in told),
        "asked": asked,
        "good": sum(status == 200 for status in statuses),
        "seconds": seconds,
    }


def _part(values: Sequence[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)] if ordered else float("inf")


if __name__ == "__main__":
    if sys.argv[1] == "read":
        read(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    else:
        {"octofleet": octofleet, "bare": bare}[sys.argv[1]](sys.argv[2], int(sys.argv[3]))
