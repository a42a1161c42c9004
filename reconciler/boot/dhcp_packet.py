"""DHCPv4 packets as bytes and as values. Pure.

In: a datagram, or a `Packet`. Out: the other one, or `DhcpError`, and nothing else is raised. Sources: RFC 2131 section 2 (fields), RFC 2132 (options),
RFC 3396 (options longer than 255 bytes), RFC 4578 and the PXE 2.1 specification (what a netbooting machine says), RFC 3004 and https://ipxe.org/howto/dhcpd
(how iPXE is known).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from ipaddress import IPv4Address

HEADER = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s4s")
COOKIE = b"\x63\x82\x53\x63"
SMALLEST, LARGEST = 300, 1472
"""Bytes of a packet: what BOOTP relays want at least (RFC 1542, section 2.1), and what fits an Ethernet frame."""
REQUEST, REPLY = 1, 2
NOWHERE = IPv4Address(0)


class DhcpError(Exception):
    """The bytes are no DHCPv4 packet, or the packet does not fit into what may be sent."""


class Option(IntEnum):
    """Codes of options (RFC 2132, 3004, 3046, 4578)."""

    PAD = 0
    VENDOR = 43
    OVERLOAD = 52
    MESSAGE = 53
    SERVER = 54
    LARGEST = 57
    VENDOR_CLASS = 60
    CLIENT = 61
    BOOT_FILE = 67
    USER_CLASS = 77
    RELAY = 82
    ARCHITECTURE = 93
    INTERFACE = 94
    UUID = 97
    IPXE = 175
    END = 255


class Message(IntEnum):
    """Values of option 53 that a proxyDHCP has to do with."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    ACK = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Packet:
    """One packet. `hardware` is the client's address in as many bytes as it says; `file` and `server_name` are without their zeros, and empty where they
    hold options; an option that came in parts is whole."""

    op: int
    xid: int
    hardware: bytes
    hardware_type: int = 1
    hops: int = 0
    seconds: int = 0
    flags: int = 0
    ciaddr: IPv4Address = NOWHERE
    yiaddr: IPv4Address = NOWHERE
    siaddr: IPv4Address = NOWHERE
    giaddr: IPv4Address = NOWHERE
    server_name: bytes = b""
    file: bytes = b""
    options: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def message(self) -> int:
        """Option 53; 0 where there is none, as in BOOTP."""
        value = self.options.get(Option.MESSAGE, b"")
        return value[0] if len(value) == 1 else 0

    @property
    def mac(self) -> str:
        """The hardware address as `52:54:00:aa:00:01`."""
        return self.hardware.hex(":")

    @property
    def server(self) -> IPv4Address | None:
        """Option 54: the server that a request is meant for."""
        value = self.options.get(Option.SERVER, b"")
        return IPv4Address(value) if len(value) == 4 else None

    @property
    def vendor_class(self) -> bytes:
        """Option 60, such as `PXEClient:Arch:00007:UNDI:003016`."""
        return self.options.get(Option.VENDOR_CLASS, b"")

    @property
    def architecture(self) -> int | None:
        """The processor and firmware (IANA's "Processor Architecture Types"): the first of option 93, or else what option 60 says."""
        value = self.options.get(Option.ARCHITECTURE, b"")
        if len(value) >= 2:
            return int.from_bytes(value[:2])
        words = self.vendor_class.split(b":")
        if len(words) >= 3 and words[1] == b"Arch" and words[2].isdigit() and len(words[2]) <= 5:
            return int(words[2])
        return None

    @property
    def is_ipxe(self) -> bool:
        """Whether iPXE asks: by its user class, with RFC 3004's length or bare as iPXE sends it, or by its own option 175."""
        return self.options.get(Option.USER_CLASS) in {b"iPXE", b"\x04iPXE"} or Option.IPXE in self.options

    @property
    def largest(self) -> int:
        """The most bytes of an answer: option 57 counts the IP and UDP headers too (RFC 2132, section 9.10)."""
        value = self.options.get(Option.LARGEST, b"")
        said = int.from_bytes(value) if len(value) == 2 else 576
        return min(max(said, 576) - 28, LARGEST)


