"""Sockets of the TFTP server: one that listens and knows which of the machine's addresses was asked, and one for each transfer, from that address, connected.

A connected socket hears only its peer's address and port. The kernel answers everybody else (ICMP: port unreachable) and a peer that is gone is
noticed at once.
"""

import socket
import struct
from collections.abc import Sequence
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from reconciler.errors import OctofleetError

IPV6_RECVPKTINFO, IPV6_PKTINFO = 49, 50
IP_PKTINFO = 8
"""Linux's numbers, of which Python 3.11 names only some."""

QUEUE_BYTES = 4 << 20
ANCILLARY_BYTES = socket.CMSG_SPACE(20)


def listening(host: str, port: int) -> socket.socket:
    """A bound, non-blocking socket. `::` hears IPv4 as well. Raises `OctofleetError` if the address is none of this machine's, taken, or not allowed."""
    try:
        version = ip_address(host.partition("%")[0]).version
    except ValueError:
        hint = "set boot.tftp to an address and a port, such as 0.0.0.0:69"
        raise OctofleetError(f"TFTP cannot listen at {host}, which is no IP address", hint=hint, code="listen") from None
    found = socket.socket(socket.AF_INET if version == 4 else socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, QUEUE_BYTES)
        if version == 4:
            found.setsockopt(socket.IPPROTO_IP, IP_PKTINFO, 1)
        else:
            found.setsockopt(socket.IPPROTO_IPV6, IPV6_RECVPKTINFO, 1)
            found.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        found.bind(socket.getaddrinfo(host, port, type=socket.SOCK_DGRAM, flags=socket.AI_NUMERICHOST)[0][4])
    except OSError as error:
        found.close()
        hint = "ports below 1024 need root or CAP_NET_BIND_SERVICE; see who listens with: ss -lunp"
        raise OctofleetError(f"TFTP cannot listen at {host} port {port}: {error.strerror}", hint=hint, code="listen") from None
    return found


def asked_address(ancillary: Sequence[tuple[int, int, bytes]]) -> str | None:
    """The own address that a datagram was sent to, from what came beside it; None if it went to a group or to all (RFC 1123, 4.2.3.5: never answered)."""
    for level, kind, value in ancillary:
        if (level, kind) == (socket.IPPROTO_IP, IP_PKTINFO):
            _, own, sent_to = struct.unpack("=i4s4s", value[:12])
            return str(IPv4Address(own)) if own == sent_to else None
        if (level, kind) == (socket.IPPROTO_IPV6, IPV6_PKTINFO):
            address = IPv6Address(value[:16])
            if address.ipv4_mapped:
                return f"::ffff:{address.ipv4_mapped}"
            return None if address.is_multicast else str(address)
    return None


def plain(host: str) -> IPv4Address | IPv6Address:
    """A peer's address without its zone, and IPv4 as such where it came in through an IPv6 socket."""
    address = ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def answering(own: str, peer: tuple[Any, ...]) -> socket.socket:
    """A non-blocking socket at a new port of the own address, connected to the peer. Raises `OSError`."""
    found = socket.socket(socket.AF_INET if len(peer) == 2 else socket.AF_INET6, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
    try:
        found.bind((own, 0, *peer[2:]))
        found.connect(peer)
        with suppress(BlockingIOError):  # what a stranger sent to the port before it was connected
            while True:
                found.recv(1)
    except OSError:
        found.close()
        raise
    return found
