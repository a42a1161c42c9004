"""The file of a backup: what it holds, and reading it without believing it.

It is a tar file, compressed by gzip. Each table is cut into members `tables/NAME/NUMBER.msgpack`, a list of rows each, in an order in which they
can be inserted; blobs are `blobs/NAME`. `manifest.json` comes last and says how many rows there are and the SHA-256 of every other member: without
it a backup is not whole. Values are alike whichever database they come from, so that a backup of one can be restored into the other.
"""

import gzip
import hashlib
import io
import re
import tarfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Annotated, Any, NamedTuple

import msgspec
from sqlalchemy import Boolean, Float, Integer, LargeBinary, Table

from reconciler.blobs.blob_store import check_name
from reconciler.errors import OctofleetError, Permanent
from reconciler.store.engine import HEAD
from reconciler.store.tables import metadata
from reconciler.types.canonical import digest_bytes

PRODUCT, FORMAT = "octofleet", 1
MANIFEST, KEY, TABLES, BLOBS = "manifest.json", "key", "tables/", "blobs/"
LEFT_OUT = frozenset({"worker", "blob", "session", "invitation", "tries"})
"""Tables that are not saved: processes of the moment; blobs, which are saved wherever they are kept, or not at all; and who is signed in or invited, as
a session that has ended, or a link that was used, must not come to life again."""
PIECE = 1 << 20
LARGEST = 1 << 30
"""The most bytes of a member that is held in memory."""
_COLUMN = re.compile(r"[a-z_]+")
_Whole = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


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


class SavedBlob(NamedTuple):
    """A blob of a backup."""

    name: str
    body: bytes


def saved_tables() -> dict[str, Table]:
    """The tables of a backup by name, each after those that its rows refer to."""
    return {str(table.name): table for table in metadata.sorted_tables if table.name not in LEFT_OUT}


def columns_of(table: Table) -> tuple[str, ...]:
    """The names of a table's columns: the key, then the others."""
    others = (column for column in table.columns if not column.primary_key)
    return tuple(str(column.name) for column in (*table.primary_key, *others))


def verify(path: Path) -> tuple[Manifest, bytes]:
    """The manifest and the key of a backup that is whole and of a format and tables that are known. Raises `Permanent`."""
    digests: dict[str, str] = {}
    found: dict[str, bytes] = {}
    for name, member in _members(path):
        if name in digests or MANIFEST in digests:
            raise damaged(path, f"{name} should not be there")
        digests[name], kept = _digest(path, member, keep=name in (MANIFEST, KEY))
        found |= {name: kept} if kept else {}
    if MANIFEST not in found:
        raise damaged(path, "its end is missing")
    manifest = _manifest(path, found[MANIFEST])
    del digests[MANIFEST]
    if digests != manifest.members:
        wrong = min(name for name in {*digests, *manifest.members} if digests.get(name) != manifest.members.get(name))
        raise damaged(path, f"{wrong} is not what the manifest says")
    _check_members(path, manifest)
    return manifest, found.get(KEY, b"")


def _digest(path: Path, member: IO[bytes], *, keep: bool) -> tuple[str, bytes]:
    """The SHA-256 of a member, and if it is asked for what it holds."""
    digest, kept = hashlib.sha256(), io.BytesIO()
    with _reading(path):
        while piece := member.read(PIECE):
            digest.update(piece)
            if keep and kept.write(piece) and kept.tell() > LARGEST:
                raise damaged(path, "a member is too large")
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
        raise damaged(path, "its manifest cannot be read") from error
    if manifest.head > HEAD:
        raise Permanent(made_by, hint=f"restore it with that version: its tables are at migration {manifest.head}", code="restore")
    return manifest


def _check_members(path: Path, manifest: Manifest) -> None:
    """Every member has its place, and those of today's tables have their columns."""
    tables = saved_tables()
    for name, saved in manifest.tables.items():
        known = manifest.head != HEAD or (name in tables and tuple(saved.columns) == columns_of(tables[name]))
        if not known or not all(map(_COLUMN.fullmatch, [name, *saved.columns])):
            raise damaged(path, f"it has a table {name} that there is not")
    if manifest.head == HEAD and manifest.tables.keys() != tables.keys():
        raise damaged(path, "a table is missing")
    for name in manifest.members:
        kind, _, rest = name.partition("/")
        if not (
            name == KEY or (kind == "tables" and rest.partition("/")[0] in manifest.tables) or (kind == "blobs" and rest in manifest.blobs)
        ):
            raise damaged(path, f"{name} should not be there")
    if KEY not in manifest.members or {BLOBS + name for name in manifest.blobs} - manifest.members.keys():
        raise damaged(path, "something that the manifest names is missing")
    try:
        for name in manifest.blobs:
            check_name(name)
    except Permanent as error:
        raise damaged(path, error.message) from error


def contents(path: Path, manifest: Manifest) -> Iterator[Part | SavedBlob]:
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
            raise damaged(path, f"{name} holds no rows of {table}") from error
        numbers[table] += len(rows)
        yield Part(table, tuple(manifest.tables[table].columns), rows)
    if numbers != {table: saved.rows for table, saved in manifest.tables.items()}:
        raise damaged(path, "it has not as many rows as its manifest says")


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
                raise damaged(path, f"{name} is not what the manifest says")
            yield name, body


def _members(path: Path) -> Iterator[tuple[str, IO[bytes]]]:
    """Name and content of each member, which is read before the next one is asked for. Nothing is written anywhere. Raises `Permanent`."""
    with _reading(path), gzip.open(path) as whole:
        with tarfile.open(fileobj=whole, mode="r|") as tar:
            for info in tar:
                member = tar.extractfile(info) if info.isreg() else None
                if member is None:
                    raise damaged(path, f"{info.name} is no file")
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
        raise damaged(path, str(error) or "it cannot be read") from error
    except OSError as error:
        raise Permanent(f"cannot read {path}: {error.strerror or error}", hint="check its name and mode", code="restore") from error


def _foreign(path: Path) -> OctofleetError:
    return Permanent(f"{path} is no backup of Octofleet", hint="octofleet backup FILE makes one", code="restore")


def damaged(path: Path, what: str) -> OctofleetError:
    """What is raised for a backup that cannot be relied on, with what is wrong."""
    hint = "take another copy or an older backup; nothing was written"
    return Permanent(f"the backup {path} is damaged: {what}", hint=hint, code="restore")
