"""UEFI HTTP boot: the firmware fetches its loader by HTTP, without TFTP."""

from pathlib import Path

import pytest

from tests.netboot.lab import Lab
from tests.netboot.served import BASE, Served, check_installed
from tests.netboot.site_dhcp import script_url

pytestmark = pytest.mark.xdist_group("netboot")


def test_an_armed_machine_is_installed(lab: Lab, media: Path) -> None:
    served = Served(lab, media, mac="52:54:00:aa:00:01", firmware="uefi")
    served.arm()
    served.start()
    lab.give_boot_files(script=script_url(BASE), http=f"{BASE}/boot/loader/snponly.efi")
    machine = lab.machine("uefi-http")
    print(f"power-on to power-off: {machine.wait_off():.0f} s")
    assert check_installed(served, machine)["firmware"] == "uefi"
    assert "Start HTTP Boot over IPv4" in machine.console
    assert "Start PXE" not in machine.console
