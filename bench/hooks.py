"""Deliveries for `bench.webhook`, each part a process of its own: `octofleet URL` and `bare URL` receive, `send PORT NUMBER RATE` sends.

A receiver prints its port, and at the end of its stdin its CPU seconds. `bare` is what anybody would write first: a handler that verifies nothing and
writes the same rows, each delivery in a transaction of its own. The sender prints JSON: seconds, the 99th percentile of an answer, the statuses. RATE 0:
as fast as 50 connections can; else so many begin in each second, whatever becomes of those before.
"""

import asyncio
import json
import sqlite3
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from threading import Event, Thread

import aiohttp
import psycopg
from aiohttp import web

from reconciler.server.app import listening
from reconciler.store.engine import Store
from reconciler.store.pulls import PULL
from reconciler.store.sql import insert
from tests.peers.forges.double import SECRET
from tests.webhooks.hub import changed, hub
from webhooks.inbox import Gate, Inbox

AT_ONCE = 50
DELIVERY = f"{insert('delivery', ('forge', 'id', 'at'))} ON CONFLICT (forge, id) DO NOTHING"
PULLED = f"{insert('pull', PULL)} ON CONFLICT (forge, project, number) DO UPDATE SET asked_at = excluded.asked_at"


def receive(handler: Callable[[web.Request], Awaitable[web.Response]]) -> None:
    app = web.Application()
    app.router.add_post("/webhooks/{forge}", handler)
    with listening(app, "127.0.0.1", 0) as port:
        print(port, flush=True)
        before = time.process_time()
        sys.stdin.read()
        print(time.process_time() - before, flush=True)


def octofleet(url: str) -> None:
    stop, inbox = Event(), Inbox(Store(url), {"hub": Gate(watched=hub(), secrets=lambda: [SECRET])})
    thread = Thread(target=inbox.work, args=(stop,))
    thread.start()
    receive(inbox.handle)
    stop.set()
    thread.join()


def bare(url: str) -> None:
    Store(url).close()
    write = _sqlite(url.removeprefix("sqlite:///")) if url.startswith("sqlite") else _postgresql(url)

    async def handle(request: web.Request) -> web.Response:
        said, now = await request.json(), time.time()
        key = ("hub", said["repository"]["full_name"], said["number"])
        row = (*key, "/repo", "open", "", "", b"{}", "", "", "", None, None, now, now, "", 0, 0, "")
        write(("hub", request.headers["X-GitHub-Delivery"], now), row)
        return web.Response(status=202)

    receive(handle)


def _sqlite(path: str) -> Callable[[tuple[object, ...], tuple[object, ...]], None]:
    database = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    database.execute("PRAGMA synchronous=FULL")

    def write(delivery: tuple[object, ...], pull: tuple[object, ...]) -> None:
        database.execute("BEGIN IMMEDIATE")
        database.execute(DELIVERY, delivery)
        database.execute(PULLED, pull)
        database.execute("COMMIT")

    return write


def _postgresql(url: str) -> Callable[[tuple[object, ...], tuple[object, ...]], None]:
    database = psycopg.connect(url, autocommit=True)

    def write(delivery: tuple[object, ...], pull: tuple[object, ...]) -> None:
        with database.transaction():
            database.execute(DELIVERY.replace("?", "%s").encode(), delivery)
            database.execute(PULLED.replace("?", "%s").encode(), pull)

    return write


def send(port: int, number: int, rate: float) -> None:
    messages = [changed(each) for each in range(1, number + 1)]
    took: list[float] = []
    statuses: Counter[int] = Counter()

    async def main() -> float:
        gate = asyncio.Semaphore(AT_ONCE if not rate else number)

        async def one(each: int, session: aiohttp.ClientSession) -> None:
            if rate:
                await asyncio.sleep(max(began + each / rate - time.perf_counter(), 0))
            async with gate:
                at = time.perf_counter()
                headers, body = messages[each]
                async with session.post(f"http://127.0.0.1:{port}/webhooks/hub", data=body, headers=headers) as answer:
                    statuses[answer.status] += 1
                took.append(time.perf_counter() - at)

        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
            began = time.perf_counter()
            await asyncio.gather(*(one(each, session) for each in range(number)))
            return time.perf_counter() - began

    seconds = asyncio.run(main())
    took.sort()
    print(json.dumps({"seconds": seconds, "p99_s": took[int(len(took) * 0.99)], "statuses": dict(statuses)}))


if __name__ == "__main__":
    if sys.argv[1] == "send":
        send(int(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]))
    else:
        {"octofleet": octofleet, "bare": bare}[sys.argv[1]](sys.argv[2])
