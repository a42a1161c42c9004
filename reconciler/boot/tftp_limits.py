"""What the TFTP server does at most: requests a second, transfers at once and bytes under way, of one source and of all.

In: addresses and times. Out: whether there is room. Sources are forgotten every second, or with their last transfer.
"""

from collections import Counter
from dataclasses import dataclass, replace

from reconciler.boot.tftp_packet import Terms


@dataclass(frozen=True, slots=True, kw_only=True)
class TftpLimits:
    """What is over a limit gets no answer: boot ROMs ask again, and nobody is made to. `retransmissions` are those in a row that nobody answers;
    `image_bytes` are what is kept of files in the form in which they are sent."""

    transfers: int = 4096
    transfers_per_source: int = 16
    retransmissions: int = 5
    bytes_in_flight: int = 32 << 20
    image_bytes: int = 32 << 20
    requests_s: int = 5000
    requests_per_source_s: int = 100


class Room:
    """What is left of the limits. `most` transfers may be under way."""

    def __init__(self, limits: TftpLimits, most: int) -> None:
        self._limits, self._most = limits, most
        self._until, self._requests = 0.0, 0
        self._asked: Counter[str] = Counter()
        self._transfers: Counter[str] = Counter()
        self._under_way, self._bytes = 0, 0

    def for_request(self, source: str, now: float) -> bool:
        """Count a request, and say whether it may be looked at. `now` in seconds."""
        if now >= self._until:
            self._asked.clear()
            self._until, self._requests = now + 1, 0
        if self._requests >= self._limits.requests_s:
            return False
        self._requests += 1
        self._asked[source] += 1
        return self._asked[source] <= self._limits.requests_per_source_s

    def for_transfer(self, source: str) -> bool:
        """Whether one more may begin."""
        return self._under_way < self._most and self._transfers[source] < self._limits.transfers_per_source

    def take(self, source: str, terms: Terms) -> Terms | None:
        """Begin a transfer. Its window becomes one block where a whole one would be too much; None: even that would be."""
        if self._bytes + terms.bytes_in_flight > self._limits.bytes_in_flight and terms.window > 1:
            terms = replace(terms, window=1, accepted={**terms.accepted, "windowsize": 1})
        if self._bytes + terms.bytes_in_flight > self._limits.bytes_in_flight:
            return None
        self._under_way += 1
        self._transfers[source] += 1
        self._bytes += terms.bytes_in_flight
        return terms

    def give_back(self, source: str, terms: Terms) -> None:
        """The transfer has ended."""
        self._under_way -= 1
        self._bytes -= terms.bytes_in_flight
        self._transfers[source] -= 1
        if not self._transfers[source]:
            del self._transfers[source]
