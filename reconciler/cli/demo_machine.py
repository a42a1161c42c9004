"""A machine for the demo that boots from the network: a virtual one of QEMU, or where there is none, this program asking what one would ask.

QEMU's user-mode network (`-netdev user`) needs no root: the machine reaches this one as 10.0.2.2, and is seen as 127.0.0.1. What it installs stands in for a
distribution: an initial ram disk of busybox and one script, which asks for its answer file, writes a boot sector and calls back as installers do.
"""

import gzip
import http.client
import lzma
import os
import re
import shutil
import socket
import subprocess
import time
import urllib.parse
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from reconciler.boot.cpio import archive, members
from reconciler.errors import OctofleetError

PROGRAM = "qemu-system-x86_64"
PACKAGES = "qemu-system-x86 ipxe-qemu busybox-static debian-installer-12-netboot-amd64"
GATEWAY = "10.0.2.2"
LIMIT_S = 90.0
DISK_BYTES = 1 << 20
BUSYBOX = Path("/bin/busybox")
INSTALLER = Path("/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64")
MODULES = (
    *("virtio", "virtio_ring", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci"),
    *("failover", "net_failover", "virtio_net", "mmc_core", "mmc_block", "cqhci", "sdhci", "sdhci-pci"),
)
"""In the order in which they need each other; a kernel has some of them built in. The disk is an SD card, for which Debian's installer
has drivers from the start."""
RUNS = "runs from its disk"
BOOT_SECTOR = bytes.fromhex("31c08ed8be197cfcac84c07409b40ebb0700cd10ebf2f4ebfd")
"""Prints the text that follows it by BIOS's interrupt 10h, and halts: xor ax,ax; mov ds,ax; mov si,7c19h; cld; lodsb; test al,al; jz; mov ah,0eh; ..."""
INIT = """\
#!/bin/busybox sh
/bin/busybox --install -s /bin
export PATH=/bin
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t devtmpfs dev /dev
exec >/dev/ttyS0 2>/dev/null
for module in /modules/*; do insmod "$module"; done
for word in $(cat /proc/cmdline); do
    case $word in url=*) answer=${word#*=} ;; esac
done
for card in $(ls /sys/class/net | grep -v '^lo$'); do break; done
ip link set "$card" up
printf '#!/bin/sh\\n[ "$1" = bound ] && ip address add "$ip/24" dev "$interface" && ip route add default via "$router"\\n' >/etc/leased
chmod +x /etc/leased
udhcpc -q -n -t 10 -T 1 -i "$card" -s /etc/leased >/dev/null
say() {
    wget -q -O /dev/null --post-data "stage=$1&log=the+demo's+stand-in" "${answer%/*/*/*}/callback" && echo "demo: it says: $1" || echo "demo: refused: $1"
}
wget -q -O /answer "$answer" && echo "demo: it fetched its answer file, $(wc -l </answer) lines"
say booted
for _ in $(seq 100); do [ -b /dev/mmcblk0 ] && break; sleep 0.1; done
if [ -b /dev/mmcblk0 ] && dd if=/sector of=/dev/mmcblk0 conv=fsync; then say partitioned && say installed; else say failed; fi
poweroff -f
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the boot server says."""

    status: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Simulated:
    """What a machine asks, asked by this program. `port`: the boot server's, on loopback; `says` is given each line for people."""

    port: int
    mac: str
    says: Callable[[str], None]

    def is_awaited(self) -> bool:
        """Whether the boot server knows by now that it is to be installed: one that was switched on takes longer to ask."""
        return "Octofleet: installing" in self._answer(self._script).text

    @property
    def _script(self) -> str:
        return f"/boot/ipxe?mac={self.mac.replace(':', '-')}&platform=pcbios&arch=i386"

    def boot(self) -> None:
        """Once: an installer to its end, or the disk."""
        script = self._ask(self._script).text
        found = re.search(r"url=http://[^/]+(/i/[^/]+)(/\S+)", script)
        if found is None:
            self.says(f"it is told to boot its disk: {script.splitlines()[1]}")
            return
        base, file = found.groups()
        self.says(f"it is told to install: {next(line for line in script.splitlines() if line.startswith('echo'))[5:]}")
        self.says(f"it fetched its answer file, {len(self._ask(base + file).text.splitlines())} lines")
        for stage in ("booted", "partitioned", "installed"):
            self._ask(f"{base}/callback", {"stage": stage, "log": "the demo's stand-in"})
            self.says(f"it says: {stage}")

    def _ask(self, path: str, form: dict[str, str] | None = None) -> Answer:
        answer = self._answer(path, form)
        shown = re.sub(r"/i/[0-9a-f]+/", "/i/TOKEN/", path)
        said = f" {urllib.parse.urlencode(form)}" if form else ""
        self.says(f"{'POST' if form else 'GET'} {shown}{said} -> {answer.status}")
        return answer

    def _answer(self, path: str, form: dict[str, str] | None = None) -> Answer:
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)) as connection:
            body = urllib.parse.urlencode(form) if form else None
            kind = {"Content-Type": "application/x-www-form-urlencoded"} if form else {}
            connection.request("POST" if form else "GET", path, body, kind)
            found = connection.getresponse()
            return Answer(status=found.status, text=found.read().decode(errors="replace"))