def parse(data: bytes) -> Packet:
    """The packet that `data` is. Raises `DhcpError`, whatever the bytes are."""
    if not HEADER.size <= len(data) <= LARGEST:
        raise DhcpError(f"{len(data)} bytes are no DHCP packet")
    op, kind, length, hops, xid, seconds, flags, ciaddr, yiaddr, siaddr, giaddr, hardware, name, file, cookie = HEADER.unpack_from(data)
    if cookie != COOKIE:
        raise DhcpError("there is no magic cookie: BOOTP")
    if op not in {REQUEST, REPLY} or length > len(hardware):
        raise DhcpError(f"op {op} with a hardware address of {length} bytes")
    options: dict[int, bytes] = {}
    _gather(options, data[HEADER.size :])
    overload = options.get(Option.OVERLOAD, b"\0")
    if len(overload) != 1 or overload[0] > 3:
        raise DhcpError("option 52 is none of 1, 2, 3")
    for bit, area in ((1, file), (2, name)):
        if overload[0] & bit:
            _gather(options, area)
    return Packet(
        op=op,
        xid=xid,
        hardware=hardware[:length],
        hardware_type=kind,
        hops=hops,
        seconds=seconds,
        flags=flags,
        ciaddr=IPv4Address(ciaddr),
        yiaddr=IPv4Address(yiaddr),
        siaddr=IPv4Address(siaddr),
        giaddr=IPv4Address(giaddr),
        server_name=b"" if overload[0] & 2 else name.partition(b"\0")[0],
        file=b"" if overload[0] & 1 else file.partition(b"\0")[0],
        options=options,
    )


def _gather(options: dict[int, bytes], area: bytes) -> None:
    """Adds the options of one area; what comes again goes on (RFC 3396, section 7)."""
    at = 0
    while at < len(area) and area[at] != Option.END:
        code = area[at]
        at += 1
        if code == Option.PAD:
            continue
        if at == len(area) or at + 1 + area[at] > len(area):
            raise DhcpError(f"option {code} goes over the end")
        options[code] = options.get(code, b"") + area[at + 1 : at + 1 + area[at]]
        at += 1 + area[at]


def pack(packet: Packet) -> bytes:
    """The bytes of `packet`, its options in the order in which they stand. Raises `DhcpError` where it is more than fits, without overloading fields."""
    if len(packet.hardware) > 16 or len(packet.server_name) > 63 or len(packet.file) > 127:
        raise DhcpError("a fixed field is too long")
    header = HEADER.pack(
        packet.op,
        packet.hardware_type,
        len(packet.hardware),
        packet.hops,
        packet.xid,
        packet.seconds,
        packet.flags,
        packet.ciaddr.packed,
        packet.yiaddr.packed,
        packet.siaddr.packed,
        packet.giaddr.packed,
        packet.hardware,
        packet.server_name,
        packet.file,
        COOKIE,
    )
    data = header + b"".join(_option(packet.options)) + bytes([Option.END])
    if len(data) > LARGEST:
        raise DhcpError(f"{len(data)} bytes are more than {LARGEST}")
    return data.ljust(SMALLEST, b"\0")


def _option(options: Mapping[int, bytes]) -> Iterator[bytes]:
    for code, value in options.items():
        for at in range(0, max(len(value), 1), 255):
            part = value[at : at + 255]
            yield bytes([code, len(part)]) + part


def encapsulated(value: bytes) -> Mapping[int, bytes]:
    """The options inside option 43 (RFC 2132, section 8.4; the PXE 2.1 specification, table 2-1). Raises `DhcpError`."""
    found: dict[int, bytes] = {}
    _gather(found, value)
    return found


def encapsulate(options: Mapping[int, bytes]) -> bytes:
    """The value of option 43 that holds `options`."""
    return b"".join(_option(options)) + bytes([Option.END])
