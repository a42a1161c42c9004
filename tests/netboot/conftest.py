"""A laboratory for each test, and what all of them publish."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.netboot import initrd
from tests.netboot.lab import Lab

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl lab"


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with Lab(tmp_path) as running:
        yield running


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Debian's signed kernel, and the initrd that calls back; see `initrd.py`."""
    directory = tmp_path_factory.mktemp("media")
    shutil.copy(initrd.installer("linux"), directory)
    initrd.make(directory, host_key=KEY)
    return directory
