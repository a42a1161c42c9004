"""A subtree written to disk, for engines that need files (ansible-runner). Untrusted names and links cannot leave the directory.

In: a repository, a tree, a path in it, an empty directory. Out: regular files with git's two modes, directories, links that stay inside.
No `.git`, no submodules (their directories are left out); blobs are written as stored (no LFS, no line-ending filters).
"""

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from reconciler.errors import Permanent, Refused
from reconciler.source import errors
from reconciler.source.tree import EXECUTABLE, Entry

if TYPE_CHECKING:
    from reconciler.source.repository import Repository


def export(repository: "Repository", tree_id: str, path: str, into: Path) -> None:
    """Raises Permanent if `path` is no directory of the tree or a name is unsafe, Refused if `into` has content."""
    found = repository.entry(tree_id, path)
    if found is None or found[0] != "tree":
        raise Permanent(
            f"{repository.location} has no directory {path!r}", hint="check the path in the repository", code="no-such-directory"
        )
    try:
        into.mkdir(mode=0o700, parents=True, exist_ok=True)
        if any(into.iterdir()):
            raise Refused(f"{into} is not empty", hint="export into a new directory", code="not-empty")
        _directory(repository, found[1], into, PurePosixPath())
    except OSError as error:
        raise errors.from_system("write", into, error) from error


def _directory(repository: "Repository", tree_id: str, into: Path, below: PurePosixPath) -> None:
    for entry in repository.entries(tree_id):
        where = below / _safe(entry)
        target = into / where
        if entry.kind == "tree":
            target.mkdir()
            _directory(repository, entry.id, into, where)
        elif entry.kind == "link":
            target.symlink_to(_inside(where, repository.blob(entry.id)))
        elif entry.kind == "blob":
            with target.open("xb") as file:
                file.write(repository.blob(entry.id))
            target.chmod(0o755 if entry.mode == EXECUTABLE else 0o644)


def _safe(entry: Entry) -> str:
    name = entry.name
    if name in ("", ".", "..") or "/" in name or name.lower() == ".git":
        raise Permanent(f"the repository holds the unsafe file name {name!r}", hint="remove it from the repository", code="unsafe-name")
    return name


def _inside(where: PurePosixPath, content: bytes) -> str:
    """The target of a link, if following it cannot leave the exported directory.

    A link's own directory is real, so leading `..` count as they read; a `..` after a name could climb out of another link's target.
    """
    text = content.decode("utf-8", "surrogateescape")
    parts = PurePosixPath(text).parts
    up = next((number for number, part in enumerate(parts) if part != ".."), len(parts))
    if not text or "\0" in text or text.startswith("/") or ".." in parts[up:] or up > len(where.parts) - 1:
        message = f"the symbolic link {where} points out of the exported directory"
        raise Permanent(message, hint="let it point to a file below that directory, by a relative path", code="unsafe-link")
    return text
