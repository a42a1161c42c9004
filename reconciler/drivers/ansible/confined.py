"""Programs of Ansible besides playbook runs (ansible-galaxy, ansible-lint), run to their end: what they said, as far as it is bounded.

In: a command, with what it may see of this machine, and a limit. Out: how it ended, and what it said. Nothing of ours is in its environment but
what is given.
"""

import os
import select
import signal
import subprocess
import time
<<<<<<< HEAD
=======
from collections.abc import Mapping, Sequence
>>>>>>> h-hostile
from contextlib import suppress
from dataclasses import dataclass

from reconciler.drivers.ansible.process import Command, started

MOST_BYTES = 4 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    """How a program ended: its exit code (negative for a signal), what it wrote (cut where it was too much), and whether it was stopped by a limit."""

    code: int
    output: str
    stopped: bool = False


def run(command: Command, *, limit_s: float) -> Ended:
    """Run it to its end or a limit. Raises `Permanent` if it cannot be started."""
    with started(command) as process:
        return _read(process, time.monotonic() + limit_s)


<<<<<<< HEAD
def _read(process: subprocess.Popen[bytes], until: float) -> Ended:
    """What it says until it has ended: that its output has is not enough."""
    output, waiting, said = process.stdout.fileno() if process.stdout else -1, select.poll(), bytearray()
    waiting.register(output, select.POLLIN)
    while len(said) < MOST_BYTES and (left := until - time.monotonic()) > 0:
        if not waiting.poll(left * 1000):
            continue
        data = os.read(output, 65_536)
        said += data
        if not data:
            with suppress(subprocess.TimeoutExpired):
                return Ended(code=process.wait(left), output=said.decode(errors="replace"))
    return Ended(code=-signal.SIGKILL, output=said.decode(errors="replace"), stopped=True)
=======
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
>>>>>>> h-hostile
