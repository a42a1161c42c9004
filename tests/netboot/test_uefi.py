"""Machines with UEFI: with iPXE in their card's ROM, and with the firmware's own PXE, which loads iPXE over TFTP."""

from pathlib import Path

import pytest

from tests.netboot.lab import Lab
from tests.netboot.machine import Firmware
from tests.netboot.served import BASE, Served, check_installed
from tests.netboot.site_dhcp import script_url

pytestmark = pytest.mark.xdist_group("netboot")


@pytest.mark.parametrize("firmware", ["uefi-ipxe-rom", "uefi-native"])
def test_an_armed_machine_is_installed(lab: Lab, media: Path, firmware: Firmware) -> None:
    served = Served(lab, media, mac="52:54:00:aa:00:01", firmware="uefi")
    served.arm()
    served.start()
    lab.give_boot_files(script=script_url(BASE))
    machine = lab.machine(firmware)
    print(f"{firmware}, power-on to power-off: {machine.wait_off():.0f} s")
    assert check_installed(served, machine)["firmware"] == "uefi"
    assert ("snponly.efi" in machine.console) == (firmware == "uefi-native")


def test_an_unknown_machine_is_told_so_and_goes_on_to_its_disk(lab: Lab, media: Path) -> None:
    served = Served(lab, media, mac="52:54:00:bb:00:01", firmware="uefi")
    served.start()
    lab.give_boot_files(script=script_url(BASE))
    machine = lab.machine("uefi-ipxe-rom", card="e1000", serial="SN-unknown")
    served.wait_event("boot-decision", decision="menu")
    machine.wait("BdsDxe: failed to load")  # there is no disk, and the Fleet says no menu: iPXE gives back to the firmware
