"""Plugins of installed packages are found wherever importlib.metadata finds them, and it is asked only where there may be one."""

import sys
import zipfile
from collections.abc import Iterator
from importlib.metadata import DistributionFinder
from pathlib import Path

import pytest

from reconciler.plugins import may_be_installed, plugin_manager

ENTRY = "[console_scripts]\nother = other:main\n\n[octofleet]\nmine = octofleet_mine\n"
MODULE = "octofleet_plugin_api = 1\n"
METADATA = "Metadata-Version: 2.1\nName: octofleet-mine\nVersion: 1\n"


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Without the test runner's own finders, and forgetting what was imported."""
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if isinstance(finder, type)])
    yield
    sys.modules.pop("octofleet_mine", None)


def names() -> set[str]:
    return {name for name, _ in plugin_manager().list_name_plugin()}


@pytest.mark.parametrize("folder", ["octofleet_mine-1.dist-info", "octofleet_mine-1.DIST-INFO", "octofleet_mine.egg-info"])
def test_a_plugin_of_a_package_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    assert not may_be_installed()
    write(tmp_path / folder, "METADATA")
    (tmp_path / "octofleet_mine.py").write_text(MODULE)
    assert may_be_installed()
    assert "mine" in names()


def test_a_plugin_of_an_egg_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    egg = tmp_path / "octofleet_mine-1.egg"
    write(egg / "EGG-INFO", "PKG-INFO")
    (egg / "octofleet_mine.py").write_text(MODULE)
    monkeypatch.syspath_prepend(egg)
    assert "mine" in names()


def test_a_plugin_of_an_archive_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("octofleet_mine.py", MODULE)
        archive.writestr("octofleet_mine-1.dist-info/METADATA", METADATA)
        archive.writestr("octofleet_mine-1.dist-info/entry_points.txt", ENTRY)
    monkeypatch.syspath_prepend(path)
    assert "mine" in names()


def test_a_plugin_beside_the_working_directory_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "octofleet_mine-1.dist-info", "METADATA")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", ["", *sys.path])
    assert may_be_installed()


def test_a_finder_of_another_kind_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not may_be_installed()
    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, DistributionFinder])
    assert may_be_installed()


def test_octofleets_own_package_brings_no_plugin() -> None:
    assert "octofleet" in "".join(path.read_text() for entry in sys.path for path in Path(entry).glob("*.dist-info/entry_points.txt"))
    assert not may_be_installed()
    assert names() == {"built-in"}


def write(folder: Path, metadata: str) -> None:
    folder.mkdir(parents=True)
    (folder / metadata).write_text(METADATA)
    (folder / "entry_points.txt").write_text(ENTRY)
