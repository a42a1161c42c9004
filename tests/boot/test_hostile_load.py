"""The whole boot server under load and nonsense on loopback, bounded: it answers whoever is left."""

import os
import random
import socket
from collections.abc import Iterator
from contextlib import suppress
from urllib.parse import urlsplit

import pytest

from tests.boot.hostile import Stand, beside, standing
from tests.boot.site import ask, script
from tests.boot.tftp_peers import rrq


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    path = tmp_path_factory.mktemp("load")
    (path / "media").mkdir()
    (path / "media" / "kernel").write_bytes(b"k" * 100_000)
    with standing(path, settings=f'tftp = "127.0.0.1:0"\nmedia = "{path / "media"}"') as made:
        yield made


def tftp_port(site: Stand) -> int:
    return int(next(text for text in site.where if text.startswith("tftp://")).rpartition(":")[2])


def first_block(port: int, name: str) -> bytes:
    """The first packet of an answer; a request is repeated, as boot ROMs do."""
    for _ in range(30):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.settimeout(1)
            client.sendto(rrq(name), ("127.0.0.1", port))
            with suppress(TimeoutError):
                return client.recv(2_000)
    return b""


def test_tftp_lives_through_nonsense(site: Stand) -> None:
    port, chance = tftp_port(site), random.Random(69)
    url = site.arm()
    before = site.newest
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for number in range(2_000):
            packet = os.urandom(chance.randrange(600))
            if number % 3 == 0:
                packet = rrq(
                    f"grub/grub.cfg-01-52:54:00:{chance.randrange(256):02x}:{chance.randrange(256):02x}:{chance.randrange(256):02x}"
                )
            if number % 3 == 1:
                packet = bytearray(rrq("media/kernel", {"blksize": chance.randrange(70_000), "windowsize": chance.randrange(70_000)}))
                packet[chance.randrange(len(packet))] = chance.randrange(256)
            client.sendto(bytes(packet), ("127.0.0.1", port))
    site.until(lambda: first_block(port, "media/kernel")[:4] == b"\0\3\0\1")
    assert first_block(port, "grub/grub.cfg")[:4] == b"\0\3\0\1"
    for name in ("media/../octofleet.toml", "../data/octofleet.toml", "/etc/passwd", f"i/{url.split('/i/')[1]}"):
        assert first_block(port, name)[:2] == b"\0\5", name
    assert ask(url).status == 200
    assert site.newest.state is before.state


def test_connections_that_say_nothing_hold_nobody_else(site: Stand) -> None:
    """One client has no more than its share; another one is answered."""
    url = site.arm()
    at = urlsplit(url)
    idle: list[socket.socket] = []
    try:
        for _ in range(400):
            one = socket.socket()
            one.settimeout(10)
            one.bind(("127.0.0.66", 0))
            with suppress(OSError):
                one.connect((at.hostname, at.port))
            idle.append(one)
        for one in idle:
            with suppress(OSError):
                one.sendall(b"GET /boot/ipxe HTTP/1.1\r\nX: ")
        assert "installing" in script(site)
        assert ask(url).status == 200
    finally:
        for one in idle:
            one.close()


def test_readers_that_take_nothing_hold_nobody_else(site: Stand) -> None:
    at = urlsplit(site.url)
    slow: list[socket.socket] = []
    try:
        for _ in range(100):
            one = socket.create_connection((at.hostname, at.port), timeout=10)
            one.sendall(b"GET /media/kernel HTTP/1.1\r\nHost: x\r\n\r\n" * 20)
            slow.append(one)
        assert ask(f"{site.url}/media/kernel").text == "k" * 100_000
        with beside(site) as other:
            assert ask(f"{other}/media/kernel").status == 200
    finally:
        for one in slow:
            one.close()
