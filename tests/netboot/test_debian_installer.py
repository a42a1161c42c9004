"""Debian's own installer: it fetches its preseed over HTTPS, trusting the CA that the second initial ram disk brings, and does what stands in it.

It cannot complete here: there is no mirror of Debian on the laboratory's network.
"""

import shutil

import pytest

from tests.netboot import initrd
from tests.netboot.lab import Lab
from tests.netboot.served import BASE, Served
from tests.netboot.site_dhcp import SERVER, script_url
from tests.server.certificates import write_pair

pytestmark = [pytest.mark.xdist_group("netboot"), pytest.mark.slow]
SETTINGS = """\
tls_listen = "{server}:8443"
tls_url = "https://{server}:8443"
tls_certificate = "{certificate}"
tls_key = "{key}"
ca_file = "{certificate}"
"""


def test_it_follows_our_preseed(lab: Lab) -> None:
    media = lab.directory / "media"
    media.mkdir()
    for name in ("linux", "initrd.gz"):
        shutil.copy(initrd.installer(name), media)
    certificate, key = write_pair(lab.directory, "boot server", address=SERVER)
    served = Served(
        lab,
        media,
        mac="52:54:00:aa:00:01",
        settings=SETTINGS.format(server=SERVER, certificate=certificate, key=key),
        initrd=f"{BASE}/media/initrd.gz",
        kernel_args='console=ttyS0, "DEBIAN_FRONTEND=text"',
    )
    served.arm()
    served.start()
    lab.give_boot_files(script=script_url(BASE))
    lab.machine("bios", memory=1024)
    served.wait_event("installation-stage", stage="booted", state="installing")
