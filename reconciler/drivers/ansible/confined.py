"""Programs of Ansible besides playbook runs (ansible-galaxy, ansible-lint), run to their end: what they said, as far as it is bounded.

In: a command, with what it may see of this machine, and a limit. Out: how it ended, and what it said. Nothing of ours is in its environment but
what is given.
"""

import os
import select
import signal
import subprocess
import time
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
