"""Logs of ended runs in the blob store: compressed lines of JSON under `runs/RUN.DIGEST.log.gz`, which the column `run.archive` names.

A line is in the table, in the archive, or for a moment in both, where it is shown once; it is never in neither. The archive is written first;
one transaction then names it and drops the first rows. The name has part of the content's digest, so that of two processes that move the same
log neither writes over what the other has named.
"""

import gzip
import zlib
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import msgspec

from reconciler.blobs.blob_store import BlobStore
from reconciler.errors import Permanent
from reconciler.store.engine import Connection, Store
from reconciler.store.pages import ROWS
from reconciler.types.canonical import digest_bytes


class Line(NamedTuple):
    """One line of a run; `id` orders them, `at` is in seconds since the epoch."""

    id: int
    step: int
    at: float
    text: str


class Log(NamedTuple):
    """Every line of a run in order, as far as they are there. `missing` names the archive that the blob store does not have."""

    lines: list[Line]
    missing: str = ""


def load_log(store: Store, blobs: BlobStore, run_id: str) -> Log:
    """The log of a run, wherever it is."""
    with store.read() as connection:
        name, rows = _name(connection, run_id), _rows(connection, run_id)
    archived = load_archive(blobs, name) if name else []
    return Log(_joined(archived or [], rows), missing=name if name and archived is None else "")


def log_after(connection: Connection, run_id: str, after: int, most: int, *, until: int = 2**53) -> list[Line]:
    """Lines of a run that are in the table, after the one with this number, up to one."""
    query = "SELECT id, step, at, text FROM log WHERE run = ? AND id > ? AND id <= ? ORDER BY id LIMIT ?"
    return [Line(*row) for row in connection.rows(query, (run_id, after, until, most))]


def newest_lines(connection: Connection, run_id: str, most: int) -> list[Line]:
    """The newest lines of a run that are in the table, in order."""
    query = "SELECT id, step, at, text FROM log WHERE run = ? ORDER BY id DESC LIMIT ?"
    return [Line(*row) for row in connection.rows(query, (run_id, most))][::-1]


def archive_of(connection: Connection, run_id: str) -> str:
    """The name of the archive that has older lines of a run, or of all of an old one; empty for none."""
    return _name(connection, run_id)


def move_log(store: Store, blobs: BlobStore, run_id: str) -> bool:
    """Move what the table has of an ended run's log to the blob store; whether there was anything to do."""
    with store.read() as connection:
        before, rows = _name(connection, run_id), _rows(connection, run_id)
    archived = load_archive(blobs, before) if before else []
    if archived is None or not rows:
        return False  # what is left stays where it is: its archive may come back from a backup
    name, lines = before, _joined(archived, rows)
    if len(lines) > len(archived):
        body = _packed(lines)
        name = f"runs/{run_id}.{digest_bytes(body)[:12]}.log.gz"
        blobs.put(name, body)
    named = _take(store, run_id, before, name, rows)
    if name != before:
        if named == name:
            blobs.delete(before) if before else None
        else:
            blobs.delete(name)  # another process was first, or the run is gone
    return named == name


def _take(store: Store, run_id: str, before: str, name: str, rows: Sequence[Line]) -> str | None:
    """Name the archive and drop the rows that are in it, some at a time; gives what the run names, None if it is gone."""
    for start in range(0, len(rows), ROWS):
        with store.write(alone=False) as connection:
            query = "SELECT archive FROM run WHERE id = ? AND ended_at IS NOT NULL FOR UPDATE"
            found: str | None = connection.scalar(query, (run_id,))
            if found != (name if start else before):
                return found
            connection.run("UPDATE run SET archive = ? WHERE id = ?", (name, run_id))
            _drop(connection, run_id, rows[start : start + ROWS])
    return name


def _drop(connection: Connection, run_id: str, lines: Sequence[Line]) -> None:
    """Delete rows, each only if it is still this line: SQLite gives a number again."""
    query = "SELECT id, step, at, text FROM log WHERE run = ? AND id >= ? AND id <= ?"
    there = {Line(*row) for row in connection.rows(query, (run_id, lines[0].id, lines[-1].id))}
    connection.run_many("DELETE FROM log WHERE id = ?", [(line.id,) for line in lines if line in there])


def load_archive(blobs: BlobStore, name: str) -> list[Line] | None:
    """The lines of an archive, None if there is none of this name. Raises `Permanent` if it is damaged."""
    body = blobs.get(name)
    if body is None:
        return None
    try:
        if not body:
            raise EOFError("nothing in it")  # gzip takes that for an empty file
        return [Line(**msgspec.json.decode(line)) for line in gzip.decompress(body).splitlines()]
    except (OSError, EOFError, zlib.error, msgspec.DecodeError, TypeError) as error:
        raise Permanent(f"the archived log {name} is damaged", hint="restore it from a backup", code="blob") from error


def _packed(lines: Iterable[Line]) -> bytes:
    """The same bytes for the same lines."""
    return gzip.compress(b"".join(msgspec.json.encode(line._asdict()) + b"\n" for line in lines), mtime=0)


def _joined(archived: Sequence[Line], rows: Sequence[Line]) -> list[Line]:
    known = set(archived)
    return [*archived, *(line for line in rows if line not in known)]


def _name(connection: Connection, run_id: str) -> str:
    return connection.scalar("SELECT archive FROM run WHERE id = ?", (run_id,)) or ""


def _rows(connection: Connection, run_id: str) -> list[Line]:
    return [Line(*row) for row in connection.rows("SELECT id, step, at, text FROM log WHERE run = ? ORDER BY id", (run_id,))]
