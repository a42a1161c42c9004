"""Machines for the demo: sshd instances on loopback, or without sshd just directories that Ansible's local connection reaches."""

import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from reconciler.cli.sshd import SshHosts

SSHD_PATHS = "/usr/sbin:/usr/local/sbin:/sbin"


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoHost:
    """One machine: its home directory and the Ansible variables that reach it."""

    name: str
    home: Path
    reached: Mapping[str, object]

    def variables(self) -> dict[str, object]:
        """What its manifest says for Ansible."""
        return {"ansible_python_interpreter": sys.executable, "web_root": str(self.home / "srv" / "www"), **self.reached}


@dataclass(frozen=True, slots=True, kw_only=True)
class Machines:
    """The machines of a demo; the key files are absent without sshd."""

    hosts: tuple[DemoHost, ...]
    private_key: Path | None = None
    known_hosts: Path | None = None


def sshd_program() -> str | None:
    """Where sshd is, or None if it or its client programs are missing."""
    found = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:{SSHD_PATHS}")
    return found if found and shutil.which("ssh") and shutil.which("ssh-keygen") else None


@contextmanager
def machines(names: Sequence[str], root: Path, *, local: bool = False) -> Iterator[Machines]:
    """One machine for each name below `root`; they end with the block. `local`: no sshd even where there is one."""
    sshd = None if local else sshd_program()
    if sshd is None:
        homes = {name: root / name / "home" for name in names}
        for home in homes.values():
            home.mkdir(parents=True)
        yield Machines(hosts=tuple(DemoHost(name=name, home=home, reached={"ansible_connection": "local"}) for name, home in homes.items()))
        return
    with SshHosts(root, names, sshd) as running:
        yield Machines(
            hosts=tuple(
                DemoHost(
                    name=name,
                    home=host.home,
                    reached={"ansible_host": "127.0.0.1", "ansible_port": host.port, "ansible_user": running.user},
                )
                for name, host in running.hosts.items()
            ),
            private_key=running.private_key,
            known_hosts=running.known_hosts,
        )
