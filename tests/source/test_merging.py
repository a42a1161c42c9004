"""What a branch would be with a pull request in it."""

import os
from collections.abc import Mapping
from pathlib import Path

import pygit2
import pytest

from reconciler.errors import OctofleetError, Permanent
from reconciler.source.merging import merge
from reconciler.source.mirror import MirroredRepository, open_repository
from reconciler.source.repository import Repository
from reconciler.source.tree import edit
from tests.fleets import Repo, repo


def mirror(made: Repo, at: Path) -> MirroredRepository:
    found = open_repository(f"file://{made.path}", at)
    assert isinstance(found, MirroredRepository)
    return found


def head_of(made: Repo) -> str:
    """Where its branch is."""
    return str(pygit2.Repository(str(made.path)).head.target)


def branch(made: Repo, name: str, files: dict[str, str | bytes | None], onto: str = "HEAD") -> str:
    """A branch with one commit."""
    git = pygit2.Repository(str(made.path))
    start = git.revparse_single(onto).peel(pygit2.Commit)
    git.branches.local.create(name, start, force=True)
    before = git.head.name
    git.checkout(f"refs/heads/{name}", strategy=pygit2.enums.CheckoutStrategy.FORCE)
    commit = made.commit(files)
    git.checkout(before, strategy=pygit2.enums.CheckoutStrategy.FORCE)
    return commit


def test_a_head_that_holds_its_branch_is_the_merge(tmp_path: Path) -> None:
    made = repo(tmp_path / "repo", {"a.yaml": "a: 1\n"})
    base = head_of(made)
    head = branch(made, "change", {"b.yaml": "b: 1\n"})
    found = merge(mirror(made, tmp_path / "mirrors"), head, base)
    assert found.commit is not None and found.commit.id == head and not found.behind


def test_a_head_that_is_behind_is_merged_and_the_same_everywhere(tmp_path: Path) -> None:
    made = repo(tmp_path / "repo", {"a.yaml": "a: 1\n"})
    head = branch(made, "change", {"b.yaml": "b: 1\n"})
    base = made.commit({"c.yaml": "c: 1\n"})
    here, there = mirror(made, tmp_path / "one"), mirror(made, tmp_path / "two")
    found = merge(here, head, base)
    assert found.behind and found.commit is not None and found.commit == merge(there, head, base).commit
    assert found.commit.parents == (base, head)
    assert {entry.name for entry in here.entries(found.commit.tree)} == {"a.yaml", "b.yaml", "c.yaml"}
    assert found.commit.id not in pygit2.Repository(str(made.path)), "it was made in the repository itself"
    here.fetch()
    assert here.commit(found.commit.id) == found.commit
    back = merge(here, base, head)
    assert back.commit is not None and back.commit.tree == found.commit.tree


@pytest.mark.parametrize("turn", [False, True])
def test_only_trees_on_the_way_to_what_changes_are_made(tmp_path: Path, turn: bool) -> None:
    """And what comes of that is what git itself makes of the whole."""
    path = tmp_path / "repo.git"
    git = pygit2.init_repository(str(path), bare=True, initial_head="main")
    first: dict[bytes, tuple[str, int]] = {f"hosts/{n // 10}/{n}.yaml".encode(): (f"host: {n}\n", 0o100644) for n in range(100)}
    first |= {
        b"moves.yaml": ("moves: 1\n" * 20, 0o100644),
        b"file": ("file", 0o100644),
        b"dir/in": ("in", 0o100644),
        b"run": ("run", 0o100644),
    }
    first |= {b"gone/one.yaml": ("one", 0o100644), b"link": ("link: 1\n", 0o100644), b"odd/\xff.yaml": ("odd", 0o100644)}
    start = commit(git, first, [])
    mine = {b"hosts/3/30.yaml": ("host: x\n", 0o100644), b"moved.yaml": first[b"moves.yaml"], b"moves.yaml": None}
    theirs: dict[bytes, tuple[str, int] | None] = {
        b"moves.yaml": ("moves: 1\n" * 20 + "more: 1\n", 0o100644), b"file": None, b"file/below": ("below", 0o100644), b"dir/in": None,
        b"dir": ("dir", 0o100644), b"run": ("run", 0o100755), b"gone/one.yaml": None, b"link": ("moved.yaml", 0o120000),
        b"odd/\xff.yaml": ("odder", 0o100644), b"new/deep/er.yaml": ("new", 0o100644),
    }  # fmt: skip
    sides = [commit(git, {**first, **side}, [start]) for side in (mine, theirs)]
    base, head = (str(side) for side in (reversed(sides) if turn else sides))
    found = merge(repository := Repository("fleet", path), head, base)
    assert found.commit is not None and found.commit.tree == str(git.merge_commits(base, head).write_tree(git))
    assert repository.trees_read < 12, "trees that do not change are read"


