"""The thread that reads what is new of all runs that somebody follows, and hands it to their streams.

What is read costs by what is new, and what is sent is encoded once for all who see the same of a run.
"""

import asyncio
import time
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from queue import Empty, SimpleQueue
from threading import Event

from reconciler.errors import OctofleetError
from reconciler.events import Repeated
from reconciler.identity.access import Access, Action
from reconciler.identity.caller import Caller
from reconciler.identity.sight import Sight
from reconciler.permitting import access_in_force
from reconciler.reading.live import News, RunEvent, View, Watch, news, view_of
from reconciler.server.answer import Doors
from reconciler.server.stream import Stream, encoded
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
LINES_MOST = 2_000
"""Lines that are read at once; what is left is read next, without a pause."""


class Reader:
    """What the thread does. Everything in it is its own but the two queues."""

    def __init__(self, installation: Installation, doors: Doors, coming: "SimpleQueue[Stream]", wake: Event) -> None:
        self._installation, self._doors, self._coming, self._wake = installation, doors, coming, wake
        self._streams: dict[str, list[Stream]] = {}
        self._states: dict[str, RunEvent] = {}
        self._ending: set[str] = set()
        self._settled, self._position, self._trouble = Settled(), 0, Repeated()
        self._handing = Handing()
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


class Handing:
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
