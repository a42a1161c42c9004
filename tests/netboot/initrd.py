"""An initrd small enough to stand in for any installer: it asks for its answer file, calls back as installers do, and switches the machine off.

Sources: Documentation/driver-api/early-userspace/buffer-format.rst of Linux (cpio newc); busybox's udhcpc and wget.
"""

import gzip
import subprocess
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.conftest import missing

INSTALLER = Path("/usr/lib/debian-installer/images/12/amd64/text/debian-installer/amd64")
INIT = Path(__file__).with_name("init.sh")
BUSYBOX = Path("/bin/busybox")
# In the order in which they need each other; the installer's own initrd has no disk drivers.
MODULES = (
    *("virtio_ring", "virtio", "virtio_pci_modern_dev", "virtio_pci_legacy_dev", "virtio_pci"),
    *("failover", "net_failover", "virtio_net", "e1000", "e1000e", "virtio_blk"),
)
FILE, PROGRAM, DIRECTORY = 0o100644, 0o100755, 0o040755


def archive(files: Mapping[str, tuple[int, bytes]]) -> bytes:
    """A cpio archive (newc) of files by path, each with its mode."""
    parts = []
    for number, (name, (mode, content)) in enumerate([*files.items(), ("TRAILER!!!", (0, b""))], 1):
        fields = (number, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name) + 1, 0)
        for part in (b"070701" + b"".join(b"%08X" % value for value in fields) + name.encode() + b"\0", content):
            parts.append(part + bytes(-len(part) % 4))
    return b"".join(parts)


def installer(name: str) -> Path:
    """A file of Debian's own network installer: `linux` or `initrd.gz`."""
    file = INSTALLER / name
    if not file.exists():
        missing(str(file), "apt-get install debian-installer-12-netboot-amd64")
    return file


def make(directory: Path, *, modules: Path | None = None, host_key: str = "") -> Path:
    """`call-back.gz` in a directory. Its modules come from a root directory, or for the installer's kernel from the installer's own initrd."""
    if not BUSYBOX.exists() or b"busybox" not in BUSYBOX.read_bytes():
        missing("busybox", "apt-get install busybox-static")
    with TemporaryDirectory() as scratch:
        if modules is None:
            modules = Path(scratch)
            names = " ".join(f"'*/{name}.ko'" for name in MODULES)
            subprocess.run(
                f"zcat {installer('initrd.gz')} | cpio -id --quiet {names}", shell=True, cwd=modules, check=True, stderr=subprocess.DEVNULL
            )
        found = {path.name.partition(".")[0]: path for path in modules.rglob("*.ko*")}
        drivers = {f"modules/{place:02d}-{name}.ko": found[name].read_bytes() for place, name in enumerate(MODULES) if name in found}
    assert "virtio_net" in found, f"no virtio_net.ko under {modules}"
    files = dict.fromkeys(("bin", "dev", "etc", "etc/ssh", "modules", "proc", "sys"), (DIRECTORY, b""))
    files |= {"bin/busybox": (PROGRAM, BUSYBOX.read_bytes()), "init": (PROGRAM, INIT.read_bytes())}
    files |= {"etc/ssh/ssh_host_ed25519_key.pub": (FILE, f"{host_key}\n".encode())} if host_key else {}
    files |= {name: (FILE, content) for name, content in drivers.items()}
    made = directory / "call-back.gz"
    made.write_bytes(gzip.compress(archive(files), 6, mtime=0))
    return made
