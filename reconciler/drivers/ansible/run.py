"""One run of `ansible-playbook`, told by ansible-runner's events: begun, followed, and ended in any case.

In: a `Job` (an exported project, an inventory, what to pass) and where events go. Out: how the run ended. Must not: leave a process or a
directory behind.
"""

import os
import select
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from subprocess import Popen, TimeoutExpired

from reconciler.drivers.ansible.command import command_of, fixed_variables
from reconciler.drivers.ansible.isolation import isolated
from reconciler.drivers.ansible.job import Job, write_files
from reconciler.drivers.ansible.process import started
from reconciler.drivers.ansible.settings import AnsibleSettings
from reconciler.drivers.ansible.stream import Endless, OnEvent, Stream
from reconciler.trees import takes_more, temporary_directory

POLL_S = 0.2
READ_BYTES = 1 << 16
LOOKS = 25
SPACE_BYTES = 2 << 30
"""How much of the disk a run may take, also in empty files and directories; looked at with every 25th look whether to stop."""
SOCKET_ROOM = 55
"""What must be left of a Unix socket's 107 bytes for ssh's own name in the control directory."""


class End(StrEnum):
    """How the run as a whole ended; what became of each host is in the events."""

    FINISHED = "finished"
    BROKEN = "broken"
    FULL = "full"
    CANCELLED = "cancelled"
    TIMEOUT = "timeout"


def play(job: Job, settings: AnsibleSettings, on_event: OnEvent, *, until: float, cancelled: Callable[[], bool]) -> End:
    """Run the playbook to its end, to `until` (`time.monotonic()` seconds) or until cancelled. No process is left behind in any case."""
    stream = Stream(job.events, on_event)
    alone = isolated(settings.isolation)
    write_files(job, fixed_variables(settings, job.pinned_file))
    with _control_directory(job.directory, alone=alone) as control, started(command_of(job, settings, control, alone=alone)) as process:
        try:
            return _follow(process, stream, _Watch(until=until, cancelled=cancelled, directory=job.directory))
        except Endless:
            return End.BROKEN


def _follow(process: Popen[bytes], stream: Stream, watch: "_Watch") -> End:
    """Read what the program says until it has ended, or has to. What a project brings along may close its output long before. Raises Endless."""
    output, waiting = process.stdout.fileno() if process.stdout else -1, select.poll()
    waiting.register(output, select.POLLIN)
    looked = 0.0
    while True:
        gone = process.poll() is not None
        ready = waiting.poll(0 if gone else POLL_S * 1000)
        data = os.read(output, READ_BYTES) if ready else b""
        if gone and not data:
            break
        if ready and not data:
            waiting.unregister(output)
            with suppress(TimeoutExpired):
                process.wait(POLL_S)
        stream.feed(data)
        if time.monotonic() - looked > POLL_S:
            looked = time.monotonic()
            if (end := watch()) is not None:
                return end
    stream.close()
    return End.FINISHED if process.wait() in (0, 2, 4, 6) else End.BROKEN


@dataclass(kw_only=True)
class _Watch:
    """Asked five times a second whether to stop; now and then it looks how much the run has written."""

    until: float
    cancelled: Callable[[], bool]
    directory: Path
    looks: int = 0

    def __call__(self) -> End | None:
        self.looks += 1
        if time.monotonic() > self.until:
            return End.TIMEOUT
        if self.cancelled():
            return End.CANCELLED
        return End.FULL if self.looks % LOOKS == 0 and takes_more(self.directory, SPACE_BYTES) else None


@contextmanager
def _control_directory(directory: Path, *, alone: bool) -> Iterator[Path]:
    """Where ssh keeps its sockets: a Unix socket's path has 107 bytes, and the scratch directory may lie deep. In isolation /tmp is the run's own."""
    if alone:
        yield Path("/tmp/cp")  # noqa: S108
        return
    if len(os.fsencode(directory)) + SOCKET_ROOM < 107:
        inside = directory / "cp"
        inside.mkdir(mode=0o700)
        yield inside
        return
    with temporary_directory("of-cp-") as short:
        yield short
