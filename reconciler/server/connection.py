"""One connection of the HTTP server, bounded in everything that whoever is at the other end could do to it: send slowly, send much, read slowly, stay.

aiohttp parses and answers; this adds the bounds that it has none of. In: `terms.Inside`. What is over a bound is answered with 408, 413, 414, 431 or
503 where an answer can still be read, and closed.
"""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web

from reconciler.errors import OctofleetError
from reconciler.server.proxies import Client, is_trusted, plain, seen
from reconciler.server.refused import as_bytes, full, is_aiohttps, problem_of, told, told_of, unforeseen, unreadable
from reconciler.server.terms import Inside

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
LINGER_S = 5.0
"""How long a body that nobody read is read after the answer, so that the answer arrives."""


def stay_open(request: web.BaseRequest) -> None:
    """To be called by a handler whose answer goes on for as long as somebody reads it, such as a stream of events."""
    if isinstance(request.protocol, Connection):
        request.protocol.stay_open()


class Connection(web.RequestHandler):
    """One timer says by when the next thing must have happened: a request's headers, its body, its answer. Another one runs while the other end takes
    nothing of what is written."""

    def __init__(self, server: web.Server, inside: Inside) -> None:
        limits = inside.limits
        self._clock = asyncio.get_running_loop()
        super().__init__(
            server,
            loop=self._clock,
            access_log=None,  # type: ignore[arg-type]
            max_line_size=limits.line,
            max_field_size=limits.header,
            max_headers=limits.headers,
            lingering_time=LINGER_S,
            auto_decompress=False,
        )
        self._inside, self._limits = inside, limits
        self._timer: asyncio.TimerHandle | None = None
        self._stalled: asyncio.TimerHandle | None = None
        self._wire: asyncio.Transport | None = None
        self._entered, self._waiting, self._begun = False, True, False
        self.peer = ""
        self.client: Client | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Somebody has come."""
        self._wire = wire = cast(asyncio.Transport, transport)
        address = wire.get_extra_info("peername")
        self.peer = plain(address[0]) if address else ""
        self._entered = self._inside.enter(self.peer)
        self._within(self._limits.head_s, self._late)
        if self._entered:
            super().connection_made(transport)
        else:
            wire.write(as_bytes(full()))
            wire.close()

    def connection_lost(self, exc: BaseException | None) -> None:
        """He has gone."""
        for timer in (self._timer, self._stalled):
            if timer is not None:
                timer.cancel()
        if self._entered:
            self._entered = False
            self._inside.leave(self.peer)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes of a request: from the first one on its headers have their time."""
        if self._waiting and not self._begun:
            self._begun = True
            self._within(self._limits.head_s, self._late)
        super().data_received(data)

    def request_begun(self, request: web.BaseRequest) -> None:
        """Its headers are there; now the body and the answer have their time."""
        self._waiting = False
        if request.content.is_eof():
            self._within(self._limits.answer_s, self._cut)
        else:
            self._within(self._limits.body_s, lambda: self._body_late(request))

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        """The answer is to be sent; then another request may come."""
        found = await super().finish_response(request, resp, start_time)
        self._waiting, self._begun = True, False
        self._within(self._limits.idle_s, self._late)
        return found

    def stay_open(self) -> None:
        """The answer may go on for as long as it likes; a reader that takes nothing still ends it."""
        if self._timer is not None:
            self._timer.cancel()

    def pause_writing(self) -> None:
        """What is written waits for its reader."""
        super().pause_writing()
        self._stalled = self._clock.call_later(self._limits.stalled_s, self._cut)

    def resume_writing(self) -> None:
        """He took it."""
        super().resume_writing()
        if self._stalled is not None:
            self._stalled.cancel()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """A request that could not be read, or a handler that failed in a way that nobody foresaw."""
        del message
        if request.writer.output_size > 0:
            raise ConnectionError("a part of the answer has been sent")
        if status == 400:
            self._waiting = False
            answer = told(request, unreadable(exc, self._limits.line))
        else:
            error = exc if isinstance(exc, Exception) else TimeoutError("no answer in time")
            unforeseen(request.path, error)
            answer = told(request, error)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """What aiohttp would write with a traceback."""
        error = kw.get("exc_info")
        unforeseen("", error if isinstance(error, BaseException) else RuntimeError(str(args[0]) if args else ""))

    def _within(self, seconds: float, then: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._clock.call_later(seconds, then)

    def _late(self) -> None:
        """No request, or not all of its headers: said if it had begun. Whatever is closing already has had its time."""
        wire = self._wire
        if wire is None or wire.is_closing() or not self._begun:
            self._cut()
            return
        wire.write(as_bytes(problem_of(408)))
        self.force_close()
        self._within(self._limits.head_s, self._cut)

    def _body_late(self, request: web.BaseRequest) -> None:
        """Whoever reads the body is told; if the answer does not come then either, it is cut."""
        self._within(max(self._limits.answer_s - self._limits.body_s, 0), self._cut)
        if not request.content.is_eof():
            request.content.set_exception(problem_of(408))

    def _cut(self) -> None:
        if self._wire is not None:
            self._wire.abort()


def answering(handler: Handler, inside: Inside) -> Handler:
    """A handler of a whole server, with what comes before any route: who asks, whether there is room for him, and whether his headers fit."""

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        connection = cast(Connection, request.protocol)
        connection.request_begun(request)
        forwarded = request.headers.getall("X-Forwarded-For", ()), request.headers.getall("X-Forwarded-Proto", ())
        client = seen(connection.peer, inside.trusted, tls=request.secure, forwarded_for=forwarded[0], proto=forwarded[1])
        connection.client = client
        if sum(len(name) + len(text) for name, text in request.raw_headers) > inside.limits.head:
            return _last(told(request, problem_of(431)))
        counted = is_trusted(connection.peer, inside.trusted)
        if counted and not inside.take(client.address):
            return told(request, full())
        try:
            return await handler(request)
        except web.HTTPException as error:
            if not is_aiohttps(error):
                raise
            return told_of(request, error)
        except OctofleetError as error:
            if request.writer.output_size > 0:
                raise
            return _last(told(request, error))
        finally:
            if counted:
                inside.give(client.address)

    return answer


def _last(answer: web.Response) -> web.Response:
    answer.force_close()
    return answer
