"""Writing a backup: one file with everything that the database knows, the installation's key, and perhaps the blobs."""

import gzip
import io
import tarfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import msgspec
from sqlalchemy import Boolean

from reconciler.blobs.blob_store import BlobStore
from reconciler.errors import Permanent
from reconciler.files import new_file
from reconciler.store.backup_file import BLOBS, FORMAT, KEY, MANIFEST, PRODUCT, TABLES, Manifest, Part, SavedTable, columns_of, saved_tables
from reconciler.store.engine import HEAD, Connection, Store
from reconciler.store.pages import pages
from reconciler.types.canonical import digest_bytes


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
    with new_file(path) as file, _tar(file) as tar, store.read() as connection:
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


@contextmanager
def _tar(file: BinaryIO) -> Iterator[tarfile.TarFile]:
    """A compressed tar file; of the temporary file's name nothing is in it."""
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file) as packed, tarfile.open(fileobj=packed, mode="w|") as tar:
        yield tar


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
