"""A command together with all that it starts, as one thing that can be paused and killed. Nothing of it outlives this process."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

KEEPER = Path(__file__).with_name("keeper.py")


class Late(AssertionError):
    """Something did not happen in time."""


def until(true: Callable[[], object], what: str, *, within_s: float, every_s: float = 0.1) -> float:
    """Wait for something to become true; gives the seconds that it took. Raises `Late`, which names `what`."""
    began = time.monotonic()
    while not true():
        if time.monotonic() - began > within_s:
            raise Late(f"not within {within_s:.0f} s: {what}")
        time.sleep(every_s)
    return time.monotonic() - began


class Kept:
    """A running command. It writes to the file `log`, which is appended to, and runs in the directory `cwd` as `user` (None: as this one)."""

    def __init__(self, command: Sequence[str], *, cwd: Path, log: Path, env: Mapping[str, str], user: str | None = None) -> None:
        line = [sys.executable, "-I", "-S", str(KEEPER), user or "", *command]
        with log.open("ab") as output:
            self._keeper = subprocess.Popen(
                line,
                cwd=cwd,
                env=dict(env),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=output,
                start_new_session=True,
                bufsize=0,
            )
        self.log = log

    @property
    def alive(self) -> bool:
        return self._keeper.poll() is None

    def kill(self) -> None:
        """SIGKILL to everything at once, as when the power goes. Harmless if it has ended."""
        assert self._keeper.stdin and self._keeper.stdout
        if not self._keeper.stdin.closed:
            with suppress(BrokenPipeError):
                os.write(self._keeper.stdin.fileno(), b"k")
            self._keeper.stdin.close()
        self._keeper.wait()
        self._keeper.stdout.close()

    def pause(self) -> None:
        """SIGSTOP to everything: it answers nobody and does not know that time passes."""
        self._tell(b"p")

    def resume(self) -> None:
        self._tell(b"r")

    def terminate(self, within_s: float = 30) -> int:
        """SIGTERM to the command alone; waits for its end and gives its exit code."""
        self._tell(b"t")
        until(lambda: not self.alive, f"the end of {self.log.stem}", within_s=within_s, every_s=0.02)
        return self._keeper.returncode

    def tail(self, lines: int = 20) -> str:
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])

    def _tell(self, letter: bytes) -> None:
        assert self._keeper.stdin and self._keeper.stdout
        os.write(self._keeper.stdin.fileno(), letter)
        if self._keeper.stdout.read(1) != letter:
            raise AssertionError(f"it has ended: {self.tail()}")
