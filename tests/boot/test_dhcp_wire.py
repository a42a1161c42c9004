"""The proxyDHCP on a real network: beside dnsmasq as the site's DHCP server, through a relay, from elsewhere, and in a flood."""

import asyncio
import socket
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from ipaddress import IPv4Address
from typing import Any

import pytest

from reconciler import events
from reconciler.boot.dhcp import Offered, ProxyDhcp, Result
from reconciler.boot.dhcp_packet import Message, Packet, parse
from reconciler.errors import OctofleetError
from tests.boot import packets
from tests.boot.packets import header
from tests.boot.wire import CLIENT, NETWORK, SERVER, SITE, URL, Wire, until, wire

FILES = {"undionly.kpxe": b"bios", "snponly.efi": b"MZ"}


@pytest.fixture(scope="module")
def net(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Wire]:
    with wire(tmp_path_factory.mktemp("wire"), FILES) as made:
        yield made


def exchange(
    net: Wire, sent: Sequence[bytes], *, to: tuple[str, int], own: tuple[str, int], device: str = "client", servers: int = 0
) -> dict[IPv4Address | None, Packet]:
    """What so many servers answer to a client that sends from `own`, and again every 4 s, as firmware does; without any, it sends once."""

    def work() -> dict[IPv4Address | None, Packet]:
        heard: dict[IPv4Address | None, Packet] = {}
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, device.encode())
            client.bind(own)
            client.settimeout(4)
            for _ in range(15):
                for data in sent:
                    client.sendto(data, to)
                try:
                    while len(heard) < servers:
                        packet = parse(client.recv(2000))
                        heard[packet.server] = packet
                    break
                except TimeoutError:
                    continue
        return heard

    return net.inside(work, namespace=net.clients).result(90)


def broadcast(net: Wire, *sent: bytes, device: str = "client", servers: int = 0) -> dict[IPv4Address | None, Packet]:
    return exchange(net, sent, to=("255.255.255.255", 67), own=("", 68), device=device, servers=servers)


def counted(proxy: ProxyDhcp, result: Result, of: int, again: Callable[[], object] = lambda: None) -> None:
    until(f"{of} {result}", lambda: again() or proxy.counts[result] >= of, 60)


def all_counted(proxy: ProxyDhcp, sent: int) -> bool:
    return proxy.counts.total() >= sent


def test_the_site_gives_the_address_and_we_the_file(net: Wire) -> None:
    with net.proxy():
        heard = broadcast(net, packets.BIOS_PXE, servers=2)
    site, ours = heard[IPv4Address(SITE)], heard[SERVER]
    assert (site.message, site.file, site.yiaddr in NETWORK) == (Message.OFFER, b"", True)
    assert (ours.message, ours.file, ours.yiaddr) == (Message.OFFER, b"undionly.kpxe", IPv4Address(0))


def test_a_request_at_4011_is_answered_to_where_it_came_from(net: Wire) -> None:
    with net.proxy():
        heard = exchange(net, [packets.EDK2_PXE_AT_4011], to=(str(SERVER), 4011), own=(CLIENT, 4011), servers=1)
    assert [(one.message, one.file) for one in heard.values()] == [(Message.ACK, b"snponly.efi")]


def test_a_relay_is_answered_at_its_own_address(net: Wire) -> None:
    relayed = header(giaddr=IPv4Address(CLIENT).packed.hex()) + packets.BIOS_PXE[240:]
    with net.proxy():
        heard = exchange(net, [relayed], to=(str(SERVER), 67), own=(CLIENT, 67), servers=1)
    assert [(one.message, one.file, str(one.giaddr)) for one in heard.values()] == [(Message.OFFER, b"undionly.kpxe", CLIENT)]


