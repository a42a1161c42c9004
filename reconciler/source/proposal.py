"""A branch that Octofleet proposes: a commit on top of the default branch that takes back what other commits brought. Never the default branch itself.

In: a repository, the commits to take back, a name. Out: a branch, in the local repository or pushed to the remote one.
"""

from dataclasses import dataclass

import pygit2

from reconciler.errors import Permanent, Refused
from reconciler.source.mirror import MirroredRepository
from reconciler.source.repository import Repository

MOST_NAMES = 5
EMAIL = "octofleet@localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Proposal:
    """A branch that was made, with its commit; `onto` is the commit of the default branch below it."""

    branch: str
    commit: str
    onto: str


def propose_undo(repository: Repository, *, since: str, until: str, branch: str, who: str, message: str) -> Proposal:
    """Make a branch that takes back what the commits after `since` up to `until` brought, and keeps what came later. Raises `Refused` if that cannot be told
    apart, changes nothing, or the branch is there already."""
    if branch in ("HEAD", "@") or branch.startswith(("-", "refs/")):
        raise Refused(f"{branch} is no name for a branch", hint="name one such as rollback/web with --branch", code="branch-name")
    onto = repository.commit(None)
    before, after = repository.commit(since), repository.commit(until)
    git = pygit2.Repository(str(repository.path))
    if f"refs/heads/{branch}" in git.references:
        hint = "delete that branch, or name another one with --branch"
        raise Refused(f"there is a branch {branch} already", hint=hint, code="branch-exists")
    try:
        tree = _merged(git, after.tree, onto.tree, before.tree)
        if tree == onto.tree:
            raise Refused(
                "the branch has nothing of it any more: there is nothing to take back", hint="octofleet plan", code="nothing-to-undo"
            )
        signature = pygit2.Signature(who, EMAIL)
        made = str(git.create_commit(None, signature, signature, message, pygit2.Oid(hex=tree), [pygit2.Oid(hex=onto.id)]))
        if isinstance(repository, MirroredRepository):
            repository.push(made, branch)
        else:
            git.references.create(f"refs/heads/{branch}", made)
    except (pygit2.GitError, ValueError, OSError) as error:
        hint = "check the name, and who may write to the repository"
        raise Permanent(f"cannot make the branch {branch} in {repository.location}: {error}", hint=hint, code="proposal") from error
    return Proposal(branch=branch, commit=made, onto=onto.id)


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
