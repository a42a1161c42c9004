"""What a branch would be with a pull request in it: the head itself where it holds the branch already, else a commit that merges it, made in the mirror alone.

The commit is the same wherever it is made: its parents, their time and a fixed name decide it.
"""

from dataclasses import dataclass

import pygit2

from reconciler.errors import Permanent
from reconciler.source.repository import Commit, Repository

EMAIL = "octofleet@localhost"


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """The merged commit, or None with the paths that are in conflict. `behind`: the branch has commits that the head has not."""

    commit: Commit | None
    behind: bool
    conflicts: tuple[str, ...] = ()


def merge(repository: Repository, head: str, base: str) -> Merge:
    """Merge a head into a base, both commits that the mirror has. Raises Permanent if it has not."""
    if repository.is_ancestor(base, head):
        return Merge(commit=repository.commit(head), behind=False)
    if repository.is_ancestor(head, base):
        return Merge(commit=repository.commit(base), behind=True)
    ours, theirs = repository.commit(base), repository.commit(head)
    git = pygit2.Repository(str(repository.path))
    try:
        index = git.merge_commits(pygit2.Oid(hex=ours.id), pygit2.Oid(hex=theirs.id))
        if index.conflicts is not None:
            paths = {entry.path for conflict in index.conflicts for entry in conflict if entry is not None}
            return Merge(commit=None, behind=True, conflicts=tuple(sorted(paths)))
        who = pygit2.Signature("octofleet", EMAIL, int(max(ours.time, theirs.time)), 0)
        parents = [pygit2.Oid(hex=ours.id), pygit2.Oid(hex=theirs.id)]
        made = git.create_commit(None, who, who, f"Merge {theirs.id[:12]} into {ours.id[:12]}\n", index.write_tree(git), parents)
    except (pygit2.GitError, ValueError, OSError) as error:
        hint = "check the space and the mode of the data directory"
        raise Permanent(f"cannot merge {head[:12]} into {base[:12]} of {repository.location}: {error}", hint=hint, code="merge") from error
    return Merge(commit=repository.commit(str(made)), behind=True)