def test_nothing_goes_elsewhere(net: Wire) -> None:
    far_relay = header(giaddr="c0000209") + packets.BIOS_PXE[240:]
    far_client = header(ciaddr="c0000209") + packets.BIOS_PXE[240:]
    with net.proxy() as proxy:
        broadcast(net, far_relay, far_client)
        exchange(net, [far_relay, packets.BIOS_PXE], to=(str(SERVER), 67), own=(CLIENT, 68))  # a broadcast that did not come as one
        counted(proxy, Result.ELSEWHERE, 4)
    assert proxy.counts == {Result.ELSEWHERE: 4}


def test_broadcasts_of_another_link_are_not_heard(net: Wire) -> None:
    with net.proxy() as proxy:
        broadcast(net, packets.BIOS_PXE, device="other")
        broadcast(net, packets.LINUX)
        counted(proxy, Result.IGNORED, 1)
    assert proxy.counts == {Result.IGNORED: 1}


def test_a_flood_is_answered_at_the_rate_and_no_more(net: Wire) -> None:
    rounds, each = 20, 25
    with net.proxy(answers_per_s=1) as proxy:
        for number in range(1, rounds + 1):
            broadcast(net, *[packets.BIOS_PXE] * each)
            until("all are counted", partial(all_counted, proxy, number * each), 60)
        assert set(proxy.counts) == {Result.OFFERED, Result.LIMITED}
        assert proxy.counts.total() == rounds * each
        before = proxy.counts[Result.OFFERED]
        assert before < rounds * each / 2
        counted(proxy, Result.OFFERED, before + 1, lambda: broadcast(net, packets.EDK2_PXE) and None)


def test_malformed_packets_are_counted(net: Wire) -> None:
    with net.proxy() as proxy:
        broadcast(net, b"", b"x" * 2000, packets.BIOS_PXE[:250], header() + b"\x35\x09", packets.BIOS_PXE)
        counted(proxy, Result.OFFERED, 1)
    assert proxy.counts == {Result.MALFORMED: 4, Result.OFFERED: 1}


def test_an_answer_that_is_larger_than_the_client_or_its_relay_takes_is_not_sent(net: Wire) -> None:
    long = b"".join(bytes([82, 200]) + bytes(200) for _ in range(2))
    relayed = header(giaddr=IPv4Address(CLIENT).packed.hex()) + packets.EDK2_PXE[240:-1].replace(b"\x39\x02\x05\xc0", b"") + long + b"\xff"
    with net.proxy() as proxy:
        exchange(net, [relayed], to=(str(SERVER), 67), own=(CLIENT, 67))
        counted(proxy, Result.FAILED, 1)
    assert proxy.counts == {Result.FAILED: 1}


def test_a_loader_that_is_not_here_is_told_once(net: Wire, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(events, "listeners", [lambda name, fields: told.append((name, dict(fields)))])
    with net.proxy(loaders=frozenset({"undionly.kpxe"})) as proxy:
        broadcast(net, packets.EDK2_PXE, packets.EDK2_PXE, packets.LINUX, packets.BIOS_PXE)
        counted(proxy, Result.OFFERED, 1)
    assert told == [
        ("loader-missing", {"name": "snponly.efi", "mac": packets.MAC, "architecture": 7}),
        ("dhcp-answered", {"mac": packets.MAC, "architecture": 0, "file": "undionly.kpxe", "to": "255.255.255.255"}),
    ]


def test_a_port_that_is_taken_is_an_error_that_says_what_to_do(net: Wire) -> None:
    with net.proxy(), pytest.raises(OctofleetError, match=r"cannot listen on 10\.77\.0\.1: Address already in use") as error, net.proxy():
        pass
    assert error.value.hint.startswith("a DHCP server of this machine has the port")


def test_an_address_that_is_none_of_ours_is_an_error() -> None:
    proxy = ProxyDhcp(Offered(server=IPv4Address("192.0.2.77"), url=URL, loaders=frozenset()), [])
    with pytest.raises(OctofleetError, match=r"no interface of this machine has the address 192\.0\.2\.77"):
        asyncio.run(proxy.start())
