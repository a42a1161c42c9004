"""Server-sent events of live runs: one thread of a process reads what is new of all runs that somebody follows, and gives it to bounded queues.

What is read costs by what is new, and what is sent is encoded once for all who see the same of a run. Nothing is lost and nothing is told twice over a
connection that breaks: an event of the log has its number as its id, and whoever comes back names the last one. What he does not read in time is not kept for
him: his stream ends, and he comes back.
"""

import asyncio
import time
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from queue import Empty, SimpleQueue
from threading import Event, Thread

import msgspec
from aiohttp import web

from reconciler.errors import OctofleetError, RetryLater
from reconciler.events import Repeated
from reconciler.identity.access import Access, Action
from reconciler.identity.caller import Caller
from reconciler.identity.sight import Sight
from reconciler.permitting import access_in_force
from reconciler.reading.live import Event as Told
from reconciler.reading.live import News, RunEvent, View, Watch, before, news, view_of
from reconciler.server.answer import Answer, Asked, Doors
from reconciler.server.connection import stay_open
from reconciler.server.threads import Threads
from reconciler.store.archive import Line
from reconciler.store.live import Settled, lines_between, states_of
from reconciler.wiring import Installation

EVERY_S = 0.5
"""How often it is looked for what is new."""
CHECK_S, CHECKED_MOST = 3.0, 250
"""How often it is asked again whether somebody may still see what he is sent, and of how many at once."""
SOON_S = 0.05
AT_ONCE = 50
"""Streams that are handed something before the event loop looks at what else there is."""
BEAT_S, BEAT = 15.0, b":\n\n"
QUEUE_MOST = 256 * 1024
"""Bytes that wait for one reader."""
STREAMS_MOST, STREAMS_OF_ONE = 2_000, 100
LINES_MOST = 2_000
"""Lines that are read at once; what is left is read next, without a pause."""
KIND = "text/event-stream"


@dataclass(eq=False, kw_only=True)
class Stream:
    """One open stream. Belongs to the event loop, but for `began`, `checked_at` and `state`, which are the reader's."""

    watch: Watch
    asked: Asked
    by: str
    loop: asyncio.AbstractEventLoop
    began: "asyncio.Future[int]"
    view: View
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    over: bool = False
    gone: bool = False
    checked_at: float = field(default_factory=time.monotonic)

    def add(self, data: bytes, *, last: bool) -> None:
        """Something to send; too much of it ends the stream, and nothing is sent after what was left out."""
        if self.over:
            return
        if self.size + len(data) > QUEUE_MOST:
            last = True
        else:
            self.parts.append(data)
            self.size += len(data)
        self.over = last
        self.ready.set()

    def take(self) -> bytes:
        """All that waits."""
        data = b"".join(self.parts)
        self.parts.clear()
        self.size = 0
        self.ready.clear()
        return data


class Streams:
    """All streams of a process. `close` ends them."""

    def __init__(
        self, installation: Installation, doors: Doors, threads: Threads, *, most: int = STREAMS_MOST, of_one: int = STREAMS_OF_ONE
    ) -> None:
        self._threads, self._most, self._of_one, self._open = threads, most, of_one, Counter[str]()
        self._coming: SimpleQueue[Stream] = SimpleQueue()
        self._wake = Event()
        self._reader = _Reader(installation, doors, self._coming, self._wake)
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


