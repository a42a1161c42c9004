"""Git trees as they are stored: parse, walk, compare. The object reader is passed in; nothing is written.

In: ids of trees and a function that reads one. Out: files and deltas in path order. Equal subtrees are never read (gitformat: a tree's id
names its whole content). Follows git's tree object: `mode SP name NUL id(20)`, sorted by name with directories as if they ended in `/`.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from operator import itemgetter

from reconciler.types.origin import Origin
from reconciler.types.problem import Problem

MANIFEST_SUFFIXES = (".yaml", ".yml")

_TREE, _LINK, _MODULE = 0o040000, 0o120000, 0o160000
EXECUTABLE = 0o100755

ReadTree = Callable[[str], bytes]
WriteTree = Callable[[bytes], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One line of a tree. `name` is the file system's text for its bytes (surrogates stand for what is not UTF-8)."""

    name: str
    mode: int
    id: str

    @property
    def kind(self) -> str:
        """`tree`, `blob`, `link` (a symbolic link) or `module` (a submodule)."""
        return {_TREE: "tree", _LINK: "link", _MODULE: "module"}.get(self.mode, "blob")


@dataclass(frozen=True, slots=True, kw_only=True)
class File:
    """A file that may hold manifests. With a `problem` it must not be read, and what it should say is unknown, not absent."""

    path: str
    blob: str
    problem: Problem | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delta:
    """One path that differs: the ids of what is there and whether that is a `blob`, a `link` or a `module` (a submodule, whose id is a commit's),
    None where nothing is; equal ids mean that only the mode changed."""

    path: str
    before: str | None
    after: str | None
    kind_before: str = "blob"
    kind: str = "blob"

    def file(self, suffixes: tuple[str, ...] = MANIFEST_SUFFIXES) -> File | None:
        """What `files` yields for the path afterwards: None if it is gone or holds no manifests."""
        return self._side(self.kind, self.after, suffixes)

    def file_before(self, suffixes: tuple[str, ...] = MANIFEST_SUFFIXES) -> File | None:
        """What `files` yielded for the path before."""
        return self._side(self.kind_before, self.before, suffixes)

    def _side(self, kind: str, blob: str | None, suffixes: tuple[str, ...]) -> File | None:
        if blob is None or kind == "module" or _hidden(self.path) or not self.path.endswith(suffixes):
            return None
        return _file(self.path, kind, blob)


def entries(data: bytes) -> Iterator[Entry]:
    """The entries of one stored tree, in its order. Raises ValueError for bytes that are no tree."""
    at = 0
    while at < len(data):
        end = data.index(b"\0", at, len(data) - 20)
        mode, _, name = data[at:end].partition(b" ")
        yield Entry(name=os.fsdecode(name), mode=int(mode, 8), id=data[end + 1 : end + 21].hex())
        at = end + 21


def files(read: ReadTree, tree: str, suffixes: tuple[str, ...], prefix: str = "") -> Iterator[File]:
    """Files by path, depth first in git's order, which is the order of whole paths.

    Names that begin with a dot (`.git*`, `.github`, `.octofleet`, `.gitlab-ci.yml`) hold no manifests. Submodules and symbolic links to
    directories are never entered; a link that looks like a manifest comes with a problem.
    """
    for entry in entries(read(tree)):
        if entry.name.startswith("."):
            continue
        path = prefix + entry.name
        if entry.mode == _TREE:
            yield from files(read, entry.id, suffixes, path + "/")
        elif entry.name.endswith(suffixes) and entry.mode != _MODULE:
            yield _file(path, entry.kind, entry.id)


def changed(read: ReadTree, before: str | None, after: str | None, prefix: str = "") -> Iterator[Delta]:
    """Every blob or link that differs between two trees, by path. Submodules are left out."""
    old, new = _lines(read, before), _lines(read, after)
    gone, come = _by_name(old - new), _by_name(new - old)
    for key in sorted(gone.keys() | come.keys()):
        first, second = gone.get(key), come.get(key)
        sample = come[key] if second else gone[key]
        path = prefix + sample.name
        if sample.mode == _TREE:
            yield from changed(read, first.id if first else None, second.id if second else None, path + "/")
        else:
            ids = [entry.id if entry else None for entry in (first, second)]
            yield Delta(path=path, before=ids[0], after=ids[1], kind_before=first.kind if first else "blob", kind=sample.kind)


Change = tuple[int, str] | None
"""What a path becomes: mode and id of a blob or link; None: it goes."""


def edit(read: ReadTree, write: WriteTree, tree: str | None, changes: Mapping[str, Change]) -> str | None:
    """The id of a tree with some paths changed; only trees on the way to them are read and written. None: nothing is left in it."""
    found = {} if tree is None else {entry.name: entry for entry in entries(read(tree))}
    below: dict[str, dict[str, Change]] = {}
    for path, change in changes.items():
        name, _, rest = path.partition("/")
        if rest:
            below.setdefault(name, {})[rest] = change
        elif change is not None:
            found[name] = Entry(name=name, mode=change[0], id=change[1])
        elif name in found and found[name].mode != _TREE:
            del found[name]
    for name, inner in below.items():
        base = found[name].id if name in found and found[name].mode == _TREE else None
        made = edit(read, write, base, inner)
        if made is not None:
            found[name] = Entry(name=name, mode=_TREE, id=made)
        elif base is not None:
            del found[name]
    return write(_stored(found.values())) if found else None


def _stored(found: Iterable[Entry]) -> bytes:
    lines = [(os.fsencode(entry.name) + (b"/" if entry.mode == _TREE else b""), entry) for entry in found]
    return b"".join(
        b"%o %s\0%s" % (entry.mode, os.fsencode(entry.name), bytes.fromhex(entry.id)) for _, entry in sorted(lines, key=itemgetter(0))
    )


def _lines(read: ReadTree, tree: str | None) -> set[bytes]:
    """The entries as they are stored: what stands in both trees is told apart from the rest without looking into it."""
    data, found, at = b"" if tree is None else read(tree), set(), 0
    while at < len(data):
        end = data.index(b"\0", at) + 21
        found.add(data[at:end])
        at = end
    return found


def _by_name(lines: set[bytes]) -> dict[bytes, Entry]:
    """By git's sort key, in which a directory's name ends with `/`: a file that became a directory is two entries."""
    found = [entry for line in lines for entry in entries(line)]
    return {os.fsencode(entry.name) + (b"/" if entry.mode == _TREE else b""): entry for entry in found}


def printable(path: str) -> str:
    """A path as messages and the index have it: what is not UTF-8 is told by number, so that two such paths stay two."""
    return os.fsencode(path).decode(errors="backslashreplace")


def _hidden(path: str) -> bool:
    return any(part.startswith(".") for part in path.split("/"))


def _file(path: str, kind: str, blob: str) -> File:
    problem = None
    shown = printable(path)
    if shown != path:
        problem = _refusal(shown, "file-name", "the file's name is not UTF-8", "rename it")
    elif kind == "link":
        problem = _refusal(
            path, "symlink", "a symbolic link is not read as a manifest", "put the file itself here, or give the link another suffix"
        )
    return File(path=shown, blob=blob, problem=problem)


def _refusal(path: str, code: str, message: str, hint: str) -> Problem:
    return Problem(origin=Origin(path=path), code=code, message=message, hint=hint)
