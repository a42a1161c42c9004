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
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from reconciler.drivers.ansible.isolation import Sight, sandboxed

MOST_BYTES = 4 << 20


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
                with suppress(subprocess.TimeoutExpired):
                    return Ended(code=process.wait(left), output=said.decode(errors="replace"))
                break
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
