"""A commit that takes back what other commits brought, or adds files, and where it goes: to a branch of its own, which people merge, or onto the followed
branch.

In: a repository, the commits to take back or the files. Out: a commit, and a branch that points to it, in the local repository or pushed to the remote
one. Nothing is ever overwritten: a new branch must not be there, another one must be where it was.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import pygit2
import pygit2.enums

from reconciler.errors import Permanent, Refused
from reconciler.source.git_program import PUSH_REFUSED
from reconciler.source.mirror import MirroredRepository
from reconciler.source.repository import Commit, Repository

MOST_NAMES = 5
EMAIL = "octofleet@localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Author:
    """Who makes a commit; `at`: when, in seconds since the epoch, None for now. With a time, the same commit is made again from the same."""

    name: str
    at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A branch that was made, with its commit; `onto` is the commit below it."""

    branch: str
    commit: str
    onto: str


def undo(repository: Repository, *, since: str, until: str, onto: Commit, author: Author, message: str) -> str:
    """Make a commit on top of `onto` that takes back what the commits after `since` up to `until` brought, and keeps what came later; gives its id. Nothing
    points to it yet. Raises `Refused` if that cannot be told apart, or changes nothing."""
    before, after = repository.commit(since), repository.commit(until)
    git = pygit2.Repository(str(repository.path))
    try:
        tree = _merged(git, after.tree, onto.tree, before.tree)
        if tree == onto.tree:
            text = "the branch has nothing of it any more: there is nothing to take back"
            raise Refused(text, hint="octofleet plan", code="nothing-to-undo")
        return _committed(git, tree, onto, author, message)
    except (pygit2.GitError, ValueError, OSError) as error:
        raise _cannot_commit(repository, error) from error


def add(repository: Repository, files: Mapping[str, bytes], *, onto: Commit, author: Author, message: str) -> str:
    """Make a commit on top of `onto` with further files, by their paths; gives its id. Nothing points to it yet. Raises `Refused` if one is there already."""
    git = pygit2.Repository(str(repository.path))
    try:
        index = pygit2.Index()
        index.read_tree(git[onto.tree].peel(pygit2.Tree))
        for path, data in files.items():
            if path in index:
                raise Refused(f"there is a file {path} already", hint="look at it, or delete it", code="file-exists")
            index.add(pygit2.IndexEntry(path, git.create_blob(data), pygit2.enums.FileMode.BLOB))
        return _committed(git, str(index.write_tree(git)), onto, author, message)
    except (pygit2.GitError, ValueError, OSError) as error:
        raise _cannot_commit(repository, error) from error


def _committed(git: pygit2.Repository, tree: str, onto: Commit, author: Author, message: str) -> str:
    time = () if author.at is None else (int(author.at), 0)
    signature = pygit2.Signature(author.name, EMAIL, *time)
    return str(git.create_commit(None, signature, signature, message, pygit2.Oid(hex=tree), [pygit2.Oid(hex=onto.id)]))


def _cannot_commit(repository: Repository, error: Exception) -> Permanent:
    hint = "check who may write to the repository"
    return Permanent(f"cannot make a commit in {repository.location}: {error}", hint=hint, code="proposal")


def propose(repository: Repository, commit: str, branch: str) -> None:
    """Have a new branch point to a commit. Raises `Refused` if the branch is there already, `Permanent` or `RetryLater` if it cannot be made."""
    if branch in ("HEAD", "@") or branch.startswith(("-", "refs/")):
        raise Refused(f"{branch} is no name for a branch", hint="name one such as rollback/web with --branch", code="branch-name")
    git = pygit2.Repository(str(repository.path))
    if f"refs/heads/{branch}" in git.references:
        hint = "delete that branch, or name another one with --branch"
        raise Refused(f"there is a branch {branch} already", hint=hint, code="branch-exists")
    try:
        if isinstance(repository, MirroredRepository):
            repository.push(commit, branch)
        else:
            git.references.create(f"refs/heads/{branch}", commit)
    except (pygit2.GitError, ValueError, OSError) as error:
        hint = "check the name, and who may write to the repository"
        raise Permanent(f"cannot make the branch {branch} in {repository.location}: {error}", hint=hint, code="proposal") from error


def move_on(repository: Repository, commit: str, branch: str, onto: str) -> None:
    """Have a branch that points to `onto` point to a commit that follows on it. Raises `Permanent` with the code `push-refused` or `access-refused` if it is
    elsewhere by now, or may not be moved; `RetryLater` if nobody answers."""
    if isinstance(repository, MirroredRepository):
        repository.push(commit, branch, onto)
        return
    git = pygit2.Repository(str(repository.path))
    hint = "merge it by hand"
    try:
        found = git.branches.local[branch]
        if found.is_checked_out() and not git.is_bare:
            raise Permanent(
                f"{branch} is checked out in {repository.location}, and is not moved below a user", hint=hint, code=PUSH_REFUSED
            )
        if str(found.target) != onto:
            raise Permanent(f"{branch} has moved on to {str(found.target)[:10]}", hint=hint, code=PUSH_REFUSED)
        found.set_target(pygit2.Oid(hex=commit))  # fails if it is not where it was read
    except (pygit2.GitError, KeyError, ValueError, OSError) as error:
        raise Permanent(f"cannot move {branch} in {repository.location}: {error}", hint=hint, code=PUSH_REFUSED) from error


def _merged(git: pygit2.Repository, ancestor: str, ours: str, theirs: str) -> str:
    index = git.merge_trees(ancestor, ours, theirs)
    if index.conflicts is not None:
        paths = sorted({entry.path for conflict in index.conflicts for entry in conflict if entry is not None})
        shown = ", ".join(paths[:MOST_NAMES]) + (f" and {len(paths) - MOST_NAMES} more" if len(paths) > MOST_NAMES else "")
        raise Refused(
            f"later commits changed the same as what is to be taken back: {shown}",
            hint="take it back by hand: git revert",
            code="conflict",
        )
    return str(index.write_tree(git))
