"""Directories of a cache that are written once: sealed with checksums, compared with them at each use, removed when nobody has used them for long."""

import fcntl
import hashlib
import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from reconciler import trees
from reconciler.errors import Permanent

NAME = "checksums.json"
KEEP_S = 30 * 86_400.0
"""What was not used for so long goes."""
SPARE_S = 86_400.0
"""What was used within this time stays, whatever there is: a run may still read it."""
MOST_BYTES = 10 << 30


class Checksums(msgspec.Struct, frozen=True):
    """What was installed: by path, `sha256:HEX` of a file with `x` before it if it is executable, or `link:TARGET`; and its size in bytes."""

    files: dict[str, str]
    size: int


def seal(directory: Path) -> None:
    """Make all below a directory read-only and write its checksums. Raises `Permanent` for what is no file, no directory and no link that stays inside."""
    found = Checksums(files=dict(_files(directory)), size=sum(path.stat().st_size for path in directory.rglob("*") if path.is_file()))
    for root, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(root, name)
            if not path.is_symlink():
                path.chmod(0o555 if path.is_dir() or path.stat().st_mode & stat.S_IXUSR else 0o444)
    file = directory / NAME
    file.write_bytes(msgspec.json.encode(found))
    file.chmod(0o444)


def is_as_installed(directory: Path) -> bool:
    """Whether every file is as it was sealed, and there is no other."""
    try:
        said = msgspec.json.decode((directory / NAME).read_bytes(), type=Checksums)
        return said.files == dict(_files(directory))
    except (OSError, msgspec.MsgspecError, Permanent):
        return False


def _files(directory: Path) -> Iterator[tuple[str, str]]:
    for root, directories, files in os.walk(directory):
        for name in sorted((*directories, *files)):
            path = Path(root, name)
            told = str(path.relative_to(directory))
            mode = path.lstat().st_mode
            if stat.S_ISLNK(mode):
                if path.readlink().is_absolute() or not path.resolve().is_relative_to(directory.resolve()):
                    raise Permanent(f"the link {told} leads out of what was installed", hint="use another artifact", code="galaxy-unsafe")
                yield told, f"link:{path.readlink()}"
            elif stat.S_ISREG(mode):
                if told != NAME:
                    yield told, _of_file(path, executable=bool(mode & stat.S_IXUSR))
            elif stat.S_ISDIR(mode):
                yield told, "directory"
            else:
                raise Permanent(f"{told} is no file, directory or link", hint="use another artifact", code="galaxy-unsafe")


def _of_file(path: Path, *, executable: bool) -> str:
    with path.open("rb") as file:
        return f"{'x' if executable else ''}sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def remove(directory: Path) -> None:
    """Remove a sealed directory, or what is left of one; of a link, the link."""
    trees.remove(directory)


def used(cache: Path, key: str) -> Path:
    """The file that is locked by who makes an entry, and whose time says when it was used last."""
    return cache / f"{key}.lock"


@contextmanager
def locked(cache: Path, key: str) -> Iterator[None]:
    """Alone with an entry, which is used now. Raises OSError."""
    cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    while True:
        lock = os.open(used(cache, key), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if _is_at(lock, used(cache, key)):
                os.utime(lock)
                yield
                return
        finally:
            os.close(lock)


def _is_at(lock: int, path: Path) -> bool:
    """Whether the lock is still that of its path: who forgets an entry removes its lock, and others may wait for it already."""
    with suppress(FileNotFoundError):
        return os.path.samestat(os.fstat(lock), path.stat())
    return False


def prune(cache: Path, keep: str) -> None:
    """Remove entries, the one that was used longest ago first, that were not used for long, or that are too much together."""
    now, kept = time.time(), 0
    for at, key in sorted(_entries(cache), reverse=True):
        entry = cache / key
        kept += _size(entry)
        if key != keep and now - at > SPARE_S and (now - at > KEEP_S or kept > MOST_BYTES):
            kept -= _size(entry)
            _forget(cache, key, before=at)


def _entries(cache: Path) -> Iterator[tuple[float, str]]:
    """When each was used last. Another process may remove some meanwhile."""
    for path in cache.glob("*.lock"):
        with suppress(FileNotFoundError):
            yield path.stat().st_mtime, path.name.removesuffix(".lock")


def _forget(cache: Path, key: str, before: float) -> None:
    """Remove an entry unless somebody has begun to use it."""
    with suppress(OSError), used(cache, key).open("rb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock.fileno()).st_mtime <= before:
            remove(cache / key)
            used(cache, key).unlink(missing_ok=True)


def _size(entry: Path) -> int:
    try:
        return msgspec.json.decode((entry / NAME).read_bytes(), type=Checksums).size
    except (OSError, msgspec.MsgspecError):
        return 0
