"""Installations that ended go after a time; those that go on, what hosts were installed with, and the newest change stay."""

from pathlib import Path

from reconciler.blobs.directory import DirectoryBlobs
from reconciler.settings import Retention
from reconciler.store.engine import Store
from reconciler.store.installs import changed_since
from reconciler.store.retention import prune
from tests.operations.rows import DAY, NOW, add, add_installation, ids
from tests.store.databases import database_url, kind, store

__all__ = ["database_url", "kind", "store"]


def test_what_has_ended_goes(store: Store, tmp_path: Path) -> None:
    blobs, keep = DirectoryBlobs(directory=tmp_path / "blobs"), Retention()
    long = keep.runs_days + 1.0
    with store.write() as connection:
        add_installation(connection, "old", "installed", seq=1, ended=long)
        add_installation(connection, "failed", "failed", seq=2, ended=long)
        add_installation(connection, "young", "installed", seq=3, ended=1.0)
        add_installation(connection, "open", "armed", seq=4, ended=None)
        add_installation(connection, "last", "expired", seq=5, ended=long, host="web-2")
        add(connection, "installed", tenant="t", host="gone", generation=9, at=NOW - long * DAY, sure=True, keys="", why="")
        for host in ("gone", "here"):
            add(connection, "boot_seen", tenant="t", host=host, at=NOW - long * DAY, address="", firmware="", decision="local", why="")
        record = {
            "source": "f",
            "digest": "d",
            "rules": b"{}",
            "group": "host/t/here",
            "external_id": "",
            "observed_digest": "d",
            "commit": "c",
        }
        add(connection, "record", address="netboot/machine/t/here", **record)
    assert prune(store, blobs, keep, NOW, dry_run=True).installs == 2 and len(ids(store, "installation", "id")) == 5
    assert prune(store, blobs, keep, NOW).installs == 2
    assert ids(store, "installation", "id") == {"young", "open", "last"}
    assert ids(store, "installed", "host") == {"gone"} and ids(store, "boot_seen", "host") == {"here"}
    with store.read() as connection:
        assert changed_since(connection, 4)[0] == 5, "the numbers go on where they were"
    assert prune(store, blobs, keep, NOW).installs == 0
