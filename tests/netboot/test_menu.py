"""A machine that no manifest knows, with a BIOS: it gets the Fleet's menu, whose default entry starts a rescue system when nobody chooses."""

from pathlib import Path

import pytest

from tests.fleets import FLEET
from tests.netboot.lab import Lab
from tests.netboot.served import BASE, Served
from tests.netboot.site_dhcp import script_url

pytestmark = pytest.mark.xdist_group("netboot")
MENU = f"""\
  boot:
    menu:
      title: A fleet in a laboratory
      default: rescue
      timeout: 2
      entries:
        - {{name: local, label: The disk, boot: local}}
        - name: rescue
          label: Rescue system
          kernel: {BASE}/media/linux
          initrd: {BASE}/media/call-back.gz
          args: [console=ttyS0, "octofleet.callback={BASE}/nowhere"]
        - {{name: memtest, boot: memtest}}
"""


def test_an_unknown_machine_starts_the_default_entry_of_the_menu(lab: Lab, media: Path) -> None:
    served = Served(lab, media, mac="52:54:00:aa:00:99", files={"fleet.yaml": FLEET + MENU})
    served.octofleet("apply", "--repo", str(served.repo.path), "--approve")
    served.start()
    lab.give_boot_files(script=script_url(BASE))
    machine = lab.machine("bios")
    served.wait_event("boot-decision", decision="menu")
    machine.wait("lab: ")
    assert f"octofleet.callback={BASE}/nowhere" in machine.console, "the kernel tells its arguments"
    assert served.states() == []
