"""Restoring a backup into an empty database, of whichever kind: all of it or nothing.

What is restored is not what it was when the backup was made: the world has moved on. So the database gets a new `store_id` (an index that knew the
old one compares everything anew), nobody holds a lease, and runs that were open are paused until somebody has looked.
"""

import gzip
import hashlib
import io
import re
import secrets as random
import sqlite3
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple

import msgspec
from sqlalchemy import Boolean, Float, Integer, LargeBinary, Table

from reconciler.blobs.blob_store import BlobStore, check_name
from reconciler.errors import OctofleetError, Permanent, Refused
from reconciler.files import create_file
from reconciler.store.backup import (
    BLOBS,
    FORMAT,
    KEY,
    MANIFEST,
    PRODUCT,
    TABLES,
    Manifest,
    Part,
    check_head,
    columns_of,
    dump,
    saved_tables,
)
from reconciler.store.blobs import DatabaseBlobs, save_blob
from reconciler.store.engine import HEAD, Connection, Store, insert, sqlite_url
from reconciler.store.runs import write_log
from reconciler.store.tables import metadata
from reconciler.types.canonical import digest_bytes

PIECE = 1 << 20
LARGEST = 1 << 30
"""The most bytes of a member that is held in memory."""
NEW_LEASES = (
    "UPDATE step SET owner = '', fence = fence + 1",
    "UPDATE repository SET owner = '', fence = fence + 1",
)
_COLUMN = re.compile(r"[a-z_]+")
_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class SavedBlob(NamedTuple):
    """A blob of a backup."""

    name: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Restored:
    """What came of a restore: `paused` are the runs that were open."""

    manifest: Manifest
    paused: tuple[str, ...]


def restore(path: Path, store: Store, blobs: BlobStore, key_file: Path, scratch: Path) -> Restored:
    """Fill an empty database from a backup, make the key's file, and keep the blobs. `scratch`: a private directory for what an older one is
    brought to today's tables in.

    Everything is verified before anything is written. Raises `OctofleetError`: the database is as it was then.
    """
    manifest, key = verify(path)
    _check_key(key_file, key)
    with store.read() as connection:
        check_head(connection)
        _check_empty(connection, store.name)
    inside = isinstance(blobs, DatabaseBlobs)
    if not inside and manifest.blobs:
        for found in _saved(path, manifest):
            if isinstance(found, SavedBlob):
                blobs.put(found.name, found.body, manifest.blobs[found.name])
    with _of_today(path, manifest, scratch) as contents, _key(key_file, key), store.write() as connection:
        _check_empty(connection, store.name)
        for found in contents:
            if isinstance(found, Part):
                _load(connection, found)
            elif inside:
                save_blob(connection, found.name, found.body, manifest.blobs[found.name])
        paused = _settle(connection, manifest)
    return Restored(manifest=manifest, paused=tuple(paused))


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
    if connection.locking:  # PostgreSQL counts on its own, and has to be told where to go on
        for name, table in saved_tables().items():
            if table.autoincrement_column is not None:
                column = table.autoincrement_column.name
                last = connection.scalar(f'SELECT max("{column}") FROM "{name}"')  # noqa: S608 - names from this package
                if last is not None:
                    connection.row(f"SELECT setval(pg_get_serial_sequence('{name}', '{column}'), ?)", (last,))
    for statement in NEW_LEASES:
        connection.run(statement)
    connection.run("UPDATE attempt SET ended_at = ?, result = 'lost', error = 'restored from a backup' WHERE ended_at IS NULL", (now,))
    runs = list(connection.rows("SELECT id, state FROM run WHERE ended_at IS NULL ORDER BY id"))
    for run_id, state in runs:
        connection.run("UPDATE run SET state = 'paused' WHERE id = ?", (run_id,))
        text = f"paused: restored from a backup (Octofleet {manifest.version}); it was {state}, and what it did since is not known"
        write_log(connection, run_id, [(0, now, text)])
    connection.run("UPDATE about SET value = ? WHERE key = 'store_id'", (random.token_hex(16),))
    return [run_id for run_id, _ in runs]


