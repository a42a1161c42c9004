"""Trees of files that strangers made, measured and removed: at any depth, however long a path gets and whatever the modes are. Linux.

One directory is open at a time, and what is in it is reached from there (openat(2)): no path, no recursion. Must not: follow a link, go over to another
file system, or do anything outside of the tree, whoever moves parts of it meanwhile.
"""

import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

BLOCK_BYTES = 4096
"""What an entry takes at least: its inode, and its name in a directory."""
TRIES = 10
"""How often a walk is begun anew where somebody moves the directory that it is in."""
_LOOK = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class _Restless(Exception):
    """The tree is moved, or closed again, while it is walked."""


def remove(top: Path) -> None:
    """Remove a directory with all that is below it, or a file or link, as far as it can be. Raises no OSError."""
    for _ in range(TRIES):
        try:
            for directory, name, _ in _walk(top):
                with suppress(OSError):
                    _remove_entry(directory, name)
        except _Restless:
            continue
        except OSError:
            return
        return


def takes_more(top: Path, limit: int) -> bool:
    """Whether a tree takes more bytes of the disk than `limit`, as each entry takes at least a block. No longer looked at than needed to say so. A tree that
    does not let itself be walked does."""
    for _ in range(TRIES):
        taken = 0
        try:
            for _, _, status in _walk(top):
                taken += max(BLOCK_BYTES, status.st_blocks * 512) if status is not None else 0
                if taken > limit:
                    return True
        except FileNotFoundError:
            return False
        except (_Restless, OSError):
            continue
        return False
    return True


@contextmanager
def temporary_directory(prefix: str, within: Path | None = None) -> Iterator[Path]:
    """A new directory that only its owner may enter. It is gone after the block, whatever was put into it."""
    made = Path(tempfile.mkdtemp(prefix=prefix, dir=within))
    try:
        yield made
    finally:
        remove(made)


def _remove_entry(directory: int, name: str) -> None:
    """Of a directory, only if it is empty. Raises OSError."""
    try:
        os.unlink(name, dir_fd=directory)
    except IsADirectoryError:
        os.rmdir(name, dir_fd=directory)


def _walk(top: Path) -> Iterator[tuple[int, str, os.stat_result | None]]:
    """Each entry, `top` first, as the open directory that it is in, its name and its status; a directory again, without a status, after all that is below it.
    Raises OSError where `top` cannot be looked at, and `_Restless`."""
    here = os.open(top.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    above: list[tuple[tuple[int, int], list[str], str]] = []  # which directory, what of it is still to be entered, and what was
    try:
        status = os.stat(top.name, dir_fd=here, follow_symlinks=False)
        device, names = status.st_dev, [top.name]
        yield here, top.name, status
        while names or above:
            if names:
                name = names.pop()
                inside = _entered(here, name, device)
                if inside is not None:
                    above.append((_identity(here), names, name))
                    os.close(here)
                    here, names = inside, []
                    yield from _listed(here, names)
            else:
                expected, names, name = above.pop()
                parent = _parent(here)
                os.close(here)
                here = parent
                if _identity(here) != expected:
                    raise _Restless
                yield here, name, None
    finally:
        os.close(here)


def _listed(here: int, below: list[str]) -> Iterator[tuple[int, str, os.stat_result]]:
    """Each entry of an open directory; names of directories are added to `below`."""
    with os.scandir(here) as entries:
        for entry in entries:
            try:
                status = entry.stat(follow_symlinks=False)
            except OSError:
                continue
            if stat.S_ISDIR(status.st_mode):
                below.append(entry.name)
            yield here, entry.name, status


def _entered(here: int, name: str, device: int) -> int | None:
    """A directory, opened to be read; one of ours that its mode closes is made ours to use. None for what is none, is gone, or is another user's or device's.
    Raises `_Restless` where one of ours stays closed."""
    try:
        found = os.open(name, _LOOK, dir_fd=here)
    except OSError:
        return None
    try:
        status = os.fstat(found)
        if status.st_dev != device:
            return None
        ours = status.st_uid == os.geteuid()
        if ours and status.st_mode & stat.S_IRWXU != stat.S_IRWXU:
            with suppress(OSError):
                os.chmod(f"/proc/self/fd/{found}", stat.S_IMODE(status.st_mode) | stat.S_IRWXU)  # noqa: PTH101 - a descriptor, no path
        return _opened(found, ours=ours)
    finally:
        os.close(found)


def _opened(found: int, *, ours: bool) -> int | None:
    try:
        return os.open(".", _READ, dir_fd=found)
    except OSError as error:
        if ours and isinstance(error, PermissionError):
            raise _Restless from error
        return None


def _parent(here: int) -> int:
    try:
        return os.open("..", _LOOK, dir_fd=here)
    except OSError as error:
        raise _Restless from error


def _identity(directory: int) -> tuple[int, int]:
    status = os.fstat(directory)
    return status.st_dev, status.st_ino
