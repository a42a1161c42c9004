"""The TFTP server in a hostile network: who is answered at all, with how much, and that nobody can fill it up."""

import os
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.boot import tftp, tftp_transfer
from reconciler.boot.tftp import TftpLimits
from tests.boot.test_tftp_packet import TRAVERSALS
from tests.boot.tftp_peers import LOOPBACK, ack, fetch, link, rrq, serving, silent

FILES = {"file": os.urandom(50_000)}


@pytest.fixture
def _hurried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tftp_transfer, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(tftp, "TICK_S", 0.02)


def test_no_name_that_climbs_out_is_looked_up() -> None:
    with serving(FILES) as found:
        for name in TRAVERSALS:
            with link() as client:
                client.sendto(rrq(name), ("127.0.0.1", found.port))
                assert client.recv(600)[:4] == b"\0\5\0\2", name
        assert found.asked == []
        assert found.counters.refused == len(TRAVERSALS)


def test_whoever_is_outside_the_networks_gets_nothing() -> None:
    with serving(FILES, networks=LOOPBACK[1:]) as found, link() as client:
        for packet in (rrq("file"), rrq("../x"), b"\0\2" + rrq("x")[2:], b"junk"):
            client.sendto(packet, ("127.0.0.1", found.port))
        found.until(lambda: found.counters.unanswered == 4)
        assert silent(client)
        assert found.asked == []


def test_only_the_peer_is_listened_to() -> None:
    with serving(FILES) as found, link() as client, link() as stranger, link(own="127.0.0.9") as neighbour:
        client.sendto(rrq("file"), ("127.0.0.1", found.port))
        _first, peer = client.recvfrom(600)
        for other in (stranger, neighbour):
            for packet in (ack(1), b"\0\5\0\0stop\0", rrq("file")):
                other.sendto(packet, peer)
            assert silent(other, 0.1)
        assert silent(client, 0.1)
        client.sendto(ack(1), peer)
        assert client.recv(600)[:4] == b"\0\3\0\2"
        assert found.counters.aborted == 0
        stranger.connect(peer)
        stranger.send(ack(1))
        with pytest.raises(ConnectionRefusedError):
            stranger.recv(600)


@pytest.mark.usefixtures("_hurried")
def test_a_forged_address_gets_three_small_packets() -> None:
    with serving(FILES) as found, link() as client:
        client.sendto(rrq("file", {"blksize": 1468, "windowsize": 16, "timeout": 255}), ("127.0.0.1", found.port))
        found.until(lambda: found.counters.expired == 1)
        client.settimeout(0.2)
        came = []
        with pytest.raises(TimeoutError):
            while True:
                came.append(client.recv(70000))
        assert len(came) == 3
        assert sum(map(len, came)) < 200
        assert found.counters.retransmissions == 2


@pytest.mark.usefixtures("_hurried")
def test_a_peer_that_falls_silent_is_given_up() -> None:
    with serving(FILES, TftpLimits(retransmissions=3)) as found, link() as client:
        client.sendto(rrq("file", {"windowsize": 2}), ("127.0.0.1", found.port))
        _, peer = client.recvfrom(600)
        client.sendto(ack(0), peer)
        found.until(lambda: found.counters.expired == 1)
        assert found.counters.retransmissions == 6
        assert found.server.under_way == 0


@pytest.mark.usefixtures("_hurried")
def test_thousands_of_half_open_transfers_are_bounded_and_then_forgotten() -> None:
    limits = TftpLimits(transfers=50, transfers_per_source=5)
    with serving(FILES, limits) as found:
        for number in range(3000):
            with link(own=f"127.0.{number % 30}.7", host="127.0.0.1") as client:
                client.sendto(rrq("file"), ("127.0.0.1", found.port))
            assert found.server.under_way <= 50
        found.until(lambda: found.server.under_way == 0)
        assert found.counters.unanswered > 0
        assert fetch(found.port, "file").content == FILES["file"]


def test_one_source_cannot_take_all_places() -> None:
    with serving(FILES, TftpLimits(transfers_per_source=3)) as found:
        clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(10)]
        for client in clients:
            client.sendto(rrq("file"), ("127.0.0.1", found.port))
        found.until(lambda: found.counters.unanswered == 7)
        assert found.server.under_way == 3
        with link(own="127.0.0.2") as other:
            other.sendto(rrq("file"), ("127.0.0.1", found.port))
            assert len(other.recv(600)) == 516
        for client in clients:
            client.close()


def test_requests_a_second_are_limited() -> None:
    with serving(FILES, TftpLimits(requests_per_source_s=10)) as found, link() as client:
        for number in range(200):
            client.sendto(rrq(f"none{number}"), ("127.0.0.1", found.port))
        found.until(lambda: found.counters.unanswered + found.counters.refused == 200)
        assert found.counters.refused <= 50
        assert len(found.asked) == found.counters.refused


def test_bytes_under_way_are_limited_by_smaller_windows() -> None:
    with serving(FILES, TftpLimits(bytes_in_flight=1468 * 5)) as found, link() as first, link() as second, link() as third:
        for client, windows in ((first, b"4"), (second, b"1")):
            client.sendto(rrq("file", {"blksize": 1468, "windowsize": 4}), ("127.0.0.1", found.port))
            assert client.recv(600) == b"\0\6blksize\x001468\0windowsize\0" + windows + b"\0"
        third.sendto(rrq("file"), ("127.0.0.1", found.port))
        found.until(lambda: found.counters.unanswered == 1)


def test_any_packets_at_all_leave_it_serving() -> None:
    with serving(FILES, TftpLimits(requests_per_source_s=10**6, requests_s=10**6)) as found, link(timeout_s=0.01) as client:

        @settings(max_examples=200, deadline=None)
        @given(
            st.one_of(st.binary(max_size=2000), st.binary(max_size=80).map(lambda rest: b"\0\1" + rest + b"\0octet\0")),
            st.binary(max_size=200),
        )
        def thrown(packet: bytes, answer: bytes) -> None:
            client.sendto(packet, ("127.0.0.1", found.port))
            client.settimeout(0.002)
            try:
                came, peer = client.recvfrom(70000)
            except TimeoutError:
                return
            assert len(came) <= 516
            if peer[1] != found.port:
                client.sendto(answer, peer)

        thrown()
        assert fetch(found.port, "file").content == FILES["file"]
