"""One open stream of server-sent events: what waits to be sent to one reader, in a bounded queue. What he does not read in time is not kept for him: his stream
ends, and he comes back."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from reconciler.reading.live import Event as Told
from reconciler.reading.live import RunEvent, View, Watch
from reconciler.server.answer import Asked

QUEUE_MOST = 256 * 1024
"""Bytes that wait for one reader."""


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
