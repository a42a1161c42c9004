"""A subtree on disk: content, modes and links, and nothing outside the directory."""

import os
import stat

import pygit2
import pytest

from reconciler.errors import OctofleetError
from reconciler.source.repository import Repository
from tests.source.conftest import commit


def tree_of(repo, entries):
    """A tree object with any names, past git's own checks."""
    git = pygit2.Repository(str(repo))
    data = b"".join(
        b"%o %s\0%s" % (mode, name, git.create_blob(content).raw if isinstance(content, bytes) else content.raw)
        for mode, name, content in entries
    )
    return git.odb.write(pygit2.enums.ObjectType.TREE, data)


def test_export(repo, tmp_path):
    project = repo / "project"
    (project / "roles").mkdir(parents=True)
    (project / "site.yml").write_text("- hosts: all\n")
    (project / "run.sh").write_text("#!/bin/sh\n")
    (project / "run.sh").chmod(0o755)
    (project / "roles/up").symlink_to("../site.yml")
    commit(repo)
    opened = Repository(str(repo), repo)
    old = os.umask(0o077)
    try:
        opened.export(opened.commit().tree, "project", tmp_path / "out" / "deep")
    finally:
        os.umask(old)
    out = tmp_path / "out/deep"
    assert sorted(str(path.relative_to(out)) for path in out.rglob("*")) == ["roles", "roles/up", "run.sh", "site.yml"]
    assert (out / "roles/up").read_text() == "- hosts: all\n"
    assert stat.S_IMODE((out / "run.sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((out / "site.yml").stat().st_mode) == 0o644
    with pytest.raises(OctofleetError, match="not empty"):
        opened.export(opened.commit().tree, "project", out)
    for path in ("nope", "a.yaml"):
        with pytest.raises(OctofleetError, match="no directory"):
            opened.export(opened.commit().tree, path, tmp_path / "x")


@pytest.mark.parametrize("target", ["/etc/passwd", "..", "../x", "a/../../x", "a/..", "", "../../x"])
def test_links_that_leave(repo, tmp_path, target):
    tree = tree_of(repo, [(0o120000, b"l", target.encode())])
    with pytest.raises(OctofleetError) as caught:
        Repository(str(repo), repo).export(str(tree), "", tmp_path / "out")
    assert caught.value.code == "unsafe-link"


def test_links_through_links_cannot_climb(repo, tmp_path):
    """`d/up` is fine alone; `climb`, through it, would be outside."""
    inner = tree_of(repo, [(0o120000, b"up", b"..")])
    tree = tree_of(repo, [(0o120000, b"climb", b"d/up/../x"), (0o40000, b"d", inner)])
    with pytest.raises(OctofleetError, match="points out"):
        Repository(str(repo), repo).export(str(tree), "", tmp_path / "out")


@pytest.mark.parametrize("name", [b"..", b".", b".git", b".GIT", b"a/b", b""])
def test_unsafe_names(repo, tmp_path, name):
    tree = tree_of(repo, [(0o100644, name, b"x")])
    with pytest.raises(OctofleetError) as caught:
        Repository(str(repo), repo).export(str(tree), "", tmp_path / "out")
    assert caught.value.code == "unsafe-name"


def test_a_link_and_a_directory_of_one_name(repo, tmp_path):
    (tmp_path / "victim").mkdir()
    tree = tree_of(repo, [(0o120000, b"d", b"e"), (0o40000, b"d", tree_of(repo, [(0o100644, b"f", b"x")]))])
    with pytest.raises(OctofleetError):
        Repository(str(repo), repo).export(str(tree), "", tmp_path / "out")


def test_a_directory_that_cannot_be_written(repo, tmp_path):
    (tmp_path / "file").write_text("")
    opened = Repository(str(repo), repo)
    with pytest.raises(OctofleetError) as caught:
        opened.export(opened.commit().tree, "", tmp_path / "file" / "x")
    assert caught.value.hint
