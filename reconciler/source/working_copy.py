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
from pygit2.enums import FileMode

from reconciler.errors import Permanent, RetryLater
from reconciler.source import errors
from reconciler.source.repository import Commit, Repository


class WorkingCopy:
    """`repository` reads the user's objects and the snapshots alike. Any number of processes may share a `scratch` directory."""

    def __init__(self, location: str, scratch: Path) -> None:
        """Raises what `Repository` raises, and Permanent for a bare repository or a scratch directory that cannot be written."""
        user = Repository(location, Path(location).expanduser())
        self._user = user._git
        if self._user.workdir is None:
            raise Permanent(
                f"{location} is a bare repository, without a working tree", hint="give a clone, or a revision", code="bare-repository"
            )
        self.location, self.root = location, Path(self._user.workdir)
        objects = Path(self._user.path, "commondir")
        common = (Path(self._user.path) / objects.read_text().strip()) if objects.is_file() else Path(self._user.path)
        self._scratch = _scratch(scratch, (common / "objects").resolve())
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
            id=f"working-copy-{tree[:12]}",
            tree=tree,
            time=time.time(),
            summary="uncommitted changes",
            parents=(str(head.id),) if head is not None else (),
        )

    def _tree(self, head: pygit2.Commit | None) -> str:
        git = pygit2.Repository(str(self._scratch))
        index = pygit2.Index()
        if head is not None:
            index.read_tree(head.tree)
        known = {} if head is None else {entry.path: entry for entry in index}
        for path in self._user.status(untracked_files="all"):
            entry = self._entry(git, path)
            if entry is not None:
                index.add(entry)
            elif path in known and not path.endswith("/"):
                index.remove(path)
        return str(index.write_tree(git))

    def _entry(self, git: pygit2.Repository, path: str) -> pygit2.IndexEntry | None:
        """The file at `path` as an index entry; None if it is gone, or is a directory of another repository."""
        where = self.root / path
        try:
            mode = where.lstat().st_mode
            if stat.S_ISLNK(mode):
                return pygit2.IndexEntry(path, git.create_blob(os.fsencode(where.readlink())), FileMode.LINK)
            if not stat.S_ISREG(mode):
                return None
            data = where.read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise errors.from_system("read", where, error) from error
        return pygit2.IndexEntry(path, git.create_blob(data), FileMode.BLOB_EXECUTABLE if mode & 0o100 else FileMode.BLOB)


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


def watch(path: Path, stop: Event | None = None, *, quiet_ms: int = 300) -> Iterator[None]:
    """Yields after every burst of changes below `path` once nothing has changed for `quiet_ms` milliseconds; `.git` does not count.

    Ends when `stop` is set. A change may leave the tree the same: compare trees. Raises Permanent if the directory cannot be watched.
    """
    from watchfiles import DefaultFilter  # noqa: PLC0415 - needed in one mode only
    from watchfiles import watch as changes  # noqa: PLC0415

    only = DefaultFilter(ignore_dirs=(".git",), ignore_entity_patterns=())
    try:
        for _ in changes(path, watch_filter=only, debounce=max(quiet_ms, 50) * 5, step=quiet_ms, stop_event=stop):
            yield None
    except OSError as error:
        raise errors.from_system("watch", path, error) from error
