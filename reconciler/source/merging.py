"""What a branch would be with a pull request in it: the head itself where it holds the branch already, else a commit that merges it, made in the mirror alone.

The commit is the same wherever it is made: its parents, their time and a fixed name decide it.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import pygit2
from pygit2.enums import DeltaStatus, ObjectType

from reconciler.errors import Permanent
from reconciler.source.repository import Commit, Repository
from reconciler.source.tree import Change

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
        tree = repository.edit(ours.tree, partial(_write, git), _changes(git[ours.tree].peel(pygit2.Tree), index))
        made = git.create_commit(None, who, who, f"Merge {theirs.id[:12]} into {ours.id[:12]}\n", pygit2.Oid(hex=tree), parents)
    except (pygit2.GitError, ValueError, OSError) as error:
        hint = "check the space and the mode of the data directory"
        raise Permanent(f"cannot merge {head[:12]} into {base[:12]} of {repository.location}: {error}", hint=hint, code="merge") from error
    return Merge(commit=repository.commit(str(made)), behind=True)


def _changes(tree: pygit2.Tree, index: pygit2.Index) -> Mapping[str, Change]:
    """What an index has otherwise than a tree; paths as `Repository.edit` takes them."""
    deltas = list(tree.diff_to_index(index).deltas)
    gone: dict[str, Change] = {os.fsdecode(delta.old_file.raw_path): None for delta in deltas}
    there = (delta.new_file for delta in deltas if delta.status != DeltaStatus.DELETED)
    return gone | {os.fsdecode(file.raw_path): (int(file.mode), str(file.id)) for file in there}


def _write(git: pygit2.Repository, data: bytes) -> str:
    return str(git.odb.write(ObjectType.TREE, data))
