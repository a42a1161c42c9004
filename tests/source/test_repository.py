"""Reading real repositories: commits, files, differences, and every refusal."""

import os
import subprocess
import zlib
from pathlib import Path

import pygit2
import pytest

from reconciler.errors import OctofleetError, Permanent, Refused
from reconciler.source.mirror import open_repository
from tests.source.conftest import commit
from tests.source.servers import git


@pytest.fixture
def opened(repo, tmp_path):
    return open_repository(str(repo), tmp_path / "mirrors")


def fails(code, function, *arguments):
    with pytest.raises(OctofleetError) as caught:
        function(*arguments)
    assert caught.value.code == code, str(caught.value)
    assert caught.value.hint
    return caught.value


def test_commit_by_every_name(repo, opened):
    one = git(repo, "rev-parse", "HEAD")
    git(repo, "tag", "-a", "v1", "-m", "x")
    git(repo, "branch", "side")
    for rev in (None, "main", "v1", "side", one, one[:8], "refs/heads/main", "HEAD"):
        found = opened.commit(rev)
        assert (found.id, found.summary, found.time, found.parents) == (one, "one", 1700000000.0, ())
    assert found.tree == git(repo, "rev-parse", "HEAD^{tree}")


def test_default_branch_without_head(repo, opened):
    git(repo, "symbolic-ref", "HEAD", "refs/heads/gone")
    assert opened.commit().id == git(repo, "rev-parse", "main")
    git(repo, "branch", "-m", "main", "mine")
    assert "mine" in fails("unknown-revision", opened.commit).hint


def test_unknown_revisions_suggest_near_names(repo, opened):
    git(repo, "branch", "feature-disk")
    assert "feature-disk" in fails("unknown-revision", opened.commit, "feature-disc").hint
    for rev in ("nope", "f" * 40, "..", "main..x", "", "-x", "@{", "main:a.yaml", "main\n", "\0", "é" * 300):
        fails("unknown-revision", opened.commit, rev)


def test_ambiguous_abbreviation(repo, opened):
    ids = set()
    while not any(opened_id[:4] == other[:4] for opened_id in ids for other in ids if opened_id != other):
        ids |= set(pygit2.Repository(str(repo)).odb)
        ids = {str(item) for item in ids}
        for number in range(200):
            pygit2.Repository(str(repo)).create_blob(f"{len(ids)}-{number}".encode())
    prefix = next(a[:4] for a in ids for b in ids if a != b and a[:4] == b[:4])
    with pytest.raises(Permanent):
        opened.commit(prefix)


def test_files(opened):
    tree = opened.commit().tree
    assert [(file.path, file.problem) for file in opened.files(tree)] == [("a.yaml", None), ("hosts/b.yml", None)]
    assert [opened.blob(file.blob) for file in opened.files(tree, (".md",))] == [b"x\n"]


def test_files_are_in_path_order(repo, opened):
    for name in ("a/x.yaml", "a.b.yaml", "a-/z.yaml", "a0.yaml", "b/é.yaml", "b/z.yaml"):
        (repo / name).parent.mkdir(exist_ok=True)
        (repo / name).write_text(name)
    commit(repo)
    paths = [file.path for file in opened.files(opened.commit().tree)]
    assert paths == sorted(paths)
    assert "b/é.yaml" in paths


def test_links_names_and_submodules(repo, opened, tmp_path):
    (repo / "link.yaml").symlink_to("a.yaml")
    (repo / "dir").symlink_to("hosts")
    (repo / "link.txt").symlink_to("/etc/passwd")
    Path(os.fsdecode(os.fsencode(repo) + b"/bad\xff.yaml")).touch()
    git(repo, "init", "-q", str(tmp_path / "sub"))
    commit(tmp_path / "sub")
    git(repo, "-c", "protocol.file.allow=always", "submodule", "add", "-q", str(tmp_path / "sub"), "sub.yaml")
    commit(repo)
    found = {file.path: file.problem and file.problem.code for file in opened.files(opened.commit().tree)}
    assert found == {"a.yaml": None, "hosts/b.yml": None, "link.yaml": "symlink", "bad\\xff.yaml": "file-name"}


def test_entry(repo, opened):
    tree = opened.commit().tree
    assert opened.entry(tree, "hosts") == ("tree", git(repo, "rev-parse", "HEAD:hosts"))
    assert opened.entry(tree, "hosts/b.yml") == ("blob", git(repo, "rev-parse", "HEAD:hosts/b.yml"))
    assert opened.entry(tree, "") == ("tree", tree)
    for path in ("nope", "a.yaml/x", "hosts/nope", ".."):
        assert opened.entry(tree, path) is None


