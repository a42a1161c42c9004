"""Mirrors of real remotes: file, http through git http-backend, ssh through sshd."""

import os
import stat
import subprocess
import sys

import pytest

from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.source.errors import strip_credentials
from reconciler.source.git_program import Credentials
from reconciler.source.mirror import is_remote, open_repository
from tests.conftest import ROOT
from tests.source.conftest import commit
from tests.source.servers import git, http_server, ssh_server

SECRET = "s3cr3t-token"


@pytest.fixture
def bare(repo, tmp_path):
    git(tmp_path, "clone", "-q", "--bare", str(repo), "served.git")
    git(repo, "remote", "add", "origin", str(tmp_path / "served.git"))
    return tmp_path / "served.git"


def test_file_url_follows_the_remote(repo, bare, tmp_path):
    opened = open_repository(bare.as_uri(), tmp_path / "m")
    one = opened.commit().id
    assert opened.url == bare.as_uri()
    two = commit(repo)
    git(repo, "push", "-q", "origin", "HEAD", "HEAD:refs/pull/7/merge", "HEAD:refs/merge-requests/3/head", "HEAD:refs/heads/side")
    assert opened.commit().id == one
    opened.fetch()
    assert opened.commit().id == one  # the fetch after making the mirror has nothing to do
    opened.fetch()
    assert {opened.commit(rev).id for rev in (None, "main", "refs/pull/7/merge", "refs/merge-requests/3/head", "side")} == {two}
    again = open_repository(bare.as_uri(), tmp_path / "m")
    assert again.path == opened.path
    assert again.commit().id == two


def test_force_push_deleted_branch_and_new_default(repo, bare, tmp_path):
    git(repo, "push", "-q", "origin", "HEAD:refs/heads/gone")
    opened = open_repository(bare.as_uri(), tmp_path / "m")
    old = opened.commit("gone").id
    git(repo, "commit", "-q", "--amend", "-m", "rewritten")
    git(repo, "push", "-q", "-f", "origin", "HEAD:refs/heads/main", ":refs/heads/gone", "HEAD:refs/heads/trunk")
    git(bare, "symbolic-ref", "HEAD", "refs/heads/trunk")
    opened.fetch()
    opened.fetch()
    assert opened.commit("main").summary == "rewritten"
    assert opened.commit().summary == "rewritten"
    assert opened.commit(old).id == old  # still there for plans that name it
    with pytest.raises(OctofleetError, match="gone"):
        opened.commit("gone")


def test_empty_remote(tmp_path):
    git(tmp_path, "init", "-q", "--bare", "empty.git")
    opened = open_repository((tmp_path / "empty.git").as_uri(), tmp_path / "m")
    with pytest.raises(Permanent) as caught:
        opened.commit()
    assert caught.value.code == "no-commits"


def test_a_missing_remote_leaves_no_mirror(tmp_path):
    with pytest.raises(Permanent) as caught:
        open_repository((tmp_path / "nope.git").as_uri(), tmp_path / "m")
    assert caught.value.code == "repository-missing"
    assert [path.name for path in (tmp_path / "m").iterdir() if not path.name.endswith(".lock")] == []


def test_what_an_interrupted_fetch_leaves_is_cleared(repo, bare, tmp_path):
    opened = open_repository(bare.as_uri(), tmp_path / "m")
    opened.fetch()
    for left in ("packed-refs.lock", "refs/heads/main.lock", "objects/pack/tmp_pack_x", "HEAD.lock"):
        (opened.path / left).write_text("")
    half = tmp_path / "m" / f".new-{opened.path.name}-dead"
    half.mkdir()
    two = commit(repo)
    git(repo, "push", "-q", "origin", "HEAD")
    opened.fetch()
    assert opened.commit().id == two
    assert not (opened.path / "objects/pack/tmp_pack_x").exists()


