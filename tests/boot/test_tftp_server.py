"""The TFTP server at real sockets on loopback: whole files, options, windows, addresses, and what is said once and not twice."""

import os
import socket

import pytest

from reconciler.boot import tftp_socket, tftp_transfer
from reconciler.boot.tftp import TftpLimits
from reconciler.errors import OctofleetError
from tests.boot.tftp_peers import ack, fetch, link, rrq, serving, silent

SIZES = (0, 1, 511, 512, 513, 1468, 2936, 100_000)
FILES = {f"{size}.bin": os.urandom(size) for size in SIZES}


@pytest.mark.parametrize(
    "options", [{}, {"blksize": 1468}, {"blksize": 512, "windowsize": 4}, {"blksize": 100, "windowsize": 16}, {"tsize": 0}], ids=str
)
def test_whole_files_come(options: dict[str, int]) -> None:
    with serving(FILES) as found:
        for name, content in FILES.items():
            got = fetch(found.port, "/" + name, options)
            assert got.content == content
            assert got.accepted == {key: str(len(content) if key == "tsize" else value) for key, value in options.items()}
            assert got.packets == len(content) // options.get("blksize", 512) + 1
        found.until(lambda: found.counters.transfers == len(SIZES))
        assert (found.server.under_way, found.counters.retransmissions) == (0, 0)
        assert found.counters.bytes == sum(SIZES)
        assert found.asked == [(name, "127.0.0.1") for name in FILES]


def test_a_file_of_more_than_65535_blocks_comes_whole() -> None:
    content = os.urandom(9) * 60_000
    with serving({"large": content}) as found:
        assert fetch(found.port, "large", {"blksize": 8, "windowsize": 16}).content == content


def test_what_fits_no_image_is_cut_as_it_is_sent() -> None:
    with serving(FILES, TftpLimits(image_bytes=1000)) as found:
        assert fetch(found.port, "100000.bin", {"blksize": 1468, "windowsize": 8}).content == FILES["100000.bin"]


def test_where_the_kernel_cannot_cut_windows_the_server_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(tftp_transfer, "UDP_SEGMENT", 9999)
        with serving(FILES) as found:
            assert fetch(found.port, "100000.bin", {"blksize": 1468, "windowsize": 8}).content == FILES["100000.bin"]


@pytest.mark.parametrize(
    ("host", "asked", "version"), [("::1", "::1", 6), ("::", "::1", 6), ("::", "127.0.0.1", 4), ("0.0.0.0", "127.0.0.3", 4)]
)
def test_each_address_of_the_machine_answers_for_itself(host: str, asked: str, version: int) -> None:
    with serving(FILES, host=host) as found:
        got = fetch(found.port, "100000.bin", {"blksize": 9000, "windowsize": 4}, host=asked)
        assert got.content == FILES["100000.bin"]
        assert got.accepted["blksize"] == {4: "1468", 6: "1448"}[version]
        assert found.asked[0][1] == {"::1": "::1"}.get(asked, asked)
        with link(asked) as client:
            client.sendto(rrq("0.bin"), (asked, found.port))
            assert client.recvfrom(600)[1][0] == asked


def test_a_missing_file_and_a_write_are_refused() -> None:
    with serving(FILES) as found:
        assert fetch(found.port, "nothing").error == 1
        with link() as client:
            client.sendto(b"\0\2" + rrq("x")[2:], ("127.0.0.1", found.port))
            assert client.recv(600)[:4] == b"\0\5\0\2"
        assert found.counters.refused == 2


def test_a_client_that_asks_for_the_size_and_gives_up_does_no_harm() -> None:
    """EDK2 does: it sends an ERROR after the OACK, and begins anew from the same or another port."""
    with serving(FILES) as found, link() as client:
        for _ in range(3):
            client.sendto(rrq("100000.bin", {"tsize": 0}), ("127.0.0.1", found.port))
            packet, peer = client.recvfrom(600)
            assert packet == b"\0\6tsize\x00100000\0"
            client.sendto(b"\0\5\0\0User aborted the transfer\0", peer)
            found.until(lambda: found.server.under_way == 0)
        client.sendto(rrq("513.bin"), ("127.0.0.1", found.port))
        assert client.recv(600)[4:] == FILES["513.bin"][:512]
        assert (found.counters.aborted, found.counters.expired, found.counters.refused) == (3, 0, 0)


