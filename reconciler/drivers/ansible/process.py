"""Ends the processes of one Ansible run, and only those. Linux: reads /proc.

A run's processes carry a mark in their environment. Ansible's workers start sessions of their own and ssh's masters leave the tree, so
that killing the program's process group (what ansible-runner does) leaves both behind. Must not: touch what a play started on purpose and
that has left the tree (a daemon of a host with the local connection), or a process of another run.
"""

import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

MARK = "OCTOFLEET_ANSIBLE_RUN"
PROC = Path("/proc")


def kill_run(mark: str) -> None:
    """Kill this process's children that carry the mark, and everything below them. They are stopped first, so that none forks meanwhile."""
    needle = f"{MARK}={mark}".encode()
    roots = {pid for pid, parent in _parents() if parent == os.getpid() and needle in _read(pid, "environ").split(b"\0")}
    doomed: set[int] = set()
    while found := _below(roots) - doomed:
        for pid in found:
            _signal(pid, signal.SIGSTOP)
        doomed |= found
    for pid in doomed:
        _signal(pid, signal.SIGKILL)


def kill_users_of(directory: Path) -> None:
    """End ssh's masters, which name their socket in this directory as their title (`ssh: DIRECTORY/... [mux]`)."""
    title = f"ssh: {directory}/".encode()
    for pid, _ in _parents():
        if _read(pid, "cmdline").startswith(title):
            _signal(pid, signal.SIGTERM)


def _below(roots: set[int]) -> set[int]:
    """The roots that are there and all their descendants, but for the dead that nobody has waited for yet."""
    parents = dict(_parents())
    found = {pid for pid in roots if pid in parents}
    grown = True
    while grown:
        more = {pid for pid, parent in parents.items() if parent in found} - found
        found |= more
        grown = bool(more)
    return found


def _parents() -> Iterator[tuple[int, int]]:
    """Every living process and its parent (proc(5): the state and the parent follow the name in brackets)."""
    for entry in os.scandir(PROC):
        if entry.name.isdigit():
            state, _, rest = _read(int(entry.name), "stat").rpartition(b")")[2].strip().partition(b" ")
            if state and state != b"Z":
                yield int(entry.name), int(rest.split(b" ", 1)[0])


def _read(pid: int, name: str) -> bytes:
    """A file of a process; nothing if it is gone or another user's."""
    try:
        return (PROC / str(pid) / name).read_bytes()
    except OSError:
        return b""


def _signal(pid: int, number: signal.Signals) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.kill(pid, number)
