"""Deliveries of forges over HTTP: verified, stored, then answered. What they ask for is worked on later, by others.

One thread writes: what has come meanwhile is committed together. Whatever is answered with 2xx is in the database; when that is away, or too much
waits for it, the answer is 503 and nothing is kept.
"""

import asyncio
import secrets as random
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from enum import Enum
from queue import Empty, Full, Queue
from threading import Event

from aiohttp import web

from reconciler.errors import OctofleetError
from reconciler.events import Repeated, happened
from reconciler.report.text import brief
from reconciler.store.engine import Connection, Store, Unavailable
from reconciler.store.pulls import received
from reconciler.store.retention import DELIVERIES_S
from webhooks.forge import Commented, Delivery, Unreadable, Unverified
from webhooks.watched import NAME_MOST, Effects, Watched, effects, plain

BODY_MOST = 8 << 20
"""Bytes of a delivery. A push with thousands of commits is larger (GitHub sends up to 25 MB): the loop and the next poll see it all the same."""
ALL_MOST = 64 << 20
"""Bytes of all deliveries that are being read, in one process."""
BODY_S, STORED_S = 10.0, 8.0
"""How long a body may take to come, and a delivery to be stored: GitHub waits for 10 s."""
WAITING_MOST, TOGETHER_MOST = 2_000, 500
"""How many deliveries may wait to be stored, and how many are committed together."""
AGAIN_S = (0.05, 0.3)
"""After such pauses a commit that the database refused is tried again."""
REASONS_MOST = 100
"""Reasons of refusals that are remembered, so that each is told once a minute."""
RETRY_AFTER = {"Retry-After": "5"}


class Result(Enum):
    """How a delivery is answered: a name for metrics, and a status."""

    ACCEPTED = "accepted", 202
    DOUBLE = "double", 200
    IGNORED = "ignored", 200
    UNREADABLE = "unreadable", 400
    UNVERIFIED = "unverified", 401
    UNKNOWN = "unknown", 404
    SLOW = "slow", 408
    LARGE = "large", 413
    TYPE = "type", 415
    BROKEN = "broken", 500
    BUSY = "busy", 503


REFUSED = frozenset({Result.UNREADABLE, Result.UNVERIFIED, Result.UNKNOWN, Result.SLOW, Result.LARGE, Result.TYPE})


class _Refused(Exception):
    def __init__(self, result: Result, error: str = "") -> None:
        super().__init__(result.value)
        self.result, self.error = result, error


@dataclass(frozen=True, kw_only=True)
class Gate:
    """A forge whose deliveries are taken, and what reads the secrets that hold now. Raises `OctofleetError` if it can read none."""

    watched: Watched
    secrets: Callable[[], Sequence[str]]


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    forge: str
    id: str
    effects: Effects
    result: "Future[Result]"


