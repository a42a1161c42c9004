"""What a run tells, read as from a stranger: ansible-runner's events, of which the output carries the names and a directory the contents.

A playbook is a program, and may write anything into both. So an event's name is no path, its file is a plain one of bounded size and no
link, what is kept of the output at one time is bounded, and values have no form that others stumble over. Must not: keep an event, or write
anything.
"""

import codecs
import json
import math
import os
import re
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePath
from typing import Any

from reconciler.errors import Permanent

NAME = re.compile(r"[0-9a-fA-F-]{1,64}")
EVENT_BYTES = 16 << 20
TEXT_BYTES = 16 << 20
TOTAL_BYTES = 4 << 30
"""The most that an event's file, the text of one event and a whole run may have."""
MOST_DEEP, MOST_INTEGER = 40, 2**53 - 1
"""How deep values may be nested, and the largest integer that all who read JSON take for the same (RFC 8785, section 3.2.2.3)."""

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
        try:
            with _opened(self._directory) as directory:
                data = _read(name, directory, EVENT_BYTES)
                os.unlink(name, dir_fd=directory)
            self._total += len(data)
            told = json.loads(data)
        except (OSError, ValueError, RecursionError):
            return {}
        return told if isinstance(told, dict) else {}


def plain_file(directory: Path, path: PurePath, most: int) -> bytes:
    """The beginning of a file at a path below a directory that a playbook may write; neither it nor what it is in may be a link, a pipe or a device. Raises
    OSError, and ValueError for a path that leads out."""
    if path.is_absolute() or ".." in path.parts or not path.parts:
        raise ValueError(f"{path} is not below {directory}")
    with _opened(directory) as root:
        return _below(root, path.parts, most)


def _below(directory: int, parts: tuple[str, ...], most: int) -> bytes:
    if len(parts) == 1:
        return _read(parts[0], directory, most)
    with _opened(parts[0], directory) as inner:
        return _below(inner, parts[1:], most)


@contextmanager
def _opened(path: str | Path, within: int | None = None) -> Iterator[int]:
    directory = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=within)
    try:
        yield directory
    finally:
        os.close(directory)


def _read(name: str, directory: int, most: int) -> bytes:
    """Raises OSError, and ValueError for what is no plain file."""
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
    with os.fdopen(file, "rb") as opened:
        if not stat.S_ISREG(os.fstat(file).st_mode):
            raise ValueError(f"{name!r} is no file")
        return opened.read(most)


def plain(value: Any, deep: int = MOST_DEEP) -> Any:
    """A value of an event as everybody can keep it: what is nested too deeply, and numbers that are none elsewhere, are told as texts."""
    match value:
        case dict():
            return {str(key): plain(item, deep - 1) for key, item in value.items()} if deep else "(nested too deeply)"
        case list():
            return [plain(item, deep - 1) for item in value] if deep else "(nested too deeply)"
        case int() if abs(value) > MOST_INTEGER:
            return str(value) if value.bit_length() < 256 else "(a very long number)"
        case float() if not math.isfinite(value):
            return str(value)
        case _:
            return value


def not_installed(message: str) -> Permanent:
    """Ansible, or what belongs to it, is missing."""
    return Permanent(message, hint="pip install 'octofleet[ansible]'", code="ansible-missing")
