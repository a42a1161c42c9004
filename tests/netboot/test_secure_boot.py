"""Secure Boot: Debian's signed shim, GRUB and kernel, all of them by TFTP; the firmware knows Microsoft's keys only."""

from pathlib import Path

import pytest

from tests.netboot.lab import Lab
from tests.netboot.served import BASE, Served, check_installed
from tests.netboot.site_dhcp import SERVER, script_url

pytestmark = pytest.mark.xdist_group("netboot")


def test_an_armed_machine_is_installed(lab: Lab, media: Path) -> None:
    files = {"kernel": f"tftp://{SERVER}/media/linux", "initrd": f"tftp://{SERVER}/media/call-back.gz"}  # Debian's GRUB has no http
    served = Served(lab, media, mac="52:54:00:aa:00:01", firmware="uefi", **files)
    served.arm()
    served.start()
    lab.give_boot_files(script=script_url(BASE), uefi="debian/shimx64.efi")
    machine = lab.machine("secure-boot")
    print(f"power-on to power-off: {machine.wait_off():.0f} s")
    facts = check_installed(served, machine)
    assert (facts["firmware"], facts["secureBoot"]) == ("uefi", "enabled")