def verify(path: Path) -> tuple[Manifest, bytes]:
    """The manifest and the key of a backup that is whole and of a format and tables that are known. Raises `Permanent`."""
    digests: dict[str, str] = {}
    found: dict[str, bytes] = {}
    for name, member in _members(path):
        if name in digests or MANIFEST in digests:
            raise _damaged(path, f"{name} should not be there")
        digests[name], kept = _digest(path, member, keep=name in (MANIFEST, KEY))
        found |= {name: kept} if kept else {}
    if MANIFEST not in found:
        raise _damaged(path, "its end is missing")
    manifest = _manifest(path, found[MANIFEST])
    del digests[MANIFEST]
    if digests != manifest.members:
        wrong = min(name for name in {*digests, *manifest.members} if digests.get(name) != manifest.members.get(name))
        raise _damaged(path, f"{wrong} is not what the manifest says")
    _check_members(path, manifest)
    return manifest, found.get(KEY, b"")


def _digest(path: Path, member: IO[bytes], *, keep: bool) -> tuple[str, bytes]:
    """The SHA-256 of a member, and if it is asked for what it holds."""
    digest, kept = hashlib.sha256(), io.BytesIO()
    with _reading(path):
        while piece := member.read(PIECE):
            digest.update(piece)
            if keep and kept.write(piece) and kept.tell() > LARGEST:
                raise _damaged(path, "a member is too large")
    return digest.hexdigest(), kept.getvalue()


def _manifest(path: Path, text: bytes) -> Manifest:
    """Raises `Permanent` if it is of something else, of something newer, or cannot be read."""
    try:
        head = msgspec.json.decode(text)
        if not isinstance(head, dict) or head.get("product") != PRODUCT:
            raise _foreign(path)
        made_by = f"{path} was made by a newer Octofleet ({head.get('version')})"
        if head.get("format") != FORMAT:
            raise Permanent(made_by, hint="restore it with that version", code="restore")
        manifest = msgspec.convert(head, Manifest)
    except (msgspec.DecodeError, msgspec.ValidationError) as error:
        raise _damaged(path, "its manifest cannot be read") from error
    if manifest.head > HEAD:
        raise Permanent(made_by, hint=f"restore it with that version: its tables are at migration {manifest.head}", code="restore")
    return manifest


def _check_members(path: Path, manifest: Manifest) -> None:
    """Every member has its place, and those of today's tables have their columns."""
    tables = saved_tables()
    for name, saved in manifest.tables.items():
        known = manifest.head != HEAD or (name in tables and tuple(saved.columns) == columns_of(tables[name]))
        if not known or not all(map(_COLUMN.fullmatch, [name, *saved.columns])):
            raise _damaged(path, f"it has a table {name} that there is not")
    if manifest.head == HEAD and manifest.tables.keys() != tables.keys():
        raise _damaged(path, "a table is missing")
    for name in manifest.members:
        kind, _, rest = name.partition("/")
        if not (
            name == KEY or (kind == "tables" and rest.partition("/")[0] in manifest.tables) or (kind == "blobs" and rest in manifest.blobs)
        ):
            raise _damaged(path, f"{name} should not be there")
    if KEY not in manifest.members or {BLOBS + name for name in manifest.blobs} - manifest.members.keys():
        raise _damaged(path, "something that the manifest names is missing")
    try:
        for name in manifest.blobs:
            check_name(name)
    except Permanent as error:
        raise _damaged(path, error.message) from error


@contextmanager
def _of_today(path: Path, manifest: Manifest, scratch: Path) -> Iterator[Iterator[Part | SavedBlob]]:
    """What is in a backup, its rows in today's shape; what an older one needs for that is done before the block."""
    if manifest.head == HEAD:
        yield _saved(path, manifest)
        return
    _shape(path, scratch, manifest.head)
    with closing(sqlite3.connect(scratch / "octofleet.db")) as raw:
        for part in _saved(path, manifest):
            if isinstance(part, Part) and part.table != "about":
                try:
                    raw.executemany(insert(part.table, part.columns), part.rows)
                except (sqlite3.Error, OverflowError) as error:
                    raise _damaged(path, f"its rows of {part.table} do not fit: {error}") from error
        raw.commit()
    with closing(Store(sqlite_url(scratch))) as store, store.read() as connection:
        yield chain(dump(connection), (found for found in _saved(path, manifest) if isinstance(found, SavedBlob)))