def test_a_killed_clone_is_not_taken_for_a_mirror(bare, tmp_path):
    script = f"""if True:
        import os
        from pathlib import Path
        from reconciler.source import mirror
        real = mirror.run
        def run(arguments, *rest):
            real(arguments, *rest)
            if arguments[0] == "fetch":
                os.kill(os.getpid(), 9)
        mirror.run = run
        mirror.open_repository({bare.as_uri()!r}, Path({str(tmp_path / "m")!r}))
    """
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == -9
    assert list((tmp_path / "m").glob(".new-*"))
    assert not list((tmp_path / "m").glob("served-*.git"))
    assert open_repository(bare.as_uri(), tmp_path / "m").commit().summary == "one"
    assert not list((tmp_path / "m").glob(".new-*"))


def test_many_processes_at_once(repo, bare, tmp_path):
    script = f"""if True:
        from pathlib import Path
        from reconciler.source.mirror import open_repository
        opened = open_repository({bare.as_uri()!r}, Path({str(tmp_path / "m")!r}))
        opened.fetch(); opened.fetch()
        print(opened.commit().id)
    """
    running = [subprocess.Popen([sys.executable, "-c", script], cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(6)]
    assert {process.communicate()[0].strip() for process in running} == {git(repo, "rev-parse", "HEAD")}
    assert {process.returncode for process in running} == {0}


def test_http(repo, bare, tmp_path):
    with http_server(tmp_path) as server:
        url = f"http://127.0.0.1:{server.server_port}/served.git"
        opened = open_repository(url, tmp_path / "m")
        assert opened.commit().summary == "one"
        two = commit(repo)
        git(repo, "push", "-q", "origin", "HEAD")
        opened.fetch()
        opened.fetch()
        assert opened.commit().id == two
        with pytest.raises(Permanent) as caught:
            open_repository(f"http://127.0.0.1:{server.server_port}/nope.git", tmp_path / "m")
        assert caught.value.code == "repository-missing"
    with pytest.raises(RetryLater) as caught:
        opened.fetch()
    assert caught.value.code == "fetch-failed"
    assert opened.commit().id == two


@pytest.mark.parametrize("given", ["credentials", "url"])
def test_http_with_a_token(bare, tmp_path, given):
    with http_server(tmp_path, SECRET) as server:
        port = server.server_port
        credentials = Credentials(token=SECRET)
        assert SECRET not in repr(credentials)
        if given == "url":
            opened = open_repository(f"http://git:{SECRET}@127.0.0.1:{port}/served.git", tmp_path / "m")
        else:
            opened = open_repository(f"http://127.0.0.1:{port}/served.git", tmp_path / "m", credentials)
        assert opened.commit().summary == "one"
        assert SECRET not in opened.url + opened.location + str(opened.path)
        for path in (tmp_path / "m").rglob("*"):
            assert not path.is_file() or SECRET.encode() not in path.read_bytes()
        for url, with_ in ((f"http://x:{SECRET}-no@127.0.0.1:{port}/served.git", None), (f"http://127.0.0.1:{port}/served.git", None)):
            with pytest.raises(Permanent) as caught:
                open_repository(url, tmp_path / "other", with_)
            assert caught.value.code == "access-refused"
            assert SECRET not in str(caught.value)


def test_the_token_is_in_no_argument(bare, tmp_path):
    """A program in place of git writes its arguments down; the token must be among the environment alone."""
    fake = tmp_path / "bin"
    fake.mkdir()
    (fake / "git").write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/arguments\nenv >> {tmp_path}/environment\nexit 1\n')
    (fake / "git").chmod(0o755)
    path = os.environ["PATH"]
    os.environ["PATH"] = f"{fake}:{path}"
    try:
        with pytest.raises(RetryLater):
            open_repository(f"https://git:{SECRET}@forge.invalid/served.git", tmp_path / "m")
    finally:
        os.environ["PATH"] = path
    assert SECRET not in (tmp_path / "arguments").read_text()
    assert "forge.invalid/served.git" in (tmp_path / "arguments").read_text()
    assert "Basic" in (tmp_path / "environment").read_text()


def test_ssh(repo, bare, tmp_path):
    with ssh_server(tmp_path) as base:
        url, good = f"{base}{bare}", {"key_file": tmp_path / "key", "known_hosts": tmp_path / "known_hosts"}
        opened = open_repository(url, tmp_path / "m", Credentials(**good))
        assert opened.commit().summary == "one"
        two = commit(repo)
        git(repo, "push", "-q", "origin", "HEAD")
        opened.fetch()
        opened.fetch()
        assert opened.commit().id == two
        for change, code in (
            ({"key_file": tmp_path / "stranger"}, "access-refused"),
            ({"known_hosts": tmp_path / "wrong_known_hosts"}, "untrusted-host"),
            ({"known_hosts": tmp_path / "empty_known_hosts"}, "untrusted-host"),
        ):
            with pytest.raises(Permanent) as caught:
                open_repository(url, tmp_path / "other", Credentials(**(good | change)))
            assert caught.value.code == code, str(caught.value)
        with pytest.raises(Permanent) as caught:
            open_repository(f"{base}{tmp_path}/nope.git", tmp_path / "other", Credentials(**good))
        assert caught.value.code == "repository-missing"


def test_a_server_that_never_answers(tmp_path, monkeypatch):
    import socket

    monkeypatch.setattr("reconciler.source.git_program.run.__kwdefaults__", {"limit_s": 1.0})
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        with pytest.raises(RetryLater) as caught:
            open_repository(f"http://127.0.0.1:{silent.getsockname()[1]}/x.git", tmp_path / "m")
    assert caught.value.code == "fetch-timeout"


def test_a_mirror_directory_that_cannot_be_written(bare, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OctofleetError) as caught:
        open_repository(bare.as_uri(), tmp_path / "file" / "m")
    assert caught.value.hint
    if os.geteuid() != 0:
        (tmp_path / "closed").mkdir(mode=0o500)
        with pytest.raises(Permanent, match="permission"):
            open_repository(bare.as_uri(), tmp_path / "closed" / "m")


@pytest.mark.skipif(not os.access("/dev/full", os.W_OK) or os.geteuid() != 0, reason="mounting needs root")
def test_full_disk(repo, bare, tmp_path):
    (repo / "big.bin").write_bytes(os.urandom(3_000_000))
    commit(repo)
    git(repo, "push", "-q", "origin", "HEAD")
    small = tmp_path / "small"
    small.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(small)], check=False, capture_output=True).returncode:
        pytest.skip("mount is not allowed here")
    try:
        with pytest.raises(RetryLater) as caught:
            open_repository(bare.as_uri(), small / "m")
        assert caught.value.code == "disk-full", str(caught.value)
        assert not list((small / "m").glob("*.git"))
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_what_is_remote(repo):
    for location in ("https://a/b", "ssh://a/b", "file:///a", "git@forge:team/fleet.git", "HTTPS://a/b"):
        assert is_remote(location)
    for location in (str(repo), ".", "no/such/path", "./a:b"):
        assert not is_remote(location)
    for location in ("ext::sh -c id", "git://a/b", "ftp://a/b", "javascript://x"):
        with pytest.raises(Permanent, match="no kind of URL"):
            is_remote(location)


def test_credentials_are_stripped():
    text = (
        "fatal: unable to access 'https://me:pa:ss@h/x' and ssh://git@h:22/y http://h/z https://tok@h/ https://h/a@b a@b.c "
        "ssh://me:pw@h/w 'HTTPS://u@h/x?token=t&a=b' file:///x#f"
    )
    plain = "fatal: unable to access 'https://h/x' and ssh://git@h:22/y http://h/z https://h/ https://h/a@b a@b.c ssh://h/w 'HTTPS://h/x' file:///x"
    assert strip_credentials(text) == plain


def test_the_mirror_is_private(bare, tmp_path):
    open_repository(bare.as_uri(), tmp_path / "m")
    assert stat.S_IMODE((tmp_path / "m").stat().st_mode) == 0o700
