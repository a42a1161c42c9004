"""Processes of the product beside a cluster: `octofleet serve` and `octofleet worker`, each with a data directory of its own.

(port,) = free_ports(1)
serve = Replica([*OCTOFLEET, "serve", ...], cluster.directory / "serve-1", {"OCTOFLEET_DATABASE_URL": cluster.url, ...})
serve.start()
serve.wait_ready(f"http://127.0.0.1:{port}/readyz")
"""

import os
import sys
from collections.abc import Mapping, Sequence
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from tests.ha.kept import Kept, until

OCTOFLEET = (sys.executable, "-m", "reconciler.cli")
ROOT = Path(__file__).resolve().parents[2]


def answer(url: str, timeout_s: float = 2) -> int | None:
    """The HTTP status that an address answers with; None if it does not."""
    parts = urlsplit(url)
    assert parts.hostname
    connection = HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
    try:
        connection.request("GET", parts.path or "/")
        return connection.getresponse().status
    except (OSError, HTTPException):
        return None
    finally:
        connection.close()


class Replica:
    """One process of the product, with all that it starts. `data_dir` is made; what it prints is beside it, in `NAME.log`. It gets this
    process's environment without OCTOFLEET_*, and `env`. It ends at the latest with this process. A context manager: starts, and kills."""

    def __init__(self, command: Sequence[str], data_dir: Path, env: Mapping[str, str]) -> None:
        self.name = data_dir.name
        self.data_dir = data_dir
        self.log = data_dir.with_name(f"{data_dir.name}.log")
        self._command = tuple(command)
        inherited = {key: value for key, value in os.environ.items() if not key.startswith("OCTOFLEET_")}
        self._env = inherited | {"PYTHONPATH": str(ROOT), "OCTOFLEET_DATA_DIR": str(data_dir)} | dict(env)
        self._kept: Kept | None = None

    def start(self) -> None:
        """Start it, for the first time or again; the log goes on."""
        assert not self.alive, f"{self.name} runs already"
        self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._kept = Kept(self._command, cwd=self.data_dir, log=self.log, env=self._env)

    @property
    def alive(self) -> bool:
        return self._kept is not None and self._kept.alive

    def wait_ready(self, url: str, within_s: float = 60) -> float:
        """Wait until the address answers with 200; gives the seconds. Raises `AssertionError` with the end of the log, at
        once if the process has ended."""

        def ready() -> bool:
            assert self.alive, f"{self.name} has ended"
            return answer(url) == 200

        try:
            return until(ready, f"{self.name} ready at {url}", within_s=within_s)
        except AssertionError as error:
            error.add_note(self.tail())
            raise

    def tail(self) -> str:
        """The end of its log."""
        return self._running.tail()

    def kill(self) -> None:
        """SIGKILL to it and all that it started, at once, paused or not. Harmless if it has ended."""
        if self._kept is not None:
            self._kept.kill()

    def pause(self) -> None:
        """SIGSTOP to it and all that it started."""
        self._running.pause()

    def resume(self) -> None:
        """SIGCONT to them."""
        self._running.resume()

    def terminate(self, within_s: float = 60) -> int:
        """SIGTERM to it alone; waits for its end and gives its exit code."""
        return self._running.terminate(within_s)

    @property
    def _running(self) -> Kept:
        assert self._kept is not None, f"{self.name} was never started"
        return self._kept

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
