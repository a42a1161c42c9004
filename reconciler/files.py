"""The one writer of files: whole or not at all."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from reconciler.errors import OctofleetError, Permanent


def replace_file(path: Path, data: bytes, mode: int = 0o644) -> None:
    """Make `path` hold exactly `data`: written beside it, flushed to disk, renamed over it. Raises `Permanent` and leaves what was there."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _beside(path) as file:
            file.write(data)
            os.fchmod(file.fileno(), mode)
    except OSError as error:
        raise _unwritable(path, error) from error


@contextmanager
def _beside(path: Path) -> Iterator[BinaryIO]:
    """A file to write that takes the place of `path` when the block has ended well, and is gone otherwise."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".octofleet-")
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise
    _flush_directory(path.parent)


def replace_files(changes: Mapping[Path, tuple[bytes, bytes]]) -> None:
    """Make each path hold its second bytes, all or none; each must hold its first ones still. Modes stay. Raises `Permanent` with everything as it was.

    A process that is killed between two renames leaves some files new and the others old, each of them whole.
    """
    with ExitStack() as stack:
        staged = {path: _staged(stack, path, new) for path, (_, new) in changes.items()}
        for path, (old, _) in changes.items():
            if not path.is_file() or path.read_bytes() != old:
                raise Permanent(f"{path} was changed meanwhile", hint="run the same command again", code="file")
        done: list[Path] = []
        try:
            for path, temporary in staged.items():
                temporary.replace(path)
                done.append(path)
        except BaseException as error:
            for changed in done:
                replace_file(changed, changes[changed][0], changed.stat().st_mode & 0o7777)
            if isinstance(error, OSError):
                raise _unwritable(path, error) from error
            raise
        for directory in {path.parent for path in done}:
            _flush_directory(directory)


def _staged(stack: ExitStack, path: Path, data: bytes) -> Path:
    """A file beside `path`, with its mode and owner, that is gone with the stack."""
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=".octofleet-")
        stack.callback(Path(name).unlink, missing_ok=True)
        with os.fdopen(handle, "wb") as file:
            status = path.stat()
            with suppress(PermissionError):
                os.fchown(file.fileno(), status.st_uid, status.st_gid)
            os.fchmod(file.fileno(), status.st_mode & 0o7777)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _unwritable(path, error) from error
    return Path(name)


def _unwritable(path: Path, error: OSError) -> Permanent:
    return Permanent(f"cannot write {path}: {error.strerror}", hint="free space or make the directory writable, then try again")


def create_file(path: Path, data: bytes, mode: int) -> None:
    """Make a file with this content unless there is one: of several processes that try, one wins. Raises `Permanent`."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}")
    replace_file(temporary, data, mode)
    try:
        with suppress(FileExistsError):
            os.link(temporary, path)
    finally:
        temporary.unlink()
    _flush_directory(path.parent)


@contextmanager
def new_file(path: Path) -> Iterator[BinaryIO]:
    """A file to write, that only its owner may read. It is at `path` when the block has ended well, and never half. Raises `Permanent`, also if
    there is something at `path` already.
    """
    try:
        if path.exists():
            raise Permanent(f"there is already a file {path}", hint="choose another name, or remove it first", code="file-exists")
        with _beside(path) as file:
            yield file
    except OSError as error:
        hint = "free space, or choose another place, then try again"
        raise Permanent(f"cannot write {path}: {error.strerror or error}", hint=hint, code="file") from error


def remove_file(path: Path, until: Path) -> None:
    """Remove a file, if it is there, and the directories that it leaves empty, up to but not including `until`. Raises `Permanent`."""
    try:
        path.unlink(missing_ok=True)
        parent = path.parent
        while parent != until and until in parent.parents:
            parent.rmdir()
            parent = parent.parent
    except FileNotFoundError:
        return
    except OSError as error:
        if path.exists():
            raise Permanent(f"cannot remove {path}: {error.strerror}", hint="make the directory writable, then try again") from error


def _flush_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def private_directory(path: Path) -> Path:
    """The directory, made if needed, that only its owner may enter. Raises `OctofleetError`."""
    try:
        path.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise OctofleetError(f"cannot make the directory {path}: {error.strerror}", hint="choose another one with --data-dir") from error
    return path
