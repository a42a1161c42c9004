"""Programs of Ansible besides playbook runs (ansible-galaxy, ansible-lint), in bubblewrap: they see the system, their own directories, and no secret.

In: a command, what it may see, limits. Out: how it ended, and what it said. Nothing of ours is in its environment but what is given.
"""

import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import IO

BWRAP = "bwrap"
MOST_BYTES = 4 << 20
SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64")
ETC = (
    "passwd",
    "group",
    "nsswitch.conf",
    "hosts",
    "resolv.conf",
    "localtime",
    "alternatives",
    "ssl/certs",
    "ssl/openssl.cnf",
    "pki",
    "ld.so.cache",
)
_PROBE_S = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sight:
    """What a program sees besides the system, at the same paths as outside; a readable path may be in a writable one. `network`: whether it has any."""

    readable: tuple[Path, ...] = ()
    writable: tuple[Path, ...] = ()
    network: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended: its exit code (negative for a signal), what it wrote (cut where it was too much), and whether it was stopped by a limit."""

    code: int
    output: str
    stopped: bool = False


def found(name: str) -> str | None:
    """The path of a program of Ansible: beside this Python, else on PATH."""
    beside = Path(sys.executable).parent / name
    return str(beside) if os.access(beside, os.X_OK) else shutil.which(name)


@cache
def why_not() -> str:
    """Why bubblewrap does not work on this machine, tried once; empty where it does."""
    program = shutil.which(BWRAP)
    if program is None:
        return f"the program {BWRAP} is not installed"
    try:
        command = sandboxed(["/bin/sh", "-c", ":"], Sight())
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_PROBE_S)  # noqa: S603 - the program is the one found
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{BWRAP} does not run: {error}"
    return "" if ran.returncode == 0 else (ran.stderr.strip().splitlines() or [f"{BWRAP} ended with {ran.returncode}"])[-1]


def sandboxed(command: Sequence[str], sight: Sight) -> list[str]:
    """The command line that runs `command` in new namespaces (bwrap(1))."""
    line = [
        shutil.which(BWRAP) or BWRAP,
        "--unshare-all",
        *(["--share-net"] if sight.network else []),
        "--die-with-parent",
        "--new-session",
    ]
    line += ["--cap-drop", "ALL", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]  # noqa: S108 - the program's own
    for path in map(Path, SYSTEM):
        if path.is_symlink():
            line += ["--symlink", str(path.readlink()), str(path)]
        elif path.is_dir():
            line += ["--ro-bind", str(path), str(path)]
    for name in ETC:
        path = Path("/etc") / name
        line += ["--ro-bind-try", str(path.resolve()), str(path)]
    for prefix in dict.fromkeys((sys.prefix, sys.base_prefix)):
        if not Path(prefix).is_relative_to("/usr"):
            line += ["--ro-bind", str(Path(prefix).resolve()), prefix]
    for path in sight.writable:
        line += ["--bind", str(path.resolve()), str(path)]
    for path in sight.readable:
        line += ["--ro-bind", str(path.resolve()), str(path)]
    return [*line, "--", *command]


def run(
    command: Sequence[str],
    sight: Sight,
    *,
    environment: Mapping[str, str],
    directory: Path,
    limit_s: float,
    errors: bool = True,
    confine: bool = True,
) -> Ended:
    """Run it to its end or a limit, in a sandbox (`confine`). `errors`: whether what it writes to standard error is kept too. Raises OSError."""
    process = subprocess.Popen(  # noqa: S603 - a program that `found` gave
        sandboxed(command, sight) if confine else list(command),
        env=dict(environment),
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if errors else subprocess.DEVNULL,
        start_new_session=True,
    )
    pipe = process.stdout
    try:
        return _read(process, pipe, time.monotonic() + limit_s) if pipe is not None else Ended(code=process.wait(), output="")
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _read(process: "subprocess.Popen[bytes]", pipe: IO[bytes], until: float) -> Ended:
    with pipe:
        waiting, said = select.poll(), bytearray()
        waiting.register(pipe, select.POLLIN)
        while len(said) < MOST_BYTES and (left := until - time.monotonic()) > 0:
            if not waiting.poll(left * 1000):
                continue
            data = os.read(pipe.fileno(), 65_536)
            if not data:
                return Ended(code=process.wait(), output=said.decode(errors="replace"))
            said += data
        return Ended(code=-signal.SIGKILL, output=said.decode(errors="replace"), stopped=True)


def environment_of(home: Path, program: str) -> dict[str, str]:
    """The environment of such a program: a home of its own, no settings but Ansible's defaults, no plugin of anybody."""
    return {
        "PATH": f"{Path(program).parent}:{os.environ.get('PATH', os.defpath)}",
        "HOME": str(home),
        "LANG": "C.UTF-8",
        "LC_ALL": "C.UTF-8",
        "ANSIBLE_HOME": str(home / "ansible"),
        "ANSIBLE_LOCAL_TEMP": str(home / "tmp"),
        "ANSIBLE_NOCOLOR": "1",
        "NO_COLOR": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
