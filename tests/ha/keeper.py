"""Starts a command and owns all that descends from it, in whatever session or under whatever parent; a program of its own.

Arguments: the user to run the command as (empty: this one), then the command. Daemons fork, open sessions of their own and are left by their
parents, so no process group holds them. As a subreaper this process inherits what is orphaned below it, and so finds all of it. It obeys one
letter at a time from its input and answers each with the same letter: `p` stops everything (SIGSTOP), `r` lets it go on, `t` asks the
command to end (SIGTERM). With `k`, when the input ends because the test was killed, and when the command ends, everything is killed, and
this process ends with the command's exit code.
"""

import ctypes
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
LOOK_S = 0.05
SOON_S = 0.005
MOST_LOOKS = 200


@dataclass(frozen=True)
class Process:
    """A line of the process table. `state`: T is stopped, Z is dead."""

    id: int
    parent: int
    state: str


def _processes() -> Iterator[Process]:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, parent = (entry / "stat").read_text().rpartition(")")[2].split()[:2]
            except OSError:
                continue
            yield Process(int(entry.name), int(parent), state)


def descendants() -> list[Process]:
    """All processes below this one, parents first."""
    children: dict[int, list[Process]] = {}
    for process in _processes():
        children.setdefault(process.parent, []).append(process)
    found = children.get(os.getpid(), [])
    for process in found:
        found.extend(children.get(process.id, ()))
    return found


def _signal(number: signal.Signals) -> None:
    for process in descendants():
        with suppress(ProcessLookupError):
            os.kill(process.id, number)


def _stop_all() -> None:
    """Until nothing moves: what was started meanwhile too. A process that the kernel holds stops when it comes back."""
    for _ in range(MOST_LOOKS):
        _signal(signal.SIGSTOP)
        if all(process.state in "TZ" for process in descendants()):
            return
        select.select([], [], [], SOON_S)


def _reap(command: int) -> int | None:
    """Bury the dead; gives the command's exit code once it has ended."""
    while True:
        try:
            process, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return None
        if process == 0:
            return None
        if process == command:
            return os.waitstatus_to_exitcode(status)


def _kill_all() -> None:
    """As if the power went: nothing runs any more before anything is killed."""
    _stop_all()
    while descendants():
        _signal(signal.SIGKILL)
        _reap(0)
        select.select([], [], [], SOON_S)


def main(user: str, command: list[str]) -> int:
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1) != 0:
        raise OSError("this kernel has no subreapers")
    who = {"user": user, "group": user, "extra_groups": []} if user else {}
    started = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=2, start_new_session=True, **who)
    code = None
    while code is None:
        ready, _, _ = select.select([0], [], [], LOOK_S)
        letter = os.read(0, 1) if ready else b""
        if ready and letter in (b"", b"k"):
            break
        if letter == b"p":
            _stop_all()
        elif letter == b"r":
            _signal(signal.SIGCONT)
        elif letter == b"t":
            os.kill(started.pid, signal.SIGTERM)
        if letter:
            os.write(1, letter)
        code = _reap(started.pid)
    _kill_all()
    return code if code is not None and code >= 0 else 128 - (code or -signal.SIGKILL)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
