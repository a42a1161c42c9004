"""ProxyDHCP: tells netbooting machines what to load, beside the site's own DHCP server, which alone gives addresses.

In: DHCP packets on UDP 67 (broadcasts on our link, and what relays send to us) and 4011. Out: an OFFER or ACK without an address, or silence: nothing is
said to whoever does not netboot, and nothing is sent anywhere but as a broadcast on our link or into `networks`. Sources: RFC 2131 section 4.1, RFC 3046,
RFC 6842, the PXE 2.1 specification section 2.2, UEFI 2.10 section 24.7 (HTTP boot).
"""

import asyncio
import errno
import fcntl
import socket
import struct
from collections import Counter
from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv4Network

from reconciler.boot.dhcp_packet import (
    LARGEST,
    NOWHERE,
    REPLY,
    REQUEST,
    DhcpError,
    Message,
    Option,
    Packet,
    encapsulate,
    encapsulated,
    pack,
    parse,
)
from reconciler.boot.loaders import BIOS, loader_for
from reconciler.errors import OctofleetError
from reconciler.events import happened

SERVER_PORT, CLIENT_PORT, PXE_PORT = 67, 68, 4011
SCRIPT = "/boot/ipxe?mac=${netX/mac:hexhyp}&uuid=${uuid}&serial=${serial:uristring}&asset=${asset:uristring}&arch=${buildarch}&platform=${platform}"
"""Where iPXE finds its script; it fills in what it knows of the machine (https://ipxe.org/cfg). `netX` is the interface that it boots from."""
LOADERS = "/boot/loader/"
"""Where HTTP serves the loaders by their names."""
DISCOVERY_CONTROL, BOOT_ITEM, TAKE_THE_FILE = 6, 71, 8
"""Tags inside option 43, and the bit that says: load the file of this offer, without menu or discovery (PXE 2.1, table 2-1)."""
ANSWERS_PER_S = 1000
AT_ONCE = 32
"""Packets that are read before the loop does something else."""
EVERYBODY = IPv4Address("255.255.255.255")


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """What machines are told. `server`: our address, for TFTP too; `url`: how machines reach our HTTP, such as `http://192.0.2.1:8069`; `loaders`: names
    that are served; `secure_boot`: the distribution of each host with Secure Boot, by MAC address in lower case with colons."""

    server: IPv4Address
    url: str
    loaders: Container[str]
    secure_boot: Mapping[str, str] = field(default_factory=dict)


class Result(StrEnum):
    """What became of a packet: answered; no DHCP; nobody who netboots, or nothing that boots it; from elsewhere; over the rate; not to be sent."""

    OFFERED = "offered"
    ACKED = "acked"
    MALFORMED = "malformed"
    IGNORED = "ignored"
    ELSEWHERE = "elsewhere"
    LIMITED = "limited"
    FAILED = "failed"


def wanted(request: Packet, offered: Offered) -> str | None:
    """The name of the loader for this machine's firmware, whether it is served or not."""
    distribution = offered.secure_boot.get(request.mac)
    return loader_for(request.architecture, distribution is not None, distribution or "")


def answer(request: Packet, offered: Offered, *, port: int = SERVER_PORT) -> Packet | None:
    """What to say to a request that came to our `port`; None where there is nothing to say. Pure."""
    kind, message = _kind(request), _message(request, offered.server, port)
    if kind is None or message is None or request.op != REQUEST or request.hardware_type != 1 or len(request.hardware) != 6:
        return None
    if request.is_ipxe and kind == b"PXEClient":
        file = offered.url + SCRIPT
    else:
        loader = wanted(request, offered)
        if loader is None or loader not in offered.loaders:
            return None
        file = loader if kind == b"PXEClient" else f"{offered.url}{LOADERS}{loader}"
    name = file.encode()
    options: dict[int, bytes] = {Option.MESSAGE: bytes([message]), Option.SERVER: offered.server.packed, Option.VENDOR_CLASS: kind}
    if len(name) > 127:
        options[Option.BOOT_FILE] = name
    if not request.is_ipxe and (vendor := _vendor(request, message)):
        options[Option.VENDOR] = vendor
    for echoed in (Option.CLIENT, Option.UUID, Option.RELAY):
        if echoed in request.options:
            options[echoed] = request.options[echoed]
    return Packet(
        op=REPLY,
        xid=request.xid,
        hardware=request.hardware,
        flags=request.flags,
        ciaddr=request.ciaddr if message == Message.ACK else NOWHERE,
        siaddr=offered.server,
        giaddr=request.giaddr,
        server_name=str(offered.server).encode(),
        file=b"" if Option.BOOT_FILE in options else name,
        options=options,
    )


def _kind(request: Packet) -> bytes | None:
    return next((word for word in (b"PXEClient", b"HTTPClient") if request.vendor_class.startswith(word)), None)


def _message(request: Packet, server: IPv4Address, port: int) -> Message | None:
    """What kind of answer is due: a REQUEST at port 67 is nearly always one for an address, so it must name us."""
    if request.message == Message.DISCOVER and port == SERVER_PORT:
        return Message.OFFER
    if request.message == Message.REQUEST and (port == PXE_PORT or request.server == server):
        return Message.ACK
    return None


def _vendor(request: Packet, message: Message) -> bytes:
    """Option 43. BIOS takes the file of an offer only if it is told to. UEFI must get none in an offer: it then asks for the file at port 4011. A boot item
    that was asked for comes back in the answer."""
    if request.architecture != BIOS:
        return b""
    tags = {DISCOVERY_CONTROL: bytes([TAKE_THE_FILE])}
    if message == Message.ACK:
        try:
            asked = encapsulated(request.options.get(Option.VENDOR, b""))
        except DhcpError:
            asked = {}
        if len(item := asked.get(BOOT_ITEM, b"")) == 4:
            tags[BOOT_ITEM] = item
    return encapsulate(tags)


