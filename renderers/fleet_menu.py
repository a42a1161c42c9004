"""The boot menu that a Fleet declares (`spec.boot.menu`), for one machine.

In: the menu as its manifest has it. Out: an iPXE script or GRUB's configuration. Must not know who asks, nor why. Sources: those of
ipxe_menu.py and grub_menu.py; memtest86+ README ("Binaries": both files follow the Linux boot protocol).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from renderers import grub_menu, ipxe_menu
from renderers.contract import RenderError, Text
from renderers.menu import Action, Chain, Entry, Firmware, Kernel, Local

TITLE, TIMEOUT_S = "Octofleet", 10
POINTER = "/spec/boot/menu"
_MEMTEST = {"bios": "memtest.bin", "uefi": "memtest.efi"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """`loaders`: the URL below which boot loaders are, the memory test among them; `discover`: the one by which this machine is proposed as a host."""

    loaders: str
    discover: str


def fleet_menu(menu: Mapping[str, Any], default: str, loader: Literal["ipxe", "grub"], firmware: Firmware, site: Site) -> bytes:
    """The menu, with `default` as the entry that starts by itself, or else its own.

    A GRUB that is booted from the network is there for Secure Boot, which refuses a memory test that nobody has signed; and its machine says
    no more than its MAC address, which is too little for a manifest. So its menu has neither. Raises RenderError, with a pointer into the Fleet's manifest.
    """
    entries = [
        Entry(key=item["name"], label=Text(item.get("label", item["name"]), f"{POINTER}/entries/{number}/label"), action=action)
        for number, item in enumerate(menu["entries"])
        if (action := _action(item, number, loader, firmware, site)) is not None
    ]
    title, chosen = Text(menu.get("title", TITLE), f"{POINTER}/title"), default or menu["default"]
    make = ipxe_menu.menu if loader == "ipxe" else grub_menu.menu
    return make(title, entries, chosen, menu.get("timeout", TIMEOUT_S))


def _action(item: Mapping[str, Any], number: int, loader: str, firmware: Firmware, site: Site) -> Action | None:
    """What an entry does; None if this loader cannot offer it."""
    match item.get("boot"), item.get("kernel"):
        case "local", None:
            return Local(firmware=firmware)
        case "memtest", None:
            return Kernel(kernel=f"{site.loaders}/{_MEMTEST[firmware]}", initrd=None, args=()) if loader == "ipxe" else None
        case "discover", None:
            return Chain(url=site.discover) if loader == "ipxe" else None
        case None, str():
            below = f"{POINTER}/entries/{number}"
            initrd = Text(item["initrd"], f"{below}/initrd") if "initrd" in item else None
            args = _args(item.get("args", ()), f"{below}/args")
            return Kernel(kernel=Text(item["kernel"], f"{below}/kernel"), initrd=initrd, args=args)
        case _:
            raise RenderError(f"{POINTER}/entries/{number}", f"the entry {item['name']} says boot or kernel: one of the two")


def _args(args: Sequence[str], below: str) -> tuple[Text, ...]:
    return tuple(Text(text, f"{below}/{number}") for number, text in enumerate(args))
