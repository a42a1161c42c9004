"""One transfer without a network: windows where the network card cannot cut them, waiting, and addresses that datagrams were sent to."""

import errno
import socket
import struct
from ipaddress import ip_address

import pytest

from reconciler.boot.tftp_image import Images
from reconciler.boot.tftp_packet import Terms, error, terms
from reconciler.boot.tftp_socket import IP_PKTINFO, IPV6_PKTINFO, asked_address, plain
from reconciler.boot.tftp_transfer import End, Transfer
from tests.boot.tftp_peers import ack

CONTENT = bytes(range(250)) * 40


class Link:
    """A socket whose network card cannot compute checksums: it refuses what the kernel would have to cut (`EIO`)."""

    def __init__(self, most: int = 516, refused: int = errno.EIO) -> None:
        self.sent: list[bytes] = []
        self.options: list[int] = []
        self._most, self._refused = most, refused

    def setsockopt(self, level: int, name: int, value: int) -> None:
        self.options.append(value)

    def recv(self, most: int) -> bytes:
        raise BlockingIOError

    def send(self, packet: bytes) -> None:
        if len(packet) > self._most:
            raise OSError(self._refused, "refused")
        self.sent.append(bytes(packet))


def transfer(link: Link, agreed: Terms, retransmissions: int = 5) -> Transfer:
    return Transfer(
        link=link,  # type: ignore[arg-type]
        peer=("192.0.2.1", 2070),
        source="192.0.2.1",
        request=b"",
        content=CONTENT,
        image=Images(1 << 20).take(CONTENT, agreed.block),
        terms=agreed,
        retransmissions=retransmissions,
    )


@pytest.mark.parametrize("refused", [errno.EIO, errno.EINVAL, errno.EMSGSIZE])
def test_a_card_that_cannot_cut_windows_gets_single_blocks(refused: int) -> None:
    link = Link(refused=refused)
    found = transfer(link, terms({"windowsize": 4}, len(CONTENT), 4))
    assert found.send(0.0) is None
    for number in (0, 4, 8, 12, 16):
        assert found.received(ack(number), 0.0) is None
    assert b"".join(packet[4:] for packet in link.sent[1:]) == CONTENT
    assert link.options == [516, 0]
    assert found.received(ack(20), 0.0) is End.COMPLETE
    assert (found.bytes_acknowledged, found.resent) == (len(CONTENT), 0)


def test_any_other_trouble_ends_it() -> None:
    found = transfer(Link(refused=errno.ENETUNREACH), terms({"windowsize": 4}, len(CONTENT), 4))
    found.send(0.0)
    assert found.received(ack(0), 0.0) is End.ABORTED


def test_it_waits_as_long_as_agreed_once_the_peer_has_answered_and_each_time_twice_as_long() -> None:
    found = transfer(Link(), terms({"timeout": 3}, len(CONTENT), 4))
    found.send(0.0)
    assert found.due == 1.0
    found.received(ack(0), 10.0)
    assert found.due == 13.0
    ends = []
    for _ in range(6):
        ends.append(found.timed_out(found.due))
    assert ends == [None] * 5 + [End.EXPIRED]
    assert found.due == 13 + 3 * (2 + 4 + 8 + 16 + 32)


@pytest.mark.parametrize(
    ("packet", "end"),
    [(error(0, "enough"), End.ABORTED), (b"", None), (b"\0\4\0", None), (b"\0\3\0\1", None), (ack(3), None), (ack(65_535), None)],
)
def test_only_an_acknowledgement_of_what_is_under_way_counts(packet: bytes, end: End | None) -> None:
    link = Link()
    found = transfer(link, terms({}, len(CONTENT), 4))
    found.send(0.0)
    found.received(ack(1), 0.0)
    assert found.received(packet, 0.0) is end
    assert len(link.sent) == 2


def test_what_went_to_a_group_or_to_all_is_nobodys() -> None:
    def ipv4(own: str, sent_to: str) -> str | None:
        told = struct.pack("=i4s4s", 1, ip_address(own).packed, ip_address(sent_to).packed)
        return asked_address([(socket.IPPROTO_IP, IP_PKTINFO, told)])

    def ipv6(sent_to: str) -> str | None:
        return asked_address([(socket.IPPROTO_IPV6, IPV6_PKTINFO, ip_address(sent_to).packed + bytes(4))])

    assert ipv4("192.0.2.7", "192.0.2.7") == "192.0.2.7"
    assert ipv4("192.0.2.7", "192.0.2.255") is None
    assert ipv4("192.0.2.7", "255.255.255.255") is None
    assert ipv6("2001:db8::7") == "2001:db8::7"
    assert ipv6("ff02::1") is None
    assert ipv6("::ffff:192.0.2.7") == "::ffff:192.0.2.7"
    assert asked_address([]) is None
    assert str(plain("::ffff:192.0.2.7")) == "192.0.2.7"
    assert str(plain("fe80::1%eth0")) == "fe80::1"
