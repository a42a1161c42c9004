"""One transfer of a file by TFTP: which blocks are under way, what an acknowledgement brings about, and when something is sent again.

In: datagrams of one peer, the time. Out: datagrams. It says when it is over; opening, counting and closing are the server's.
"""

import errno
import socket
from contextlib import suppress
from enum import Enum
from typing import Any

from reconciler.boot.tftp_image import cut, packets
from reconciler.boot.tftp_packet import ACK, ERROR, HEAD, Terms, oack

TIMEOUT_S = 1.0
UNPROVEN_TRIES = 2
"""How often something is sent again to an address that has not answered yet: who forged it makes us send three packets, not more."""

ANSWER_BYTES = 64
"""What is read of a peer's packet: no text of an error is needed."""
QUEUED = 64
"""How many packets of one peer are taken at once."""
UDP_SEGMENT = 103
"""Linux's option by which one call sends several datagrams, cut by the kernel or the network card. Not every card and route can."""


class End(Enum):
    """How a transfer ended: all of it was acknowledged; the peer gave up or is gone (EDK2 asks for the size, then begins anew); it fell silent."""

    COMPLETE = "complete"
    ABORTED = "aborted"
    EXPIRED = "expired"


class Transfer:
    """`base` is the number of the first block that is not acknowledged, 0 while the options are not; numbers are whole here, and go round at 65,536 on the
    wire. `proven`: the peer has answered, so its address is no forgery. `image`: the file as it goes over the wire, or None."""

    __slots__ = (
        "_repeated",
        "_retransmissions",
        "_segmented",
        "_steady",
        "_step",
        "_timeout_s",
        "_window",
        "_window_bytes",
        "base",
        "content",
        "due",
        "image",
        "last",
        "link",
        "peer",
        "proven",
        "request",
        "resent",
        "source",
        "terms",
        "tries",
    )

    def __init__(
        self,
        *,
        link: socket.socket,
        peer: tuple[Any, ...],
        source: str,
        request: bytes,
        content: bytes,
        image: memoryview | None,
        terms: Terms,
        retransmissions: int,
    ) -> None:
        self.link, self.peer, self.source, self.request = link, peer, source, request
        self.content, self.image, self.terms = content, image, terms
        self.base, self.last = 0 if terms.accepted else 1, packets(len(content), terms.block)
        self.due, self.tries, self.resent, self.proven = 0.0, 0, 0, False
        self._window, self._step = terms.window, HEAD.size + terms.block
        self._window_bytes = self._window * self._step
        self._timeout_s, self._retransmissions = TIMEOUT_S, retransmissions
        self._steady, self._repeated, self._segmented = True, False, False

    @property
    def bytes_acknowledged(self) -> int:
        """Of the file."""
        return min(max(self.base - 1, 0) * self.terms.block, len(self.content))

    def send(self, now: float) -> End | None:
        """Send the window: all blocks from the first that is not acknowledged. What does not fit into the socket is sent when the time is up."""
        self.due = now + self._timeout_s * (1 << self.tries)
        base = self.base
        try:
            if not base:
                self.link.send(oack(self.terms.accepted))
                return None
            if self.image is None:
                window = memoryview(cut(self.content, self.terms.block, base, self._window))
            else:
                at = (base - 1) * self._step
                window = self.image[at : at + self._window_bytes]
            if self._window == 1:
                self.link.send(window)
            else:
                self._send(window)
        except BlockingIOError:
            pass
        except OSError:
            return End.ABORTED
        return None

    def _send(self, window: memoryview) -> None:
        if self._segmented:
            try:
                self.link.send(window)
            except OSError as error:
                if error.errno not in (errno.EIO, errno.EINVAL, errno.EMSGSIZE):
                    raise
                self._segmented = False
                self.link.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, 0)
            else:
                return
        for at in range(0, len(window), self._step):
            self.link.send(window[at : at + self._step])

    def hear(self, now: float) -> End | None:
        """Take what the peer has sent, since this is told but once: all of it, or with windows of one block until an acknowledgement counts, as nothing that
        counts can be behind it."""
        for _ in range(QUEUED):
            base = self.base
            try:
                packet = self.link.recv(ANSWER_BYTES)
            except BlockingIOError:
                return None
            except OSError:
                return End.ABORTED
            end = self.received(packet, now)
            if end is not None or (self._window == 1 and self.base != base):
                return end
        return None

    def received(self, packet: bytes, now: float) -> End | None:
        """What the peer says. Only an acknowledgement of blocks under way makes anything be sent (but see `_again`)."""
        if len(packet) < HEAD.size:
            return None
        kind, number = HEAD.unpack_from(packet)
        if kind != ACK:
            return End.ABORTED if kind == ERROR else None
        base, window = self.base, self._window
        acknowledged = (number - base + 1) & 0xFFFF if base else int(number == 0)
        if not acknowledged:
            return self._again(now) if base and window > 1 else None
        if window > 1:
            under_way = self._under_way()
            if acknowledged > under_way:
                return None
            self.resent += under_way - acknowledged
            self._steady, self._repeated = not self._repeated, acknowledged < under_way
        elif acknowledged > 1:
            return None
        self.base, self.tries = base + acknowledged, 0
        if not self.proven:
            self._prove()
        return End.COMPLETE if self.base > self.last else self.send(now)

    def _prove(self) -> None:
        self.proven, self._timeout_s = True, self.terms.timeout_s or TIMEOUT_S
        if self._window > 1:
            with suppress(OSError):
                self.link.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, self._step)
                self._segmented = True

    def _under_way(self) -> int:
        return min(self._window, self.last - self.base + 1) if self.base else 1

    def _again(self, now: float) -> End | None:
        """The peer repeats its last acknowledgement: the first block of a window is lost (RFC 7440, 4), or it says so for each block after a gap (EDK2), or
        the network doubles packets. The window is sent again, but once, and not when the one before was: doubled acknowledgements would double every
        window to the end (the Sorcerer's Apprentice)."""
        first, self._repeated = self._steady and not self._repeated, True
        return self._repeat(now) if first else None

    def timed_out(self, now: float) -> End | None:
        """Nothing came in time: send the window again, each time after twice as long, or give up. First what was left in the queue is heard."""
        end = self.hear(now)
        if end is not None or self.due > now:
            return end
        if self.tries >= (self._retransmissions if self.proven else min(self._retransmissions, UNPROVEN_TRIES)):
            return End.EXPIRED
        self.tries += 1
        return self._repeat(now)

    def _repeat(self, now: float) -> End | None:
        self.resent += self._under_way()
        return self.send(now)
