"""Links, programs and files that were made to lead others astray: caches, programs beside runs, working copies."""

import signal
import sys
import time
from pathlib import Path

import pytest

from reconciler.drivers.ansible import cached, confined
from reconciler.drivers.ansible.process import Command
from reconciler.errors import OctofleetError
from reconciler.source.pinned import Pinned
from reconciler.source.working_copy import files
from tests.fleets import repo


def test_what_is_removed_is_no_link_of_somebody_else(tmp_path: Path) -> None:
    """An archive that leaves a link where a directory was has the server change nothing behind it."""
    precious = tmp_path / "precious"
    (precious / "inner").mkdir(parents=True)
    (precious / "inner" / "file").write_text("stays")
    for path in (precious, precious / "inner"):
        path.chmod(0o555)
    (tmp_path / "work").symlink_to(precious)
    cached.remove(tmp_path / "work")
    assert not (tmp_path / "work").is_symlink()
    assert (precious / "inner" / "file").read_text() == "stays"
    assert [path.stat().st_mode & 0o777 for path in (precious, precious / "inner")] == [0o555, 0o555]


def test_a_program_that_closes_its_output_and_stays_is_stopped(tmp_path: Path) -> None:
    line = [sys.executable, "-c", "import os, time; os.close(1); os.close(2); time.sleep(300)"]
    begun = time.monotonic()
    ended = confined.run(Command(line=line, environment={}, directory=tmp_path), limit_s=1)
    assert ended.stopped and ended.code == -signal.SIGKILL
    assert time.monotonic() - begun < 200


@pytest.mark.parametrize(
    "url",
    [
        "https://git.example.com.evil/team/x.git",
        "https://git.example.com@evil/team/x.git",
        "https://git.example.com:443@evil/team/x.git",
        "https://git.example.com/team/%2e%2e/other/x.git",
        "https://git.example.com/team/..;/other/x.git",
        "https://git.example.com/team\\@evil/x.git",
        "https://git.example.com/team/x.git\n",
        "https://GIT.example.com/team/x.git",
        "https://git.example.com./team/x.git",
        "ext::sh -c touch% /tmp/x",
        "https::https://git.example.com/team/x.git",
        "fd::17/foo",
        "--upload-pack=touch x",
        "git@git.example.com:--upload-pack=x",
        "ssh://git.example.com/-oProxyCommand=x",
        "https://git.example.com/team/\u202ex.git",
    ],
)
def test_urls_that_only_look_allowed(tmp_path: Path, url: str) -> None:
    pinned = Pinned(
        mirrors=tmp_path, allowed=("https://git.example.com/team", "https://git.example.com/team/", "git@git.example.com:team/")
    )
    try:
        pinned.check(url)
    except OctofleetError as refused:
        assert all(character.isprintable() and character.isascii() for character in refused.message), refused.message
        return
    assert url == "https://git.example.com/team/..;/other/x.git" or "\u202e" in url, "these two are names of that server like others"


def test_a_working_copy_reaches_no_file_behind_a_linked_directory(tmp_path: Path) -> None:
    """What `octofleet vault rekey` writes to."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "v.yml").write_text("a: 1")
    made = repo(tmp_path / "repo", {"dir/v.yml": "a: 1", "w.yml": "a: 1"})
    (made.path / "dir" / "v.yml").unlink()
    (made.path / "dir").rmdir()
    (made.path / "dir").symlink_to(outside)
    assert [path.name for path in files(str(made.path))] == ["w.yml"]