def destination(request: Packet, source: tuple[str, int], port: int) -> tuple[IPv4Address, int]:
    """Where the answer goes: to the relay (RFC 2131, section 4.1), to whoever asked at 4011, to the client's address, or to everybody on the link."""
    if request.giaddr != NOWHERE:
        return request.giaddr, SERVER_PORT
    if port == PXE_PORT:
        return IPv4Address(source[0]), source[1]
    if request.ciaddr != NOWHERE:
        return request.ciaddr, CLIENT_PORT
    return EVERYBODY, CLIENT_PORT


def interface_of(address: IPv4Address) -> str:
    """The interface that has `address`. Raises `OctofleetError`."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        for _, name in socket.if_nameindex():
            wish = struct.pack("16sHH4s16x", name.encode(), socket.AF_INET, 0, address.packed)
            try:
                found = fcntl.ioctl(
                    asked, 0x8915, wish
                )  # SIOCGIFADDR: with an address in it, that one if the interface has it (netdevice(7))
            except OSError:
                continue
            if found[20:24] == address.packed:
                return name
    hint = "set boot.dhcp to this machine's address on the provisioning network (`ip -4 address` lists them)"
    raise OctofleetError(f"no interface of this machine has the address {address}", hint=hint, code="boot-address")


class ProxyDhcp:
    """Serves on one loop. `offered` may be replaced at any time; `counts` says what became of packets."""

    def __init__(self, offered: Offered, networks: Sequence[IPv4Network], *, answers_per_s: int = ANSWERS_PER_S) -> None:
        self.offered, self.counts = offered, Counter[Result]()
        self._networks, self._rate = tuple(networks), answers_per_s
        self._left, self._at = float(answers_per_s), 0.0
        self._told: set[str] = set()
        self._doors: list[_Door] = []

    async def start(self) -> None:
        """Opens the ports. Raises `OctofleetError` where one cannot be had."""
        server = str(self.offered.server)
        device = interface_of(self.offered.server)
        try:
            for host, port, link in ((server, SERVER_PORT, ""), (server, PXE_PORT, ""), (str(EVERYBODY), SERVER_PORT, device)):
                self._doors.append(_open(host, port, link))
        except OSError as error:
            await self.close()
            raise OctofleetError(f"proxyDHCP cannot listen on {server}: {error.strerror}", hint=_hint(error), code="boot-port") from None
        for door in self._doors:
            asyncio.get_running_loop().add_reader(door.socket, self._ready, door)

    async def close(self) -> None:
        """Closes the ports; once is enough, and more does no harm."""
        while self._doors:
            door = self._doors.pop()
            asyncio.get_running_loop().remove_reader(door.socket)
            door.socket.close()

    def _ready(self, door: "_Door") -> None:
        for _ in range(AT_ONCE):
            try:
                data, source = door.socket.recvfrom(LARGEST + 1)
            except BlockingIOError:
                return
            except OSError:  # the network's answer to something that was sent
                self.counts[Result.FAILED] += 1
                return
            self.counts[self._answered(data, source, door)] += 1

    def _answered(self, data: bytes, source: tuple[str, int], door: "_Door") -> Result:
        if self._allowance() < 1:
            return Result.LIMITED
        try:
            request = parse(data)
            reply = answer(request, self.offered, port=door.port)
            said = pack(reply) if reply else b""
        except DhcpError:
            return Result.MALFORMED
        if reply is None:
            self._tell_missing(request)
            return Result.IGNORED
        to, port = destination(request, source, door.port)
        if not (door.link if to == EVERYBODY else any(to in network for network in self._networks)):
            return Result.ELSEWHERE
        if len(said) > request.largest:
            return Result.FAILED
        self._left -= 1
        out = door if door.port == PXE_PORT else self._doors[0]
        try:
            out.socket.sendto(said, (str(to), port))
        except OSError:
            return Result.FAILED
        file = reply.file or reply.options.get(Option.BOOT_FILE, b"")
        happened("dhcp-answered", mac=request.mac, architecture=request.architecture, file=file.decode(), to=str(to))
        return Result.OFFERED if reply.message == Message.OFFER else Result.ACKED

    def _allowance(self) -> float:
        """How many answers are within the rate by now; a second's worth is saved up. Without any, packets are not even read: that is what a flood costs."""
        now = asyncio.get_running_loop().time()
        self._left = min(self._left + (now - self._at) * self._rate, float(self._rate))
        self._at = now
        return self._left

    def _tell_missing(self, request: Packet) -> None:
        name = wanted(request, self.offered) if request.message == Message.DISCOVER and _kind(request) else None
        if name and name not in self.offered.loaders and name not in self._told:
            self._told.add(name)
            happened("loader-missing", name=name, mac=request.mac, architecture=request.architecture)


@dataclass(frozen=True, slots=True)
class _Door:
    """One open port; `link`: it hears the broadcasts of our link, and nothing else."""

    socket: socket.socket
    port: int
    link: bool


def _open(host: str, port: int, device: str) -> _Door:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.setblocking(False)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        if device:
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
        opened.bind((host, port))
    except OSError:
        opened.close()
        raise
    return _Door(opened, port, bool(device))


def _hint(error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return "a DHCP server of this machine has the port: let it say what to boot (docs/netboot.md), or use another machine"
    return "ports below 1024 take root or CAP_NET_BIND_SERVICE (under systemd: AmbientCapabilities=CAP_NET_BIND_SERVICE)"
