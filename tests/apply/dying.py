"""Processes that die: the real command in a forked child that is killed at the n-th commit or effect. Nothing in product code knows of it."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import schemas
from reconciler.cli.main import COMMANDS
from reconciler.desired.check import Checker
from reconciler.store.engine import Connection, Store


class Countdown:
    """Kills this process with SIGKILL at the n-th tick; `n` 0 never."""

    def __init__(self, n: int) -> None:
        self.left, self._lock = n, threading.Lock()

    def tick(self) -> None:
        with self._lock:
            self.left -= 1
            if self.left == 0:
                os.kill(os.getpid(), signal.SIGKILL)


class DyingStore(Store):
    """Ticks just before and just after every commit."""

    def __init__(self, url: str, countdown: Countdown) -> None:
        super().__init__(url)
        self.countdown = countdown

    @contextmanager
    def write(self, *, alone: bool = True) -> Iterator[Connection]:
        with super().write(alone=alone) as connection:
            yield connection
            self.countdown.tick()
        self.countdown.tick()


def around(function: Callable[..., Any], countdown: Countdown) -> Callable[..., Any]:
    """The function, with a tick before and after."""

    def ticking(*args: Any, **more: Any) -> Any:
        countdown.tick()
        result = function(*args, **more)
        countdown.tick()
        return result

    return ticking


def arm(n: int) -> None:
    """From here on this process dies at the n-th commit of the store, effect in the simulated world, or boot file written or removed."""
    from reconciler.cli import options
    from reconciler.drivers import boot, memory
    from reconciler.store.engine import sqlite_url

    countdown = Countdown(n)
    memory._change = around(memory._change, countdown)  # type: ignore[attr-defined]
    boot.replace_file = around(boot.replace_file, countdown)  # type: ignore[attr-defined]
    boot.remove_file = around(boot.remove_file, countdown)  # type: ignore[attr-defined]
    opened = options.open_installation

    def open_installation(data_dir: Path, config: Path | None = None) -> Any:
        made = opened(data_dir, config)
        made.__dict__["store"] = DyingStore(sqlite_url(data_dir), countdown)
        return made

    options.open_installation = open_installation  # type: ignore[attr-defined]


@cache
def preload() -> None:
    """Import and make what every command needs, once, for children to inherit."""
    for name in (
        "plugins",
        "drivers.ansible",
        "drivers.memory",
        "source.working_copy",
        *(f"cli.{module}" for module, _ in COMMANDS.values()),
    ):
        import_module(f"reconciler.{name}")
    for kind in schemas.KINDS:
        Checker()(kind, {})


def forked(
    data: Path, *args: str, n: int = 0, env: Mapping[str, str] | None = None, log: Path | None = None, err: Path | None = None
) -> int:
    """The command in a forked child, killed at its n-th tick: its exit code, or minus the signal that ended it."""
    preload()
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    code = 70
    try:
        for name in [name for name in os.environ if name.startswith("OCTOFLEET_")]:
            del os.environ[name]
        os.environ.update({"OCTOFLEET_DATA_DIR": str(data), "OCTOFLEET_MEMORY__ENABLED": "true"} | dict(env or {}))
        output = os.open(log or os.devnull, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        os.dup2(output, 1)
        os.dup2(os.open(err, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if err else output, 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        sys.stdin = os.fdopen(0, closefd=False)
        sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
        from reconciler.cli.main import run

        if n:
            arm(n)
        code = run(list(args))
        sys.stdout.flush()
        sys.stderr.flush()
    finally:
        os._exit(code)
