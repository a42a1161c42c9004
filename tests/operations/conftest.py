"""Operations run on every kind of database."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.blobs.directory import DirectoryBlobs
from reconciler.store.backup import write_backup
from reconciler.store.engine import Store, sqlite_url
from tests.operations.places import SECRET, Place, filled, place
from tests.store.databases import database_url, kind, store

__all__ = ["database_url", "kind", "store"]


@pytest.fixture
def target(kind: str, tmp_path: Path) -> Iterator[Place]:
    """An empty installation of either kind."""
    with place(kind, tmp_path / "target") as made:
        yield made


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup with something of everything, blobs included."""
    directory = tmp_path_factory.mktemp("whole")
    store, blobs = Store(sqlite_url(directory)), DirectoryBlobs(directory=directory / "blobs")
    filled(store)
    blobs.put("runs/a.log.gz", b"a")
    write_backup(directory / "backup", store, SECRET, "0.1.0", blobs)
    store.close()
    return directory / "backup"


@pytest.fixture
def sqlite_target(tmp_path: Path) -> Iterator[Place]:
    with place("sqlite", tmp_path / "target") as made:
        yield made
