"""A read-only view of one Git repository: commits, trees, blobs, differences. Nothing is ever written into it.

In: a directory that libgit2 can open. Out: plain values and bytes. Remote repositories come through `mirror.py`; this file never uses
the network. Every error is one of `reconciler.errors`.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

import pygit2
from pygit2.enums import ObjectType, RepositoryOpenFlag

from reconciler.errors import OctofleetError, Permanent
from reconciler.source import errors, tree
from reconciler.source.loose import Corrupt, LooseObjects
from reconciler.source.tree import MANIFEST_SUFFIXES, Delta, Entry, File
from reconciler.stages import count

WORKING_COPY = "working-copy-"
"""Begins the id of what stands for a commit where nothing is committed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """A commit. `tree` is the id of what it holds; `time` seconds since the epoch (the committer's); `summary` the message's first line; `author` as the
    commit says, which anybody can write."""

    id: str
    tree: str
    time: float
    summary: str
    parents: tuple[str, ...] = ()
    author: str = ""


class Repository:
    """`location` is what the user gave, `path` the directory on disk; `trees_read` counts trees, for tests.

    libgit2 objects are not shared between threads: open one Repository for each.
    """

    def __init__(self, location: str, path: Path, *, mirror: bool = False) -> None:
        """Raises Permanent or Refused if `path` holds no repository that this user may read."""
        self.location = errors.strip_credentials(location)
        self.path = path
        self.trees_read = 0
        self._mirror = mirror
        self._commits: dict[str | None, Commit] = {}
        self._reopen()

    @property
    def url(self) -> str:
        """The URL as given, without credentials; of a local repository `file://` and its absolute path."""
        return self.location if self._mirror else self.path.resolve().as_uri()

    def fetch(self) -> None:
        """Bring a mirror up to date; of a local repository nothing needs to be done."""

    def commit(self, rev: str | None = None) -> Commit:
        """The commit that a branch, tag, abbreviated or full id names; None is the default branch. Raises Permanent."""
        if rev in self._commits:
            return self._commits[rev]
        try:
            self.refresh()
            self._check_loose(rev)
            found = self._default() if rev is None else self._git.revparse_single(rev).peel(pygit2.Commit)
            made = _commit(found)
            self._commits[made.id] = made
            return made
        except pygit2.AmbiguousError as error:
            raise errors.ambiguous_revision(self.location, rev or "") from error
        except (KeyError, ValueError) as error:
            raise self._unknown(rev) from error
        except pygit2.GitError as error:
            raise self._broken(f"the revision {rev or 'HEAD'}", error) from error

    def files(self, tree_id: str, suffixes: tuple[str, ...] = MANIFEST_SUFFIXES, prefix: str = "") -> Iterator[File]:
        """The files of a tree that may hold manifests, by path; see `tree.files` for what is left out. `prefix`: the tree's own path and a slash."""
        try:
            yield from tree.files(self._tree, tree_id, suffixes, prefix)
        except ValueError as error:
            raise self._broken(f"part of the tree {tree_id}", error) from error

    def blob(self, blob_id: str) -> bytes:
        """The bytes of a blob. Raises Permanent."""
        count("blobs_read")
        return self._read(blob_id, ObjectType.BLOB)

    def entries(self, tree_id: str) -> list[Entry]:
        """The entries of one tree. Raises Permanent."""
        try:
            return list(tree.entries(self._tree(tree_id)))
        except ValueError as error:
            raise self._broken(f"the tree {tree_id}", error) from error

    def entry(self, tree_id: str, path: str) -> tuple[str, str] | None:
        """Kind (`blob`, `tree`, `link`, `module`) and id of what is at a path, or None. The empty path is the tree itself."""
        kind, found = "tree", tree_id
        for name in path.strip("/").split("/") if path.strip("/") else ():
            if kind != "tree":
                return None
            entry = next((item for item in self.entries(found) if item.name == name), None)
            if entry is None:
                return None
            kind, found = entry.kind, entry.id
        return kind, found

    def changed(self, before_tree: str | None, after_tree: str | None) -> list[Delta]:
        """Every path that differs between two trees (None is the empty one), by path. Subtrees that are equal are not read."""
        if before_tree == after_tree:
            return []
        try:
            return list(tree.changed(self._tree, before_tree, after_tree))
        except ValueError as error:
            raise self._broken("part of a tree", error) from error

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """Whether one commit is reachable from another, or the same. Raises Permanent if either is not here."""
        first, last = self.commit(ancestor).id, self.commit(descendant)
        return first == last.id or first in last.parents or self.merge_base(first, last.id) == first

    def merge_base(self, one: str, other: str) -> str | None:
        """The best common ancestor of two commits, None if their histories share nothing."""
        first, second = self.commit(one).id, self.commit(other).id
        try:
            found = self._git.merge_base(pygit2.Oid(hex=first), pygit2.Oid(hex=second))
        except (pygit2.GitError, KeyError) as error:
            raise self._broken("part of the history", error) from error
        return str(found) if found else None

    def authors(self, base: str | None, commit: str) -> set[str]:
        """The e-mail addresses of who wrote or made a commit, and those that only one of it and the base has: what it brings, or takes back."""
        found: set[str] = set()
        try:
            tip = self._git[pygit2.Oid(hex=self.commit(commit).id)].peel(pygit2.Commit)
            ends = [tip.id, pygit2.Oid(hex=self.commit(base).id)] if base is not None else []
            for item in (tip, *(item for one in ends for item in self._only(one, ends))):
                found |= {item.author.email, item.committer.email}
        except (pygit2.GitError, KeyError) as error:
            raise self._broken("part of the history", error) from error
        return {address.lower() for address in found}

    def between(self, base: str | None, commit: str) -> Iterator[str]:
        """The ids of the commits that a commit has and the base has not, the newest first; without a base, of the commit alone. Raises Permanent."""
        if base is None:
            yield self.commit(commit).id
            return
        try:
            walker = self._git.walk(pygit2.Oid(hex=self.commit(commit).id))
            walker.hide(pygit2.Oid(hex=self.commit(base).id))
            yield from (str(item.id) for item in walker)
        except (pygit2.GitError, KeyError) as error:
            raise self._broken("part of the history", error) from error

    def raw_commit(self, commit_id: str) -> bytes:
        """A commit as it is stored. Raises Permanent."""
        return self._read(commit_id, ObjectType.COMMIT)

    def _only(self, one: pygit2.Oid, ends: Sequence[pygit2.Oid]) -> Iterator[pygit2.Commit]:
        """The commits that one of several ends has, and no other."""
        walker = self._git.walk(one)
        for other in ends:
            if other != one:
                walker.hide(other)
                yield from walker

    def trailers(self, base: str, commit: str, name: str) -> list[str]:
        """What commits that a commit has and the base has not say of themselves in a line `NAME: VALUE`, the newest first."""
        lines = [line for found in self.between(base, commit) for line in self._git[found].peel(pygit2.Commit).message.splitlines()]
        return [line.removeprefix(f"{name}: ").strip() for line in lines if line.startswith(f"{name}: ")]

    def branch_of(self, rev: str | None) -> str | None:
        """The name of the branch that a name stands for; None is the default branch. None if it is no branch."""
        if rev is not None:
            return rev if rev in self._git.branches.local else None
        if not self._git.head_is_unborn:
            return None if self._git.head_is_detached else self._git.head.shorthand
        return next((name for name in ("main", "master") if name in self._git.branches.local), None)

    def tip(self, branch: str = "") -> Commit:
        """The commit that a branch points to, also where a tag has the same name; of the default branch if none is named. Raises Permanent."""
        if not branch:
            return self.commit()
        self.refresh()
        if branch not in self.branches():
            raise self._unknown(branch)
        return self.commit(f"refs/heads/{branch}")

    def branches(self) -> dict[str, str]:
        """Local branches and the commits that they point to."""
        found = {}
        for name in self._git.branches.local:
            target = self._git.branches.local[name].target
            found[name] = str(target)
        return found

    def is_on_a_branch(self, commit: str) -> bool:
        """Whether a commit is reachable from a branch: it is no pull request's alone."""
        tips = self.branches().values()
        return commit in tips or any(self.is_ancestor(commit, tip) for tip in tips)

    def export(self, tree_id: str, path: str, into: Path) -> None:
        """Write the subtree at `path` to the directory `into`, which must be empty or not there; see `export.py`."""
        from reconciler.source.export import export  # noqa: PLC0415 - export.py needs this module's class

        export(self, tree_id, path, into)

    def refresh(self) -> None:
        """See objects that were added since it was opened; `commit` does so by itself."""
        self._loose.refresh()

    def _reopen(self) -> None:
        self._commits.clear()
        self._git = _open(self.location, self.path)
        self._loose = LooseObjects(objects_directory(self._git))

    def _default(self) -> pygit2.Commit:
        if not self._git.head_is_unborn:
            return self._git.head.peel(pygit2.Commit)
        for name in ("main", "master"):
            if name in self._git.branches.local:
                return self._git.branches.local[name].peel(pygit2.Commit)
        raise KeyError("HEAD")

    def _unknown(self, rev: str | None) -> OctofleetError:
        references = [name.split("/", 2) for name in self._git.references]
        names = sorted({parts[2] for parts in references if parts[1] in ("heads", "tags")})
        if not names and self._git.head_is_unborn:
            return errors.no_commits(self.location)
        return errors.unknown_revision(self.location, rev or "HEAD", get_close_matches(rev, names, n=3) if rev else names[:3])

    def _check_loose(self, rev: str | None) -> None:
        """Before libgit2 reads what a name or full id stands for, see that it is not a damaged loose object (see loose.py)."""
        try:
            target = str(self._git.lookup_reference_dwim(rev or "HEAD").resolve().target)
        except (KeyError, ValueError, pygit2.GitError):
            target = rev or ""
        try:
            self._loose.read(target)
        except (Corrupt, OSError) as error:
            raise self._broken(f"the commit {target}", error) from error

    def edit(self, tree_id: str | None, write: tree.WriteTree, changes: Mapping[str, tree.Change]) -> str:
        """The id of a tree with paths changed; `write` stores each new tree (not here) and gives its id."""
        try:
            return tree.edit(self._tree, write, tree_id, changes) or write(b"")
        except ValueError as error:
            raise self._broken("part of a tree", error) from error

    def _tree(self, tree_id: str) -> bytes:
        self.trees_read += 1
        count("trees_read")
        return self._read(tree_id, ObjectType.TREE)

    def _read(self, object_id: str, kind: ObjectType) -> bytes:
        try:
            loose = self._loose.read(object_id)
            if loose is not None and loose[0] == kind.name.lower():
                return loose[1]
            found, data = self._git.odb.read(object_id)
        except (Corrupt, OSError) as error:
            raise self._broken(f"the {kind.name.lower()} {object_id}", error) from error
        except (pygit2.GitError, KeyError, ValueError) as error:
            raise self._broken(f"the {kind.name.lower()} {object_id}", None if isinstance(error, KeyError) else error) from error
        if found != kind:
            raise self._broken(f"the {kind.name.lower()} {object_id}", None)
        return bytes(data)

    def _broken(self, what: str, error: Exception | None) -> OctofleetError:
        place = f"the mirror {self.path} of {self.location}" if self._mirror else self.location
        return errors.broken_object(place, what, error, mirror=self._mirror)


