"""Menus, local boot and refusals: shown as meant by iPXE's own word splitting and by grub-script-check, whatever the words are."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from renderers import grub_menu, ipxe_menu
from renderers.contract import RenderError
from renderers.menu import Chain, Entry, Firmware, Kernel, Local
from tests.renderers import readers
from tests.renderers.test_injection import HOSTILE, SETTINGS, TEXT

ENTRIES = (
    Entry(key="local", label="Start from this machine's disk", action=Local(firmware="uefi")),
    Entry(
        key="install",
        label="Install what is armed",
        action=Chain(url="http://boot.acme.example:8080/boot/ipxe?mac=52:54:00:00:00:01&again=1"),
    ),
    Entry(
        key="discovery",
        label="Register this machine",
        action=Kernel(kernel="http://b/k", initrd="http://b/i", args=("quiet", "url=http://b/x")),
    ),
    Entry(key="rescue", label="Rescue system", action=Kernel(kernel="http://b/r", initrd="http://b/ri", args=())),
    Entry(key="memtest", label="Memory test", action=Kernel(kernel="http://b/memtest.efi", initrd=None, args=())),
)


def test_the_ipxe_menu_reads_as_meant() -> None:
    text = ipxe_menu.menu("Octofleet", ENTRIES, "local", 20)
    commands = readers.read_ipxe(text)
    items = [command[1:] for command in commands if command[0] == "item"]
    assert items == [[f"entry-{entry.key}", *entry.label.split()] for entry in ENTRIES]
    assert ["choose", "--default", "entry-local", "--timeout", "20000", "selected"] in commands
    labels = [line[1:] for line in text.decode().splitlines() if line.startswith(":")]
    assert labels == ["menu", *(f"entry-{entry.key}" for entry in ENTRIES)]
    for entry in ENTRIES:  # no entry runs on into the next
        block = text.decode().split(f":entry-{entry.key}\n")[1].split("\n\n")[0].splitlines()
        assert block[-1].startswith(("exit", "sanboot", "chain", "boot"))


def test_the_grub_menu_is_accepted_by_grub_script_check() -> None:
    text = grub_menu.menu("Octofleet", ENTRIES, "local", 20)
    assert readers.check_grub(text) == 0
    commands = readers.read_grub(text)
    entries = [command for command in commands if command[0] == "menuentry"]
    assert entries == [["menuentry", entry.label, "--id", entry.key, "{"] for entry in ENTRIES]
    assert ["configfile", "(http,boot.acme.example:8080)/boot/ipxe?mac=52:54:00:00:00:01&again=1"] in commands
    assert ["linux", "(http,b)/k", "quiet", "url=http://b/x"] in commands and ["set", "default=local"] in commands


@pytest.mark.parametrize(("firmware", "ipxe", "grub"), [("bios", "sanboot", "chainloader"), ("uefi", "exit", "exit")])
def test_a_machine_starts_from_its_disk(firmware: Firmware, ipxe: str, grub: str) -> None:
    assert readers.read_ipxe(ipxe_menu.local_boot(firmware))[0][0] == ipxe
    text = grub_menu.local_boot(firmware)
    assert readers.check_grub(text) == 0 and grub in [command[0] for command in readers.read_grub(text)]


def test_a_bios_that_cannot_start_its_disk_goes_on() -> None:
    assert readers.read_ipxe(ipxe_menu.local_boot("bios")) == [["sanboot", "--no-describe", "--drive", "0x80"], ["exit", "1"]]


@given(text=st.one_of(TEXT, st.sampled_from(HOSTILE)))
@SETTINGS
def test_no_words_leave_their_place(text: str) -> None:
    for module, read in ((ipxe_menu, readers.read_ipxe), (grub_menu, readers.read_grub)):
        for made, plain in zip(_scripts(module, text), _scripts(module, "x"), strict=True):
            try:
                script = made()
            except RenderError:
                continue
            commands = read(script)
            assert [command[0] for command in commands] == [command[0] for command in read(plain())]
            assert text in " ".join(word for command in commands for word in command)
            assert module is ipxe_menu or readers.check_grub(script) == 0


def _scripts(module: ModuleType, text: str) -> list[Callable[[], bytes]]:
    """A refusal and menus that say `text` in each place for words."""
    action = Kernel(kernel="http://b/k", initrd=None, args=())
    labelled, plain = Entry(key="a", label=text, action=action), Entry(key="a", label="x", action=action)
    return [
        lambda: module.refuse(text),
        lambda: module.menu("t", [labelled], "a", 5),
        lambda: module.menu(text, [plain], "a", 5),
    ]


@pytest.mark.parametrize(
    ("keys", "default", "timeout_s", "words"),
    [
        ([], "local", 5, "no entry"),
        (["a", "a"], "a", 5, "two menu entries"),
        (["a b"], "a b", 5, "no key"),
        (["A"], "A", 5, "no key"),
        (["a\nboot"], "a\nboot", 5, "no key"),
        (["a"], "b", 5, "'b' is no entry"),
        (["a"], "a", 0, "1 to 3600"),
    ],
)
def test_a_menu_that_nobody_could_use_is_refused(keys: list[str], default: str, timeout_s: int, words: str) -> None:
    entries = [Entry(key=key, label="x", action=Local(firmware="bios")) for key in keys]
    for module in (ipxe_menu, grub_menu):
        with pytest.raises(RenderError, match=words):
            module.menu("t", entries, default, timeout_s)


def test_grub_refuses_what_it_cannot_fetch() -> None:
    with pytest.raises(RenderError, match="https"):
        grub_menu.menu("t", [Entry(key="a", label="x", action=Chain(url="https://b/x"))], "a", 5)
