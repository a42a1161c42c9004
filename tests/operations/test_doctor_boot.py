"""The doctor looks at how machines are booted."""

import resource
from pathlib import Path
from typing import Any

import pytest

from reconciler.boot.loaders import Loaders, Missing
from reconciler.cli import doctor_boot
from reconciler.cli.doctor_boot import boot_findings
from reconciler.cli.finding import FAILED, OK, WARNING, Finding
from reconciler.settings import Boot
from tests.server.certificates import write_pair


def found(**settings: Any) -> dict[str, Finding]:
    boot = Boot(**{"listen": "127.0.0.1:8069", "networks": ["127.0.0.0/8"]} | settings)
    return {one.name: one for one in boot_findings(boot)}


def test_where_nothing_is_served_nothing_is_said() -> None:
    assert list(boot_findings(Boot())) == []


def test_secrets_want_https(tmp_path: Path) -> None:
    assert found()["boot installers"].status == WARNING and "hold secrets" in found()["boot installers"].found
    assert "over HTTP" in found(secrets_over_http=True)["boot installers"].found
    pair = write_pair(tmp_path)
    safe = found(tls_listen="127.0.0.1:8443", tls_certificate=str(pair[0]), tls_key=str(pair[1]), ca_file=str(tmp_path / "none.pem"))
    assert safe["boot installers"].status == OK and safe["boot certificate"].status == OK and "days left" in safe["boot certificate"].found
    assert safe["boot.ca_file"].status == FAILED and "none.pem" in safe["boot.ca_file"].found


def test_addresses_are_of_this_machine() -> None:
    well = found(tftp="127.0.0.1:69", dhcp="127.0.0.1")
    assert well["boot.tftp"].status == well["boot.dhcp"].status == OK
    ill = found(tftp="192.0.2.1:69", dhcp="192.0.2.1")
    assert ill["boot.tftp"].status == ill["boot.dhcp"].status == FAILED and "ip address" in ill["boot.dhcp"].hint


def test_a_loader_that_is_missing_names_its_package(monkeypatch: pytest.MonkeyPatch) -> None:
    missing = (
        Missing(name="snponly.efi", text="no such file", hint="apt-get install ipxe"),
        Missing(name="ipxe-arm64.efi", text="no such file", hint="put it there", optional=True),
    )
    monkeypatch.setattr(doctor_boot, "read_loaders", lambda directory: Loaders(files={"undionly.kpxe": b"x"}, missing=missing))
    said = found(tftp="127.0.0.1:69")
    assert (said["loader snponly.efi"].status, said["loader snponly.efi"].hint) == (WARNING, "apt-get install ipxe")
    assert "loader ipxe-arm64.efi" not in said and said["boot loaders"].status == OK
    assert "boot loaders" not in found(), "only TFTP and proxyDHCP hand them out"


def test_media_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "linux").touch()
    assert found(media=str(tmp_path))["boot.media"].found == f"{tmp_path}, 1 name in it"
    assert found(media=str(tmp_path / "none"))["boot.media"].status == FAILED


@pytest.mark.parametrize(("most", "status"), [(1024, WARNING), (65_536, OK), (resource.RLIM_INFINITY, OK)])
def test_many_machines_need_many_files(monkeypatch: pytest.MonkeyPatch, most: int, status: str) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda which: (most, most))
    one = found(tftp="127.0.0.1:69")["open files"]
    assert one.status == status and "LimitNOFILE=65536" in one.hint
