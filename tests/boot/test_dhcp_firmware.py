"""Real firmware in QEMU, which gets its address from the site's DHCP server and what to load from our proxyDHCP beside it."""

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from reconciler.boot.dhcp import Result
from reconciler.boot.loaders import read_loaders
from tests.boot.wire import SERVER, Wire, until, wire
from tests.conftest import missing

MAC = "52:54:00:aa:00:01"
UUID = "564d1111-2222-3333-4444-555566667777"
NIC = "virtio-net-pci,netdev=n0,bootindex=1,mac=" + MAC


def loaders() -> Mapping[str, bytes]:
    found = read_loaders()
    if gone := [one for one in found.missing if not one.optional]:
        missing(gone[0].name, gone[0].hint)
    return found.files


@pytest.fixture
def net(tmp_path: Path) -> Iterator[Wire]:
    with wire(tmp_path, loaders()) as made:
        yield made


def ovmf(directory: Path, code: str = "OVMF_CODE_4M.fd", variables: str = "OVMF_VARS_4M.fd") -> list[str]:
    home = Path("/usr/share/OVMF")
    if not (home / code).exists():
        missing(code, "apt-get install ovmf")
    kept = directory / "variables.fd"
    shutil.copy(home / variables, kept)
    read_only = f"if=pflash,format=raw,unit=0,readonly=on,file={home / code}"
    return ["-drive", read_only, "-drive", f"if=pflash,format=raw,unit=1,file={kept}"]


def script_asked(net: Wire, times: int = 1) -> dict[str, list[str]]:
    """What iPXE told of the machine as it fetched its script, at the last of so many times."""
    path = until(
        "iPXE fetches its script", lambda: next(iter([one for one in net.asked if one.startswith("GET /boot/ipxe?")][times - 1 :]), None)
    )
    return parse_qs(urlsplit(path.split()[1]).query, keep_blank_values=True)


def test_a_bios_machine_whose_card_has_ipxe(net: Wire) -> None:
    with net.proxy() as proxy:
        net.machine("-machine", "q35", "-smbios", f"type=1,uuid={UUID},serial=A B 1", "-device", NIC)
        told = script_asked(net)
    assert told["mac"] == [MAC.replace(":", "-")]
    assert (told["uuid"], told["serial"], told["arch"], told["platform"]) == ([UUID], ["A B 1"], ["i386"], ["pcbios"])
    assert proxy.counts[Result.OFFERED] >= 1
    assert MAC in net.site_log


def test_undionly_asks_again_and_gets_its_script(net: Wire) -> None:
    """What a BIOS loads by TFTP; the card's iPXE stands for its PXE ROM, whose services undionly uses."""
    net.scripts.append(f"chain tftp://{SERVER}/undionly.kpxe".encode())
    with net.proxy():
        net.machine("-machine", "q35", "-device", NIC)
        told = script_asked(net, times=2)
    assert told["mac"] == [MAC.replace(":", "-")]
    assert "undionly.kpxe" in net.tftp_log


def test_the_mac_is_that_of_the_card_that_boots(net: Wire) -> None:
    with net.proxy():
        net.machine("-machine", "q35", "-net", "none", "-device", "virtio-net-pci,mac=52:54:00:aa:00:99", "-device", NIC)
        told = script_asked(net)
    assert told["mac"] == [MAC.replace(":", "-")]


def test_uefi_pxe_loads_ipxe_by_tftp(net: Wire) -> None:
    with net.proxy() as proxy:
        net.machine("-machine", "q35", *ovmf(net.directory), "-smbios", f"type=1,uuid={UUID}", "-device", f"{NIC},romfile=")
        told = script_asked(net)
    assert (told["uuid"], told["arch"], told["platform"]) == ([UUID], ["x86_64"], ["efi"])
    assert proxy.counts[Result.OFFERED] >= 2
    assert proxy.counts[Result.ACKED] >= 1
    assert "snponly.efi" in net.tftp_log


@pytest.mark.slow
def test_uefi_http_boot_loads_ipxe_by_http(net: Wire) -> None:
    only_http = [word for version in (4, 6) for word in ("-fw_cfg", f"name=opt/org.tianocore/IPv{version}PXESupport,string=no")]
    with net.proxy():
        net.machine("-machine", "q35", *ovmf(net.directory), *only_http, "-device", f"{NIC},romfile=")
        told = script_asked(net)
    assert told["platform"] == ["efi"]
    assert "GET /boot/loader/snponly.efi" in net.asked


@pytest.mark.slow
def test_secure_boot_loads_the_shim_of_the_hosts_distribution(tmp_path: Path) -> None:
    """GRUB takes the TFTP server from the site's own DHCP server (https://github.com/rhboot/grub2/issues/56), so that one says `next-server`."""
    secure = ["-machine", "q35,smm=on", "-global", "driver=cfi.pflash01,property=secure,value=on"]
    firmware = ovmf(tmp_path, "OVMF_CODE_4M.secboot.fd", "OVMF_VARS_4M.ms.fd")
    files = dict(loaders()) | {"grub/grub.cfg": b"source $prefix/grub.cfg-01-$net_default_mac\n"}
    with wire(tmp_path, files, site=[f"--dhcp-boot=,,{SERVER}"]) as net, net.proxy(secure_boot={MAC: "debian"}):
        net.machine(*secure, *firmware, "-device", f"{NIC},romfile=")
        until("GRUB asks for the configuration of the machine", lambda: f"grub/grub.cfg-01-{MAC}" in net.tftp_log)
        sent = [line for line in net.tftp_log.splitlines() if " sent " in line]
    assert [line.rpartition("/tftp/")[2].split()[0] for line in sent if ".efi" in line][-2:] == ["debian/shimx64.efi", "debian/grubx64.efi"]