def commit(git: pygit2.Repository, files: Mapping[bytes, tuple[str, int] | None], parents: list[pygit2.Oid]) -> pygit2.Oid:
    """A commit of these files; None is no file."""
    tree = edit(
        lambda _: b"",
        lambda data: str(git.odb.write(pygit2.enums.ObjectType.TREE, data)),
        None,
        {os.fsdecode(path): (file[1], str(git.create_blob(file[0].encode()))) for path, file in files.items() if file is not None},
    )
    who = pygit2.Signature("ada", "ada@example.net", 1_700_000_000, 0)
    return git.create_commit(None, who, who, "a change", pygit2.Oid(hex=tree), parents)


def test_what_is_in_the_branch_already_changes_nothing(tmp_path: Path) -> None:
    made = repo(tmp_path / "repo", {"a.yaml": "a: 1\n"})
    head = head_of(made)
    base = made.commit({"c.yaml": "c: 1\n"})
    found = merge(mirror(made, tmp_path / "mirrors"), head, base)
    assert found.commit is not None and found.commit.id == base


def test_conflicts_are_named(tmp_path: Path) -> None:
    made = repo(tmp_path / "repo", {"a.yaml": "a: 1\n", "b.yaml": "b: 1\n"})
    head = branch(made, "change", {"a.yaml": "a: 2\n", "b.yaml": None})
    base = made.commit({"a.yaml": "a: 3\n", "b.yaml": "b: 4\n"})
    found = merge(mirror(made, tmp_path / "mirrors"), head, base)
    assert found.commit is None and found.conflicts == ("a.yaml", "b.yaml")


def test_a_commit_that_is_not_there_is_told(tmp_path: Path) -> None:
    made = repo(tmp_path / "repo", {"a.yaml": "a: 1\n"})
    with pytest.raises(Permanent):
        merge(mirror(made, tmp_path / "mirrors"), "f" * 40, head_of(made))


def test_a_forks_branch_comes_into_the_mirror_and_stays(tmp_path: Path) -> None:
    made = repo(tmp_path / "repo", {"a.yaml": "a: 1\n"})
    base = head_of(made)
    here = mirror(made, tmp_path / "mirrors")
    fork = tmp_path / "fork"
    pygit2.clone_repository(f"file://{made.path}", str(fork))
    head = branch(Repo(path=fork), "change", {"b.yaml": "b: 1\n"})
    here.fetch_branch(f"file://{fork}", "change")
    here.fetch()
    found = merge(here, head, base)
    assert found.commit is not None and found.commit.id == head
    for url, name in (
        (f"file://{fork}?x=1", "change"),
        (f"file://{fork}", "a..b"),
        (f"file://{fork}", "--upload-pack=/bin/false"),
        (str(fork), "change"),
    ):
        with pytest.raises(OctofleetError):
            here.fetch_branch(url, name)
    other = open_repository(f"file://{made.path}", tmp_path / "more")
    assert isinstance(other, MirroredRepository)
    other._source.url = "https://example.net/acme/fleet.git"
    with pytest.raises(Permanent, match="fork"):
        other.fetch_branch(f"file://{fork}", "change")
