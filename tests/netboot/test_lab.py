"""The laboratory itself, with a boot server of the test's own."""

import json
import subprocess
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.netboot import double, initrd
from tests.netboot.conftest import KEY
from tests.netboot.lab import Lab
from tests.netboot.namespace import THREAD, Namespace
from tests.netboot.site_dhcp import SERVER, script_url

pytestmark = pytest.mark.xdist_group("netboot")
BASE = f"http://{SERVER}:8069"
SCRIPT = f"""\
#!ipxe
kernel {BASE}/files/linux initrd=call-back.gz console=ttyS0 quiet octofleet.callback={BASE}/callback
initrd {BASE}/files/call-back.gz
boot
"""


def test_a_machine_boots_a_script_and_calls_back(lab: Lab, media: Path) -> None:
    with double.serving(lab.listen(8069), lambda: SCRIPT, media) as calls:
        lab.give_boot_files(script=script_url(BASE))
        machine = lab.machine("bios", serial="SN 42")
        print(f"power-on to power-off: {machine.wait_off():.0f} s")
    query = parse_qs(urlsplit(calls.asked[0]).query)
    assert query == {
        "mac": [machine.mac],
        "uuid": [machine.uuid],
        "serial": ["SN 42"],
        "asset": ["asset-1"],
        "arch": ["i386"],
        "platform": ["pcbios"],
    }
    assert [form["stage"] for form in calls.posted] == ["booted", "installed"], machine.console[-2000:]
    facts = json.loads(calls.posted[0]["facts"])
    assert (facts["firmware"], facts["serial"], facts["mac"]) == ("bios", "SN 42", machine.mac)
    assert calls.posted[1]["hostkeys"] == KEY
    assert calls.posted[1]["log"] == "installed by the laboratory"


def test_a_namespace_is_left_as_it_was_found() -> None:
    before = THREAD.readlink()
    made = Namespace()
    assert THREAD.readlink() == before
    with made.entered():
        assert THREAD.readlink() != before
    assert THREAD.readlink() == before
    assert "lo:" in made.run("ip", "link")
    made.close()


def test_cpio_unpacks_what_the_lab_archives(tmp_path: Path) -> None:
    files = {"etc": (initrd.DIRECTORY, b""), "etc/odd": (initrd.FILE, b"12345"), "init": (initrd.PROGRAM, b"#!")}
    subprocess.run(["cpio", "-id", "--quiet"], input=initrd.archive(files), cwd=tmp_path, check=True)
    assert (tmp_path / "etc/odd").read_bytes() == b"12345"
    assert (tmp_path / "init").stat().st_mode & 0o777 == 0o755
