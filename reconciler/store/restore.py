"""Restoring a backup into an empty database, of whichever kind: all of it or nothing.

What is restored is not what it was when the backup was made: the world has moved on. So the database gets a new `store_id` (an index that knew the
old one compares everything anew), nobody holds a lease, and runs that were open are paused until somebody has looked.
"""

import secrets as random
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from reconciler.blobs.blob_store import BlobStore
from reconciler.errors import Permanent, Refused
from reconciler.files import create_file
from reconciler.store.audit import record
from reconciler.store.backup import check_head, dump
from reconciler.store.backup_file import Manifest, Part, SavedBlob, contents, damaged, saved_tables, verify
from reconciler.store.blobs import DatabaseBlobs, save_blob
from reconciler.store.engine import HEAD, Connection, Store, insert, sqlite_url
from reconciler.store.installs import doubt
from reconciler.store.runs import write_log
from reconciler.store.tables import metadata
from reconciler.types.audit import Entry

NEW_LEASES = (
    "UPDATE step SET owner = '', fence = fence + 1",
    "UPDATE repository SET owner = '', fence = fence + 1",
    "UPDATE pull SET owner = '', fence = fence + 1",
    "UPDATE forge SET owner = '', fence = fence + 1",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came of a restore: `paused` are the runs that were open."""

    manifest: Manifest
    paused: tuple[str, ...]


def restore(path: Path, store: Store, blobs: BlobStore, key_file: Path, scratch: Path, identity: str) -> Restored:
    """Fill an empty database from a backup, make the key's file, and keep the blobs. `scratch`: a private directory for what an older one is
    brought to today's tables in; `identity`: who restores, for the audit trail, which goes on where the backup's ends.

    Everything is verified before anything is written. Raises `OctofleetError`: the database is as it was then.
    """
    manifest, key = verify(path)
    _check_key(key_file, key)
    with store.read() as connection:
        check_head(connection)
        _check_empty(connection, store.name)
    inside = isinstance(blobs, DatabaseBlobs)
    if not inside and manifest.blobs:
        _put(path, manifest, blobs)
    with _of_today(path, manifest, scratch) as found, _key(key_file, key), store.write() as connection:
        _check_empty(connection, store.name)
        for item in found:
            if isinstance(item, Part):
                _load(connection, item)
            elif inside:
                save_blob(connection, item.name, item.body, manifest.blobs[item.name])
        paused = _settle(connection, manifest)
        record(connection, _restored(path, manifest, paused, identity))
    return Restored(manifest=manifest, paused=tuple(paused))


def _restored(path: Path, manifest: Manifest, paused: list[str], identity: str) -> Entry:
    details = {"madeAt": manifest.made_at, "version": manifest.version, "rows": manifest.rows, "paused": paused}
    return Entry(identity=identity, action="restore", subjects=(str(path),), details=details)


def _put(path: Path, manifest: Manifest, blobs: BlobStore) -> None:
    for item in contents(path, manifest):
        if isinstance(item, SavedBlob):
            blobs.put(item.name, item.body, manifest.blobs[item.name])


def _load(connection: Connection, part: Part) -> None:
    if part.table != "about":
        connection.run_many(insert(part.table, part.columns), part.rows)


def _check_key(key_file: Path, key: bytes) -> None:
    try:
        differs = key_file.exists() and key_file.read_bytes() != key
    except OSError as error:
        raise Permanent(
            f"cannot read the installation's key {key_file}: {error.strerror}", hint="make it readable for this user"
        ) from error
    if differs:
        text = f"the data directory has a key of its own ({key_file}), and the backup's is another one"
        raise Refused(text, hint="choose a new data directory with --data-dir, or move that file away if nothing needs it", code="restore")


@contextmanager
def _key(key_file: Path, key: bytes) -> Iterator[None]:
    """The key's file is there before the database says so, and goes again if it never does."""
    new = not key_file.exists()
    create_file(key_file, key, mode=0o600)
    try:
        yield
    except BaseException:
        if new:
            key_file.unlink(missing_ok=True)
        raise


def _check_empty(connection: Connection, name: str) -> None:
    """Raises `Refused` if there is a row in any table but `about`."""
    for table in metadata.sorted_tables:
        if table.name != "about" and connection.row(f'SELECT 1 FROM "{table.name}" LIMIT 1') is not None:  # noqa: S608 - names from this package
            raise Refused(
                f"the database {name} is not empty: there is something in its table {table.name}",
                hint="name a new data directory (--data-dir) or a new database (database_url); end every server and worker that uses it",
                code="restore",
            )


def _settle(connection: Connection, manifest: Manifest) -> list[str]:
    """Make what was restored a history of its own in which nothing goes on by itself; gives the runs that were paused."""
    now = connection.now()
    if connection.kind == "postgresql":  # PostgreSQL counts on its own, and has to be told where to go on
        for name, table in saved_tables().items():
            if table.autoincrement_column is not None:
                column = table.autoincrement_column.name
                last = connection.scalar(f'SELECT max("{column}") FROM "{name}"')  # noqa: S608 - names from this package
                if last is not None:
                    connection.row(f"SELECT setval(pg_get_serial_sequence('{name}', '{column}'), ?)", (last,))
    for statement in NEW_LEASES:
        connection.run(statement)
    doubt(connection)
    connection.run("UPDATE attempt SET ended_at = ?, result = 'lost', error = 'restored from a backup' WHERE ended_at IS NULL", (now,))
    runs = list(connection.rows("SELECT id, state FROM run WHERE ended_at IS NULL ORDER BY id"))
    for run_id, state in runs:
        connection.run("UPDATE run SET state = 'paused' WHERE id = ?", (run_id,))
        text = f"paused: restored from a backup (Octofleet {manifest.version}); it was {state}, and what it did since is not known"
        write_log(connection, run_id, [(0, now, text)])
    connection.run("UPDATE about SET value = ? WHERE key = 'store_id'", (random.token_hex(16),))
    return [run_id for run_id, _ in runs]


@contextmanager
def _of_today(path: Path, manifest: Manifest, scratch: Path) -> Iterator[Iterator[Part | SavedBlob]]:
    """What is in a backup, its rows in today's shape; what an older one needs for that is done before the block."""
    if manifest.head == HEAD:
        yield contents(path, manifest)
        return
    _shape(path, scratch, manifest.head)
    with closing(sqlite3.connect(scratch / "octofleet.db")) as raw:
        for part in contents(path, manifest):
            if isinstance(part, Part) and part.table != "about":
                try:
                    raw.executemany(insert(part.table, part.columns), part.rows)
                except (sqlite3.Error, OverflowError) as error:
                    raise damaged(path, f"its rows of {part.table} do not fit: {error}") from error
        raw.commit()
    with closing(Store(sqlite_url(scratch))) as store, store.read() as connection:
        yield chain(dump(connection), (found for found in contents(path, manifest) if isinstance(found, SavedBlob)))


def _shape(path: Path, scratch: Path, head: str) -> None:
    """A new SQLite database in a directory, as an older migration left it."""
    from alembic import command  # noqa: PLC0415 - only for an older backup
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from sqlalchemy import create_engine  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "reconciler:store/migrations")
    if head not in {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}:
        raise damaged(path, f"nobody knows its migration {head}")
    engine = create_engine(sqlite_url(scratch))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, head)
    finally:
        engine.dispose()
