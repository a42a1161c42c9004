"""A working tree with its uncommitted changes, seen as a Git tree. Nothing is written into the user's repository.

In: a repository with a working tree and a scratch directory. Out: a Repository and a Commit like any other. New blobs and trees go to an
object database in the scratch directory, whose alternates file (gitrepository-layout, objects/info/alternates) names the user's objects.
`.gitignore` holds as git reads it; filters (`core.autocrlf`, LFS) are not run: bytes are taken as they are on disk.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pygit2
from pygit2.enums import FileMode, ObjectType

from reconciler.errors import Permanent, RetryLater
from reconciler.source import errors
from reconciler.source.repository import WORKING_COPY, Commit, Repository, objects_directory
from reconciler.source.tree import EXECUTABLE, Change


class WorkingCopy:
    """`repository` reads the user's objects and the snapshots alike. Any number of processes may share a `scratch` directory."""

    def __init__(self, location: str, scratch: Path) -> None:
        """Raises what `Repository` raises, and Permanent for a bare repository or a scratch directory that cannot be written."""
        user = Repository(location, Path(location).expanduser())
        self._user = user._git
        if self._user.workdir is None:
            raise _bare(location)
        self.location, self.root = location, Path(self._user.workdir)
        self._scratch = _scratch(scratch, objects_directory(self._user))
        self.repository = Repository(location, self._scratch)

    def commit(self) -> Commit:
        """The working tree now: HEAD's own commit when nothing differs, else one whose id is `working-copy-` and 12 digits of the tree.

        Raises Permanent for a file that cannot be read, RetryLater when the disk is full.
        """
        try:
            head = None if self._user.head_is_unborn else self._user.head.peel(pygit2.Commit)
            tree = self._tree(head)
        except pygit2.GitError as error:
            raise errors.broken_object(self.location, "part of the working copy", error, mirror=False) from error
        if head is not None and str(head.tree_id) == tree:
            return Repository(self.location, self.root).commit(str(head.id))
        return Commit(
            id=f"{WORKING_COPY}{tree[:12]}",
            tree=tree,
            time=time.time(),
            summary="uncommitted changes",
            parents=(str(head.id),) if head is not None else (),
        )

    def _tree(self, head: pygit2.Commit | None) -> str:
        """HEAD's tree with every path that git's status names as it is on disk; ends of paths with `/` are other repositories."""
        odb = pygit2.Repository(str(self._scratch)).odb
        paths = [path for path in self._user.status(untracked_files="all") if not path.endswith("/")]
        changes = {path: self._change(odb, path) for path in paths}
        self.repository.refresh()
        return self.repository.edit(str(head.tree_id) if head else None, lambda data: _store(odb, ObjectType.TREE, data), changes)

    def _change(self, odb: pygit2.Odb, path: str) -> Change:
        where = self.root / path
        try:
            mode = where.lstat().st_mode
            if stat.S_ISLNK(mode):
                return FileMode.LINK, _store(odb, ObjectType.BLOB, os.fsencode(where.readlink()))
            if not stat.S_ISREG(mode):
                return None
            return (EXECUTABLE if mode & 0o100 else FileMode.BLOB), _store(odb, ObjectType.BLOB, where.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise errors.from_system("read", where, error) from error


def files(location: str) -> Iterator[Path]:
    """The regular files of a working tree that git knows or would add, by path; ignored ones, links and what is behind them are left out. Raises
    what `Repository` raises, and Permanent for a bare repository."""
    git = Repository(location, Path(location).expanduser())._git
    if git.workdir is None:
        raise _bare(location)
    names = {entry.path for entry in git.index} | {path for path in git.status(untracked_files="all") if not path.endswith("/")}
    root = Path(git.workdir).resolve()
    for name in sorted(names):
        path = Path(git.workdir, name)
        if path.is_file() and path.resolve() == root / name:
            yield path


def _bare(location: str) -> Permanent:
    return Permanent(f"{location} is a bare repository, without a working tree", hint="give a clone, or a revision", code="bare-repository")


def _store(odb: pygit2.Odb, kind: ObjectType, data: bytes) -> str:
    """Written only if neither the scratch directory nor the user's repository has it: libgit2 would touch the file that is there."""
    content = f"{kind.name.lower()} {len(data)}\0".encode() + data
    object_id = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    if not odb.exists(object_id):
        odb.write(kind, data)
    return object_id


def _scratch(directory: Path, objects: Path) -> Path:
    path = directory / f"{hashlib.sha256(os.fsencode(objects)).hexdigest()[:16]}.git"
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (path / "objects").is_dir():
            pygit2.init_repository(str(path), bare=True)
        (path / "objects" / "info").mkdir(exist_ok=True)
        (path / "objects" / "info" / "alternates").write_bytes(os.fsencode(objects) + b"\n")
    except OSError as error:
        raise errors.from_system("write to", directory, error) from error
    except pygit2.GitError as error:
        raise RetryLater(f"could not write to {directory}: {error}", hint="check its space and mode", code="scratch") from error
    return path


def watch(path: Path, stop: Event | None = None, *, quiet_ms: int = 300, at_once: bool = False) -> Iterator[None]:
    """Yields after every burst of changes below `path` once nothing has changed for `quiet_ms` milliseconds; `.git` does not count.

    With `at_once` also when it has begun to watch, for what changed just before. Ends when `stop` is set. A change may leave the tree the
    same: compare trees. Raises Permanent if the directory cannot be watched.
    """
    from watchfiles import DefaultFilter  # noqa: PLC0415 - needed in one mode only
    from watchfiles import watch as changes  # noqa: PLC0415

    only = DefaultFilter(ignore_dirs=(".git",), ignore_entity_patterns=())
    begun = not at_once
    try:
        for found in changes(
            path,
            watch_filter=only,
            debounce=max(quiet_ms, 50) * 5,
            step=quiet_ms,
            stop_event=stop,
            yield_on_timeout=at_once,
            rust_timeout=500 if at_once else 5000,
        ):
            if found or not begun:
                begun = True
                yield None
    except OSError as error:
        raise errors.from_system("watch", path, error) from error