@dataclass(frozen=True, kw_only=True)
class Virtual:
    """A machine of QEMU with an empty disk in `directory`: PXE first, then the disk."""

    port: int
    mac: str
    says: Callable[[str], None]
    directory: Path

    def boot(self) -> None:
        """Once, until it switches itself off or runs from its disk. Raises `OctofleetError` if it does neither in time."""
        disk, console = self.directory / "disk", self.directory / "console"
        if not disk.exists():
            disk.write_bytes(bytes(DISK_BYTES))
        console.write_text("")
        process = subprocess.Popen(self._command(disk, console), stdin=subprocess.DEVNULL, stderr=(self.directory / "qemu.log").open("a"))  # noqa: S603
        end, told = time.monotonic() + LIMIT_S, 0
        try:
            while True:
                ended = process.poll() is not None
                lines = told_by(console.read_text(errors="replace"))
                for line in lines[told:]:
                    self.says(line)
                told = len(lines)
                if any(RUNS in line for line in lines) or ended:
                    break
                if time.monotonic() > end:
                    raise OctofleetError(
                        f"the virtual machine did not get there in {LIMIT_S:.0f} s", hint=f"look into {console}", code="demo"
                    )
                time.sleep(0.1)
        finally:
            process.kill()
            process.wait()

    def _command(self, disk: Path, console: Path) -> list[str]:
        return [
            *(PROGRAM, "-nodefaults", "-display", "none", "-vga", "none", "-no-reboot", "-m", "512"),
            *("-machine", "q35,graphics=off", "-accel", "tcg", "-serial", f"file:{console}"),
            *("-netdev", f"user,id=n0,bootfile=http://{GATEWAY}:{self.port}/boot/ipxe"),
            *("-device", f"virtio-net-pci,netdev=n0,mac={self.mac},bootindex=1"),
            *("-drive", f"if=none,id=d0,format=raw,file={disk}", "-device", "sdhci-pci", "-device", "sd-card,drive=d0"),
        ]


def told_by(console: str) -> list[str]:
    """What is worth telling of a serial line: what the boot ROM loads, and what the stand-in and the disk say."""
    wanted = re.compile(r"demo: (.*)|(http://\S+?)\.\.\. ok|(Octofleet: .*)|(\S+ runs from its disk)|(Booting from SAN device 0x80)")
    found = (wanted.search(line) for line in console.split("\n")[:-1])
    return [next(group for group in one.groups() if group).strip() for one in found if one]


def lacking() -> str:
    """Why there can be no virtual machine here, for people, or empty."""
    if shutil.which(PROGRAM) is None:
        return f"{PROGRAM} is not installed"
    if not _is_static(BUSYBOX):
        return f"{BUSYBOX} is not a static one"
    return "" if _kernel() else "no kernel here can be read, with its modules"


def _is_static(path: Path) -> bool:
    """Whether it is a program that needs no loader."""
    return path.is_file() and b"/ld-linux" not in path.read_bytes()[:4096]


def _kernel() -> Path | None:
    """One that can be read: Debian's installer's, or this machine's."""
    candidates = [INSTALLER / "linux", *sorted(Path("/boot").glob("vmlinuz-*"), reverse=True)]
    return next((path for path in candidates if os.access(path, os.R_OK) and (path.parent == INSTALLER or _modules(path))), None)


def _modules(kernel: Path) -> dict[str, bytes]:
    """The network card's and the disk's, by name. Compressed by zstd they are left out."""
    if kernel.parent == INSTALLER:
        found = dict(members((INSTALLER / "initrd.gz").read_bytes()))
        return {Path(name).stem: data for name, data in found.items() if name.endswith(".ko") and Path(name).stem in MODULES}
    root = Path("/lib/modules") / kernel.name.removeprefix("vmlinuz-")
    files = {path.name.partition(".")[0]: path for path in root.rglob("*.ko*") if path.suffix in (".ko", ".xz")}
    read = {name: files[name].read_bytes() for name in MODULES if name in files}
    return {name: lzma.decompress(data) if data.startswith(b"\xfd7zXZ") else data for name, data in read.items()}


def make(media: Path, host: str) -> None:
    """Kernel and initial ram disk of the stand-in, as `linux` and `initrd.gz` in a directory."""
    kernel = _kernel()
    if kernel is None:
        raise OctofleetError("no kernel here can be read", hint=f"apt-get install {PACKAGES}", code="demo")
    drivers = _modules(kernel)
    files = {f"modules/{place:02d}-{name}.ko": drivers[name] for place, name in enumerate(MODULES) if name in drivers}
    text = f"\r\n{host} {RUNS}\r\n".encode() + b"\0"
    sector = (BOOT_SECTOR + text).ljust(510, b"\0") + b"\x55\xaa"
    files |= {"init": INIT.encode(), "bin/busybox": BUSYBOX.read_bytes(), "sector": sector}
    packed = archive(files, programs=("init", "bin/busybox"), folders=("dev", "etc", "proc", "sys"))
    media.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(kernel, media / "linux")
    (media / "initrd.gz").write_bytes(gzip.compress(packed, 1))


def free_port() -> int:
    """One of loopback that nobody listens at now."""
    with closing(socket.socket()) as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
