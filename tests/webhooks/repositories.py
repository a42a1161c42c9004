"""Bare repositories with branches, for doubles of forges."""

from collections.abc import Mapping
from pathlib import Path

import pygit2

WHO = pygit2.Signature("ada", "ada@example.net")


def bare(path: Path, **branches: str) -> Path:
    """A bare repository with a first commit on `main`, and for each branch one commit on top that writes the text to `fleet.yaml`."""
    git = pygit2.init_repository(str(path), bare=True, initial_head="main")
    first = commit(path, "main", "first: 1\n")
    for name, text in branches.items():
        git.references.create(f"refs/heads/{name}", first)
        commit(path, name, text)
    return path


def commit(path: Path, branch: str, text: str) -> str:
    """Another commit on a branch, in which `BRANCH.yaml` has this text."""
    git, ref = pygit2.Repository(str(path)), f"refs/heads/{branch}"
    parents = [git.references[ref].target] if ref in git.references else []
    tree = git.TreeBuilder(git[parents[0]].tree) if parents else git.TreeBuilder()
    tree.insert(f"{branch}.yaml", git.create_blob(text.encode()), pygit2.enums.FileMode.BLOB)
    return str(git.create_commit(ref, WHO, WHO, "a change", tree.write(), parents))


def bare_with(path: Path, files: Mapping[str, str]) -> Path:
    """A bare repository whose `main` has these files."""
    pygit2.init_repository(str(path), bare=True, initial_head="main")
    commit_files(path, "main", files)
    return path


def commit_files(path: Path, branch: str, files: Mapping[str, str | None], *, onto: str = "main", author: pygit2.Signature = WHO) -> str:
    """A commit on a branch, which begins at `onto` if it is new; None removes a file."""
    git, ref = pygit2.Repository(str(path)), f"refs/heads/{branch}"
    start = ref if ref in git.references else f"refs/heads/{onto}"
    parents = [git.references[start].target] if start in git.references else []
    index = pygit2.Index()
    if parents:
        index.read_tree(git[parents[0]].peel(pygit2.Tree))
    for name, text in files.items():
        if text is None:
            index.remove(name)
        else:
            index.add(pygit2.IndexEntry(name, git.create_blob(text.encode()), pygit2.enums.FileMode.BLOB))
    made = git.create_commit(None, author, author, "a change", index.write_tree(git), parents)
    git.references.create(ref, made, force=True)
    return str(made)