def _shape(path: Path, scratch: Path, head: str) -> None:
    """A new SQLite database in a directory, as an older migration left it."""
    from alembic import command  # noqa: PLC0415 - only for an older backup
    from alembic.config import Config  # noqa: PLC0415
    from alembic.script import ScriptDirectory  # noqa: PLC0415
    from sqlalchemy import create_engine  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "reconciler:store/migrations")
    if head not in {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}:
        raise _damaged(path, f"nobody knows its migration {head}")
    engine = create_engine(sqlite_url(scratch))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, head)
    finally:
        engine.dispose()


def _saved(path: Path, manifest: Manifest) -> Iterator[Part | SavedBlob]:
    """Rows and blobs as they were saved."""
    decoders = _decoders() if manifest.head == HEAD else {}
    numbers = dict.fromkeys(manifest.tables, 0)
    for name, body in _bodies(path, manifest):
        if name.startswith(BLOBS):
            yield SavedBlob(name.removeprefix(BLOBS), body)
        if not name.startswith(TABLES):
            continue
        table = name.split("/")[1]
        try:
            rows: Any = decoders[table].decode(body) if decoders else msgspec.msgpack.decode(body, type=list[list[Any]])
        except msgspec.DecodeError as error:
            raise _damaged(path, f"{name} holds no rows of {table}") from error
        numbers[table] += len(rows)
        yield Part(table, tuple(manifest.tables[table].columns), rows)
    if numbers != {table: saved.rows for table, saved in manifest.tables.items()}:
        raise _damaged(path, "it has not as many rows as its manifest says")


def _decoders() -> Mapping[str, "msgspec.msgpack.Decoder[Any]"]:
    return {name: msgspec.msgpack.Decoder(list[_row(table)]) for name, table in saved_tables().items()}  # type: ignore[misc]


def _row(table: Table) -> Any:
    """The type of a row: a tuple with the type of each column."""
    types: list[Any] = []
    for name in columns_of(table):
        column = table.columns[name]
        found = next(
            (
                made
                for kind, made in ((Boolean, bool), (Float, float), (Integer, _Whole), (LargeBinary, bytes))
                if isinstance(column.type, kind)
            ),
            str,
        )
        types.append(found | None if column.nullable else found)
    return tuple[tuple(types)]  # type: ignore[misc]


def _bodies(path: Path, manifest: Manifest) -> Iterator[tuple[str, bytes]]:
    """Every member but the manifest. Raises `Permanent` if one is not what was verified: somebody changes the file meanwhile."""
    for name, member in _members(path):
        with _reading(path):
            body = member.read(LARGEST + 1)
        if name != MANIFEST:
            if len(body) > LARGEST or digest_bytes(body) != manifest.members.get(name):
                raise _damaged(path, f"{name} is not what the manifest says")
            yield name, body


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each member, which is read before the next one is asked for. Nothing is written anywhere. Raises `Permanent`."""
    with _reading(path), gzip.open(path) as whole:
        with tarfile.open(fileobj=whole, mode="r|") as tar:
            for info in tar:
                member = tar.extractfile(info) if info.isreg() else None
                if member is None:
                    raise _damaged(path, f"{info.name} is no file")
                yield info.name, member
        while whole.read(PIECE):  # to the end, where the checksum is
            pass


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What may go wrong in reading a backup, in our words."""
    try:
        yield
    except gzip.BadGzipFile as error:
        raise _foreign(path) from error
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _damaged(path, str(error) or "it cannot be read") from error
    except OSError as error:
        raise Permanent(f"cannot read {path}: {error.strerror or error}", hint="check its name and mode", code="restore") from error


def _foreign(path: Path) -> OctofleetError:
    return Permanent(f"{path} is no backup of Octofleet", hint="octofleet backup FILE makes one", code="restore")


def _damaged(path: Path, what: str) -> OctofleetError:
    return Permanent(
        f"the backup {path} is damaged: {what}", hint="take another copy or an older backup; nothing was written", code="restore"
    )
