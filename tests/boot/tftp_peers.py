"""What tests of the TFTP server stand on: the server in a loop of its own, a client that knows windows (RFC 7440), and a network that loses packets."""

import asyncio
import random
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_network

from reconciler.boot.tftp import Find, TftpCounters, TftpLimits, TftpServer

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
WAIT_S = 30.0


@dataclass(kw_only=True)
class Serving:
    """A server that runs; `asked` are the names and addresses that `find` was asked for."""

    server: TftpServer
    port: int
    asked: list[tuple[str, str]]

    @property
    def counters(self) -> TftpCounters:
        return self.server.counters

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds, and fail after a generous limit."""
        limit = time.monotonic() + WAIT_S
        while not condition():
            assert time.monotonic() < limit, (self.counters, self.server.under_way)
            time.sleep(0.005)


@contextmanager
def serving(
    find: Find | Mapping[str, bytes], limits: TftpLimits | None = None, networks=LOOPBACK, host: str = "127.0.0.1"
) -> Iterator[Serving]:
    asked: list[tuple[str, str]] = []
    look = find if callable(find) else lambda name, address: find.get(name)

    def recorded(name: str, address: str) -> bytes | None:
        asked.append((name, address))
        return look(name, address)

    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    def call(coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(WAIT_S)

    async def made() -> tuple[TftpServer, int]:
        server = TftpServer(recorded, networks, limits or TftpLimits())
        return server, await server.start(host, 0)

    server, port = call(made())
    try:
        yield Serving(server=server, port=port, asked=asked)
    finally:
        call(server.close())
        loop.call_soon_threadsafe(loop.stop)
        thread.join(WAIT_S)
        loop.close()


def rrq(name: str | bytes, options: Mapping[str, object] | None = None, mode: str = "octet") -> bytes:
    fields = [name if isinstance(name, bytes) else name.encode(), mode.encode()]
    for key, value in (options or {}).items():
        fields += [key.encode(), str(value).encode()]
    return b"\0\1" + b"\0".join(fields) + b"\0"


def ack(number: int) -> bytes:
    return struct.pack("!HH", 4, number & 0xFFFF)


@contextmanager
def link(host: str = "127.0.0.1", own: str | None = None, timeout_s: float = WAIT_S) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind((own or host, 0))
        found.settimeout(timeout_s)
        yield found


def silent(client: socket.socket, seconds: float = 0.3) -> bool:
    """Whether nothing comes for a while."""
    client.settimeout(seconds)
    try:
        client.recv(70000)
    except TimeoutError:
        return True
    finally:
        client.settimeout(WAIT_S)
    return False


@dataclass(kw_only=True)
class Fetched:
    """What a client got: the content, the options that were confirmed, the error code if one came, and how many DATA packets."""

    content: bytes = b""
    accepted: dict[str, str] = field(default_factory=dict)
    error: int | None = None
    packets: int = 0


def fetch(port: int, name: str, options: Mapping[str, object] | None = None, *, host: str = "127.0.0.1", again_s: float = 0.5) -> Fetched:
    """Read a file. Acknowledges a window, or once what came in order before a gap; says it again when nothing comes; checks the numbers of blocks."""
    found, got = Fetched(), bytearray()
    with link(host, timeout_s=again_s) as client:
        last, to, known = rrq(name, options), (host, port), False
        block, window, expected, fresh, complained = 512, 1, 1, 0, False
        client.sendto(last, to)
        limit = time.monotonic() + WAIT_S * 2
        while time.monotonic() < limit:
            try:
                packet, peer = client.recvfrom(70000)
            except TimeoutError:
                client.sendto(last, to)
                continue
            if known and peer[1] != to[1]:
                continue
            to, known = peer, True
            kind, number = struct.unpack_from("!HH", packet)
            if kind == 5:
                found.error = number
                return found
            if kind == 6:
                fields = packet[2:-1].decode().split("\0")
                found.accepted = dict(zip(fields[::2], fields[1::2], strict=True))
                block, window = int(found.accepted.get("blksize", 512)), int(found.accepted.get("windowsize", 1))
                last = ack(0)
                client.sendto(last, to)
                continue
            found.packets += 1
            if number != expected & 0xFFFF:
                last, fresh = ack(expected - 1), 0
                if window > 1 and not complained and (number - expected) & 0xFFFF < 0x8000:
                    client.sendto(last, to)
                    complained = True
                continue
            got += packet[4:]
            expected, fresh, complained = expected + 1, fresh + 1, False
            assert len(packet) <= block + 4
            ended = len(packet) < block + 4
            if fresh >= window or ended:
                last, fresh = ack(number), 0
                client.sendto(last, to)
            if ended:
                found.content = bytes(got)
                return found
    raise AssertionError(f"{name} did not come to its end: {len(got)} bytes")


@contextmanager
def lossy(port: int, seed: int, *, lost: float = 0.0, doubled: float = 0.0, late: float = 0.0) -> Iterator[int]:
    """A port that stands for the server's, with a bad network between: so many packets of each way are lost, come twice, or after the next one."""
    chance, ended = random.Random(seed), threading.Event()
    front, back = (socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2))
    front.bind(("127.0.0.1", 0))
    back.bind(("127.0.0.1", 0))
    ends: dict[str, tuple[str, int]] = {"server": ("127.0.0.1", port)}
    held: dict[str, bytes] = {}

    def relay(side: str, came: socket.socket, out: socket.socket, other: str) -> None:
        with suppress(TimeoutError):
            packet, peer = came.recvfrom(70000)
            ends[side] = peer
            before = held.pop(side, None)
            if chance.random() < late and before is None:
                held[side] = packet
                return
            for one in (packet, before):
                if one is not None and chance.random() >= lost:
                    for _ in range(1 + (chance.random() < doubled)):
                        out.sendto(one, ends[other])

    def run(side: str, came: socket.socket, out: socket.socket, other: str) -> None:
        came.settimeout(0.05)
        while not ended.is_set():
            relay(side, came, out, other)

    threads = [threading.Thread(target=run, args=one) for one in (("client", front, back, "server"), ("server", back, front, "client"))]
    for thread in threads:
        thread.start()
    try:
        yield front.getsockname()[1]
    finally:
        ended.set()
        for thread in threads:
            thread.join(WAIT_S)
        front.close()
        back.close()
