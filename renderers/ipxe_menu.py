"""iPXE scripts that install nothing: a menu, starting from the disk, and a refusal in words.

In: entries of menu.py. Out: scripts, ASCII. Must not rely on quoting: iPXE has none (escape.ipxe). Sources: https://ipxe.org/cmd/menu,
/cmd/item, /cmd/choose, /cmd/chain, /cmd/sanboot.
"""

from __future__ import annotations

from collections.abc import Sequence

from renderers.contract import RenderError, pointer_of
from renderers.escape import ipxe
from renderers.menu import Action, Chain, Entry, Firmware, Local, checked

_BACK = "goto menu"
_LOCAL = {"bios": ("sanboot --no-describe --drive 0x80 || exit 1",), "uefi": ("exit 1",)}


def menu(title: str, entries: Sequence[Entry], default: str, timeout_s: int) -> bytes:
    """The menu: after `timeout_s` seconds, or where a person cancels it, the entry with the key `default`; what fails leads back to it.

    Raises RenderError for text that iPXE cannot carry, and for what `checked` refuses.
    """
    checked(entries, default, timeout_s)
    lines = ["#!ipxe", ":menu", f"menu {_text(title)}"]
    lines += [f"item entry-{entry.key} {_text(entry.label)}" for entry in entries]
    lines.append(f"choose --default entry-{default} --timeout {timeout_s * 1000} selected || goto entry-{default}")
    lines.append("goto ${selected}")
    for entry in entries:
        lines += ["", f":entry-{entry.key}", *_action(entry.action)]
    return _script(lines)


def local_boot(firmware: Firmware) -> bytes:
    """Start from the disk: BIOS boots the first one; UEFI goes on to its next boot option."""
    return _script(["#!ipxe", *_LOCAL[firmware]])


def refuse(text: str) -> bytes:
    """Say why nothing is started here, wait 10 s, and go on to the firmware's next boot device."""
    return _script(["#!ipxe", f"echo Octofleet: {_text(text)}", "sleep 10", "exit 1"])


def _script(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _text(value: str) -> str:
    if value.startswith("-"):
        raise RenderError(pointer_of(value), "iPXE would take a text that starts with - for an option: write other words")
    return ipxe(value)


def _action(action: Action) -> list[str]:
    if isinstance(action, Local):
        return list(_LOCAL[action.firmware])
    if isinstance(action, Chain):
        return [f"chain --replace {_text(action.url)} || {_BACK}"]
    named = ["initrd=initrd"] if action.initrd else []
    lines = ["imgfree", f"{' '.join(['kernel', _text(action.kernel), *named, *map(ipxe, action.args)])} || {_BACK}"]
    lines += [f"initrd --name initrd {_text(action.initrd)} || {_BACK}"] if action.initrd else []
    return [*lines, f"boot || {_BACK}"]
