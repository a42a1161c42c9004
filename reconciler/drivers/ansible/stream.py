"""What a run tells, read as from a stranger: ansible-runner's events, of which the output carries the names and a directory the contents.

A playbook is a program, and may write anything into both. So an event's name is no path, its file is a plain one of bounded size and no
link, and what is kept of the output at one time is bounded. Must not: keep an event, or write anything.
"""

import codecs
import errno
import json
import os
import re
import stat
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from reconciler.errors import Permanent

NAME = re.compile(r"[0-9a-fA-F-]{1,64}")
EVENT_BYTES = 16 << 20
TEXT_BYTES = 16 << 20
TOTAL_BYTES = 4 << 30
"""The most that an event's file, the text of one event and a whole run may have."""

OnEvent = Callable[[Mapping[str, Any]], None]


class Endless(Exception):
    """The run tells more than is kept of one."""


class Stream:
    """`directory`: where the program puts its events; each is removed as it is read."""

    def __init__(self, directory: Path, on_event: OnEvent) -> None:
        try:
            from ansible_runner.utils import OutputEventFilter  # type: ignore[import-untyped]  # noqa: PLC0415 - an optional extra
        except ImportError as error:
            raise not_installed("the Python package ansible-runner is not installed") from error
        self._directory, self._on_event = directory, on_event
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._filter = OutputEventFilter(None, self._event, suppress_ansible_output=True)
        self._unbroken = self._total = 0

    def feed(self, data: bytes) -> None:
        """The next piece of output. Raises Endless, and whatever `on_event` raises."""
        self._unbroken += len(data)
        self._total += len(data)
        if self._unbroken > TEXT_BYTES or self._total > TOTAL_BYTES:
            raise Endless
        self._filter.write(self._decoder.decode(data))

    def close(self) -> None:
        """The output has ended: what is left of it is told."""
        self._filter.close()

    def _event(self, event: dict[str, Any]) -> None:
        self._unbroken = 0
        name = event.get("uuid")
        if isinstance(name, str) and event.get("event") != "verbose" and NAME.fullmatch(name):
            event |= self._content(f"{name}-partial.json")
        self._on_event(event)

    def _content(self, name: str) -> Mapping[str, Any]:
        directory = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            told = json.loads(read_plain(name, EVENT_BYTES, directory=directory))
            os.unlink(name, dir_fd=directory)
        except (OSError, ValueError, RecursionError):
            return {}
        finally:
            os.close(directory)
        return told if isinstance(told, dict) else {}


def read_plain(path: str | Path, most: int, *, directory: int | None = None, below: Path | None = None) -> bytes:
    """The first bytes of a plain file, whatever stands at its path. Raises OSError where that is something else or a link, or, with `below`, a real path,
    where directories that are links lead out of that. `directory`: a descriptor from which a relative path goes (open(2))."""
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory), "rb") as opened:
        plain = stat.S_ISREG(os.fstat(opened.fileno()).st_mode)
        if not plain or (below is not None and not Path(f"/proc/self/fd/{opened.fileno()}").readlink().is_relative_to(below)):
            raise OSError(errno.EINVAL, "not a plain file, or not where it should be", str(path))
        return opened.read(most)


def not_installed(message: str) -> Permanent:
    """Ansible, or what belongs to it, is missing."""
    return Permanent(message, hint="pip install 'octofleet[ansible]'", code="ansible-missing")
