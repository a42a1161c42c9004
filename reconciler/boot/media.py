"""What is served to anybody on a provisioning network: kernels and images below the setting `boot.media`, and boot loaders.

An allow-list: names are looked up in a table that was made of what is there, and never put together into paths. Symbolic links are not followed, neither when
the table is made nor when a file is opened, whatever takes its place or that of a directory meanwhile.
"""

import asyncio
import os
import stat
import sys
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import BinaryIO

EVERY_S = 10.0
MOST = 100_000
CONTENTS_BYTES = 256 * 1024 * 1024
FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
OURS = 3
"""References to a content that nobody else holds, as `sys.getrefcount` counts them in `_has_room`: the kept one, the loop's, and its argument."""


@dataclass(frozen=True, slots=True)
class _Kept:
    version: tuple[int, int, int]
    data: bytes


class Media:
    """`loaders`: by name, in memory. `directory`: looked through anew when somebody asks for a name that is not known, every few seconds at most."""

    def __init__(self, directory: Path | None, loaders: Mapping[str, bytes]) -> None:
        self._directory, self._loaders = directory, dict(loaders)
        self._files: dict[str, Path] = {}
        self._at = -EVERY_S
        self._lock = Lock()
        self._contents: OrderedDict[str, _Kept] = OrderedDict()

    def loader(self, name: str) -> bytes | None:
        """A boot loader, or what goes beside one."""
        return self._loaders.get(name)

    def is_due(self, name: str) -> bool:
        """Whether only `look` can tell if there is a file of that name."""
        return self._directory is not None and name not in self._files and monotonic() - self._at >= EVERY_S

    def look(self) -> None:
        """Look through the directory; in a thread, since it may be large."""
        with self._lock:
            if self._directory is not None and monotonic() - self._at >= EVERY_S:
                self._files, self._at = dict(_found(self._directory.resolve())), monotonic()

    async def open(self, name: str) -> BinaryIO | None:
        """A file of the media directory by its path below it, opened."""
        if self.is_due(name):
            await asyncio.to_thread(self.look)
        return self._opened(name)

    def content(self, name: str, most: int) -> bytes | None:
        """The bytes of a file of at most that size, for TFTP: the same ones for all that ask, as long as it stays as it is. None too where those that are
        being sent leave no room for it."""
        file = self._opened(name)
        if file is None:
            return None
        with file:
            found = os.fstat(file.fileno())
            version = found.st_ino, found.st_mtime_ns, found.st_size
            kept = self._contents.get(name)
            if kept is not None and kept.version == version:
                self._contents.move_to_end(name)
                return kept.data
            if found.st_size > most or not self._has_room(found.st_size):
                return None
            data = file.read(found.st_size)
        self._contents[name] = _Kept(version, data)
        return data

    def _has_room(self, size: int) -> bool:
        taken = sum(len(kept.data) for kept in self._contents.values())
        for name in list(self._contents):
            if taken + size <= CONTENTS_BYTES:
                break
            data = self._contents[name].data
            if sys.getrefcount(data) <= OURS:
                taken -= len(data)
                del self._contents[name]
        return taken + size <= CONTENTS_BYTES

    def _opened(self, name: str) -> BinaryIO | None:
        path = self._files.get(name)
        if path is None:
            return None
        try:
            number = os.open(path, FLAGS)
        except OSError:
            return None
        regular = stat.S_ISREG(os.fstat(number).st_mode) and Path(f"/proc/self/fd/{number}").readlink() == path
        if not regular:
            os.close(number)
            return None
        return os.fdopen(number, "rb")


def _found(directory: Path) -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    for root, folders, names in os.walk(directory, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and stat.S_ISREG(_mode(path)) and len(found) < MOST:
                found.append((path.relative_to(directory).as_posix(), path))
    return found


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0
