"""What has ended of signing in goes, and what has not stays."""

from pathlib import Path

from reconciler.blobs.directory import DirectoryBlobs
from reconciler.settings import Retention
from reconciler.store.engine import Store
from reconciler.store.retention import TOKENS_S, prune
from tests.operations.rows import NOW, add, ids
from tests.store.databases import database_url, kind, store

__all__ = ["database_url", "kind", "store"]


def test_what_has_ended_goes(store: Store, tmp_path: Path) -> None:
    blobs = DirectoryBlobs(directory=tmp_path / "blobs")
    of_session = {"account": "ada", "made_at": 0.0, "seen_at": 0.0, "source": "", "agent": ""}
    of_token = {"secret": "", "label": "", "identity": "", "actions": b"[]", "made_by": "", "made_at": 0.0}
    with store.write() as connection:
        add(connection, "account", name="ada", display="", password="", owner=False, made_at=0.0, disabled_at=1.0)
        for name, at in (("over", NOW - 1), ("open", NOW + 1)):
            add(connection, "session", id=name, **of_session, expires_at=at)
            add(connection, "invitation", id=name, account="", owner=True, reset=False, expires_at=at, used_at=None)
            add(connection, "tries", key=name, count=1, until=at)
        for name, expires_at, revoked_at in (
            ("live", NOW + 1, None),
            ("expired", NOW - 1, None),
            ("long expired", NOW - TOKENS_S - 1, None),
            ("revoked", NOW + 1, NOW - 1),
            ("long revoked", NOW + 1, NOW - TOKENS_S - 1),
        ):
            add(connection, "api_token", id=name, **of_token, expires_at=expires_at, revoked_at=revoked_at)
    assert prune(store, blobs, Retention(), NOW, dry_run=True).sign_ins == 5 and len(ids(store, "session", "id")) == 2
    assert prune(store, blobs, Retention(), NOW).sign_ins == 5
    assert all(ids(store, table, key) == {"open"} for table, key in (("session", "id"), ("invitation", "id"), ("tries", "key")))
    assert ids(store, "api_token", "id") == {"live", "expired", "revoked"} and ids(store, "account", "name") == {"ada"}
    assert prune(store, blobs, Retention(), NOW).sign_ins == 0