def submodules(repo, *entries):
    """Have the next commit hold these submodules, whose commits nobody has."""
    for path, digit in entries:
        (repo / path).mkdir(exist_ok=True)
        git(repo, "update-index", "--add", "--cacheinfo", f"160000,{digit * 40},{path}")


def test_changed_agrees_with_git(repo, opened):
    submodules(repo, ("moved.yaml", "1"))
    git(repo, "commit", "-qm", "a submodule")
    before = opened.commit()
    git(repo, "mv", "a.yaml", "hosts/a.yaml")
    (repo / "hosts/b.yml").unlink()
    (repo / "hosts/b.yml").mkdir()
    (repo / "hosts/b.yml/x.yaml").write_text("now a directory")
    (repo / "hosts/readme.md").chmod(0o755)
    submodules(repo, ("hosts/new", "1"), ("moved.yaml", "2"))
    commit(repo)
    after = opened.commit()
    for one, other in ((before, after), (after, before)):
        lines = [line.split() for line in git(repo, "diff-tree", "-r", "--no-renames", "--no-abbrev", one.tree, other.tree).splitlines()]
        expected = {line[5]: tuple(None if item == "0" * 40 else item for item in line[2:4]) for line in lines}
        found = opened.changed(one.tree, other.tree)
        assert {delta.path: (delta.before, delta.after) for delta in found} == expected
        assert len(found) == len(expected)
    assert [delta.after for delta in opened.changed(None, before.tree)] == [delta.before for delta in opened.changed(before.tree, None)]
    assert opened.changed(after.tree, after.tree) == []


def test_delta_tells_what_files_would(repo, opened):
    before = opened.commit()
    (repo / "new.yaml").symlink_to("a.yaml")
    (repo / "hosts/b.yml").write_text("b: 2\n")
    (repo / ".github/c.yaml").write_text("c: 2\n")
    (repo / "a.yaml").unlink()
    commit(repo)
    after = opened.commit()
    listed = {file.path: file for file in opened.files(after.tree)}
    assert {delta.path: delta.file() for delta in opened.changed(before.tree, after.tree)} == {
        ".github/c.yaml": None,
        "a.yaml": None,
        "hosts/b.yml": listed["hosts/b.yml"],
        "new.yaml": listed["new.yaml"],
    }


def test_five_thousand_files_are_compared_by_reading_six_trees(repo, opened):
    for group in range(10):
        for rack in range(10):
            directory = repo / f"hosts/s{group}/r{rack}"
            directory.mkdir(parents=True)
            for host in range(50):
                (directory / f"h{host}.yaml").write_text(f"{group} {rack} {host}")
    commit(repo)
    before = opened.commit()
    (repo / "hosts/s3/r4/h5.yaml").write_text("changed")
    commit(repo)
    after = opened.commit()
    opened.trees_read = 0
    assert [delta.path for delta in opened.changed(before.tree, after.tree)] == ["hosts/s3/r4/h5.yaml"]
    assert opened.trees_read == 8  # root, hosts, s3, r4: each before and after
    opened.trees_read = 0
    assert len(list(opened.files(after.tree))) == 5002
    assert opened.trees_read == 112


def test_ancestry(repo, opened):
    one = opened.commit().id
    git(repo, "checkout", "-q", "-b", "side")
    two = commit(repo, "two")
    git(repo, "checkout", "-q", "main")
    three = commit(repo, "three")
    assert opened.is_ancestor(one, two)
    assert opened.is_ancestor(one, one)
    assert not opened.is_ancestor(two, one)
    assert not opened.is_ancestor(two, three)
    assert opened.merge_base(two, three) == one
    git(repo, "checkout", "-q", "--orphan", "alone")
    assert opened.merge_base(commit(repo, "four"), three) is None


def test_bare_and_packed(repo, tmp_path):
    git(tmp_path, "clone", "-q", "--bare", str(repo), "bare.git")
    git(tmp_path / "bare.git", "gc", "-q")
    opened = open_repository(str(tmp_path / "bare.git"), tmp_path / "m")
    assert len(list(opened.files(opened.commit().tree))) == 2
    assert not (tmp_path / "m").exists()


