"""What a machine says of itself when it asks what to boot. Pure.

iPXE: https://ipxe.org/cfg (mac, uuid, serial, asset, buildarch, platform). GRUB says its MAC address in the name of the file that it asks for.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from renderers.menu import Firmware

_MAC = re.compile(r"([0-9a-f]{2}[:-]){5}[0-9a-f]{2}")
_UUID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
_TEXT = re.compile(r"[A-Za-z0-9][A-Za-z0-9 ._/-]{0,63}")
_WORD = re.compile(r"[a-z0-9_]{1,16}")
NOBODY = frozenset(
    {
        "none",
        "default string",
        "to be filled by o.e.m.",
        "not specified",
        "system serial number",
        "0",
        "123456789",
        "no asset information",
        "unknown",
    }
)
"""What firmwares say in place of a serial number or an asset tag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """`keys`, the surest first, are written as those of `netboot/machine`. `loader`: ipxe or grub. `architecture` as iPXE calls it
    (i386, also on 64-bit processors with BIOS, x86_64, arm64), or empty. `discover`: somebody chose in its menu that it be proposed as a host."""

    keys: tuple[str, ...]
    loader: str = "ipxe"
    firmware: Firmware = "bios"
    architecture: str = ""
    discover: bool = False

    @property
    def mac(self) -> str:
        """Its MAC address, or empty."""
        return next((key.removeprefix("mac:") for key in self.keys if key.startswith("mac:")), "")

    @property
    def described(self) -> str:
        """For the log."""
        return ", ".join([*self.keys, f"{self.loader} {self.firmware} {self.architecture}".rstrip()])


def asked(said: Mapping[str, str], loader: str = "ipxe") -> Asked:
    """From the parameters of a request. What is not well-formed, or what a firmware says that knows nothing, counts as not said."""
    keys = []
    uuid, mac = said.get("uuid", "").strip().lower(), said.get("mac", "").strip().lower()
    if _UUID.fullmatch(uuid) and len(set(uuid) - {"-"}) > 1:
        keys.append(f"uuid:{uuid}")
    if _MAC.fullmatch(mac):
        keys.append(f"mac:{mac.replace('-', ':')}")
    for key in ("serial", "asset"):
        text = said.get(key, "").strip()
        if _TEXT.fullmatch(text) and text.lower() not in NOBODY:
            keys.append(f"{key}:{text.lower()}")
    return Asked(
        keys=tuple(keys),
        loader=loader,
        firmware="uefi" if _word(said, "platform") == "efi" else "bios",
        architecture=_word(said, "arch"),
        discover=said.get("discover") == "yes",
    )


def discovering(who: Asked) -> str:
    """The query by which a machine says the same again, and that somebody wants it proposed."""
    said = dict(key.split(":", 1) for key in who.keys)
    platform = "efi" if who.firmware == "uefi" else "pcbios"
    return urlencode({"discover": "yes", **said, "arch": who.architecture, "platform": platform}, quote_via=quote)


def _word(said: Mapping[str, str], name: str) -> str:
    text = said.get(name, "").lower()
    return text if _WORD.fullmatch(text) else ""
