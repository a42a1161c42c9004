"""On what terms connections are taken: how many, how large, how long; and who is inside now."""

from collections import Counter
from dataclasses import dataclass, field

from reconciler.server.proxies import is_trusted
from reconciler.settings_http import Networks


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of connections: how many in all, and of one client. Of a request: bytes of its first line, of one header and of all, and how many headers. In seconds:
    for a TLS handshake; for headers to arrive, from the first byte or the connection on; between requests; for a body; for the whole of an answer,
    unless its handler says that it stays open; and for a reader that takes nothing."""

    connections: int = 4096
    of_client: int = 256
    line: int = 8192
    header: int = 8190
    headers: int = 64
    head: int = 32_768
    handshake_s: float = 10.0
    head_s: float = 10.0
    idle_s: float = 75.0
    body_s: float = 30.0
    answer_s: float = 120.0
    stalled_s: float = 30.0


@dataclass(kw_only=True)
class Inside:
    """Who is inside: connections in all, and what each client has. A trusted proxy brings many clients, so it counts in all alone, and each of its requests
    counts for the client that it is from. Used in one event loop."""

    limits: Limits = field(default_factory=Limits)
    trusted: Networks = ()
    open: int = 0
    _of: Counter[str] = field(default_factory=Counter)

    def enter(self, peer: str) -> bool:
        """A connection comes; False if there is no room for it."""
        if self.open >= self.limits.connections or not (is_trusted(peer, self.trusted) or self.take(peer)):
            return False
        self.open += 1
        return True

    def leave(self, peer: str) -> None:
        """A connection that had entered has gone."""
        self.open -= 1
        if not is_trusted(peer, self.trusted):
            self.give(peer)

    def take(self, client: str) -> bool:
        """One more of a client; False if it has as many as it may."""
        if self._of[client] >= self.limits.of_client:
            return False
        self._of[client] += 1
        return True

    def give(self, client: str) -> None:
        """One less."""
        self._of[client] -= 1
        if not self._of[client]:
            del self._of[client]
