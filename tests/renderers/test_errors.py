"""What cannot be rendered is refused with the field's pointer and words to act on."""

from __future__ import annotations

from typing import Any

import pytest

from renderers.registry import RENDERERS, RenderError
from tests.renderers.cases import CASES, GRACE, LAN, case

NIC = {"name": "ens3", "mac": "52:54:00:00:00:01", "address": "10.20.0.11", **LAN}
DISK = CASES["debian-bios-lvm-static"]["disk"]


def _parts(*parts: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"disk": {"device": "/dev/sda", "partitions": list(parts), **more}}


@pytest.mark.parametrize(
    ("format", "host", "changed", "pointer", "words"),
    [
        ("preseed", "debian-bios-lvm-static", {"disk": None}, "/disk", "may erase"),
        ("kickstart", "rocky-uefi-dhcp", {"disk": None}, "/disk", "may erase"),
        ("autoinstall", "ubuntu-uefi-match", {"disk": None}, "/disk", "may erase"),
        ("preseed", "debian-bios-lvm-static", {"disk": {}}, "/disk", "either"),
        ("preseed", "debian-bios-lvm-static", {"disk": {**DISK, "match": {"size": "largest"}}}, "/disk", "either"),
        ("preseed", "debian-bios-lvm-static", {"disk": {"match": {}}}, "/disk/match", "any disk"),
        ("preseed", "debian-bios-lvm-static", {"disk": {"match": {"serial": "S[4]"}}}, "/disk/match/serial", "bracket"),
        ("preseed", "debian-bios-lvm-static", {"disk": {"device": "sda"}}, "/disk/device", "below /dev"),
        ("preseed", "debian-bios-lvm-static", {"firmware": None}, "/firmware", "bios or uefi"),
        ("kickstart", "fedora-uefi-btrfs", {"firmware": "bios"}, "/firmware", "no BIOS"),
        ("preseed", "debian-bios-lvm-static", _parts({"mount": "/srv", "size": "rest"}), "/disk/partitions", "mounted at /"),
        ("preseed", "debian-bios-lvm-static", _parts({"mount": "/", "size": "20GB"}), "/disk/partitions/0/size", "20GiB"),
        (
            "preseed",
            "debian-bios-lvm-static",
            _parts({"mount": "/", "size": "rest"}, {"mount": "/a", "size": "rest"}),
            "/disk/partitions",
            "only one",
        ),
        (
            "preseed",
            "debian-bios-lvm-static",
            _parts({"mount": "/", "size": "1GiB"}, {"mount": "/", "size": "rest"}),
            "/disk/partitions/1/mount",
            "twice",
        ),
        (
            "preseed",
            "debian-bios-lvm-static",
            _parts({"mount": "/ $(id)", "size": "rest"}),
            "/disk/partitions/0/mount",
            "plain",
        ),
        ("kickstart", "rocky-uefi-dhcp", _parts({"mount": "/", "size": "rest", "filesystem": "btrfs"}), "/disk/partitions", "Fedora"),
        ("preseed", "debian-bios-lvm-static", {"os": {"distribution": "debian", "version": "99"}}, "/os/version", "10, 11, 12"),
        ("autoinstall", "ubuntu-uefi-match", {"os": {"distribution": "ubuntu", "version": "18.04"}}, "/os/version", "20.04"),
        ("ipxe", "debian-bios-lvm-static", {"os": {"distribution": "debian"}}, "/os/version", "set one of"),
        ("kickstart", "rocky-uefi-dhcp", {"os": {"distribution": "rocky", "version": "stream"}}, "/os/version", "number"),
        ("kickstart", "rocky-uefi-dhcp", {"os": {"distribution": "arch"}}, "/os/distribution", "known"),
        ("ipxe", "debian-bios-lvm-static", {"boot": None}, "/boot/url", "served"),
        ("ipxe", "debian-bios-lvm-static", {"boot": {"url": "http://u:p@h/"}}, "/boot/url", "without user"),
        ("ipxe", "ubuntu-bios-direct", {"install": {"kernel": "http://h/k", "image": "http://h/i"}}, "/install/initrd", "install.source"),
        ("ipxe", "ubuntu-uefi-match", {"install": {"source": "http://h/u"}}, "/install/image", "ISO"),
        ("kickstart", "rocky-uefi-dhcp", {"install": {"kernel": "http://h/k", "initrd": "http://h/i"}}, "/install/source", "tree"),
        ("preseed", "debian-bios-lvm-static", {"install": {"kernel": "http://h/k", "initrd": "http://h/i"}}, "/install/source", "mirror"),
        ("grub", "debian-bios-lvm-static", {"install": {"source": "https://h/debian"}}, "/install/source", "https"),
        (
            "grub",
            "debian-bios-lvm-static",
            {"install": {"source": "http://h/d", "kernel": "https://h/k", "initrd": "http://h/i"}},
            "/install/kernel",
            "https",
        ),
        ("preseed", "debian-bios-lvm-static", {"interfaces": [{**NIC, "vlan": 7}]}, "/interfaces/0/network", "VLAN"),
        ("ipxe", "debian-bios-lvm-static", {"interfaces": [{**NIC, "vlan": 7}]}, "/interfaces/0/network", "VLAN"),
        ("preseed", "debian-bios-lvm-static", {"interfaces": [{**NIC, "prefix": None}]}, "/interfaces/0/network", "prefix"),
        ("preseed", "debian-bios-lvm-static", {"interfaces": [{**NIC, "prefix": 33}]}, "/interfaces/0/prefix", "33"),
        ("preseed", "debian-bios-lvm-static", {"interfaces": [{**NIC, "dhcp4": True}]}, "/interfaces/0/dhcp4", "either"),
        ("kickstart", "rocky-uefi-dhcp", {"interfaces": [{**NIC, "dhcp4": True}]}, "/interfaces/0/dhcp4", "either"),
        ("preseed", "debian-bios-lvm-static", {"interfaces": [NIC, {**NIC, "name": "b"}]}, "/interfaces/1/mac", "VLANs"),
        ("preseed", "debian-bios-lvm-static", {"interfaces": [NIC, {"name": "ens3"}]}, "/interfaces/1/name", "rename"),
        (
            "preseed",
            "debian-bios-lvm-static",
            {"interfaces": [{**NIC, "primary": True}, {"name": "b", "primary": True}]},
            "/interfaces/1/primary",
            "only one",
        ),
        (
            "ipxe",
            "ubuntu-uefi-match",
            {"interfaces": [{"name": "a", "address": "2001:db8::1", "prefix": 64}]},
            "/interfaces/0/address",
            "IPv4",
        ),
        ("kickstart", "rocky-uefi-dhcp", {"users": [{**GRACE, "hashed_passwd": "secret"}]}, "/users/0/hashed_passwd", "mkpasswd"),
        ("kickstart", "rocky-uefi-dhcp", {"users": [{"name": "root"}]}, "/users/0/name", "under root"),
        ("kickstart", "rocky-uefi-dhcp", {"users": [{"name": "a", "gecos": "a:b"}]}, "/users/0/gecos", "colon"),
        ("kickstart", "rocky-uefi-dhcp", {"users": [{"name": "a", "sudo": ["ALL \\"]}]}, "/users/0/sudo/0", "backslash"),
        ("kickstart", "rocky-uefi-dhcp", {"users": [{"name": "a", "uid": True}]}, "/users/0/uid", "integer"),
        ("kickstart", "rocky-uefi-dhcp", {"packages": ["-vim"]}, "/packages/0", "package"),
        ("preseed", "debian-bios-lvm-static", {"packages": ["vim-"]}, "/packages/0", "package"),
        ("kickstart", "rocky-uefi-dhcp", {"kernel_args": ["memmap=10M$1G"]}, "/kernel_args/0", "/etc/default/grub"),
        ("ipxe", "rocky-uefi-dhcp", {"kernel_args": ["a b"]}, "/kernel_args/0", "two list items"),
        ("ipxe", "rocky-uefi-dhcp", {"kernel_args": ["x=${net0/mac}"]}, "/kernel_args/0", "expand"),
        ("grub", "rocky-uefi-dhcp", {"kernel_args": ["x=\\1"]}, "/kernel_args/0", "backslash"),
        ("autoyast", "sles-uefi-lvm-static", {"os": {"distribution": "sles", "version": "16.0"}}, "/os/version", "12 and 15"),
        ("autoyast", "sles-uefi-lvm-static", {"keyboard": {"layout": "xx"}}, "/keyboard/layout", "us, gb, de"),
        ("autoyast", "sles-uefi-lvm-static", {"users": [{"name": "a", "gecos": "a\uffff"}]}, "/users/0/gecos", "U+FFFE"),
        ("grub", "windows-uefi-domain", {}, "/os/distribution", "iPXE"),
        ("grub", "esxi-uefi-static", {}, "/os/distribution", "iPXE"),
        ("ipxe", "windows-uefi-domain", {"kernel_args": ["quiet"]}, "/kernel_args", "remove"),
        ("ipxe", "windows-uefi-domain", {"install": {"image": "smb://h/s/i.wim"}}, "/install/source", "wimboot"),
        ("ipxe", "esxi-uefi-static", {"firmware": None}, "/firmware", "loader"),
        ("unattend", "windows-uefi-domain", {"install": {"source": "http://h/"}}, "/install/acceptLicense", "accepted"),
        ("unattend", "windows-uefi-domain", {"install": {"source": "http://h/", "acceptLicense": True}}, "/install/image", "smb://"),
        ("unattend", "windows-uefi-domain", {"install": {"acceptLicense": True, "image": "smb://h:1/s/a.wim"}}, "/install/image", "port"),
        ("unattend", "windows-uefi-domain", {"windows": None}, "/windows/diskId", "erase"),
        ("unattend", "windows-uefi-domain", {"windows": {"diskId": 0}}, "/windows", "edition"),
        ("unattend", "windows-uefi-domain", {"windows": {"diskId": 0, "imageIndex": 1}}, "/windows/administratorPassword", "ask"),
        ("unattend", "windows-uefi-domain", {"disk": {"device": "/dev/sda"}}, "/disk", "diskId"),
        ("unattend", "windows-uefi-domain", {"name": "a-name-that-is-long"}, "/name", "15 characters"),
        ("unattend", "windows-uefi-domain", {"timezone": "Antarctica/Troll"}, "/timezone", "Europe/Berlin"),
        ("unattend", "windows-uefi-domain", {"locale": "en"}, "/locale", "country"),
        ("unattend", "windows-uefi-domain", {"keyboard": {"layout": "us", "variant": "dvorak"}}, "/keyboard", "us-intl"),
        ("unattend", "windows-uefi-domain", {"interfaces": [{**NIC, "vlan": 7}]}, "/interfaces/0/network", "VLAN"),
        ("unattend", "windows-uefi-domain", {"interfaces": [{**NIC, "mac": None}]}, "/interfaces/0/mac", "MAC"),
        ("unattend", "windows-uefi-domain", {"firmware": None}, "/firmware", "bios or uefi"),
        ("windows-report", "windows-bios-workgroup", {}, "/install/callback", "told"),
        ("esxi", "esxi-uefi-static", {"install": {"source": "http://h/"}}, "/install/acceptLicense", "accepted"),
        ("esxi", "esxi-uefi-static", {"root": None}, "/root/hashed_passwd", "mkpasswd"),
        ("esxi", "esxi-uefi-static", {"disk": None}, "/disk", "may erase"),
        ("esxi", "esxi-uefi-static", {"disk": {"device": "/dev/sda"}}, "/disk/device", "/dev/disks/"),
        ("esxi", "esxi-uefi-static", {"disk": {"match": {"size": "largest"}}}, "/disk/match/size", "model"),
        ("esxi", "esxi-uefi-static", {"disk": {**DISK}}, "/disk/layout", "by itself"),
        (
            "esxi",
            "esxi-uefi-static",
            {"interfaces": [{"name": "a", "address": "2001:db8::1", "prefix": 64}]},
            "/interfaces/0/address",
            "IPv4",
        ),
        ("esxi-boot", "esxi-uefi-static", {"esxi": None}, "/esxi/modules", "boot.cfg"),
        ("user-data", "debian-cloud", {"kernel_args": ["quiet"]}, "/kernel_args", "image"),
        ("user-data", "debian-cloud", {"name": "A b"}, "/name", "DNS label"),
        ("user-data", "debian-cloud", {"locale": 3}, "/locale", "string"),
        ("user-data", "debian-cloud", {"users": {"name": "a"}}, "/users", "list"),
        ("network-config", "debian-cloud", {"interfaces": [{**NIC, "mac": "52:54"}]}, "/interfaces/0/mac", "MAC"),
        ("network-config", "debian-cloud", {"interfaces": [{**NIC, "name": "abcdefghijkl", "vlan": 1000}]}, "/interfaces/0/name", "15"),
        ("network-config", "debian-cloud", {"interfaces": [{**NIC, "nameservers": ["dns"]}]}, "/interfaces/0/nameservers/0", "IP address"),
    ],
)
def test_the_field_is_named(format: str, host: str, changed: dict[str, Any], pointer: str, words: str) -> None:
    with pytest.raises(RenderError) as caught:
        RENDERERS[format].render(case(host, **changed))
    assert caught.value.pointer == pointer
    assert words in caught.value.message
