"""A whole machine: an image of Debian's packages goes to its disk over the network; it boots from there, calls back, and Ansible converges it over SSH."""

import subprocess
from pathlib import Path

import pytest

from tests.conftest import program
from tests.ha.kept import until
from tests.netboot import image, initrd
from tests.netboot.lab import Lab
from tests.netboot.served import BASE, Served
from tests.netboot.site_dhcp import script_url

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("netboot")]
MAC, ADDRESS = "52:54:00:aa:00:01", "10.77.0.50"
PATIENCE_S = 900
GREETING = "Octofleet was here"
ROLE = """\
apiVersion: octofleet/v1
kind: Role
metadata: {name: greeting}
spec:
  ansible: {playbook: ansible/greeting.yml, project: ansible}
"""
PLAYBOOK = f"""\
- name: Greeting
  hosts: all
  gather_facts: false
  tasks:
    - name: Whoever logs in is greeted
      ansible.builtin.copy: {{content: "{GREETING}\\n", dest: /etc/motd, mode: "0644"}}
"""


def make_media(directory: Path, public_key: str) -> Path:
    """The image, its own kernel, and the initrd that writes the image."""
    root, media = directory / "root", directory / "media"
    media.mkdir()
    image.make_root(root, public_key)
    image.make_image(root, media / "disk.img")
    (media / "disk.img").unlink()
    (media / "linux").write_bytes(next((root / "boot").glob("vmlinuz-*")).read_bytes())
    initrd.make(media, modules=root / "usr/lib/modules")
    return media


def test_a_machine_is_installed_boots_from_its_disk_and_is_converged(lab: Lab) -> None:
    program("ansible-playbook", "ansible")
    key = lab.directory / "key"
    subprocess.run([program("ssh-keygen", "openssh-client"), "-q", "-t", "ed25519", "-N", "", "-f", key], check=True)
    media = make_media(lab.directory, key.with_suffix(".pub").read_text().strip())
    arguments = f'console=ttyS0, "octofleet.image={BASE}/media/disk.img.gz"'
    served = Served(
        lab,
        media,
        mac=MAC,
        settings=f'[ansible]\nprivate_key_file = "{key}"\nuser = "root"\n',
        files={"role-2.yaml": ROLE, ".octofleetignore": "ansible/\n", "ansible/greeting.yml": PLAYBOOK},
        **{"roles": "greeting", "firmware": "uefi", "address": f"address: {ADDRESS}", "kernel_args": arguments},
    )
    applying = served.arm()
    served.start()
    lab.give_boot_files(f"dhcp-host={MAC},{ADDRESS}", script=script_url(BASE))
    disk = lab.directory / "disk"
    with disk.open("wb") as file:
        file.truncate(1200 * image.MIB)
    machine = lab.machine("uefi-ipxe-rom", disk=disk, memory=1024)
    print(f"power-on to the written disk: {machine.wait_off(PATIENCE_S):.0f} s")
    assert "lab: image written" in machine.console, machine.console[-2000:]
    assert served.states() == ["installing"]
    machine.boot = "disk"
    machine.switch_on()
    machine.wait("lab: called back from the disk", PATIENCE_S)
    assert served.states() == ["installed"]
    until(lambda: not applying.alive, "octofleet apply has converged the machine", within_s=PATIENCE_S)
    assert "failed" not in applying.tail(), applying.tail()
    trust = ("-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null")
    assert lab.inside.run("ssh", "-i", str(key), *trust, f"root@{ADDRESS}", "cat", "/etc/motd").strip() == GREETING
