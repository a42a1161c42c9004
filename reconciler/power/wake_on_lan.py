"""Wake-on-LAN: the packet that switches a sleeping machine on (AMD, "Magic Packet Technology", publication 20213). Nobody answers it."""

import socket

from reconciler.errors import RetryLater
from reconciler.power.bmc import WakeOnLan

COPIES = 3
"""A datagram may be lost and nobody tells; more than one does no harm."""


def magic_packet(mac: str) -> bytes:
    """Six bytes of ones, then the MAC address sixteen times."""
    return b"\xff" * 6 + bytes.fromhex(mac.replace(":", "")) * 16


def wake(card: WakeOnLan) -> None:
    """Ask the machine to switch itself on. Nothing happens if it is on. Raises `RetryLater` if the packet cannot be sent from here."""
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            sender.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            for _ in range(COPIES):
                sender.sendto(magic_packet(card.mac), (card.broadcast, card.port))
    except OSError as error:
        message = f"cannot send wake-on-LAN for {card.mac} to {card.broadcast}:{card.port}: {error.strerror}"
        hint = "look at this machine's route to that network"
        raise RetryLater(message, after_s=10, hint=hint, code="wake-failed") from None
