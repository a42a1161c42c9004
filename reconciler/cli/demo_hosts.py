"""Machines for the demo: sshd instances of this user on loopback, each with a host key and a home directory of its own.

Needs OpenSSH's server and client programs; root is not needed. Without them the demo uses Ansible's local connection into the same directories.
"""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.errors import OctofleetError

SSHD_PATHS = "/usr/sbin:/usr/local/sbin:/sbin"
START_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoHost:
    """A running machine: its port on 127.0.0.1 (0 without sshd) and its home directory."""

    name: str
    port: int
    home: Path

    def variables(self) -> Mapping[str, object]:
        """The Ansible variables that reach it."""
        here: dict[str, object] = {"ansible_python_interpreter": sys.executable, "web_root": str(self.home / "srv" / "www")}
        if not self.port:
            return here | {"ansible_connection": "local"}
        return here | {"ansible_host": "127.0.0.1", "ansible_port": self.port, "ansible_user": pwd.getpwuid(os.getuid()).pw_name}


def sshd_program() -> str | None:
    """Where sshd is, or None. Root's sshd also needs its privilege separation directory, which root can make."""
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:{SSHD_PATHS}")
    return found if found and shutil.which("ssh") and shutil.which("ssh-keygen") else None


@contextmanager
def demo_hosts(names: Iterable[str], root: Path, *, local: bool = False) -> Iterator[list[DemoHost]]:
    """Start one machine for each name below `root`; they end with the block. `root` then holds `id_ed25519` and `known_hosts`.

    `local`: no sshd even where there is one.
    """
    sshd = None if local else sshd_program()
    processes: list[subprocess.Popen[bytes]] = []
    try:
        hosts = []
        for name in names:
            home = root / name / "home"
            home.mkdir(parents=True, exist_ok=True)
            port = _start(sshd, name, root, home, processes) if sshd else 0
            hosts.append(DemoHost(name=name, port=port, home=home))
        yield hosts
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait()


def _start(sshd: str, name: str, root: Path, home: Path, processes: list[subprocess.Popen[bytes]]) -> int:
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    for key in (root / "id_ed25519", root / name / "host_key"):
        if not key.exists():
            subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "octofleet-demo", "-f", str(key)], check=True)  # noqa: S603, S607
    port = _free_port()
    settings = {
        "ListenAddress": "127.0.0.1",
        "Port": str(port),
        "PidFile": "none",
        "AuthorizedKeysFile": str(root / "id_ed25519.pub"),
        "StrictModes": "no",
        "UsePAM": "no",
        "PasswordAuthentication": "no",
        "PermitRootLogin": "prohibit-password",
        "SetEnv": f"HOME={home}",
        "Subsystem": "sftp internal-sftp",
    }
    options = [part for key, value in settings.items() for part in ("-o", f"{key}={value}")]
    log = (root / name / "sshd.log").open("ab")
    command = [sshd, "-D", "-e", "-f", "/dev/null", "-h", str(root / name / "host_key"), *options]
    processes.append(subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log))  # noqa: S603 - sshd as found on this machine
    log.close()
    _await(port, processes[-1], root / name / "sshd.log")
    public = (root / name / "host_key.pub").read_text().split()
    with (root / "known_hosts").open("a") as file:
        file.write(f"[127.0.0.1]:{port} {public[0]} {public[1]}\n")
    return port


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    said = log.read_text(errors="replace").strip().splitlines()[-1:] or ["it said nothing"]
    raise OctofleetError(f"sshd did not start on port {port}: {said[0]}", hint="octofleet demo --local uses no sshd", code="demo")