class Inbox:
    """Takes deliveries for the gates, by name; there is at least one. `woken` is called when something was stored. `moved_at`: when the thread that writes
    last went round, in seconds of `time.monotonic()`."""

    def __init__(self, store: Store, gates: Mapping[str, Gate], woken: Callable[[], None] = lambda: None) -> None:
        self._store, self._gates, self._woken = store, gates, woken
        self._waiting: Queue[_Waiting] = Queue(WAITING_MOST)
        self._reading = 0
        self._nobody = random.token_hex(32)
        self._refused: dict[tuple[str, ...], Repeated] = {}
        self.moved_at = time.monotonic()

    async def handle(self, request: web.Request) -> web.Response:
        """`POST /webhooks/{forge}`. The answer says nothing but its status."""
        began = time.monotonic()
        gate = self._gates.get(request.match_info["forge"])
        name, error = gate.watched.name if gate else "", ""
        try:
            result = await self._taken(request, gate)
        except _Refused as refused:
            result, error = refused.result, refused.error
        happened("delivery", forge=name, result=result.value[0], seconds=time.monotonic() - began)
        if result in REFUSED:
            self._tell(forge=name, why=result.value[0], error=error)
        return web.Response(status=result.value[1], headers=RETRY_AFTER if result is Result.BUSY else None)

    def _tell(self, **fields: str) -> None:
        """That one was refused, once for each reason."""
        if len(self._refused) > REASONS_MOST:
            self._refused.clear()
        self._refused.setdefault(tuple(fields.values()), Repeated()).happened("delivery-refused", **fields)

    async def _taken(self, request: web.Request, gate: Gate | None) -> Result:
        if request.content_type != "application/json" or request.headers.get("Content-Encoding", "identity") != "identity":
            raise _Refused(Result.TYPE)
        body = await self._body(request)
        delivery = Delivery(headers={name.lower(): text for name, text in request.headers.items()}, body=body)
        return await self._stored(self._read(delivery, gate))

    async def _body(self, request: web.Request) -> bytes:
        """The body, as far as it is not too large, too slow, or too much with all others."""
        if (request.content_length or 0) > BODY_MOST:
            raise _Refused(Result.LARGE)
        found = bytearray()
        try:
            async with asyncio.timeout(BODY_S):
                while part := await request.content.readany():
                    found += part
                    self._reading += len(part)
                    if len(found) > BODY_MOST:
                        raise _Refused(Result.LARGE)
                    if self._reading > ALL_MOST:
                        raise _Refused(Result.BUSY)
        except TimeoutError:
            raise _Refused(Result.SLOW) from None
        finally:
            self._reading -= len(found)
        return bytes(found)

    def _read(self, delivery: Delivery, gate: Gate | None) -> _Waiting:
        """What a delivery asks for. For a forge that is not known as much is done as for one that did not sign."""
        known = gate or next(iter(self._gates.values()))
        reader, now = known.watched.forge.reader, time.time()
        try:
            reader.verify(delivery, known.secrets() if gate else [self._nobody], now)
            if gate is None:
                raise _Refused(Result.UNKNOWN)
            events = reader.events(delivery)
        except Unverified as error:
            raise (_Refused(Result.UNVERIFIED, str(error)) if gate else _Refused(Result.UNKNOWN)) from None
        except Unreadable as error:
            raise _Refused(Result.UNREADABLE, brief(str(error))) from None
        except OctofleetError as error:
            happened("secret-missing", forge=known.watched.name, error=error.message)
            raise _Refused(Result.BUSY) from None
        if any(isinstance(event, Commented) and event.at < now - DELIVERIES_S for event in events):
            raise _Refused(Result.UNVERIFIED, "its comment is too old: its id may be forgotten, and whoever sends it has kept it")
        wanted = effects(gate.watched, events)
        if not wanted:
            raise _Refused(Result.IGNORED)
        return _Waiting(forge=gate.watched.name, id=plain(reader.id(delivery))[:NAME_MOST], effects=wanted, result=Future())

    async def _stored(self, waiting: _Waiting) -> Result:
        try:
            self._waiting.put_nowait(waiting)
            async with asyncio.timeout(STORED_S):
                return await asyncio.wrap_future(waiting.result)
        except (Full, TimeoutError):
            return Result.BUSY

    def work(self, stop: Event) -> None:
        """Store what comes until told to stop, and what came before that."""
        while True:
            self.moved_at = time.monotonic()
            if found := self._some():
                self._commit(found)
            elif stop.is_set():
                return

    def _some(self) -> list[_Waiting]:
        """What waits, after a while if nothing does; whoever has gone away waits for nothing."""
        found: list[_Waiting] = []
        try:
            found.append(self._waiting.get(timeout=0.2))
            while len(found) < TOGETHER_MOST:
                found.append(self._waiting.get_nowait())
        except Empty:
            pass
        return [waiting for waiting in found if waiting.result.set_running_or_notify_cancel()]

    def _commit(self, found: Sequence[_Waiting]) -> None:
        """Store these together and have each answered. One that cannot be stored keeps no other out."""
        try:
            fresh = self._written(found)
        except Unavailable:
            for waiting in found:
                waiting.result.set_result(Result.BUSY)
            return
        except Exception as error:  # noqa: BLE001 - each is answered, whatever is wrong with one
            if len(found) > 1:
                for waiting in found:
                    self._commit([waiting])
                return
            happened("delivery-failed", forge=found[0].forge, error=f"{type(error).__name__}: {error}")
            found[0].result.set_result(Result.BROKEN)
            return
        for waiting in found:
            waiting.result.set_result(Result.ACCEPTED if id(waiting) in fresh else Result.DOUBLE)
        if fresh:
            self._woken()

    def _written(self, found: Sequence[_Waiting]) -> set[int]:
        """Store in one transaction what is new of these; gives that by identity."""
        for pause_s in AGAIN_S:
            try:
                return self._written_once(found)
            except Unavailable:
                time.sleep(pause_s)
        return self._written_once(found)

    def _written_once(self, found: Sequence[_Waiting]) -> set[int]:
        with self._store.write(alone=False) as connection:
            return _write(connection, found)


def _write(connection: Connection, found: Sequence[_Waiting]) -> set[int]:
    fresh, wanted = set(), Effects()
    for waiting in sorted(found, key=lambda one: (one.forge, one.id)):
        if received(connection, waiting.forge, waiting.id):
            fresh.add(id(waiting))
            wanted.join(waiting.effects)
    wanted.write(connection)
    return fresh
