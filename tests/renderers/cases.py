"""Believable hosts, each as the values it resolves to; golden files and validators run over all of them."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

HASH = "$6$rounds=5000$octofleetsalt$Lk3Zy4oWJx0nYQ1tG8r5u6d7e9f0a1b2c3d4e5f6g7h8i9j0k1l2m3n4o5p6q7r8s9t0u1v2w3x4y5z6A7B8"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIKm3xgY3r0x1k1n0v8u2p5s6t7w8x9y0z1a2b3c4d5e6 ada@example.org"
ADA = {
    "name": "ada",
    "gecos": "Ada Lovelace",
    "uid": 1500,
    "groups": ["adm", "ops"],
    "shell": "/bin/bash",
    "sudo": ["ALL=(ALL) NOPASSWD: ALL"],
    "ssh_authorized_keys": [KEY],
}
GRACE = {"name": "grace", "gecos": "Grace Hopper", "hashed_passwd": HASH, "lock_passwd": False}
BACKUP = {"name": "backup-agent", "system": True, "shell": "/usr/sbin/nologin", "ssh_authorized_keys": [f"restrict {KEY}"]}
BASE: dict[str, Any] = {
    "tenant": "acme",
    "domain": "acme.example",
    "locale": "en_GB.UTF-8",
    "timezone": "Europe/Berlin",
    "keyboard": {"layout": "de", "variant": "nodeadkeys"},
    "packages": ["curl", "vim"],
    "users": [ADA, GRACE, BACKUP],
    "ssh_pwauth": False,
    "ntp": {"enabled": True, "servers": ["ntp1.acme.example", "ntp2.acme.example"]},
    "kernel_args": ["console=ttyS0,115200", "nosmt"],
    "boot": {"url": "http://boot.acme.example:8080/octofleet"},
    "labels": {"site": "ber"},
    "profile": "server",
    "roles": ["web"],
    "vars": {"app_port": 8080},
}
LAN = {"prefix": 24, "gateway": "10.20.0.1", "nameservers": ["10.20.0.53", "10.20.1.53"], "search": ["acme.example"]}


def _host(name: str, **values: Any) -> dict[str, Any]:
    return deepcopy({**BASE, "name": name, "fqdn": f"{name}.acme.example", **values})


def _os(distribution: str, version: str, architecture: str = "x86_64") -> dict[str, str]:
    return {"distribution": distribution, "version": version, "architecture": architecture}


def _install(source: str, **more: Any) -> dict[str, Any]:
    return {"generation": 2, "source": source, "callback": "http://boot.acme.example:8080/callback", **more}


CASES: dict[str, dict[str, Any]] = {
    "debian-bios-lvm-static": _host(
        "db-01",
        os=_os("debian", "12"),
        firmware="bios",
        disk={
            "device": "/dev/sda",
            "layout": "lvm",
            "partitions": [
                {"mount": "/", "size": "20GiB", "filesystem": "ext4"},
                {"mount": "/var/log", "size": "8GiB"},
                {"mount": "swap", "size": "4GiB"},
                {"mount": "/srv", "size": "rest", "filesystem": "xfs"},
            ],
        },
        interfaces=[{"name": "ens3", "mac": "52:54:00:00:00:01", "network": "lan", "address": "10.20.0.11", "primary": True, **LAN}],
        root={"ssh_authorized_keys": [KEY]},
        package_upgrade=True,
        install=_install("http://mirror.example.net/debian"),
    ),
    "debian-uefi-match-vlan": _host(
        "edge-01",
        os=_os("debian", "13", "aarch64"),
        firmware="uefi",
        disk={"match": {"serial": "S4EV*", "ssd": True, "size": "smallest"}},
        interfaces=[
            {"name": "lan0", "mac": "52-54-00-00-00-0A", "network": "lan", "address": "10.20.0.12", **LAN},
            {
                "name": "storage",
                "mac": "52:54:00:00:00:0a",
                "network": "san",
                "vlan": 42,
                "address": "10.42.0.12",
                "prefix": 22,
                "mtu": 9000,
            },
            {"name": "spare", "mac": "52:54:00:00:00:0b", "dhcp4": False},
        ],
        install=_install("http://mirror.acme.example:3142/debian"),
    ),
    "rocky-uefi-dhcp": _host(
        "app-01",
        os=_os("rocky", "9.4"),
        firmware="uefi",
        disk={
            "device": "/dev/disk/by-id/nvme-INTEL_SSD_1",
            "layout": "lvm",
            "partitions": [{"mount": "/", "size": "rest"}, {"mount": "swap", "size": "8GiB"}, {"mount": "/boot", "size": "2GiB"}],
        },
        interfaces=[{"name": "eno1", "mac": "52:54:00:00:01:01", "dhcp4": True, "primary": True}],
        root={"hashed_passwd": HASH, "ssh_authorized_keys": [KEY]},
        packages=["@development", "vim-enhanced"],
        install=_install("http://mirror.acme.example/rocky/9/BaseOS/x86_64/os/"),
    ),
    "almalinux-bios-vlan": _host(
        "alma-01",
        os=_os("almalinux", "8.10"),
        firmware="bios",
        disk={"match": {"model": "QEMU*", "size": "largest"}, "partitions": [{"mount": "/", "size": "rest", "filesystem": "ext4"}]},
        interfaces=[
            {"name": "ens3", "mac": "52:54:00:00:02:01", "network": "lan", "vlan": 7, "address": "10.20.0.21", "mtu": 1400, **LAN},
            {"name": "ens4", "mac": "52:54:00:00:02:02", "address": "2001:db8::21", "prefix": 64, "nameservers": ["2001:db8::53"]},
        ],
        install=_install("http://mirror.acme.example/almalinux/8/BaseOS/x86_64/os"),
    ),
    "fedora-uefi-btrfs": _host(
        "ws-01",
        os=_os("fedora", "42", "aarch64"),
        disk={
            "device": "/dev/vda",
            "partitions": [{"mount": "/", "size": "rest", "filesystem": "btrfs"}, {"mount": "/boot", "size": "1GiB"}],
        },
        interfaces=[{"name": "enp1s0", "mac": "52:54:00:00:03:01", "address": "10.20.0.31", **LAN}],
        package_upgrade=True,
        install=_install("http://mirror.acme.example/fedora/releases/42/Everything/aarch64/os"),
    ),
    "ubuntu-uefi-match": _host(
        "gpu-01",
        os=_os("ubuntu", "24.04"),
        firmware="uefi",
        disk={
            "match": {"size": "largest", "ssd": True},
            "layout": "lvm",
            "partitions": [
                {"mount": "/", "size": "64GiB"},
                {"mount": "swap", "size": "16GiB"},
                {"mount": "/data", "size": "rest", "filesystem": "xfs"},
            ],
        },
        interfaces=[{"name": "mgmt", "mac": "52:54:00:00:04:01", "address": "10.20.0.41", **LAN}],
        root={"hashed_passwd": HASH},
        install=_install("http://boot.acme.example:8080/ubuntu/24.04", image="http://boot.acme.example:8080/iso/ubuntu-24.04.iso"),
    ),
    "ubuntu-bios-direct": _host(
        "old-01",
        os=_os("ubuntu", "22.04"),
        firmware="bios",
        disk={"device": "/dev/sda", "partitions": [{"mount": "/", "size": "rest"}, {"mount": "swap", "size": "512MiB"}]},
        interfaces=[],
        install={
            "kernel": "http://boot.acme.example/k",
            "initrd": "http://boot.acme.example/i",
            "image": "http://boot.acme.example/u.iso",
        },
    ),
    "sles-uefi-lvm-static": _host(
        "sap-01",
        os=_os("sles", "15.6"),
        firmware="uefi",
        disk={
            "device": "/dev/sda",
            "layout": "lvm",
            "partitions": [
                {"mount": "/", "size": "40GiB", "filesystem": "btrfs"},
                {"mount": "swap", "size": "8GiB"},
                {"mount": "/srv", "size": "rest"},
            ],
        },
        interfaces=[
            {"name": "eth0", "mac": "52:54:00:00:06:01", "address": "10.20.0.61", **LAN},
            {"name": "san", "mac": "52:54:00:00:06:01", "vlan": 42, "address": "10.42.0.61", "prefix": 22, "mtu": 9000},
        ],
        keyboard={"layout": "de"},
        root={"hashed_passwd": HASH, "ssh_authorized_keys": [KEY]},
        packages=["vim", "htop"],
        package_upgrade=True,
        install=_install("http://mirror.acme.example/sles/15.6"),
    ),
    "leap-bios-match-dhcp": _host(
        "build-01",
        os=_os("opensuse-leap", "15.6"),
        firmware="bios",
        disk={"match": {"size": "largest", "ssd": True}},
        interfaces=[{"name": "eth0", "mac": "52:54:00:00:06:02"}],
        users=[],
        install={"source": "http://mirror.acme.example/leap/15.6", "generation": 1},
    ),
    "windows-uefi-domain": _host(
        "ad-01",
        os=_os("windows", "2022"),
        firmware="uefi",
        kernel_args=[],
        interfaces=[{"name": "lan", "mac": "52:54:00:00:07:01", "address": "10.20.0.71", **LAN}],
        windows={
            "diskId": 0,
            "edition": "Windows Server 2022 SERVERSTANDARDCORE",
            "share": {"name": "deploy", "password": "share <&> pass"},
            "productKey": "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE",
            "organization": "Acme & Sons",
            "administratorPassword": 'adm1n "q" %PATH% ]]>',
            "users": [{"name": "ops", "displayName": "Operations", "groups": ["Administrators", "Users"], "password": "0ps$Pass"}],
            "domain": {
                "name": "ad.acme.example",
                "ou": "OU=Servers,DC=ad,DC=acme,DC=example",
                "account": {"name": "joiner", "password": "j0in-me"},
            },
            "drivers": ["smb://files.acme.example/windows/drivers/net"],
            "firstLogon": [{"command": 'powershell.exe -Command "Enable-PSRemoting -Force"', "description": "Remoting"}],
        },
        install=_install(
            "http://boot.acme.example:8080/windows/2022",
            image="smb://files.acme.example/windows/2022/sources/install.wim",
            acceptLicense=True,
        ),
        keyboard={"layout": "us", "variant": "intl"},
    ),
    "windows-bios-workgroup": _host(
        "kiosk-01",
        os=_os("windows", "10"),
        firmware="bios",
        kernel_args=[],
        keyboard={"layout": "de"},
        interfaces=[],
        windows={"diskId": 1, "imageIndex": 6, "administratorPassword": "adm1n", "workgroup": "KIOSKS"},
        install={
            "source": "http://boot.acme.example:8080/windows/10",
            "image": "smb://files.acme.example/windows/10/sources/install.wim",
            "acceptLicense": True,
        },
    ),
    "esxi-uefi-static": _host(
        "hv-01",
        os=_os("esxi", "8.0"),
        firmware="uefi",
        keyboard={"layout": "de"},
        disk={"device": "/dev/disks/naa.600508b1001c4d5e"},
        interfaces=[{"name": "vmnic0", "mac": "52:54:00:00:08:01", "vlan": 7, "address": "10.20.0.81", **LAN}],
        root={"hashed_passwd": HASH, "ssh_authorized_keys": [KEY]},
        kernel_args=["systemMediaSize=min"],
        esxi={"modules": ["b.b00", "jumpstrt.gz", "useropts.gz", "k.b00"], "licenseKey": "AAAAA-BBBBB-CCCCC-DDDDD-EEEEE"},
        install=_install("http://boot.acme.example:8080/esxi/8.0", acceptLicense=True),
    ),
    "esxi-bios-model": _host(
        "hv-02",
        os=_os("esxi", "7.0"),
        firmware="bios",
        keyboard={"layout": "us"},
        disk={"match": {"model": "SAMSUNG MZ7L3"}},
        interfaces=[{"name": "vmnic1", "dhcp4": True}],
        root={"hashed_passwd": HASH},
        kernel_args=[],
        ntp={"enabled": False},
        esxi={"modules": ["b.b00", "jumpstrt.gz"]},
        install={"source": "http://boot.acme.example:8080/esxi/7.0", "acceptLicense": True},
    ),
    "debian-cloud": _host(
        "vm-01",
        os=_os("debian", "12"),
        interfaces=[
            {"name": "eth0", "mac": "52:54:00:00:05:01", "address": "10.20.0.51", **LAN},
            {"name": "eth1", "mac": "52:54:00:00:05:02", "vlan": 300, "address": "2001:db8:300::51", "prefix": 64, "mtu": 9000},
        ],
        root={"hashed_passwd": HASH, "ssh_authorized_keys": [KEY]},
        kernel_args=[],
        package_upgrade=True,
        install={"generation": 0, "callback": "http://boot.acme.example:8080/callback"},
    ),
    "rocky-cloud-minimal": {"name": "tiny", "tenant": "lab", "fqdn": "tiny", "os": _os("rocky", "9")},
}


def case(name: str, /, **changed: Any) -> dict[str, Any]:
    """A copy of a case with some top-level keys changed; a key set to None is left out."""
    return {key: value for key, value in deepcopy({**CASES[name], **changed}).items() if value is not None}