def test_a_peer_that_gives_up_behind_an_acknowledgement_is_heard_when_the_time_is_up() -> None:
    with serving(FILES) as found, link() as client:
        client.sendto(rrq("100000.bin"), ("127.0.0.1", found.port))
        _, peer = client.recvfrom(600)
        for packet in (ack(1), ack(1), b"\0\5\0\0enough\0"):
            client.sendto(packet, peer)
        found.until(lambda: found.counters.aborted == 1)
        assert found.counters.retransmissions == 0


def test_a_request_that_comes_twice_begins_one_transfer() -> None:
    with serving(FILES) as found, link() as client:
        for _ in range(5):
            client.sendto(rrq("513.bin"), ("127.0.0.1", found.port))
        _first, peer = client.recvfrom(600)
        client.sendto(ack(1), peer)
        assert client.recvfrom(600)[1] == peer
        client.sendto(rrq("513.bin"), ("127.0.0.1", found.port))
        assert silent(client)
        assert len(found.asked) == 1
        client.sendto(ack(2), peer)
        found.until(lambda: found.counters.transfers == 1)


def test_another_request_from_the_same_port_ends_the_one_before() -> None:
    with serving(FILES) as found, link() as client:
        client.sendto(rrq("513.bin", {"tsize": 0}), ("127.0.0.1", found.port))
        client.recv(600)
        client.sendto(rrq("513.bin"), ("127.0.0.1", found.port))
        assert client.recv(600)[4:] == FILES["513.bin"][:512]
        assert found.server.under_way == 1


def test_acknowledgements_that_come_twice_do_not_double_blocks() -> None:
    with serving(FILES) as found, link() as client:
        client.sendto(rrq("100000.bin"), ("127.0.0.1", found.port))
        came, number = 0, 0
        while number < 196:
            packet, peer = client.recvfrom(600)
            came, number = came + 1, packet[2] << 8 | packet[3]
            for _ in range(3):
                client.sendto(ack(number), peer)
        assert came == 196
        assert found.counters.retransmissions == 0


def test_doubled_acknowledgements_of_windows_double_one_window_at_most() -> None:
    with serving(FILES) as found, link() as client:
        client.sendto(rrq("100000.bin", {"windowsize": 4}), ("127.0.0.1", found.port))
        _, peer = client.recvfrom(600)
        client.sendto(ack(0), peer)
        came, windows = 0, 0
        while windows < 49:
            packet = client.recv(600)
            came, number = came + 1, packet[2] << 8 | packet[3]
            if number == windows * 4 + 4 or number == 196:
                windows += 1
                for _ in range(2):
                    client.sendto(ack(number), peer)
        assert 196 <= came <= 200


def test_a_gap_in_a_window_is_filled_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tftp_transfer, "TIMEOUT_S", 1000.0)
    with serving(FILES) as found, link() as client:
        client.sendto(rrq("100000.bin", {"windowsize": 4}), ("127.0.0.1", found.port))
        _, peer = client.recvfrom(600)
        client.sendto(ack(0), peer)
        assert [client.recv(600)[3] for _ in range(4)] == [1, 2, 3, 4]
        for _ in range(2):
            client.sendto(ack(4), peer)
            assert [client.recv(600)[3] for _ in range(4)] == [5, 6, 7, 8]
        for number in (8, 12):
            client.sendto(ack(number), peer)
            assert [client.recv(600)[3] for _ in range(4)] == [number + 1, number + 2, number + 3, number + 4]
        for _ in range(3):
            client.sendto(ack(14), peer)
        assert [client.recv(600)[3] for _ in range(4)] == [15, 16, 17, 18]
        assert silent(client)
        assert found.server.under_way == 1


def test_where_it_cannot_listen_it_says_what_to_do() -> None:
    with (
        serving(FILES) as found,
        pytest.raises(OctofleetError, match=f"TFTP cannot listen at 127.0.0.1 port {found.port}: Address already in use"),
    ):
        tftp_socket.listening("127.0.0.1", found.port)
    with pytest.raises(OctofleetError, match="which is no IP address"):
        tftp_socket.listening("localhost", 0)


def test_closing_ends_what_is_under_way() -> None:
    with serving(FILES) as found, link() as client:
        client.sendto(rrq("100000.bin"), ("127.0.0.1", found.port))
        _, peer = client.recvfrom(600)
    assert found.server.under_way == 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as free:
        free.bind(("127.0.0.1", peer[1]))
