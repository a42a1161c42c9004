"""Wake-on-LAN: the packet as it arrives, and which card and network a host's values mean."""

import socket
from typing import Any

import pytest

from reconciler.errors import RetryLater
from reconciler.power.bmc import Bmc, WakeOnLan, way_of
from reconciler.power.switch import PowerState, boot_from_network_once, power
from reconciler.power.wake_on_lan import COPIES, wake
from reconciler.types.values import Secret, SecretRef, SecretValue

MAC = "52:54:00:10:01:01"
PASSWORD = Secret(ref=SecretRef(store="shop-secrets", key="bmc"), token="t")


def test_the_packet_arrives() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as card:
        card.bind(("127.0.0.1", 0))
        card.settimeout(30)
        said: list[str] = []
        way = WakeOnLan(mac=MAC, broadcast="127.0.0.1", port=card.getsockname()[1])
        boot_from_network_once(way, deadline=0.0, log=said.append)
        seen = [card.recv(2048) for _ in range(COPIES)]
    assert seen == [b"\xff" * 6 + bytes([0x52, 0x54, 0x00, 0x10, 0x01, 0x01]) * 16] * COPIES
    assert MAC in said[0]
    assert power(way, deadline=0.0) is PowerState.UNKNOWN


def test_a_network_that_cannot_be_reached() -> None:
    with pytest.raises(RetryLater, match=f"cannot send wake-on-LAN for {MAC} to not-an-address:9"):
        wake(WakeOnLan(mac=MAC, broadcast="not-an-address"))


FRONT = {"name": "eno1", "mac": MAC, "address": "198.51.100.21", "prefix": 26, "primary": True}
SECOND = {"name": "eno2", "mac": "52:54:00:10:01:02"}


@pytest.mark.parametrize(
    ("values", "way"),
    [
        ({}, None),
        ({"bmc": {"wakeOnLan": False}, "interfaces": [FRONT]}, None),
        ({"bmc": {"wakeOnLan": True}, "interfaces": [{"name": "eno3"}]}, None),
        ({"bmc": {"wakeOnLan": True}, "interfaces": [SECOND, FRONT]}, WakeOnLan(mac=MAC, broadcast="198.51.100.63")),
        ({"bmc": {"wakeOnLan": True}, "interfaces": [SECOND]}, WakeOnLan(mac=SECOND["mac"], broadcast="255.255.255.255")),
        ({"bmc": {"wakeOnLan": True}, "interfaces": [{**FRONT, "address": "2001:db8::1", "prefix": 64}]}, WakeOnLan(mac=MAC)),
        (
            {"bmc": {"wakeOnLan": True, "url": "https://bmc", "username": "u", "password": PASSWORD, "system": "s", "fingerprint": "f"}},
            Bmc(url="https://bmc", username="u", password=SecretValue("shown"), system="s", fingerprint="f"),
        ),
    ],
)
def test_what_switches_a_host(values: Any, way: Any) -> None:
    asked: list[Secret] = []

    def reveal(secret: Secret) -> SecretValue:
        asked.append(secret)
        return SecretValue("shown")

    assert way_of(values, reveal) == way
    assert asked == ([PASSWORD] if isinstance(way, Bmc) else [])
