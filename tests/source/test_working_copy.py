"""Uncommitted changes as a tree, with nothing written into the user's repository."""

import os
import threading
import time

import pytest

from reconciler.errors import OctofleetError
from reconciler.source.working_copy import WorkingCopy, watch
from tests.source.conftest import commit
from tests.source.servers import git


def listing(copy, found):
    return {file.path: copy.repository.blob(file.blob) for file in copy.repository.files(found.tree)}


def state(root):
    return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in root.rglob("*") if path.name != "b.yml"}


def test_a_clean_tree_is_heads_commit(repo, tmp_path):
    assert WorkingCopy(str(repo), tmp_path / "s").commit().id == git(repo, "rev-parse", "HEAD")


def test_uncommitted_changes(repo, tmp_path):
    (repo / ".gitignore").write_text("*.tmp.yaml\nsecret/\n")
    (repo / "gone.yaml").write_text("x")
    (repo / "staged-away.yaml").write_text("kept on disk")
    (repo / "becomes").write_text("a file")
    head = commit(repo)
    (repo / "a.yaml").write_text("a: 2\n")
    (repo / "gone.yaml").unlink()
    git(repo, "rm", "-q", "--cached", "staged-away.yaml")
    (repo / "becomes").unlink()
    (repo / "becomes").mkdir()
    (repo / "becomes/x.yaml").write_text("x: 1\n")
    (repo / "new é.yaml").write_text("n: 1\n")
    git(repo, "add", "becomes")
    (repo / "becomes/x.yaml").write_text("x: 2\n")
    for ignored in ("i.tmp.yaml", "secret/s.yaml"):
        (repo / ignored).parent.mkdir(exist_ok=True)
        (repo / ignored).write_text("no")
    (repo / "run.sh").write_text("")
    (repo / "run.sh").chmod(0o755)
    (repo / "link.yaml").symlink_to("a.yaml")
    git(repo, "init", "-q", "nested")
    (repo / "nested/n.yaml").write_text("another repository")
    before = state(repo)
    copy = WorkingCopy(str(repo), tmp_path / "s")
    found = copy.commit()
    assert state(repo) == before
    assert found.parents == (head,)
    assert found.id == f"working-copy-{found.tree[:12]}"
    paths = {file.path: file.problem for file in copy.repository.files(found.tree)}
    assert paths.pop("link.yaml").code == "symlink"
    assert {path: copy.repository.blob(copy.repository.entry(found.tree, path)[1]) for path in paths} == {
        "a.yaml": b"a: 2\n",
        "becomes/x.yaml": b"x: 2\n",
        "hosts/b.yml": b"b: 1\n",
        "new é.yaml": b"n: 1\n",
        "staged-away.yaml": b"kept on disk",
    }
    deltas = {delta.path for delta in copy.repository.changed(git(repo, "rev-parse", "HEAD^{tree}"), found.tree)}
    assert deltas == {"a.yaml", "gone.yaml", "becomes", "becomes/x.yaml", "new é.yaml", "run.sh", "link.yaml"}
    copy.repository.export(found.tree, "", tmp_path / "out")
    assert os.access(tmp_path / "out/run.sh", os.X_OK)
    assert copy.commit().tree == found.tree


def test_the_same_tree_as_git_would_make(repo, tmp_path):
    (repo / "hosts/deep/er").mkdir(parents=True)
    (repo / "hosts/deep/er/x.yaml").write_text("x")
    (repo / "hosts/b.yml").unlink()
    found = WorkingCopy(str(repo), tmp_path / "s").commit()
    commit(repo)
    assert found.tree == git(repo, "rev-parse", "HEAD^{tree}")


def test_before_the_first_commit(tmp_path):
    git(tmp_path, "init", "-q", "-b", "main", "r")
    (tmp_path / "r/a.yaml").write_text("a: 1\n")
    copy = WorkingCopy(str(tmp_path / "r"), tmp_path / "s")
    found = copy.commit()
    assert listing(copy, found) == {"a.yaml": b"a: 1\n"}
    assert found.parents == ()


def test_a_linked_worktree(repo, tmp_path):
    git(repo, "worktree", "add", "-q", str(tmp_path / "linked"))
    (tmp_path / "linked/a.yaml").write_text("a: 3\n")
    copy = WorkingCopy(str(tmp_path / "linked"), tmp_path / "s")
    assert listing(copy, copy.commit())["a.yaml"] == b"a: 3\n"


def test_refusals(repo, tmp_path):
    git(tmp_path, "clone", "-q", "--bare", str(repo), "bare.git")
    (tmp_path / "file").write_text("")
    for location, scratch, code in (
        (tmp_path / "bare.git", tmp_path / "s", "bare-repository"),
        (tmp_path / "nope", tmp_path / "s", "repository-missing"),
        (repo, tmp_path / "file" / "s", "file-system"),
    ):
        with pytest.raises(OctofleetError) as caught:
            WorkingCopy(str(location), scratch)
        assert caught.value.code == code
        assert caught.value.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_an_unreadable_file(repo, tmp_path):
    (repo / "new.yaml").write_text("x")
    (repo / "new.yaml").chmod(0)
    with pytest.raises(OctofleetError, match=r"new\.yaml"):
        WorkingCopy(str(repo), tmp_path / "s").commit()


def test_watch_waits_for_a_burst_to_end(repo):
    stop = threading.Event()
    seen = []

    def run():
        for _ in watch(repo, stop, quiet_ms=500):
            seen.append(time.monotonic())

    thread = threading.Thread(target=run)
    thread.start()
    try:
        time.sleep(0.7)
        (repo / ".git/noise").write_text("x")
        time.sleep(0.5)
        assert seen == []
        for number in range(10):
            (repo / "a.yaml").write_text(str(number))
        deadline = time.monotonic() + 20
        while not seen and time.monotonic() < deadline:
            time.sleep(0.02)
        time.sleep(0.8)
        assert len(seen) == 1
    finally:
        stop.set()
        thread.join(timeout=10)
    assert not thread.is_alive()


def test_watching_what_is_not_there(tmp_path):
    with pytest.raises(OctofleetError) as caught:
        next(watch(tmp_path / "nope"))
    assert caught.value.hint
