"""Switching machines for netboot, by whatever the host has: its BMC through Redfish, or wake-on-LAN. What callers need, in one place.

Synchronous, as drivers are. Errors are `RetryLater` and `Permanent` of `reconciler.errors`; none holds a password.
"""

import hashlib
import ssl
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from reconciler.errors import OctofleetError
from reconciler.power import redfish
from reconciler.power.bmc import Bmc, PowerState, WakeOnLan, way_of
from reconciler.power.wake_on_lan import wake

__all__ = ["Bmc", "PowerState", "WakeOnLan", "boot_from_network_once", "check", "power", "wake", "way_of"]

LOOK_S = 10.0


def boot_from_network_once(
    way: Bmc | WakeOnLan,
    *,
    deadline: float,
    asked_at: float | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> None:
    """By a BMC as `redfish.boot_from_network_once` has it. A card that is woken switches a machine on that is off, and no more: what it boots from first,
    its firmware says.
    """
    if isinstance(way, Bmc):
        redfish.boot_from_network_once(way, deadline=deadline, asked_at=asked_at, cancelled=cancelled, log=log)
    else:
        wake(way)
        log(f"sent wake-on-LAN for {way.mac} to {way.broadcast}:{way.port}; a machine that is on stays as it is")


def power(way: Bmc | WakeOnLan, *, deadline: float) -> PowerState:
    """Whether the machine is on; a card that is woken cannot tell."""
    return redfish.power(way, deadline=deadline) if isinstance(way, Bmc) else PowerState.UNKNOWN


def check(bmc: Bmc, *, within_s: float = 30.0) -> str:
    """What is wrong with a BMC and the next step, or "" if it can do what netboot asks of it. Changes nothing."""
    try:
        lacking = redfish.lacking(bmc, deadline=time.monotonic() + within_s)
    except OctofleetError as error:
        return f"{error}{_shown(bmc) if error.code == 'bmc-untrusted' else ''}"
    return f"the BMC {bmc.url} {lacking}" if lacking else ""


def _shown(bmc: Bmc) -> str:
    """The fingerprint of the certificate that is shown there. Nothing is sent to whoever shows it."""
    try:
        parts = urlsplit(bmc.url)
        pem = ssl.get_server_certificate((parts.hostname or "", parts.port or 443), timeout=LOOK_S)
        seen = hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem)).hexdigest()
    except (OSError, ValueError):
        return ""
    return f"\n  seen: a certificate with the SHA-256 {seen}; compare it with the BMC's own page before you trust it"
