"""The TFTP server: read-only, from memory, for provisioning networks (RFC 1350, 2347, 2348, 2349, 7440).

In: requests. Out: what `find` allows, and counters. It never touches the file system. One asyncio loop serves all; every transfer has a socket of its
own, which an epoll object of the server watches, since the loop's own bookkeeping for a socket costs more than the answer. One coarse timer serves all.
"""

import asyncio
import select
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from resource import RLIMIT_NOFILE, getrlimit
from typing import Any

from reconciler.boot import tftp_packet, tftp_socket
from reconciler.boot.tftp_image import Images
from reconciler.boot.tftp_limits import Room, TftpLimits
from reconciler.boot.tftp_packet import NOT_FOUND, REQUEST_BYTES, Terms, Unserved
from reconciler.boot.tftp_transfer import End, Transfer
from reconciler.settings_http import Networks

Find = Callable[[str, str], bytes | None]
"""The content of a file by its name as asked, less one leading slash, and the asker's IP address; None: there is none, for this one. It decides from an
allow-list, and at once: the loop waits for it. Raises `Later`."""


class Later(Exception):
    """The content is being made: who asks gets no answer yet, and asks again."""


TICK_S = 0.25
BATCH, ROUNDS = 64, 4
"""How many packets are taken at once, and how often, before the loop turns to others."""


@dataclass(slots=True, kw_only=True)
class TftpCounters:
    """Since the start. `transfers` are complete; `refused` were answered with an error; `unanswered` came from outside or were over a limit; `aborted` were
    given up by the peer, `expired` by us, as it fell silent."""

    transfers: int = 0
    bytes: int = 0
    refused: int = 0
    unanswered: int = 0
    aborted: int = 0
    expired: int = 0
    retransmissions: int = 0


class TftpServer:
    """Serves what `find` gives to the `networks`. It belongs to the running loop that started it."""

    def __init__(self, find: Find, networks: Networks, limits: TftpLimits) -> None:
        self.counters = TftpCounters()
        self._find, self._networks, self._limits = find, networks, limits
        self._room = Room(limits, limits.transfers)
        self._listeners: list[socket.socket] = []
        self._images = Images(limits.image_bytes)
        self._watch = select.epoll()
        self._by_file: dict[int, Transfer] = {}
        self._by_peer: dict[tuple[Any, ...], Transfer] = {}
        self._timer: asyncio.TimerHandle | None = None

    @property
    def under_way(self) -> int:
        """How many transfers are."""
        return len(self._by_peer)

    async def start(self, host: str, port: int) -> int:
        """Listen at an address, also at several, one call each; `port` 0 takes a free one. Returns the port. Half of the files that the process may open are
        left to others. Raises `OctofleetError`."""
        listener = tftp_socket.listening(host, port)
        loop = asyncio.get_running_loop()
        if self._timer is None:
            loop.add_reader(self._watch.fileno(), self._transfer)
            self._room = Room(self._limits, min(self._limits.transfers, getrlimit(RLIMIT_NOFILE)[0] // 2))
            self._timer = loop.call_later(TICK_S, self._tick)
        self._listeners.append(listener)
        loop.add_reader(listener.fileno(), partial(self._listen, listener))
        return int(listener.getsockname()[1])

    async def close(self) -> None:
        """End what is under way, and listen no more."""
        loop = asyncio.get_running_loop()
        for listener in self._listeners:
            loop.remove_reader(listener.fileno())
            listener.close()
        self._listeners.clear()
        for transfer in tuple(self._by_peer.values()):
            self._end(transfer, End.ABORTED)
        if self._timer is not None:
            self._timer.cancel()
        loop.remove_reader(self._watch.fileno())
        self._watch.close()

    def _listen(self, listener: socket.socket) -> None:
        now = time.monotonic()
        with suppress(BlockingIOError):
            for _ in range(BATCH):
                packet, ancillary, _, peer = listener.recvmsg(REQUEST_BYTES + 1, tftp_socket.ANCILLARY_BYTES)
                self._asked_for(packet, tftp_socket.asked_address(ancillary), peer, now)

    def _asked_for(self, packet: bytes, own: str | None, peer: tuple[Any, ...], now: float) -> None:
        """Answer a request, or not: whoever is outside the networks, over a limit, or repeats what is under way gets nothing."""
        address = tftp_socket.plain(peer[0])
        source = str(address)
        if own is None or not any(address in network for network in self._networks) or not self._room.for_request(source, now):
            self.counters.unanswered += 1
            return
        former = self._by_peer.get(peer)
        if former is not None:
            if former.request == packet and not (former.proven and former.tries):
                return
            self._end(former, End.ABORTED)
        try:
            asked = tftp_packet.read_request(packet)
            if asked is None or not self._room.for_transfer(source):
                self.counters.unanswered += 1
                return
            content = self._find(asked.name, source)
            if content is None:
                raise Unserved(NOT_FOUND, "there is no such file")
        except Later:
            return
        except Unserved as reason:
            self.counters.refused += 1
            with suppress(OSError), tftp_socket.answering(own, peer) as link:
                link.send(tftp_packet.error(reason.code, reason.text))
            return
        agreed = tftp_packet.terms(asked.options, len(content), address.version)
        transfer = self._begun(packet, own, peer, source, content, agreed)
        if transfer is None:
            self.counters.unanswered += 1
        else:
            self._after(transfer, transfer.send(now))

    def _begun(self, packet: bytes, own: str, peer: tuple[Any, ...], source: str, content: bytes, asked: Terms) -> Transfer | None:
        terms = self._room.take(source, asked)
        if terms is None:
            return None
        try:
            link = tftp_socket.answering(own, peer)
        except OSError:
            self._room.give_back(source, terms)
            return None
        transfer = Transfer(
            link=link,
            peer=peer,
            source=source,
            request=packet,
            content=content,
            image=self._images.take(content, terms.block),
            terms=terms,
            retransmissions=self._limits.retransmissions,
        )
        self._by_peer[peer] = self._by_file[link.fileno()] = transfer
        self._watch.register(link.fileno(), select.EPOLLIN | select.EPOLLET)
        return transfer

    def _transfer(self) -> None:
        by_file, poll = self._by_file, self._watch.poll
        for _ in range(ROUNDS):
            ready = poll(0, BATCH)
            if not ready:
                return
            now = time.monotonic()
            for number, _ in ready:
                transfer = by_file.get(number)
                if transfer is not None and (end := transfer.hear(now)) is not None:
                    self._end(transfer, end)

    def _tick(self) -> None:
        now = time.monotonic()
        for transfer in [transfer for transfer in self._by_peer.values() if transfer.due <= now]:
            self._after(transfer, transfer.timed_out(now))
        self._timer = asyncio.get_running_loop().call_later(TICK_S, self._tick)

    def _after(self, transfer: Transfer, end: End | None) -> None:
        if end is not None:
            self._end(transfer, end)

    def _end(self, transfer: Transfer, end: End) -> None:
        del self._by_peer[transfer.peer], self._by_file[transfer.link.fileno()]
        transfer.link.close()
        self._room.give_back(transfer.source, transfer.terms)
        if transfer.image is not None:
            self._images.give_back(transfer.content, transfer.terms.block)
        counters = self.counters
        counters.bytes += transfer.bytes_acknowledged
        counters.retransmissions += transfer.resent
        match end:
            case End.COMPLETE:
                counters.transfers += 1
            case End.ABORTED:
                counters.aborted += 1
            case End.EXPIRED:
                counters.expired += 1
