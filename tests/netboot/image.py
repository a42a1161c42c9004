"""A disk image of a Debian system for UEFI, made of the packages of this machine's apt sources, without mounts and loop devices.

Three partitions: Debian's signed shim and GRUB, the root file system, and one in which the laboratory's installer leaves the URL to call back.
Sources: mmdebstrap(1), mke2fs(8) (`-d`), sfdisk(8), systemd.unit(5).
"""

import re
import shutil
import subprocess
from pathlib import Path

from tests.conftest import missing, program

PACKAGES = ("linux-image-cloud-amd64", "systemd-sysv", "udev", "openssh-server", "python3", "curl")
NEEDED = {"mmdebstrap": "mmdebstrap", "mkfs.vfat": "dosfstools", "mcopy": "mtools", "sfdisk": "fdisk", "mke2fs": "e2fsprogs"}
SHIM, GRUB = Path("/usr/lib/shim/shimx64.efi.signed"), Path("/usr/lib/grub/x86_64-efi-signed/grubx64.efi.signed")
ROOT_ID = "0c7fd6a2-55a4-4d3e-9d4b-6a1f5f3c0001"
MIB = 1 << 20
LOADER_MIB, ROOT_MIB, NOTE_MIB = 40, 900, 1
GRUB_CONFIG = """\
search --no-floppy --fs-uuid --set=root {id}
linux /boot/vmlinuz-{version} root=UUID={id} rw console=ttyS0 quiet
initrd /boot/initrd.img-{version}
boot
"""
CARD = """\
[Match]
Type=ether
[Network]
DHCP=ipv4
[DHCPv4]
ClientIdentifier=mac
"""
KEY = "/etc/ssh/ssh_host_ed25519_key"
KEYS = f"""\
[Service]
ExecStartPre=
ExecStartPre=/bin/sh -c 'test -e {KEY} || ssh-keygen -q -t ed25519 -N "" -f {KEY}'
"""
CALL_BACK = """\
[Unit]
Description=A word to who had this machine installed
Wants=network-online.target
After=network-online.target ssh.service
ConditionPathExists=!/var/lib/called-back
[Service]
Type=oneshot
StandardOutput=journal+console
StandardError=journal+console
ExecStart=/bin/sh -e /usr/local/sbin/call-back
[Install]
WantedBy=multi-user.target
"""
SCRIPT = f"""\
read -r url </dev/vda3
printf '{{"kernel": "%s"}}' "$(uname -r)" >/run/facts
curl --fail --silent --show-error --retry 5 --retry-connrefused --data stage=installed --data-urlencode facts@/run/facts \\
    --data-urlencode hostkeys@{KEY}.pub "$url"
touch /var/lib/called-back
echo 'lab: called back from the disk'
"""


def sources() -> list[str]:
    """This machine's apt sources for its own release."""
    codename = re.findall(r"(?m)^VERSION_CODENAME=(\S+)", Path("/etc/os-release").read_text())[0]
    places = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    found = [str(path) for path in places if path.is_file() and re.search(rf"(?m)(?<!\S){codename}(?!\S)", path.read_text())]
    if not found:
        missing("apt sources of this release", "a Debian system")
    return [codename, *found]


def make_root(root: Path, key: str) -> None:
    """A root file system in the new directory `root`: who has the SSH key `key` is root there."""
    for name, package in NEEDED.items():
        program(name, package)
    codename, *places = sources()
    # Its mounts are in a namespace of their own, so that nothing of this system is ever below `root`.
    command = [
        "unshare",
        "--mount",
        "mmdebstrap",
        "--quiet",
        "--mode=root",
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        codename,
        str(root),
        *places,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    _configure(root, key)


def _configure(root: Path, key: str) -> None:
    for file in (root / "etc/ssh").glob("ssh_host_*"):
        file.unlink()
    for name, text in {
        "etc/fstab": "",
        "etc/hostname": "web-01\n",
        "etc/systemd/network/lan.network": CARD,
        "etc/systemd/system/ssh.service.d/keys.conf": KEYS,
        "etc/systemd/system/call-back.service": CALL_BACK,
        "usr/local/sbin/call-back": SCRIPT,
        "root/.ssh/authorized_keys": f"{key}\n",
    }.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    for unit in ("systemd-networkd.service", "systemd-networkd-wait-online.service", "call-back.service"):
        subprocess.run(["systemctl", f"--root={root}", "--quiet", "enable", unit], check=True)


def make_image(root: Path, image: Path) -> None:
    """`image` (raw) and `image`.gz of a root file system."""
    kernel = next((root / "boot").glob("vmlinuz-*"))
    version = kernel.name.removeprefix("vmlinuz-")
    loader, system = image.with_suffix(".loader"), image.with_suffix(".root")
    for path, size in ((loader, LOADER_MIB), (system, ROOT_MIB), (image, LOADER_MIB + ROOT_MIB + NOTE_MIB + 2)):
        with path.open("wb") as file:
            file.truncate(size * MIB)
    _run("mke2fs", "-q", "-t", "ext4", "-U", ROOT_ID, "-d", str(root), str(system))
    _run("mkfs.vfat", str(loader))
    config = image.with_suffix(".cfg")
    config.write_text(GRUB_CONFIG.format(id=ROOT_ID, version=version))
    _run("mmd", "-i", str(loader), "::EFI", "::EFI/BOOT", "::EFI/debian")
    for source, target in ((SHIM, "EFI/BOOT/BOOTX64.EFI"), (GRUB, "EFI/BOOT/grubx64.efi"), (config, "EFI/debian/grub.cfg")):
        _run("mcopy", "-i", str(loader), str(source), f"::{target}")
    table = f"label: gpt\nstart=1MiB,size={LOADER_MIB}MiB,type=U\nsize={ROOT_MIB}MiB,type=L\nsize={NOTE_MIB}MiB,type=L\n"
    _run("sfdisk", "--quiet", str(image), stdin=table)
    for part, at in ((loader, 1), (system, 1 + LOADER_MIB)):
        _run("dd", f"if={part}", f"of={image}", "bs=1M", f"seek={at}", "conv=notrunc,sparse", "status=none")
        part.unlink()
    config.unlink()
    _run(shutil.which("pigz") or "gzip", "-kf", "-1", str(image))


def _run(*command: str, stdin: str | None = None) -> None:
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
