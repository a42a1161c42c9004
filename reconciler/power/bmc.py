"""What a machine is switched by: a BMC (the controller on its board) that speaks Redfish, or a network card that wakes it. Data alone."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Interface, ip_interface
from pathlib import Path
from typing import Any

from reconciler.types.values import Secret, SecretValue, Spec


class PowerState(StrEnum):
    """`UNKNOWN` also while it changes."""

    ON = "on"
    OFF = "off"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bmc:
    """A Redfish service and whom it is asked as. `url`: `https://HOST[:PORT]`. `system`: UUID, serial number or id of the machine there, "" if it has one
    only. `fingerprint`: SHA-256 of its certificate in hexadecimal, in place of trust in an authority; `ca_file`: authorities besides the system's.
    """

    url: str
    username: str
    password: SecretValue
    system: str = ""
    fingerprint: str = ""
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class WakeOnLan:
    """A network card that listens while the machine is off, and the broadcast address of its network."""

    mac: str
    broadcast: str = "255.255.255.255"
    port: int = 9


def way_of(values: Spec, reveal: Callable[[Secret], SecretValue], ca_file: Path | None = None) -> Bmc | WakeOnLan | None:
    """What switches the host with these values: a BMC where it has one, else its card if it may be woken, else nothing: a person does."""
    table: Mapping[str, Any] = values.get("bmc", {})
    if "url" in table:
        return Bmc(
            url=table["url"],
            username=table.get("username", ""),
            password=reveal(table["password"]) if "password" in table else SecretValue(""),
            system=table.get("system", ""),
            fingerprint=table.get("fingerprint", ""),
            ca_file=ca_file,
        )
    return _card(values) if table.get("wakeOnLan") else None


def _card(values: Spec) -> WakeOnLan | None:
    """The card that netboot uses: the primary one with a MAC address, else the first."""
    cards = sorted((card for card in values.get("interfaces", ()) if "mac" in card), key=lambda card: not card.get("primary", False))
    if not cards:
        return None
    card = cards[0]
    net = ip_interface(f"{card['address']}/{card['prefix']}") if "address" in card and "prefix" in card else None
    if isinstance(net, IPv4Interface):
        return WakeOnLan(mac=card["mac"], broadcast=str(net.network.broadcast_address))
    return WakeOnLan(mac=card["mac"])
