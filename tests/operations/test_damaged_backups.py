"""Backups that are truncated, damaged, foreign, tampered with or too new: refused in words that help, and nothing is written."""

import gzip
import json
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from reconciler.errors import OctofleetError, Permanent
from reconciler.store.backup_file import KEY, MANIFEST, verify
from reconciler.store.blobs import DatabaseBlobs
from tests.operations.backups import members, packed, sealed, unzipped
from tests.operations.places import Place, refused


def test_a_truncated_backup(sqlite_target: Place, whole: Path, tmp_path: Path) -> None:
    data = whole.read_bytes()
    for length in [*range(0, len(data) - 1, max(1, len(data) // 60)), *range(len(data) - 12, len(data))]:
        assert refused(sqlite_target, tmp_path / "b", data[:length]).code == "restore", length


def test_a_backup_that_ends_between_two_members(sqlite_target: Place, whole: Path, tmp_path: Path) -> None:
    found = members(whole)
    for number in range(len(found)):
        refused(sqlite_target, tmp_path / "b", packed(dict(list(found.items())[:number])))


def test_a_flipped_byte_anywhere(sqlite_target: Place, whole: Path, tmp_path: Path) -> None:
    """In the compressed file, and in what it holds: headers, bodies, padding."""
    data, plain = whole.read_bytes(), unzipped(whole)
    copies = [
        flipped(data, number) for number in range(10, len(data), max(1, len(data) // 80))
    ]  # the first ten bytes say when, and by what
    copies += [gzip.compress(flipped(plain, number), 1) for number in range(0, len(plain) - 10_240, max(1, len(plain) // 80))]
    told = 0
    for copy in copies:
        (tmp_path / "b").write_bytes(copy)
        try:
            found = verify(tmp_path / "b")
        except OctofleetError as error:
            assert error.code == "restore" and error.hint
            told += 1
        else:
            assert found == verify(whole), (
                "what is not told changes nothing: another way to say the same, or the owner and mode of a member"
            )
    assert told > len(copies) / 2
    refused(sqlite_target, tmp_path / "b", flipped(data, len(data) // 2))


def flipped(data: bytes, number: int) -> bytes:
    return data[:number] + bytes([data[number] ^ 0x10]) + data[number + 1 :]


FOREIGN: dict[str, Callable[[Path], bytes]] = {
    "nothing": lambda path: b"",
    "text": lambda path: b"#!/bin/sh\necho hello\n" * 100,
    "the database": lambda path: b"SQLite format 3\x00" + bytes(4096),
    "text in gzip": lambda path: gzip.compress(b"hello\n" * 1000),
    "nothing in gzip": lambda path: gzip.compress(b""),
    "an empty tar": lambda path: packed({}),
    "another tar": lambda path: packed({"etc/passwd": b"root"}),
    "another manifest": lambda path: packed({MANIFEST: b'{"product": "other", "format": 1}'}),
    "a list": lambda path: packed({MANIFEST: b"[]"}),
    "not json": lambda path: packed({MANIFEST: b"\xff{"}),
}


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_file(sqlite_target: Place, tmp_path: Path, name: str) -> None:
    assert refused(sqlite_target, tmp_path / "b", FOREIGN[name](tmp_path)).code == "restore"


def test_a_zip_and_a_directory_and_nothing(sqlite_target: Place, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "z", "w") as file:
        file.writestr("a", "b")
    for path in (tmp_path / "z", tmp_path, tmp_path / "nothing"):
        with pytest.raises(Permanent) as caught:
            sqlite_target.restore(path)
        assert caught.value.code == "restore" and caught.value.hint and sqlite_target.untouched()


def linked(parts: dict[str, bytes]) -> bytes:
    link = tarfile.TarInfo("tables/record/9.msgpack")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    return packed([(link, b""), *((tarfile.TarInfo(name), body) for name, body in parts.items())])


def rows(parts: dict[str, bytes], table: str, change: Callable[[list[list[Any]]], Any]) -> dict[str, bytes]:
    """With other rows in a table's first member."""
    name = next(name for name in parts if name.startswith(f"tables/{table}/"))
    return parts | {name: msgspec.msgpack.encode(change(msgspec.msgpack.decode(parts[name])))}


def said(parts: dict[str, bytes], **more: Any) -> dict[str, Any]:
    """A part of the manifest, changed."""
    found = json.loads(parts[MANIFEST])
    return {name: found[name] | value for name, value in more.items()}


TAMPERED: dict[str, Callable[[dict[str, bytes]], bytes]] = {
    "a member changed": lambda p: packed(rows(p, "record", lambda r: [[*r[0][:-1], "other"]])),
    "a member more": lambda p: packed({"tables/record/7.msgpack": p[MANIFEST], **p}),
    "a member behind the manifest": lambda p: packed({**p, "key2": b""}),
    "a member less": lambda p: packed({name: body for name, body in p.items() if name != KEY}),
    "a member twice": lambda p: packed([(tarfile.TarInfo(name), body) for name, body in [*list(p.items())[:1], *p.items()]]),
    "a link": linked,
    "no key": lambda p: sealed({name: body for name, body in p.items() if name != KEY}),
    "a foreign member": lambda p: sealed({"boot/x": b"", **p}),
    "a foreign table": lambda p: sealed({"tables/other/0.msgpack": b"\x90", **p}),
    "a table that there is not": lambda p: sealed(p, **said(p, tables={'x"; DROP TABLE plan; --': {"columns": ["a"], "rows": 0}})),
    "a column that there is not": lambda p: sealed(p, **said(p, tables={"record": {"columns": ["address", "x"], "rows": 1}})),
    "a table less": lambda p: sealed(p, tables={n: t for n, t in json.loads(p[MANIFEST])["tables"].items() if n != "backoff"}),
    "more rows said": lambda p: sealed(p, **said(p, tables={"mark": {"columns": ["source", "seq"], "rows": 2}})),
    "a row less": lambda p: sealed(rows(p, "log", lambda r: r[1:])),
    "a value less": lambda p: sealed(rows(p, "record", lambda r: [r[0][1:]])),
    "a number for a text": lambda p: sealed(rows(p, "mark", lambda r: [[1, 1]])),
    "a text for bytes": lambda p: sealed(rows(p, "spec", lambda r: [[r[0][0], "text"], *r[1:]])),
    "nothing where something must be": lambda p: sealed(rows(p, "mark", lambda r: [[None, 1]])),
    "a number too large": lambda p: sealed(rows(p, "mark", lambda r: [["f", 2**63]])),
    "the same row twice": lambda p: sealed(rows(p, "log", lambda r: [r[1], *r[1:]])),
    "a run without its plan": lambda p: sealed(rows(p, "run", lambda r: [[r[0][0], 999, *r[0][2:]], *r[1:]])),
    "rows that are none": lambda p: sealed(rows(p, "log", lambda r: 5)),
    "not MessagePack": lambda p: sealed(p | {next(n for n in p if n.startswith("tables/log/")): b"\xc1"}),
    "a blob without a name": lambda p: sealed({"blobs/../x": b"", **p}, blobs={"../x": None}),
    "a blob that is not there": lambda p: sealed(p, **said(p, blobs={"c": None})),
    "types": lambda p: sealed(p, tables=[]),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERED)
def test_a_tampered_backup(target: Place, whole: Path, tmp_path: Path, name: str) -> None:
    data = TAMPERED[name](members(whole))
    kept_outside = {"more rows said", "a row less", "a value less", "a number for a text", "a text for bytes", "nothing where something must be",
                    "a number too large", "the same row twice", "a run without its plan", "rows that are none", "not MessagePack"}  # fmt: skip
    (tmp_path / "b").write_bytes(data)
    with pytest.raises(OctofleetError) as caught:
        target.restore(tmp_path / "b", DatabaseBlobs(store=target.store) if name in kept_outside else None)
    assert caught.value.hint and target.untouched()


def test_sealing_alone_is_no_damage(sqlite_target: Place, whole: Path, tmp_path: Path) -> None:
    """So that the cases above fail for what they are about."""
    (tmp_path / "b").write_bytes(sealed(members(whole)))
    sqlite_target.restore(tmp_path / "b")


@pytest.mark.parametrize("more", [{"format": 2}, {"head": "9999"}, {"format": 2, "members": 5, "new": {}}, {"head": "9999", "new": 1}])
def test_a_backup_of_a_newer_octofleet(sqlite_target: Place, whole: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    error = refused(sqlite_target, tmp_path / "b", sealed(members(whole), version="7.8.9", **more), "newer Octofleet")
    assert "7.8.9" in error.message and "that version" in error.hint


def test_a_backup_with_more_said_is_read(sqlite_target: Place, whole: Path, tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(sealed(members(whole), note="a later version may say more"))
    sqlite_target.restore(tmp_path / "b")
