"""Directories as a playbook can make them, so deep, so long or so closed that nobody would get rid of them: they are measured and removed."""

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler import trees
from reconciler.drivers.ansible import cached, run
from reconciler.source.mirror import open_repository
from reconciler.types.outcome import Status
from reconciler.wiring import open_installation
from tests.drivers.ansible_world import World, need_ansible
from tests.fleets import repo

DEEP = 6_000
"""More than the levels of calls that Python allows, and a path of three times what the kernel takes."""
NOBODY = 65_534


def nested(top: Path, levels: int = DEEP, mode: int = 0o700) -> Path:
    """A directory in a directory in a directory; the innermost one holds a file."""
    top.mkdir()
    here = os.open(top, os.O_RDONLY)
    for _ in range(levels):
        os.mkdir("d", dir_fd=here)
        inner = os.open("d", os.O_RDONLY, dir_fd=here)
        os.fchmod(here, mode)
        os.close(here)
        here = inner
    os.close(os.open("file", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)
    return top


@pytest.fixture
def top(tmp_path: Path) -> Iterator[Path]:
    """Where a tree may be made; pytest itself could not remove it."""
    yield tmp_path / "top"
    trees.remove(tmp_path / "top")


def test_however_deep_it_is_it_is_removed(top: Path) -> None:
    trees.remove(nested(top))
    assert not os.path.lexists(top)


def test_a_file_a_link_and_nothing_are_removed_and_what_links_name_stays(top: Path, tmp_path: Path) -> None:
    (tmp_path / "precious").mkdir()
    (tmp_path / "precious" / "file").write_text("stays")
    top.mkdir()
    (top / "link").symlink_to(tmp_path / "precious")
    (top / "away").symlink_to("nowhere")
    os.mkfifo(top / "pipe")
    for path in (top, tmp_path / "link", tmp_path / "file", tmp_path / "nothing"):
        if path.name == "link":
            path.symlink_to(tmp_path / "precious")
        if path.name == "file":
            path.write_text("")
        trees.remove(path)
        assert not os.path.lexists(path)
    assert (tmp_path / "precious" / "file").read_text() == "stays"


def test_what_its_modes_close_is_removed_by_its_owner(top: Path) -> None:
    """Also where the owner is not root, for whom nothing is closed."""
    top.mkdir()
    child = os.fork()
    if child == 0:
        try:
            os.chown(top, NOBODY, NOBODY) if os.getuid() == 0 else None
            os.chdir(top)
            os.setuid(NOBODY) if os.getuid() == 0 else None
            nested(Path("closed"), 20, mode=0)
            taken = trees.takes_more(Path("closed"), 1)
            trees.remove(Path("closed"))
            os._exit(0 if taken and not any(Path().iterdir()) else 1)
        except BaseException:  # noqa: BLE001 - it is a child, of which nothing but its end is seen
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_what_is_moved_meanwhile_leads_nowhere_else(top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory that is moved out while the walk is in it: its new parent is not taken for the way back."""
    (top / "inner" / "moved").mkdir(parents=True)
    (top / "inner" / "moved" / "file").write_text("")
    (tmp_path / "other" / "inner").mkdir(parents=True)
    (tmp_path / "other" / "moved").mkdir()
    entries = trees._remove_entry

    def moving(directory: int, name: str) -> None:
        entries(directory, name)
        if name == "file":
            (top / "inner" / "moved").rename(tmp_path / "other" / "moved")

    monkeypatch.setattr(trees, "_remove_entry", moving)
    trees.remove(top)
    assert not os.path.lexists(top)
    assert sorted(path.name for path in (tmp_path / "other").iterdir()) == ["inner", "moved"]


def test_a_cache_entry_that_is_deep_and_closed_is_removed(top: Path) -> None:
    cached.remove(nested(top, mode=0o555))
    assert not os.path.lexists(top)


def test_what_is_empty_takes_a_block_and_no_more_is_looked_at_than_needed(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(50):
        (top / f"d{number}").mkdir(parents=True)
        (top / f"d{number}" / "empty").touch()
    assert trees.takes_more(top, 101 * 4096 - 1) and not trees.takes_more(top, 101 * 4096)
    walk, seen = trees._walk, []

    def counted(path: Path) -> Iterator[tuple[int, str, os.stat_result | None]]:
        for entry in walk(path):
            seen.append(entry)
            yield entry

    monkeypatch.setattr(trees, "_walk", counted)
    assert trees.takes_more(top, 10 * 4096 - 1) and len(seen) == 10
    assert not trees.takes_more(top / "nothing", 0)


@pytest.mark.parametrize("what", ["mkdir $(seq 1500)", "touch $(seq 1500)", "mkdir -p $(printf a/%.0s $(seq 1500))"])
def test_a_playbook_that_fills_the_disk_with_empty_things_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    need_ansible()
    monkeypatch.setattr(run, "SPACE_BYTES", 4 << 20)
    monkeypatch.setattr(run, "LOOKS", 1)
    world = World(root=tmp_path)
    world.tasks(f"- shell: 'cd $ANSIBLE_LOCAL_TEMP && {what}; sleep 60'")
    world.host("a")
    outcome = world.apply()["a.web"]
    assert outcome.status is Status.FAILED and "wrote more" in outcome.error


def test_a_playbook_that_makes_deep_directories_leaves_nothing(tmp_path: Path) -> None:
    need_ansible()
    world = World(root=tmp_path)
    world.tasks(
        "- shell: 'i=0; while [ $i -lt 1200 ]; do mkdir a && cd -P a || exit 1; i=$((i+1)); done'\n  args: {chdir: \"{{ playbook_dir }}\"}"
    )
    world.host("a")
    outcome = world.apply()["a.web"]
    assert outcome.status is Status.DONE, outcome.error


def test_what_a_dead_process_left_stops_nobody_however_deep_it_is(tmp_path: Path) -> None:
    installation = open_installation(tmp_path / "data")
    gone = subprocess.Popen(["true"])
    gone.wait()
    (tmp_path / "data" / "scratch").mkdir()
    left = nested(tmp_path / "data" / "scratch" / f"{gone.pid}-left")
    repository = open_repository(str(repo(tmp_path / "fleet").path), tmp_path / "data" / "mirrors")
    with installation.contexts(repository) as make:
        assert not os.path.lexists(left)
        nested(make().scratch / "deep")
    assert list((tmp_path / "data" / "scratch").iterdir()) == []
    installation.close()