def test_what_is_no_repository(repo, tmp_path):
    mirrors = tmp_path / "m"
    git(tmp_path, "init", "-q", "empty")
    assert "commit" in fails("no-commits", open_repository(str(tmp_path / "empty"), mirrors).commit).hint
    fails("no-commits", open_repository(str(tmp_path / "empty"), mirrors).commit, "main")
    fails("repository-missing", open_repository, str(tmp_path / "nope"), mirrors)
    assert str(repo) in fails("not-a-repository", open_repository, str(repo / "hosts"), mirrors).hint
    fails("not-a-repository", open_repository, str(repo / "a.yaml"), mirrors)
    (repo / ".git/config").write_text("[core\nbroken")
    fails("repository-unreadable", open_repository, str(repo), mirrors)


def test_missing_and_corrupt_objects(repo, opened, tmp_path):
    head = opened.commit()
    blob = opened.entry(head.tree, "a.yaml")[1]
    loose = repo / ".git/objects" / blob[:2] / blob[2:]
    loose.chmod(0o644)
    loose.write_bytes(zlib.compress(b"blob 3\0xyz")[:-6])
    fresh = open_repository(str(repo), tmp_path)
    fails("missing-object", fresh.blob, blob)
    loose.unlink()
    assert "fsck" in fails("missing-object", open_repository(str(repo), tmp_path).blob, blob).hint
    fails("missing-object", opened.blob, head.tree)
    fails("missing-object", opened.blob, "not an id")
    commit_file = repo / ".git/objects" / head.id[:2] / head.id[2:]
    commit_file.chmod(0o644)
    whole = commit_file.read_bytes()
    commit_file.write_bytes(whole[:-6])
    for rev in (None, "main", head.id):
        fails("missing-object", open_repository(str(repo), tmp_path).commit, rev)
    commit_file.write_bytes(whole)
    tree = repo / ".git/objects" / head.tree[:2] / head.tree[2:]
    tree.unlink()
    with pytest.raises(Permanent):
        list(open_repository(str(repo), tmp_path).files(head.tree))


@pytest.mark.parametrize("size", [0, 10, 3000, 100_000])
@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[:-6],
        lambda data: data[:2],
        lambda data: b"",
        lambda data: data[:-1] + bytes([data[-1] ^ 1]),
        lambda data: zlib.compress(b"blob 1\0xyz"),
    ],
)
def test_damaged_loose_objects_end_at_once(repo, opened, size, damage):
    """libgit2 1.9 never returns from some of these (its issue 7342)."""
    (repo / "new.yaml").write_bytes(os.urandom(size))
    commit(repo)
    blob = opened.entry(opened.commit().tree, "new.yaml")[1]
    loose = repo / ".git/objects" / blob[:2] / blob[2:]
    loose.chmod(0o644)
    loose.write_bytes(damage(loose.read_bytes()))
    fails("missing-object", opened.blob, blob)


def test_a_tree_that_is_no_tree(repo, opened):
    data = b"garbage without end"
    made = subprocess.run(
        ["git", "-C", str(repo), "hash-object", "-t", "tree", "--literally", "-w", "--stdin"], input=data, capture_output=True, check=True
    )
    tree = made.stdout.decode().strip()
    fails("missing-object", opened.entry, tree, "x")
    fails("missing-object", list, opened.files(tree))
    fails("missing-object", opened.changed, tree, None)


def test_corrupt_pack(repo, tmp_path):
    git(repo, "gc", "-q")
    pack = next((repo / ".git/objects/pack").glob("*.pack"))
    pack.chmod(0o644)
    pack.write_bytes(pack.read_bytes()[:60] + b"\0" * (pack.stat().st_size - 60))
    opened = open_repository(str(repo), tmp_path)
    with pytest.raises(Permanent) as caught:
        [opened.blob(file.blob) for file in opened.files(opened.commit().tree)]
    assert caught.value.hint


@pytest.mark.skipif(os.geteuid() != 0, reason="chown needs root")
def test_another_users_repository(repo, tmp_path):
    subprocess.run(["chown", "-R", "12345", str(repo)], check=True)
    with pytest.raises(Refused) as caught:
        open_repository(str(repo), tmp_path)
    assert "safe.directory" in caught.value.hint


def test_nothing_is_written(repo, opened):
    def state():
        return {str(path): (path.lstat().st_mtime_ns, path.lstat().st_size) for path in repo.rglob("*")}

    before = state()
    head = opened.commit()
    list(opened.files(head.tree))
    opened.changed(None, head.tree)
    opened.fetch()
    assert state() == before
