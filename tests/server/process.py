"""A process that serves, for tests: what it is, its server, and questions to it."""

import http.client
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from reconciler import events, stages
from reconciler.apply.worker import Worker
from reconciler.drivers.breaker import BreakerState
from reconciler.server.app import listening, make_app
from reconciler.server.health import Pulse
from reconciler.store.engine import Store


@dataclass(kw_only=True)
class Process:
    """`health.State` as a value."""

    store: Store
    worker: Worker | None = None
    role: str = "worker"
    version: str = "1.2.3"
    stopping: bool = False
    loop: Pulse | None = None
    providers: list[BreakerState] = field(default_factory=list)

    def pulses(self) -> Iterable[Pulse]:
        return [self.loop] if self.loop else []

    def breakers(self) -> Iterable[BreakerState]:
        return self.providers


@dataclass(frozen=True)
class Served:
    """A server that listens on this port."""

    port: int

    def get(self, path: str) -> tuple[int, str]:
        asked = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            asked.request("GET", path)
            answer = asked.getresponse()
            return answer.status, answer.read().decode()
        finally:
            asked.close()

    def reasons(self, path: str) -> list[tuple[str, str]]:
        """Codes and texts; checks that the status says the same."""
        status, body = self.get(path)
        document: dict[str, Any] = json.loads(body)
        assert (status == 200) == document["ok"] == (not document["reasons"]), document
        assert status in (200, 503)
        return [(reason["code"], reason["text"]) for reason in document["reasons"]]


@contextmanager
def app(state: Process, **more: Any) -> Iterator[web.Application]:
    """Its application; what listens to stages, counts and events is let go of at the end."""
    before = list(stages.around), list(stages.counters), list(events.listeners)
    try:
        yield make_app(state, **more)
    finally:
        stages.around[:], stages.counters[:], events.listeners[:] = before


@contextmanager
def serving(state: Process, **more: float) -> Iterator[Served]:
    """Its server."""
    with app(state, **more) as made, listening(made, "127.0.0.1", 0) as port:
        yield Served(port)
