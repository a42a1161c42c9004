"""GRUB configurations that install nothing: a menu, starting from the disk, and a refusal in words.

In: entries of menu.py. Out: grub.cfg. Must not fetch over https: GRUB cannot. Sources: GRUB manual, `menuentry`, `chainloader`, `configfile`.
"""

from __future__ import annotations

from collections.abc import Sequence

from renderers.escape import grub, grub_kernel_arg
from renderers.grub import device_path
from renderers.menu import Action, Chain, Entry, Firmware, Local, checked

_LOCAL = {"bios": ("set root=(hd0)", "chainloader +1", "boot"), "uefi": ("exit",)}


def menu(title: str, entries: Sequence[Entry], default: str, timeout_s: int) -> bytes:
    """The menu: after `timeout_s` seconds the entry with the key `default`. GRUB shows no title; it is the first line that it says.

    Raises RenderError for text or a URL that GRUB cannot carry, and for what `checked` refuses.
    """
    checked(entries, default, timeout_s)
    lines = [f"echo {grub(title)}", f"set default={default}", f"set timeout={timeout_s}"]
    for entry in entries:
        lines += [f"menuentry {grub(entry.label)} --id {entry.key} {{", *(f"    {line}" for line in _action(entry.action)), "}"]
    return _script(lines)


def local_boot(firmware: Firmware) -> bytes:
    """Start from the disk: BIOS loads the first disk's boot sector; UEFI goes on to its next boot option."""
    return _script(list(_LOCAL[firmware]))


def refuse(text: str) -> bytes:
    """Say why nothing is started here, wait 10 s, and go on to the firmware's next boot device."""
    return _script([f"echo {grub(f'Octofleet: {text}')}", "sleep 10", "exit"])


def _script(lines: list[str]) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def _action(action: Action) -> list[str]:
    if isinstance(action, Local):
        return list(_LOCAL[action.firmware])
    if isinstance(action, Chain):
        return [f"configfile {device_path(action.url)}"]
    lines = [" ".join(["linux", device_path(action.kernel), *map(grub_kernel_arg, action.args)])]
    return lines + ([f"initrd {device_path(action.initrd)}"] if action.initrd else [])