def _open(location: str, path: Path) -> pygit2.Repository:
    try:
        there = path.exists()
        if there and path.is_dir():
            next(path.iterdir(), None)
    except OSError as error:
        raise errors.from_system("read", location, error) from error
    if not there:
        raise Permanent(f"{location} is not there", hint="check the path, or give a URL", code="repository-missing")
    try:
        return pygit2.Repository(str(path), RepositoryOpenFlag.NO_SEARCH)
    except pygit2.GitError as error:
        if "not found" not in str(error):
            raise errors.cannot_open(location, error) from error
        above = pygit2.discover_repository(str(path)) if path.is_dir() else None
        enclosing = str(Path(above).parent if Path(above).name == ".git" else Path(above)) if above else None
        raise errors.not_a_repository(location, enclosing) from error


def objects_directory(git: pygit2.Repository) -> Path:
    """Where a repository keeps its objects: a linked worktree has them in the main one (gitrepository-layout, commondir)."""
    own = Path(git.path)
    common = own / "commondir"
    return ((own / common.read_text().strip()) if common.is_file() else own).resolve() / "objects"


def _commit(found: pygit2.Commit) -> Commit:
    lines = found.message.strip().splitlines()
    return Commit(
        id=str(found.id),
        tree=str(found.tree_id),
        time=float(found.commit_time),
        summary=lines[0] if lines else "",
        parents=tuple(str(parent) for parent in found.parent_ids),
        author=f"{found.author.name} <{found.author.email}>",
    )
