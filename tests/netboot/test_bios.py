"""A machine with a BIOS: its ROM's iPXE asks the server over HTTP what to boot."""

from pathlib import Path

import pytest

from tests.ha.kept import until
from tests.netboot.lab import Lab
from tests.netboot.served import BASE, Served, check_installed
from tests.netboot.site_dhcp import script_url

pytestmark = pytest.mark.xdist_group("netboot")


def test_an_armed_machine_is_installed_once_and_then_boots_its_disk(lab: Lab, media: Path) -> None:
    served = Served(lab, media, mac="52:54:00:aa:00:01")
    applying = served.arm()
    served.start()
    lab.give_boot_files(script=script_url(BASE))
    machine = lab.machine("bios")
    print(f"power-on to power-off: {machine.wait_off():.0f} s")
    assert check_installed(served, machine)["firmware"] == "bios"
    until(lambda: not applying.alive, "octofleet apply knows that the machine is installed", within_s=60)
    machine.switch_on()
    served.wait_event("boot-decision", decision="local")
    assert [event["decision"] for event in served.events("boot-decision")] == ["install", "local"]


def test_a_machine_that_no_commit_armed_boots_its_disk(lab: Lab, media: Path) -> None:
    served = Served(lab, media, mac="52:54:00:aa:00:01")
    served.octofleet("apply", "--repo", str(served.repo.path), "--approve")
    served.start()
    lab.give_boot_files(script=script_url(BASE))
    lab.machine("bios")
    served.wait_event("boot-decision", decision="local")
