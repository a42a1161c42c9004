"""Our proxyDHCP beside the site's DHCP server, which gives addresses and knows nothing of booting."""

from pathlib import Path

import pytest

from tests.netboot.lab import Lab
from tests.netboot.machine import Firmware
from tests.netboot.served import Served, check_installed
from tests.netboot.site_dhcp import SERVER

pytestmark = pytest.mark.xdist_group("netboot")


@pytest.mark.parametrize("firmware", ["bios", pytest.param("uefi-native", marks=pytest.mark.slow)])
def test_an_armed_machine_is_installed(lab: Lab, media: Path, firmware: Firmware) -> None:
    served = Served(lab, media, mac="52:54:00:aa:00:01", firmware=firmware.partition("-")[0], settings=f'dhcp = "{SERVER}"\n')
    served.arm()
    served.start()
    lab.give_addresses()
    machine = lab.machine(firmware)
    print(f"{firmware}, power-on to power-off: {machine.wait_off():.0f} s")
    check_installed(served, machine)
