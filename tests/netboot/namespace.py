"""A network of its own, held by a file descriptor: it goes with the last process in it, however this one ends.

Source: network_namespaces(7), setns(2).
"""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

CLONE_NEWNET = 0x40000000
THREAD = Path("/proc/thread-self/ns/net")
_libc = ctypes.CDLL(None, use_errno=True)


def _call(name: str, *arguments: int) -> None:
    if getattr(_libc, name)(*arguments) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")


class Namespace:
    """A network namespace with nothing but a loopback in it. Skips the test where this user may not make one."""

    def __init__(self) -> None:
        if os.geteuid() != 0:
            pytest.skip("needs root: it makes a network namespace, a bridge and tap devices")
        home = os.open(THREAD, os.O_RDONLY)
        try:
            try:
                _call("unshare", CLONE_NEWNET)
            except OSError as error:
                pytest.skip(f"needs a system that allows network namespaces: {error}")
            self._file = os.open(THREAD, os.O_RDONLY)
            _call("setns", home, CLONE_NEWNET)
        finally:
            os.close(home)
        self.ip("link set lo up")

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Sockets that this thread makes, and processes that it starts meanwhile, belong to the namespace for good."""
        home = os.open(THREAD, os.O_RDONLY)
        try:
            _call("setns", self._file, CLONE_NEWNET)
            yield
        finally:
            _call("setns", home, CLONE_NEWNET)
            os.close(home)

    @property
    def path(self) -> str:
        """What `ip link set ... netns` takes."""
        return f"/proc/{os.getpid()}/fd/{self._file}"

    def run(self, *command: str, stdin: str | None = None) -> str:
        """What a command in the namespace prints; fails the test with what it says if it fails."""
        with self.entered():
            done = subprocess.run(command, input=stdin, capture_output=True, text=True, check=False, timeout=120)
        assert done.returncode == 0, f"{' '.join(command)}: {done.stderr or done.stdout}"
        return done.stdout

    def ip(self, *lines: str) -> None:
        """Commands of ip(8), one after the other."""
        self.run("ip", "-batch", "-", stdin="\n".join(lines))

    def close(self) -> None:
        os.close(self._file)
