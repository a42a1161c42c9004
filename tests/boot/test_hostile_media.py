"""Files that are served to a hostile network: no name leads out of the directory, nothing is followed, and memory is bounded, over HTTP and over TFTP."""

import asyncio
import http.client
import os
import threading
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest

from reconciler.boot import media, tree
from reconciler.boot.media import Media
from reconciler.boot.tftp import Later
from reconciler.boot.tree import Tree
from reconciler.boot.web import Web
from reconciler.errors import OctofleetError
from reconciler.server.app import Terms, listening
from reconciler.settings_http import networks

SECRET = b"not for the network"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A media directory with everything in it that should not be served, and `kernel`, `debian/initrd`."""
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "secret").write_bytes(SECRET)
    top = tmp_path / "media"
    (top / "debian").mkdir(parents=True)
    (top / "kernel").write_bytes(b"k" * 1_000)
    (top / "debian" / "initrd").write_bytes(b"i" * 1_000)
    (top / ".hidden").write_bytes(SECRET)
    (top / ".git").mkdir()
    (top / ".git" / "config").write_bytes(SECRET)
    (top / "link").symlink_to(tmp_path / "outside" / "secret")
    (top / "kernel.gz").symlink_to(tmp_path / "outside" / "secret")
    (top / "kernel.br").write_bytes(SECRET)
    (top / "folder").symlink_to(tmp_path / "outside")
    os.mkfifo(top / "pipe")
    return top


@pytest.fixture
def served(place: Path) -> Iterator[tuple[int, Media]]:
    files = Media(place, {"undionly.kpxe": b"loader"})
    app = Web(None, files, networks(["127.0.0.0/8"]), None, secure=False).app()  # type: ignore[arg-type]
    with listening(app, "127.0.0.1", 0, Terms()) as port:
        yield port, files


def get(port: int, path: str, method: str = "GET", **headers: str) -> tuple[int, bytes, dict[str, str]]:
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.putrequest(method, path, skip_accept_encoding=True)
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders()
        found = connection.getresponse()
        return found.status, found.read(), dict(found.headers)


WRONG = (
    "../outside/secret",
    "%2e%2e/outside/secret",
    "..%2foutside%2fsecret",
    "debian/../../outside/secret",
    "debian/%2e%2e/kernel",
    "/kernel",
    "//kernel",
    "%2fetc%2fpasswd",
    "kernel%00",
    "kernel%00.gz",
    "debian%5cinitrd",
    "..%5coutside%5csecret",
    "debian",
    "debian/",
    "",
    ".",
    ".hidden",
    ".git/config",
    "link",
    "folder/secret",
    "pipe",
    "%ff",
    "kernel/",
    "kernel/x",
    "x" * 4_000,
)


def test_no_name_leads_out(served: tuple[int, Media]) -> None:
    port, files = served
    assert get(port, "/media/kernel")[:2] == (200, b"k" * 1_000)
    assert get(port, "/media/debian/initrd")[:2] == (200, b"i" * 1_000)
    for name in WRONG:
        status, body, _ = get(port, f"/media/{name}")
        assert status in {400, 404}, (name, status)
        assert SECRET not in body, name
        assert files.content(name, 1 << 20) is None, name
    for name in ("../undionly.kpxe", "%2e/undionly.kpxe", "undionly.kpxe%00"):
        assert get(port, f"/boot/loader/{name}")[0] in {400, 404}
    assert get(port, "/boot/loader/undionly.kpxe")[1] == b"loader"


def test_neither_another_encoding_nor_a_part_gives_another_file(served: tuple[int, Media]) -> None:
    port, _ = served
    status, body, headers = get(port, "/media/kernel", Accept_Encoding="gzip, br")
    assert (status, body, headers.get("Content-Encoding")) == (200, b"k" * 1_000, None)
    assert headers["Content-Type"] == "application/octet-stream"
    status, body, headers = get(port, "/media/kernel", Range="bytes=990-")
    assert (status, body, headers["Content-Range"]) == (206, b"k" * 10, "bytes 990-999/1000")
    for text in ("bytes=5000-", "bytes=-0", "bytes=2-1", "bytes=0-1,3-4", "lines=1", "bytes=" + "9" * 4_000 + "-"):
        assert get(port, "/media/kernel", Range=text)[0] in {200, 206, 416}, text
    assert get(port, "/media/kernel", "HEAD")[:2] == (200, b"")
    assert get(port, "/media/kernel", If_None_Match=headers["Etag"])[0] == 304
    assert get(port, "/media/kernel")[1] == b"k" * 1_000, "the descriptor of one answer is not that of another"


@pytest.mark.parametrize("what", ["file", "folder", "fifo", "gone"])
def test_what_takes_its_place_is_not_followed(served: tuple[int, Media], place: Path, what: str) -> None:
    port, files = served
    name = "debian/secret" if what == "folder" else "kernel"
    if what == "folder":
        (place / "debian" / "secret").write_bytes(b"mine")
    assert get(port, f"/media/{name}")[0] == 200
    match what:
        case "file":
            (place / "kernel").unlink()
            (place / "kernel").symlink_to(place.parent / "outside" / "secret")
        case "folder":
            (place / "debian").rename(place / "before")
            (place / "debian").symlink_to(place.parent / "outside")
        case "fifo":
            (place / "kernel").unlink()
            os.mkfifo(place / "kernel")
        case _:
            (place / "kernel").unlink()
    assert get(port, f"/media/{name}")[0] == 404
    assert files.content(name, 1 << 20) is None


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_no_descriptor_is_left_open(served: tuple[int, Media]) -> None:
    port, files = served
    get(port, "/media/kernel")
    before = descriptors()
    for _ in range(100):
        get(port, "/media/kernel", Range="bytes=1-2")
        get(port, "/media/pipe")
        get(port, "/media/kernel", If_Modified_Since="Thu, 01 Jan 2037 00:00:00 GMT")
        files.content("kernel", 1 << 20)
    assert descriptors() <= before + 5


def test_a_file_that_shrinks_or_grows_while_it_is_sent_hurts_nobody(served: tuple[int, Media], place: Path) -> None:
    port, files = served
    large = place / "debian" / "initrd"
    large.write_bytes(b"x" * 8_000_000)
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=30)) as connection:
        connection.request("GET", "/media/debian/initrd")
        found = connection.getresponse()
        assert found.read(1_000) == b"x" * 1_000
        os.truncate(large, 10)
        connection.sock.settimeout(2)
        number = 1_000
        with suppress(http.client.IncompleteRead, TimeoutError, ConnectionError):
            while chunk := found.read1(1 << 16):
                assert set(chunk) <= {0, ord("x")}
                number += len(chunk)
        assert number <= 8_000_000
    assert get(port, "/media/debian/initrd")[1] == b"x" * 10
    assert files.content("debian/initrd", 1 << 20) == b"x" * 10
    large.write_bytes(b"y" * 2_000)
    assert files.content("debian/initrd", 1 << 20) == b"y" * 2_000


def test_tftp_keeps_one_copy_of_a_file_and_has_a_bound_for_all(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(media, "CONTENTS_BYTES", 10_000)
    for number in range(8):
        (place / f"f{number}").write_bytes(bytes([number]) * 4_000)
    files = Media(place, {})
    files.look()
    first = files.content("f0", 1 << 20)
    assert first is not None
    assert all(files.content("f0", 1 << 20) is first for _ in range(1_000))
    second = files.content("f1", 1 << 20)
    assert files.content("f2", 1 << 20) is None, "both are being sent"
    assert files.content("f0", 1 << 20) is first
    del second
    third = files.content("f2", 1 << 20)
    assert third == b"\2" * 4_000
    assert files.content("f0", 1 << 20) is first, "what is being sent stays"
    assert files.content("kernel", 999) is None


def test_looking_through_a_large_directory_keeps_nobody_waiting(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known is served while it is looked for what is not; that is looked for once, however many ask."""
    files = Media(place, {})
    files.look()
    looks, go = [], threading.Event()

    def slow(directory: Path) -> list[tuple[str, Path]]:
        looks.append(directory)
        assert go.wait(30)
        return [("new", place / "kernel")]

    monkeypatch.setattr(media, "_found", slow)
    monkeypatch.setattr(media, "EVERY_S", 0.0)

    async def ask() -> None:
        waiting = [asyncio.create_task(files.open("new"))]
        while not looks:
            await asyncio.sleep(0.01)
        monkeypatch.setattr(media, "EVERY_S", 3_600.0)
        waiting += [asyncio.create_task(files.open(f"new{number}")) for number in range(3)]
        known = await files.open("kernel")
        assert known is not None
        known.close()
        go.set()
        found, *others = await asyncio.gather(*waiting)
        assert found is not None
        found.close()
        assert others == [None] * 3

    asyncio.run(ask())
    assert len(looks) == 1


