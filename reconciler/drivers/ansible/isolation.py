"""What a playbook run sees of this machine: bubblewrap (bwrap(1)) gives it the system read-only, its own directories, and no other process.

In: a command and the paths that it needs. Out: the command in new user, mount, PID and IPC namespaces. Nothing is visible that is not
listed here: no data directory, settings, secret store, other run's directory or key, nothing of `/run` (sockets), `/var` or `/home`. The
network stays, as ssh needs it: what listens on loopback or on an abstract socket is reachable and has to ask who comes. Must not: list a
directory of which others put secrets into a part.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from reconciler.errors import Permanent
from reconciler.events import happened

PROGRAM = "bwrap"
PROBE_S = 20.0
MEMORY_BYTES = 256 << 20
"""What each of the directories may hold that are memory: /tmp, /var/tmp, the home directory, /dev/shm."""

ETC = (
    *(
        "passwd",
        "group",
        "nsswitch.conf",
        "hosts",
        "host.conf",
        "gai.conf",
        "resolv.conf",
        "services",
        "protocols",
        "localtime",
        "locale.alias",
    ),
    *("os-release", "debian_version", "redhat-release", "alternatives", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "ansible/roles"),
    *("ssl/certs", "ssl/openssl.cnf", "ca-certificates", "pki/tls/certs", "pki/tls/openssl.cnf", "pki/ca-trust", "crypto-policies"),
    *("ssh/ssh_known_hosts", "ssh/ssh_known_hosts2", "krb5.conf", "python3"),
)
MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
NAMESPACES = (
    *("--unshare-user", "--disable-userns", "--unshare-pid", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--die-with-parent", "--new-session", "--cap-drop", "ALL"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a run sees besides the system, at the same paths as outside. `readable` that are not there are passed over; `homes` are empty. What is deeper
    lies over what is above it. `network`: whether it has any."""

    homes: tuple[Path, ...] = ()
    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    network: bool = True


def isolated(mode: str) -> bool:
    """Whether runs are isolated, of the setting `ansible.isolation`. Raises Permanent where it is required and does not work here."""
    if mode == "off":
        return False
    trouble = why_not()
    if trouble and mode == "required":
        hint = "apt-get install bubblewrap, allow user namespaces, or set ansible.isolation"
        raise Permanent(f"playbooks cannot be run in isolation here: {trouble}", hint=hint, code="isolation-missing")
    if trouble:
        _tell(trouble)
    return not trouble


def why_not() -> str:
    """Why bubblewrap does not work on this machine; empty where it does. What it answers is remembered; that it was not heard, as on a machine that is busy,
    is not."""
    try:
        return _answer()
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{PROGRAM} does not run: {error}"


@cache
def _answer() -> str:
    if shutil.which(PROGRAM) is None:
        return f"the program {PROGRAM} is not installed"
    ran = subprocess.run(  # noqa: S603 - the program is the one found
        sandboxed(["/bin/sh", "-c", ":"], Sight()),
        capture_output=True,
        text=True,
        check=False,
        timeout=PROBE_S,
    )
    return "" if ran.returncode == 0 else (ran.stderr.strip().splitlines() or [f"{PROGRAM} ended with {ran.returncode}"])[-1]


@cache
def _tell(trouble: str) -> None:
    happened("ansible-not-isolated", why=trouble)


def sandboxed(command: Sequence[str], sight: Sight) -> list[str]:
    """The command line that runs `command` so. What is mounted later lies over what was before."""
    line = [
        shutil.which(PROGRAM) or PROGRAM,
        *NAMESPACES,
        *(() if sight.network else ("--unshare-net",)),
        "--proc",
        "/proc",
        "--dev",
        "/dev",
    ]
    homes = [home for home in sight.homes if home != Path("/")]
    for place in dict.fromkeys((Path("/dev/shm"), Path("/tmp"), Path("/var/tmp"), *homes)):  # noqa: S108 - they are new, and the run's own
        line += ["--size", str(MEMORY_BYTES), "--tmpfs", str(place)]
    line += _system()
    shown = [*((path, "--ro-bind-try") for path in sight.readable), *((path, "--bind") for path in sight.writable)]
    for path, how in sorted(shown, key=lambda item: len(item[0].absolute().parts)):
        if not path.is_char_device():  # such as /dev/null for known hosts: it is there already
            line += [how, str(path.resolve()), str(path.absolute())]
    return [*line, "--remount-ro", "/", "--remount-ro", "/dev", "--", *command]


def _system() -> Iterator[str]:
    yield from ("--ro-bind", "/usr", "/usr")
    for name in MERGED:
        path = Path("/") / name
        if path.is_symlink():
            yield from ("--symlink", str(path.readlink()), str(path))
        elif path.is_dir():
            yield from ("--ro-bind", str(path), str(path))
    for name in ETC:
        path = Path("/etc") / name
        yield from ("--ro-bind-try", str(path.resolve()), str(path))
    for prefix in dict.fromkeys((sys.prefix, sys.base_prefix)):
        if not Path(prefix).resolve().is_relative_to("/usr"):
            for name in ("bin", "lib", "lib64", "share", "pyvenv.cfg"):
                yield from ("--ro-bind-try", str((Path(prefix) / name).resolve()), f"{prefix}/{name}")
