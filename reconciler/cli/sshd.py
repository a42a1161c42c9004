"""Some sshd on loopback that stand for machines: each with a port, a host key and a home directory of its own: for the demo, and for tests.

Needs `sshd` and `ssh-keygen` (Debian: openssh-server, openssh-client) and no root: an ordinary user can log in as itself. Root needs
/run/sshd, which is made. Every "host" shares this machine's file system and processes; only HOME differs (`SetEnv`). Ansible's copy and
template take `~` from the password database instead, so give playbooks `SshHost.home` as a variable. Touches nothing outside its
directory, and ends what it started, sessions included.
"""

import os
import pwd
import signal
import socket
import subprocess
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from reconciler.errors import OctofleetError

CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host_key
AuthorizedKeysFile {keys}
PidFile none
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
MaxStartups 100
SetEnv HOME={home}
Subsystem sftp internal-sftp
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class SshHost:
    """One sshd: where it listens, its home directory, its public key as known_hosts has it."""

    name: str
    port: int
    home: Path
    public_key: str
    process: subprocess.Popen[bytes]


class SshHosts:
    """`with SshHosts(directory, names, sshd="/usr/sbin/sshd") as hosts:` gives them answering. Raises OctofleetError with sshd's words."""

    def __init__(self, directory: Path, names: Sequence[str], sshd: str) -> None:
        self.directory, self.names, self._sshd = directory, tuple(names), sshd
        self.user = pwd.getpwuid(os.getuid()).pw_name
        self.private_key = directory / "client_key"
        self.known_hosts = directory / "known_hosts"
        self.hosts: dict[str, SshHost] = {}

    def __enter__(self) -> "SshHosts":
        self.directory.mkdir(parents=True, exist_ok=True)
        if os.getuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        new_key(self.private_key)
        try:
            for name in self.names:
                self.hosts[name] = self._start(name)
        except BaseException:
            self.stop()
            raise
        lines = [f"[127.0.0.1]:{host.port} {host.public_key}" for host in self.hosts.values()]
        self.known_hosts.write_text("\n".join(lines) + "\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def _start(self, name: str, attempts: int = 3) -> SshHost:
        own = self.directory / name
        home = own / "home"
        home.mkdir(parents=True)
        public_key = new_key(own / "host_key")
        for _ in range(attempts):
            port = free_port()
            config = CONFIG.format(port=port, directory=own, keys=f"{self.private_key}.pub", home=home)
            (own / "sshd_config").write_text(config)
            with (own / "log").open("wb") as log:
                process = subprocess.Popen(  # noqa: S603 - the sshd of this machine
                    [self._sshd, "-D", "-e", "-f", own / "sshd_config"], stdin=subprocess.DEVNULL, stderr=log
                )
            if answers(port, process):
                return SshHost(name=name, port=port, home=home, public_key=public_key, process=process)
            end(process)  # someone took the port first
        said = (own / "log").read_text(errors="replace").strip() or "it said nothing"
        raise OctofleetError(f"sshd does not start: {said}", hint="octofleet demo --local does without", code="sshd")

    def stop(self) -> None:
        """End every sshd with the sessions below it."""
        for host in self.hosts.values():
            end(host.process)
        self.hosts.clear()


def new_key(path: Path) -> str:
    """Make a key pair; the public key as `type base64`."""
    subprocess.run(  # noqa: S603
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path],  # noqa: S607 - from PATH, as the demo looked for it
        check=True,
    )
    return Path(f"{path}.pub").read_text().strip()


def free_port() -> int:
    """A port of loopback that nobody listens on now."""
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def answers(port: int, process: subprocess.Popen[bytes], within_s: float = 5.0) -> bool:
    """Whether an SSH server says hello on the port before its process ends."""
    until = time.monotonic() + within_s
    while time.monotonic() < until and process.poll() is None:
        with suppress(OSError), closing(socket.create_connection(("127.0.0.1", port), timeout=1)) as probe:
            return probe.recv(4) == b"SSH-"
        time.sleep(0.02)
    return False


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill a process that we started and everything below it."""
    doomed = [process.pid]
    for pid in doomed:
        with suppress(OSError):
            tasks = Path(f"/proc/{pid}/task").iterdir()
            doomed += [int(child) for task in tasks for child in (task / "children").read_text().split()]
    for pid in doomed:
        with suppress(OSError):
            os.kill(pid, signal.SIGKILL)
    process.wait()
