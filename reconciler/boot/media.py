"""What is served to anybody on a provisioning network: kernels and images below the setting `boot.media`, and boot loaders.

An allow-list: names are looked up in a table that was made of what is there, and never put together into paths. Symbolic links are not followed.
"""

import os
import stat
from collections.abc import Mapping
from pathlib import Path
from time import monotonic

EVERY_S = 10.0
MOST = 100_000


class Media:
    """`loaders`: by name, in memory. `directory`: its files are found anew every few seconds, when somebody asks."""

    def __init__(self, directory: Path | None, loaders: Mapping[str, bytes]) -> None:
        self._directory, self._loaders = directory, dict(loaders)
        self._files: dict[str, Path] = {}
        self._at = -EVERY_S

    def loader(self, name: str) -> bytes | None:
        """A boot loader, or what goes beside one."""
        return self._loaders.get(name)

    def path(self, name: str) -> Path | None:
        """A file of the media directory, by its path below it."""
        if self._directory is not None and monotonic() - self._at >= EVERY_S:
            self._files, self._at = dict(_found(self._directory)), monotonic()
        path = self._files.get(name)
        return path if path is not None and stat.S_ISREG(_mode(path)) else None

    def content(self, name: str, most: int) -> bytes | None:
        """The bytes of a file of at most that size, for TFTP."""
        path = self.path(name)
        if path is None or path.stat().st_size > most:
            return None
        return path.read_bytes()


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _found(directory: Path) -> list[tuple[str, Path]]:
    found: list[tuple[str, Path]] = []
    for root, folders, names in os.walk(directory, followlinks=False):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            path = Path(root, name)
            if not name.startswith(".") and stat.S_ISREG(_mode(path)) and len(found) < MOST:
                found.append((path.relative_to(directory).as_posix(), path))
    return found