class _Reader:
    """The thread. Everything in it is its own but the two queues."""

    def __init__(self, installation: Installation, doors: Doors, coming: "SimpleQueue[Stream]", wake: Event) -> None:
        self._installation, self._doors, self._coming, self._wake = installation, doors, coming, wake
        self._streams: dict[str, list[Stream]] = {}
        self._states: dict[str, RunEvent] = {}
        self._ending: set[str] = set()
        self._settled, self._position, self._trouble = Settled(), 0, Repeated()
        self._handing = _Handing()
        self.stopped = False

    def run(self) -> None:
        """Read until it is stopped."""
        own = self._installation.apart()
        next_at = 0.0
        while not self.stopped:
            waits = self._streams or not self._coming.empty()
            self._wake.wait(max(0.0, next_at - time.monotonic()) if waits else None)
            self._wake.clear()
            if self._streams:
                self._let_in()  # they are told what is read from now on
            if time.monotonic() < next_at:
                continue
            try:
                pause_s = self._round(own)
            except OctofleetError as error:
                pause_s = EVERY_S
                self._trouble.happened("streams-failed", error=str(error))
            next_at = time.monotonic() + pause_s
        with suppress(RuntimeError):  # the event loop has ended
            for streams in self._streams.values():
                self._handing.give([(streams, b"")], last=True)

    def _round(self, own: Installation) -> float:
        """Gives how many seconds there is nothing to do."""
        self._let_go()
        with own.store.read() as connection:
            fresh = self._settled.fresh(connection)
        if not self._streams or self._settled.number < self._position:
            self._position = self._settled.number
        if not self._streams and not fresh:
            return SOON_S  # a line is being written that may have to be told
        self._let_in()
        more = bool(self._streams) and self._tell(own)
        self._check(own)
        return 0.0 if more else EVERY_S

    def _let_go(self) -> None:
        for run, streams in list(self._streams.items()):
            streams[:] = [stream for stream in streams if not stream.gone and not stream.over]
            if not streams:
                self._forget(run)

    def _let_in(self) -> None:
        while True:
            try:
                stream = self._coming.get_nowait()
            except Empty:
                return
            self._streams.setdefault(stream.watch.run, []).append(stream)
            position = self._position
            stream.loop.call_soon_threadsafe(_begun, stream.began, position)

    def _tell(self, own: Installation) -> bool:
        """Read what is new, and hand it out. A run that has ended is told of one round later: its last lines are settled then."""
        with own.store.read() as connection:
            lines = lines_between(connection, self._position, self._settled.number, LINES_MOST)
            by_run: dict[str, list[Line]] = {}
            for run, line in lines:
                if run in self._streams:
                    by_run.setdefault(run, []).append(line)
            more = len(lines) == LINES_MOST
            changed = {} if more else self._changed(states_of(connection, sorted(self._streams)))
            found = {run: news(connection, run, by_run.get(run, ()), changed.get(run)) for run in sorted({*by_run, *changed})}
        self._position = lines[-1][1].id if more else self._settled.number
        for run, new in found.items():
            ended = new.state is not None and new.state.ended_at is not None
            self._handing.give(self._parts(run, new), last=ended)
            if ended:
                self._forget(run)
        return more

    def _forget(self, run: str) -> None:
        """Nobody follows it any more; whoever comes is told how it stands."""
        del self._streams[run]
        self._states.pop(run, None)
        self._ending.discard(run)

    def _changed(self, states: Mapping[str, tuple[str, float | None]]) -> dict[str, RunEvent]:
        found: dict[str, RunEvent] = {}
        for run in self._streams:
            state, ended_at = states.get(run, ("gone", 0.0))
            if ended_at is not None and run not in self._ending:
                self._ending.add(run)
                continue
            event = RunEvent(state=state, ended_at=ended_at)
            if self._states.get(run) != event:
                found[run] = self._states[run] = event
        return found

    def _parts(self, run: str, new: News) -> Iterator[tuple[list[Stream], bytes]]:
        """Each distinct view of it, encoded once, and who has that."""
        by_view: dict[View, list[Stream]] = {}
        for stream in self._streams[run]:
            by_view.setdefault(stream.view, []).append(stream)
        return ((streams, encoded(new.seen(view), self._position)) for view, streams in by_view.items())

    def _check(self, own: Installation) -> None:
        """End the streams of those who may not see any more what they are sent."""
        now = time.monotonic()
        due = [one for streams in self._streams.values() for one in streams if now - one.checked_at >= CHECK_S]
        due = sorted(due, key=lambda one: one.checked_at)[:CHECKED_MOST]
        if not due:
            return
        with own.store.read() as connection:
            access = access_in_force(connection)
        views: dict[tuple[str, str, str], View | None] = {}
        for one in due:
            key = one.asked.bearer, one.asked.cookie, one.watch.run
            if key not in views:
                views[key] = _view(self._doors.caller(own, one.asked, use=False), access, one.watch)
            one.checked_at = now
            if views[key] != one.view:
                self._handing.give([([one], b"")], last=True)


def _view(caller: Caller | None, access: Access, watch: Watch) -> View | None:
    """What somebody sees now of what he follows; None if he has signed out, or his token is good for nothing."""
    if caller is None or not caller.may_use(Action.VIEW):
        return None
    return view_of(Sight(access, caller.identity), watch.source, watch.tenants)


def _begun(began: "asyncio.Future[int]", position: int) -> None:
    if not began.done():
        began.set_result(position)


class _Handing:
    """Hands what was read to the streams, in the event loop: to some at a time, so that what else is asked gets its turn in between."""

    def __init__(self) -> None:
        self._waiting = deque[tuple[Stream, bytes, bool]]()

    def give(self, parts: Iterable[tuple[Sequence[Stream], bytes]], *, last: bool = False) -> None:
        """From any thread."""
        found = [(stream, data, last) for streams, data in parts if data or last for stream in streams]
        if found:
            found[0][0].loop.call_soon_threadsafe(self._add, found[0][0].loop, found)

    def _add(self, loop: asyncio.AbstractEventLoop, found: Sequence[tuple[Stream, bytes, bool]]) -> None:
        goes_on = bool(self._waiting)
        self._waiting.extend(found)
        if not goes_on:
            self._next(loop)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        for _ in range(min(AT_ONCE, len(self._waiting))):
            stream, data, last = self._waiting.popleft()
            stream.add(data, last=last)
        if self._waiting:
            loop.call_soon(self._next, loop)


def encoded(events: Iterable[tuple[int, Told]], position: int) -> bytes:
    """Events as they are sent. The one that ends a run has an id too, so that whoever comes back is told that there is no more."""
    made = bytearray()
    for number, event in events:
        ends = isinstance(event, RunEvent) and event.ended_at is not None
        if number or ends:
            made += b"id: %d\n" % (max(position, 1) if ends else number)
        name = type(event).__struct_config__.tag
        made += b"event: %s\ndata: %s\n\n" % (str(name).encode(), msgspec.json.encode(event))
    return bytes(made)
