"""Real hosts for Ansible: each an sshd in namespaces of its own (network, names, mounts, processes), on one bridge.

A host has an address, a host key, a user `deploy` with sudo, and a layer over this machine's files that is in memory and its own: what a playbook
installs or writes is seen there alone. There is no systemd in it (services are scripts of sysvinit), no way out of the lab and no name server. Whoever wants to
reach hosts starts from within the lab (`Lab.inside`). All ends with the lab, and with this process at the latest.

Source: network_namespaces(7), mount_namespaces(7), pid_namespaces(7), pivot_root(2).
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Callable, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from reconciler.cli.sshd import new_key
from reconciler.drivers.ansible.settings import AnsibleSettings
from tests.conftest import missing, program
from tests.ha.kept import Kept, until
from tests.netboot.namespace import Namespace

SERVER = "10.213.0.254"
USER = "deploy"
PASSWORD = "sudo wants-this: 'one'"
"""Of `deploy` on hosts that were made with `asking`."""
HOST = Path(__file__).with_name("host.sh")
BOOT_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One host. `number`: from 1; `pid`: its first process, as this machine counts."""

    name: str
    number: int
    pid: int
    directory: Path
    inside: Namespace

    @property
    def address(self) -> str:
        return f"10.213.0.{self.number}"

    @property
    def hardware(self) -> str:
        return f"02:00:0a:d5:00:{self.number:02x}"

    @property
    def key(self) -> str:
        """Its public host key."""
        return (self.directory / "host_key.pub").read_text().strip()

    def run(self, script: str, *, stdin: bytes = b"") -> str:
        """What a shell script prints there as root. Fails the test if it fails."""
        command = ["nsenter", "-t", str(self.pid), "-m", "-u", "-n", "-p", "-r", "-w", "sh", "-euc", script]
        clean = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
        done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=60, env=clean)
        assert done.returncode == 0, f"{self.name}: {script}: {(done.stderr or done.stdout).decode(errors='replace')}"
        return done.stdout.decode(errors="replace")

    def read(self, path: str) -> str:
        return self.run(f"cat '{path}'")

    def put(self, path: str, content: bytes) -> None:
        """A file there, with the directories above it."""
        self.run(f"mkdir -p '{Path(path).parent}'; cat >'{path}'", stdin=content)

    def has(self, path: str) -> bool:
        return self.run(f"test -e '{path}' && echo yes || true") != ""

    # What can go wrong with it; `recover` undoes the first four.

    def refuse(self) -> None:
        """Nobody listens any more; sessions go on."""
        self.run("kill $(cat /run/sshd.pid)")
        until(lambda: not self._answers(), f"{self.name} refuses", within_s=BOOT_S, every_s=0.02)

    def go_silent(self) -> None:
        """What comes in is dropped and nothing comes back, as by a firewall or a cut link; open connections hang."""
        self.run(f"ip route replace blackhole {SERVER}/32")

    def pretend(self) -> None:
        """It answers with another host key."""
        self.refuse()
        self.run(
            "mv /etc/ssh/host_key /etc/ssh/host_key.real; ssh-keygen -q -t ed25519 -N '' -f /etc/ssh/host_key; /usr/sbin/sshd -f /etc/ssh/lab"
        )

    def slow_down(self, seconds: float) -> None:
        """Each command waits before it begins."""
        self.run(
            f"printf '#!/bin/sh\\nsleep {seconds}\\nexec /bin/bash \"$@\"\\n' >/bin/slow; chmod 755 /bin/slow; usermod -s /bin/slow {USER}"
        )

    def recover(self) -> None:
        self.run(
            f"ip route del blackhole {SERVER}/32 2>/dev/null || true; usermod -s /bin/bash {USER} 2>/dev/null || true\n"
            "if [ -e /etc/ssh/host_key.real ]; then kill $(cat /run/sshd.pid); mv /etc/ssh/host_key.real /etc/ssh/host_key; fi\n"
            "sleep 0.1; pidof -s sshd >/dev/null && kill -0 $(cat /run/sshd.pid) 2>/dev/null || /usr/sbin/sshd -f /etc/ssh/lab"
        )
        until(self._answers, f"{self.name} answers", within_s=BOOT_S, every_s=0.02)

    def fill(self, directory: str) -> None:
        """A file system without room for more than a few small files."""
        self.run(f"mkdir -p '{directory}'; mount -t tmpfs -o size=16k tmpfs '{directory}'")

    def forbid_sudo(self) -> None:
        self.run("rm /etc/sudoers.d/deploy")

    def lose_python(self) -> None:
        self.run("rm -f /usr/bin/python* /usr/local/bin/python* /usr/libexec/platform-python")

    def _answers(self) -> bool:
        with self.inside.entered():
            try:
                with closing(socket.create_connection((self.address, 22), timeout=2)) as probe:
                    return probe.recv(4) == b"SSH-"
            except OSError:
                return False


