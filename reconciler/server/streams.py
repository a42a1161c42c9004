"""Server-sent events of live runs. One thread of a process (`stream_reader`) reads what is new and gives it to bounded queues (`stream`).

Nothing is lost and nothing is told twice over a connection that breaks: an event of the log has its number as its id, and whoever comes back names the last
one.
"""

import asyncio
from collections import Counter
from collections.abc import Mapping
from contextlib import suppress
from functools import partial
from queue import SimpleQueue
from threading import Event, Thread

from aiohttp import web

from reconciler.errors import OctofleetError, RetryLater
from reconciler.reading.live import Watch, before
from reconciler.server.answer import Answer, Asked, Doors
from reconciler.server.connection import stay_open
from reconciler.server.stream import Stream, encoded
from reconciler.server.stream_reader import Reader
from reconciler.server.threads import Threads
from reconciler.wiring import Installation

BEAT_S, BEAT = 15.0, b":\n\n"
STREAMS_MOST, STREAMS_OF_ONE = 2_000, 100
KIND = "text/event-stream"


class Streams:
    """All streams of a process. `close` ends them."""

    def __init__(
        self, installation: Installation, doors: Doors, threads: Threads, *, most: int = STREAMS_MOST, of_one: int = STREAMS_OF_ONE
    ) -> None:
        self._threads, self._most, self._of_one, self._open = threads, most, of_one, Counter[str]()
        self._coming: SimpleQueue[Stream] = SimpleQueue()
        self._wake = Event()
        self._reader = Reader(installation, doors, self._coming, self._wake)
        self._thread: Thread | None = None

    async def serve(self, request: web.Request, asked: Asked, found: Answer, headers: Mapping[str, str]) -> web.StreamResponse:
        """Answer with a stream of what it follows until it ends. Raises `RetryLater` if there are too many."""
        watch: Watch = found.follows
        if watch.over:
            return web.Response(status=204, headers=headers)
        if self._open.total() >= self._most or self._open[found.by] >= self._of_one:
            raise RetryLater("too many streams are open, in all or of yours", after_s=5, hint="try again in a moment", code="busy")
        self._open[found.by] += 1
        stay_open(request)
        loop = asyncio.get_running_loop()
        stream = Stream(watch=watch, asked=asked, by=found.by, loop=loop, began=loop.create_future(), view=watch.view)
        try:
            start = await self._begin(stream)
            response = web.StreamResponse(
                headers=dict(headers) | {"Content-Type": KIND, "Cache-Control": "no-store", "X-Accel-Buffering": "no"}
            )
            await response.prepare(request)
            try:
                await self._send(response, stream, start)
            except (ConnectionError, OctofleetError):
                if request.transport is not None:
                    request.transport.abort()
            return response
        finally:
            stream.gone = True
            self._open[found.by] -= 1
            if not self._open[found.by]:
                del self._open[found.by]

    async def _begin(self, stream: Stream) -> int:
        """Up to which event it has to catch up; the reader tells the later ones."""
        if stream.watch.ended:
            stream.over = True
            return 2**53
        if self._thread is None:
            self._thread = Thread(target=self._reader.run, name="streams", daemon=True)
            self._thread.start()
        self._coming.put(stream)
        self._wake.set()
        try:
            return await asyncio.wait_for(stream.began, 10)
        except TimeoutError:
            raise RetryLater("the database does not answer", after_s=5, hint="octofleet doctor says why", code="slow") from None

    async def _send(self, response: web.StreamResponse, stream: Stream, start: int) -> None:
        after, watch = stream.watch.after, stream.watch
        while after < start:
            data, after = await self._threads.run(partial(_before, watch=watch, after=after, until=start), of=stream.by)
            await response.write(data or BEAT)
        while not stream.over or stream.parts:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_S):
                    await stream.ready.wait()
            await response.write(stream.take() or BEAT)

    def close(self) -> None:
        """End every stream, soon."""
        self._reader.stopped = True
        self._wake.set()


def _before(installation: Installation, *, watch: Watch, after: int, until: int) -> tuple[bytes, int]:
    with installation.store.read() as connection:
        found, then = before(connection, watch, after, until)
    return encoded(found.seen(watch.view), found.lines[-1].id if found.lines else after), then
