"""What a boot menu offers, the same for iPXE and GRUB: an entry is a key, a label and one of three actions.

In: nothing. Out: the types, and the checks that both menus make. Must not quote for any loader.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from renderers.contract import RenderError

Firmware = Literal["bios", "uefi"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Local:
    """Start from the machine's own disk."""

    firmware: Firmware


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Go on with another script of the same loader, such as a host's installer or the maintenance menu."""

    url: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """Start a kernel, such as discovery, a rescue system or a memory test (which has no initrd)."""

    kernel: str
    initrd: str | None
    args: tuple[str, ...]


Action = Local | Chain | Kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """`key` is its name in the script (letters, digits and -, at most 32), `label` what a person reads."""

    key: str
    label: str
    action: Action


def checked(entries: Sequence[Entry], default: str, timeout_s: int) -> None:
    """RenderError for a menu that no loader could show: no entries, keys that are none or double, a default that is not there."""
    keys = [entry.key for entry in entries]
    for key in keys:
        if not re.fullmatch(r"[a-z][a-z0-9-]{0,31}", key):
            raise RenderError("", f"{key!r} is no key of a menu entry: use lower-case letters, digits and -, at most 32")
        if keys.count(key) > 1:
            raise RenderError("", f"two menu entries have the key {key}: rename one")
    if default not in keys:
        raise RenderError("", f"the default {default!r} is no entry of the menu: {', '.join(keys) or 'it has none'}")
    if not 0 < timeout_s <= 3600:
        raise RenderError("", f"a menu waits 1 to 3600 seconds, not {timeout_s}")
