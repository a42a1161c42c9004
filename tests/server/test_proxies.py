"""Who is behind proxies: what is believed, of whom."""

import pytest

from reconciler.server.proxies import plain, seen
from reconciler.settings_http import networks

OURS = networks(["127.0.0.1", "10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.7", ["198.51.100.1"], "192.0.2.7"),
        ("127.0.0.1", [], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["6.6.6.6, 198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["6.6.6.6", "198.51.100.1"], "198.51.100.1"),
        ("127.0.0.1", ["6.6.6.6, 198.51.100.1, 10.1.2.3"], "198.51.100.1"),
        ("127.0.0.1", ["6.6.6.6, 198.51.100.1", "10.1.2.3, fd00::1"], "198.51.100.1"),
        ("127.0.0.1", ["10.9.9.9, 10.1.2.3"], "10.9.9.9"),
        ("127.0.0.1", ["6.6.6.6, unknown, 10.1.2.3"], "10.1.2.3"),
        ("127.0.0.1", ["6.6.6.6, "], "127.0.0.1"),
        ("127.0.0.1", ["198.51.100.1:4711"], "198.51.100.1"),
        ("127.0.0.1", ["[2001:db8::1]:4711"], "2001:db8::1"),
        ("127.0.0.1", ["2001:DB8::1"], "2001:db8::1"),
        ("127.0.0.1", ["::ffff:198.51.100.1"], "198.51.100.1"),
        ("fd00::5", ["2001:db8::1"], "2001:db8::1"),
        ("", ["198.51.100.1"], ""),
    ],
)
def test_the_client_is_the_first_from_the_right_that_is_none_of_ours(peer: str, forwarded: list[str], client: str) -> None:
    assert seen(peer, OURS, tls=False, forwarded_for=forwarded).address == client


@pytest.mark.parametrize(
    ("peer", "tls", "proto", "https"),
    [
        ("192.0.2.7", False, ["https"], False),
        ("192.0.2.7", True, ["http"], True),
        ("127.0.0.1", False, ["https"], True),
        ("127.0.0.1", True, ["http"], False),
        ("127.0.0.1", True, [], True),
        ("127.0.0.1", False, ["https, http"], False),
        ("127.0.0.1", False, ["http", "HTTPS"], True),
    ],
)
def test_the_scheme_is_what_a_trusted_proxy_says(peer: str, tls: bool, proto: list[str], https: bool) -> None:
    assert seen(peer, OURS, tls=tls, proto=proto).https is https


def test_addresses_are_compared_in_one_form() -> None:
    assert [plain(text) for text in ("::ffff:10.0.0.1", "fe80::1%eth0", " 10.0.0.1")] == ["10.0.0.1", "fe80::1", "10.0.0.1"]