class Grubs:
    """What the boot server would say, slowly."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.go = asyncio.Event()
        self.error: Exception | None = None

    async def __call__(self, name: str, address: str) -> bytes:
        self.asked.append(name)
        await self.go.wait()
        if self.error is not None:
            raise self.error
        return name.encode()


def mac(number: int) -> str:
    return f"grub/grub.cfg-01-52:54:00:{number >> 16 & 255:02x}:{number >> 8 & 255:02x}:{number & 255:02x}"


def asked(found: Tree, name: str, address: str = "10.0.0.1") -> bytes | type[Later] | None:
    try:
        return found.find(name, address)
    except Later:
        return Later


def test_thousands_of_grubs_are_bounded_in_work_and_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MADE_MOST", 500)

    async def storm() -> None:
        grubs = Grubs()
        found = Tree(Media(None, {}), grubs, "http://boot.example.net")
        for number in range(5_000):
            assert asked(found, mac(number)) is Later
        assert len(found._making) == tree.MAKING_MOST
        grubs.go.set()
        for number in range(5_000):
            asked(found, mac(number))
            await asyncio.sleep(0)
        await asyncio.sleep(0.05)
        assert not found._making
        assert len(found._made) <= 500 + tree.MAKING_MOST
        assert asked(found, mac(0)) == mac(0).rpartition("/")[2].encode()
        for name in ("grub.cfg-01-x", "grub.cfg-01-" + "5" * 400, "grub.cfg.d/x", "grub.cfg-C0A8", "grub.cfg\0"):
            assert asked(found, name) is None
        monkeypatch.setattr(tree, "KEPT_S", 0.0)
        assert asked(found, mac(6_000)) is Later
        assert len(found._made) == 0, "what is old goes"

    asyncio.run(storm())


@pytest.mark.parametrize("error", [OctofleetError("the database is away"), KeyError("x")])
def test_grub_is_told_nothing_while_nothing_can_be_told(error: Exception, caplog: pytest.LogCaptureFixture) -> None:
    async def broken() -> None:
        grubs = Grubs()
        grubs.error = error
        grubs.go.set()
        found = Tree(Media(None, {}), grubs, "http://boot.example.net")
        for _ in range(3):
            assert asked(found, mac(1)) is Later
            await asyncio.sleep(0.02)
        grubs.error = None
        asked(found, mac(1))
        await asyncio.sleep(0.02)
        assert asked(found, mac(1)) == mac(1).rpartition("/")[2].encode(), "then it goes on"

    asyncio.run(broken())
    assert "never retrieved" not in caplog.text


def test_routes_take_nothing_else(served: tuple[int, Media]) -> None:
    port, _ = served
    for method in ("POST", "PUT", "DELETE", "MKCOL", "PROPFIND"):
        assert get(port, "/media/kernel", method)[0] == 405
