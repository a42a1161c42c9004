"""Begins a program of Ansible, and ends its processes and only those. Linux.

In isolation all of them are in a PID namespace, and end with its first process. Elsewhere they carry a mark in their environment, by which
they are found in /proc: Ansible's workers start sessions of their own and ssh's masters leave the tree, so that killing the program's
process group leaves both behind. Must not: touch a process of another run, or, without isolation, what a play started on purpose and that
has left the tree (a daemon of a host with the local connection).
"""

import json
import os
import resource
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

from reconciler.drivers.ansible.isolation import Sight, sandboxed
from reconciler.errors import Permanent

MARK = "OCTOFLEET_ANSIBLE_RUN"
PROC = Path("/proc")
FILE_BYTES = 1 << 30
END_S = 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program with its arguments and its whole environment. `sight`: what it sees of this machine, None: everything. `control`: where its ssh keeps
    sockets, if it uses any. `errors`: whether what it writes to standard error is read as well."""

    line: Sequence[str]
    environment: Mapping[str, str]
    directory: Path
    control: Path | None = None
    sight: Sight | None = None
    errors: bool = True


@contextmanager
def started(command: Command) -> Iterator[subprocess.Popen[bytes]]:
    """The program, with its output as a pipe, until the end of the block. No process of it is left then, whatever happens."""
    if command.sight is None:
        mark = uuid4().hex
        process = _spawn(command, command.line, {MARK: mark})
        try:
            yield process
        finally:
            kill_run(mark)
            if command.control is not None:
                kill_users_of(command.control)
            _closed(process)
        return
    ours, theirs = os.pipe()
    try:
        line = sandboxed(command.line, command.sight)
        process = _spawn(command, [line[0], "--info-fd", str(theirs), *line[1:]], {MARK: "isolated"}, pass_fds=(theirs,))
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)
    try:
        with os.fdopen(ours, "rb") as told:
            first = _first_process(told.read())
        try:
            yield process
        finally:
            _end_namespace(first)
    finally:
        _closed(process)


def _spawn(command: Command, line: Sequence[str], more: Mapping[str, str], *, pass_fds: Sequence[int] = ()) -> subprocess.Popen[bytes]:
    try:
        process = subprocess.Popen(  # noqa: S603 - the program is ours, and what a playbook adds is not in its arguments
            line,
            cwd=command.directory,
            env={**command.environment, **more},
            stdin=subprocess.DEVNULL,  # `vars_prompt` and `pause` go on instead of waiting for ever
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if command.errors else subprocess.DEVNULL,
            start_new_session=True,
            umask=0o077,
            pass_fds=pass_fds,
        )
    except OSError as error:
        raise Permanent(f"cannot start {line[0]}: {error}", hint="octofleet doctor looks at the programs that are needed") from error
    with suppress(ProcessLookupError, PermissionError):
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (FILE_BYTES, FILE_BYTES))
    return process


def _first_process(told: bytes) -> int | None:
    """A file descriptor of the namespace's first process (pidfd_open(2)); None if there is none any more."""
    with suppress(ValueError, KeyError, OSError):
        return os.pidfd_open(json.loads(told)["child-pid"])
    return None


def _end_namespace(first: int | None) -> None:
    """The kernel ends all other processes of the namespace before it tells of the end of the first (pid_namespaces(7))."""
    if first is None:
        return
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(first, signal.SIGKILL)
    waiting = select.poll()
    waiting.register(first, select.POLLIN)
    waiting.poll(END_S * 1000)
    os.close(first)


def _closed(process: subprocess.Popen[bytes]) -> None:
    """Nothing of it is left: it is waited for, and its pipe is closed."""
    try:
        process.wait(END_S if process.returncode is None else 0)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdout is not None:
        process.stdout.close()


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
