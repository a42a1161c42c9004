"""The head of the audit trail, kept outside the database: in a file, or on a branch of a Git repository.

Who owns the database can write its whole chain anew. He cannot make it end in a hash that somebody else has. So before a new head is kept, the chain has
to go on from the one that was kept before.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import msgspec
import pygit2

from reconciler.errors import OctofleetError, Permanent
from reconciler.files import replace_file
from reconciler.settings import Audit
from reconciler.source.repository import Repository
from reconciler.store.audit import verify
from reconciler.store.engine import Store
from reconciler.types.audit import START, Head
from reconciler.types.canonical import canonical

BRANCH, NAME = "octofleet-audit", "audit-head.json"


class Keeper(Protocol):
    """Where a head is kept."""

    place: str
    """The place, for a person."""

    def read(self) -> Head | None:
        """The head that was kept last. Raises `OctofleetError`."""

    def write(self, head: Head) -> None:
        """Keep another one. Raises `OctofleetError`."""


class FileKeeper:
    """A file of one line, which is replaced."""

    def __init__(self, path: Path) -> None:
        self.place, self._path = str(path), path

    def read(self) -> Head | None:
        """None if there is no file."""
        try:
            return parsed(self._path.read_bytes(), self.place)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Permanent(f"cannot read {self.place}: {error.strerror}", hint="correct its name or mode", code="audit") from error

    def write(self, head: Head) -> None:
        """The whole line, or what was there."""
        replace_file(self._path, _line(head))


class GitKeeper:
    """A branch of a Git repository on this machine, bare or not: a commit for each head. Working copy and index are left alone."""

    def __init__(self, directory: Path) -> None:
        self.place = f"the branch {BRANCH} of {directory}"
        Repository(str(directory), directory)  # says what is wrong with one that cannot be used
        self._git = pygit2.Repository(str(directory))

    def read(self) -> Head | None:
        """None if there is no such branch."""
        tip = self._tip()
        if tip is None:
            return None
        found = next((entry.data for entry in tip.tree if entry.name == NAME and isinstance(entry, pygit2.Blob)), b"")
        return parsed(found, self.place)

    def write(self, head: Head) -> None:
        """Refused by Git if another process was first."""
        git, tip = self._git, self._tip()
        who = pygit2.Signature("octofleet", "octofleet@localhost")
        try:
            tree = git.TreeBuilder(tip.tree) if tip else git.TreeBuilder()
            tree.insert(NAME, git.create_blob(_line(head)), pygit2.enums.FileMode.BLOB)
            parents = [tip.id] if tip else []
            git.create_commit(f"refs/heads/{BRANCH}", who, who, f"Audit trail at row {head.seq}\n", tree.write(), parents)
        except (pygit2.GitError, ValueError, OSError) as error:
            raise Permanent(f"cannot commit to {self.place}: {error}", hint="check who may write there", code="audit") from error

    def _tip(self) -> pygit2.Commit | None:
        branch = self._git.branches.local.get(BRANCH)
        return branch.peel(pygit2.Commit) if branch is not None else None


def keepers(said: Audit) -> Iterator[Keeper]:
    """Those that the settings name. Raises `OctofleetError`."""
    if said.head_file:
        yield FileKeeper(Path(said.head_file))
    if said.head_git:
        yield GitKeeper(Path(said.head_git))


def keep(store: Store, keeper: Keeper, *, accept_history: bool = False) -> Head:
    """Have the newest head kept, if all rows since the one kept before are right; gives it. `accept_history`: whatever was kept before, if the chain is
    right from its first row on. Raises `OctofleetError`, with the code `audit-broken` if the trail is not what was kept."""
    before = keeper.read()  # before the database, so that it is never the newer of the two
    after = START if accept_history or before is None else before
    with store.read() as connection:
        found = verify(connection, after=after)
    if found.wrong is not None:
        hint = "octofleet audit verify says more; if an older backup was restored: octofleet audit head --accept-history"
        raise Permanent(f"the audit trail does not go on from {keeper.place}: {found.wrong.text}", hint=hint, code="audit-broken")
    if found.head not in (before, START):
        keeper.write(found.head)
    return found.head


def checked(store: Store, keeper: Keeper) -> str:
    """How the head that is kept stands to the trail, for a person. Raises `OctofleetError` if it is not in it."""
    before = keeper.read()
    if before is None:
        return f"no head is kept in {keeper.place} yet"
    with store.read() as connection:
        found = verify(connection, after=before)
    if found.wrong is not None:
        hint = "octofleet audit verify looks at all of it"
        raise OctofleetError(f"{keeper.place}: {found.wrong.text}", hint=hint, code="audit-broken")
    return f"{keeper.place} has row {before.seq}, and {found.rows} came since"


def parsed(data: bytes, place: str) -> Head:
    """A head as it is kept. Raises `Permanent` if it is none."""
    try:
        return msgspec.json.decode(data, type=Head)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        hint = "octofleet audit head --out FILE writes one"
        raise Permanent(f"{place} holds no head of an audit trail: {error}", hint=hint, code="audit") from error


def _line(head: Head) -> bytes:
    return canonical({"seq": head.seq, "hash": head.hash}) + b"\n"