class Lab:
    """A context manager. `asking`: numbers of hosts whose sudo asks for `PASSWORD`."""

    def __init__(self, directory: Path, hosts: int = 12, asking: Sequence[int] = ()) -> None:
        self.directory, self._count, self._asking = directory, hosts, asking
        self._exit = ExitStack()
        self.machines: dict[str, Machine] = {}

    def __enter__(self) -> Self:
        for name, package in (
            ("sshd", "openssh-server"),
            ("ssh", "openssh-client"),
            ("sudo", "sudo"),
            ("ip", "iproute2"),
            ("unshare", "util-linux"),
        ):
            program(name, package)
        self.inside = Namespace()
        self._exit.callback(self.inside.close)
        try:
            self._build()
        except BaseException:
            self._exit.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._exit.close()

    def __getitem__(self, number: int) -> Machine:
        """The host of that number."""
        return self.machines[f"node-{number:02d}"]

    def _build(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        new_key(self.directory / "client_key")
        self.inside.ip("link add br0 type bridge forward_delay 0 stp_state 0", f"address add {SERVER}/24 dev br0", "link set br0 up")
        kept = self._start({number: self._prepared(number) for number in range(1, self._count + 1)})
        for number in range(1, self._count + 1):
            self._connect(kept, number)
        for machine in self.machines.values():
            until(lambda machine=machine: machine._answers() or not kept.alive, machine.name, within_s=BOOT_S, every_s=0.02)  # type: ignore[misc]
        assert kept.alive, kept.tail()
        lines = [f"{machine.address} {machine.key}\n" for machine in self.machines.values()]
        self.known_hosts.write_text("".join(lines))

    def _prepared(self, number: int) -> Path:
        directory = self.directory / f"node-{number:02d}"
        directory.mkdir()
        new_key(directory / "host_key")
        shutil.copy(self.directory / "client_key.pub", directory / "authorized_keys")
        return directory

    def _start(self, directories: dict[int, Path]) -> Kept:
        """All hosts, as one thing to be killed."""
        line = 'unshare -n -u -m -p -f --kill-child sh "$0" "$1" "${1##*/}" "$2" &'
        script = "\n".join(["while [ $# -gt 0 ]; do", line, "shift 2; done; wait"])
        pairs = [word for number, directory in directories.items() for word in (str(directory), PASSWORD if number in self._asking else "")]
        log = self.directory / "lab.log"
        with self.inside.entered():
            kept = Kept(["sh", "-c", script, str(HOST), *pairs], cwd=self.directory, log=log, env=os.environ)
        self._exit.callback(kept.kill)
        return kept

    def _connect(self, kept: Kept, number: int) -> None:
        directory = self.directory / f"node-{number:02d}"
        until(lambda: (directory / "pid").exists() or not kept.alive, directory.name, within_s=BOOT_S, every_s=0.01)
        if not kept.alive and "Operation not permitted" in kept.tail():
            missing("namespaces and overlay mounts", "run as root on a system that allows them")
        assert kept.alive, kept.tail()
        pid = int((directory / "pid").read_text())
        machine = Machine(name=directory.name, number=number, pid=pid, directory=directory, inside=self.inside)
        self.machines[machine.name] = machine
        self.inside.ip(
            f"link add v{number} type veth peer name eth0 address {machine.hardware} netns {pid}",
            f"link set v{number} master br0 up",
            f"neighbour add {machine.address} lladdr {machine.hardware} nud permanent dev br0",
        )
        batch = f"address add {machine.address}/24 dev eth0\nlink set eth0 up\n"
        subprocess.run(["nsenter", "-t", str(pid), "-n", "ip", "-batch", "-"], input=batch, text=True, check=True, timeout=60)

    @property
    def known_hosts(self) -> Path:
        return self.directory / "known_hosts"

    @property
    def settings(self) -> AnsibleSettings:
        """How a driver reaches these hosts."""
        return AnsibleSettings(private_key_file=self.directory / "client_key", known_hosts_file=self.known_hosts, user=USER)

    @property
    def environment(self) -> dict[str, str]:
        """The same for the command, as variables of its environment."""
        key, known = self.directory / "client_key", self.known_hosts
        return {
            "OCTOFLEET_ANSIBLE__PRIVATE_KEY_FILE": str(key),
            "OCTOFLEET_ANSIBLE__KNOWN_HOSTS_FILE": str(known),
            "OCTOFLEET_ANSIBLE__USER": USER,
        }

    def ssh(self, machine: Machine, command: str) -> subprocess.CompletedProcess[str]:
        """A command by ssh, as anybody would."""
        options = ["-F", "none", "-i", str(self.directory / "client_key"), "-o", f"UserKnownHostsFile={self.known_hosts}"]
        line = ["ssh", *options, "-o", "BatchMode=yes", "-o", "ConnectTimeout=3", f"{USER}@{machine.address}", command]
        with self.inside.entered():
            return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)

    def within(self, call: Callable[[], object]) -> object:
        """Call it where hosts can be reached."""
        with self.inside.entered():
            return call()
