"""What holds for every renderer: it reads only what it says it uses, key order is nothing to it, and each host gets the files it needs."""

from __future__ import annotations

import random
import subprocess
import sys
from typing import Any

import pytest

from renderers.registry import RENDERERS
from tests.renderers.cases import CASES
from tests.renderers.test_golden import SERVED


def shuffled(value: Any, seed: random.Random) -> Any:
    if isinstance(value, dict):
        keys = list(value)
        seed.shuffle(keys)
        return {key: shuffled(value[key], seed) for key in keys}
    return [shuffled(item, seed) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize(("case", "format"), SERVED)
def test_key_order_never_changes_the_bytes(case: str, format: str) -> None:
    expected = RENDERERS[format].render(CASES[case])
    for seed in range(5):
        assert RENDERERS[format].render(shuffled(CASES[case], random.Random(seed))) == expected


@pytest.mark.parametrize(("case", "format"), SERVED)
def test_uses_names_all_that_is_read(case: str, format: str) -> None:
    renderer, values = RENDERERS[format], CASES[case]
    part = {key: values[key] for key in renderer.uses if key in values}
    assert renderer.serves(part)
    assert renderer.render(part) == renderer.render(values)


@pytest.mark.parametrize(
    ("case", "formats"),
    [
        ("debian-bios-lvm-static", {"ipxe", "grub", "preseed"}),
        ("rocky-uefi-dhcp", {"ipxe", "grub", "kickstart"}),
        ("ubuntu-uefi-match", {"ipxe", "grub", "autoinstall", "autoinstall-meta-data"}),
        ("ubuntu-bios-direct", {"ipxe", "grub", "autoinstall", "autoinstall-meta-data"}),
        ("sles-uefi-lvm-static", {"ipxe", "grub", "autoyast"}),
        ("windows-uefi-domain", {"ipxe", "unattend", "startnet", "winpeshl", "windows-report"}),
        ("windows-bios-workgroup", {"ipxe", "unattend", "startnet", "winpeshl"}),
        ("esxi-uefi-static", {"ipxe", "esxi", "esxi-boot"}),
        ("debian-cloud", {"user-data", "meta-data", "network-config"}),
        ("rocky-cloud-minimal", {"user-data", "meta-data", "network-config"}),
    ],
)
def test_a_host_gets_the_files_it_needs(case: str, formats: set[str]) -> None:
    assert {format for format, renderer in RENDERERS.items() if renderer.serves(CASES[case])} == formats


@pytest.mark.parametrize("values", [{}, {"os": None}, {"os": []}, {"install": 3, "os": {"distribution": 7}}])
def test_serves_never_fails(values: dict[str, Any]) -> None:
    assert [renderer.format for renderer in RENDERERS.values() if renderer.serves(values)] in (
        [],
        ["user-data", "meta-data", "network-config"],
    )


def test_file_names_are_distinct_and_relative() -> None:
    names = [renderer.filename for renderer in RENDERERS.values()]
    assert len(set(names)) == len(names)
    assert all(not name.startswith("/") and ".." not in name for name in names)
    assert set(RENDERERS) >= {"ipxe", "grub", "kickstart", "preseed", "autoinstall", "user-data", "meta-data", "network-config"}


def test_the_package_is_a_leaf() -> None:
    code = "import sys, renderers.registry, renderers.template; print({m.split('.')[0] for m in sys.modules} & {'reconciler', 'webhooks'})"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "set()"
