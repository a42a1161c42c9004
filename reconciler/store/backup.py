"""The backup of an installation: one file with everything that the database knows, the installation's key, and perhaps the blobs.

It is a tar file, compressed by gzip. Each table is cut into members `tables/NAME/NUMBER.msgpack`, a list of rows each, in an order in which they
can be inserted; blobs are `blobs/NAME`. `manifest.json` comes last and says how many rows there are and the SHA-256 of every other member: without
it a backup is not whole. Values are alike whichever database they come from, so that a backup of one can be restored into the other.
"""

import io
import tarfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Boolean, Table

from reconciler.blobs.blob_store import BlobStore
from reconciler.errors import Permanent
from reconciler.files import new_file
from reconciler.store.engine import HEAD, Connection, Store
from reconciler.store.pages import pages
from reconciler.store.tables import metadata
from reconciler.types.canonical import digest_bytes

PRODUCT, FORMAT = "octofleet", 1
MANIFEST, KEY, TABLES, BLOBS = "manifest.json", "key", "tables/", "blobs/"
LEFT_OUT = frozenset({"worker", "blob"})
"""Tables that are not saved: processes of the moment, and blobs, which are saved wherever they are kept, or not at all."""


class SavedTable(msgspec.Struct, frozen=True):
    """What the manifest says of a table."""

    columns: list[str]
    rows: int


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What a backup holds. `head` is the migration of its tables, `members` the SHA-256 of every other member, `blobs` until when each is kept."""

    product: str
    format: int
    version: str
    head: str
    made_at: float
    tables: dict[str, SavedTable]
    blobs: dict[str, float | None]
    with_blobs: bool
    members: dict[str, str]

    @property
    def rows(self) -> int:
        """How many rows there are in all tables."""
        return sum(table.rows for table in self.tables.values())


class Part(NamedTuple):
    """Some rows of a table."""

    table: str
    columns: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def saved_tables() -> dict[str, Table]:
    """The tables of a backup by name, each after those that its rows refer to."""
    return {str(table.name): table for table in metadata.sorted_tables if table.name not in LEFT_OUT}


def columns_of(table: Table) -> tuple[str, ...]:
    """The names of a table's columns: the key, then the others."""
    others = (column for column in table.columns if not column.primary_key)
    return tuple(str(column.name) for column in (*table.primary_key, *others))


def check_head(connection: Connection) -> None:
    """Raises `Permanent` unless the database has exactly the tables that this Octofleet knows."""
    found = connection.scalar("SELECT version_num FROM alembic_version")
    if found != HEAD:
        text = f"the database is at migration {found}, and this Octofleet knows all about {HEAD} alone"
        raise Permanent(text, hint="use the newer Octofleet that brought it there", code="store")


def dump(connection: Connection) -> Iterator[Part]:
    """Every row of every saved table."""
    for name, table in saved_tables().items():
        columns = columns_of(table)
        key = columns[: len(table.primary_key)]
        flags = {number for number, column in enumerate(columns) if isinstance(table.columns[column].type, Boolean)}
        for rows in pages(connection, name, columns, key):
            yield Part(name, columns, _with_flags(rows, flags) if flags else rows)


def _with_flags(rows: Iterable[tuple[Any, ...]], flags: set[int]) -> list[tuple[Any, ...]]:
    """SQLite has numbers for true and false."""
    return [tuple(bool(value) if number in flags else value for number, value in enumerate(row)) for row in rows]


def write_backup(path: Path, store: Store, key: bytes, version: str, blobs: BlobStore | None = None) -> Manifest:
    """Write a backup, which only its owner may read, where there is no file yet; with all blobs that have not expired, if they are given.

    Raises `OctofleetError`; then there is no file.
    """
    with new_file(path) as file, tarfile.open(fileobj=file, mode="w:gz", compresslevel=6) as tar, store.read() as connection:
        check_head(connection)
        made_at = connection.now()
        members = _Members(tar, made_at)
        members.add(KEY, key)
        tables = {name: SavedTable(columns=list(columns_of(table)), rows=0) for name, table in saved_tables().items()}
        for number, part in enumerate(dump(connection)):
            members.add(f"{TABLES}{part.table}/{number:06}.msgpack", msgspec.msgpack.encode(part.rows))
            known = tables[part.table]
            tables[part.table] = SavedTable(columns=known.columns, rows=known.rows + len(part.rows))
        kept = dict(_add_blobs(members, blobs)) if blobs is not None else {}
        manifest = Manifest(
            product=PRODUCT,
            format=FORMAT,
            version=version,
            head=HEAD,
            made_at=made_at,
            tables=tables,
            blobs=kept,
            with_blobs=blobs is not None,
            members=dict(members.digests),
        )
        members.add(MANIFEST, msgspec.json.format(msgspec.json.encode(manifest), indent=1))
    return manifest


def _add_blobs(members: "_Members", blobs: BlobStore) -> Iterator[tuple[str, float | None]]:
    for name in blobs.names():
        until, body = blobs.until(name), blobs.get(name)
        if body is not None:  # it may have expired since
            members.add(BLOBS + name, body)
            yield name, until


class _Members:
    """Adds members to a tar file and remembers their digests."""

    def __init__(self, tar: tarfile.TarFile, at: float) -> None:
        self._tar, self._at = tar, at
        self.digests: dict[str, str] = {}

    def add(self, name: str, body: bytes) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mtime, info.mode = len(body), int(self._at), 0o600
        self._tar.addfile(info, io.BytesIO(body))
        self.digests[name] = digest_bytes(body)
