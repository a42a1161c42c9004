"""Loose objects (one zlib file each), read without libgit2 and checked against their id.

In: a repository's object directory, an id. Out: kind and bytes. Why: libgit2 up to 1.9 never returns from a truncated loose object (its
issue 7342), which is what a power cut leaves, and writes past a buffer for one that lies about its size (7177). Packed
objects stay libgit2's. Follows gitrepository-layout (objects/info/alternates) and git's loose objects: zlib of `kind SP size NUL content`, named by the SHA-1.
"""

import hashlib
import os
import zlib
from pathlib import Path


class Corrupt(Exception):
    """The file is there and is not the object that its name says."""


class LooseObjects:
    """The loose objects of one object directory and its alternates, as far as directories were there when `refresh` was called last."""

    def __init__(self, objects: Path) -> None:
        self._directories = _with_alternates(objects)
        self._there: frozenset[str] = frozenset()
        self.refresh()

    def refresh(self) -> None:
        """Look which of the 256 directories there are; without one of them, no file is tried."""
        found: set[str] = set()
        for directory in self._directories:
            try:
                found.update(path.name for path in Path(directory).iterdir() if len(path.name) == 2)
            except OSError:
                continue  # libgit2 tells what is wrong with the directory itself
        self._there = frozenset(found)

    def read(self, object_id: str) -> tuple[str, bytes] | None:
        """Kind (`blob`, `tree`, `commit`, `tag`) and content, or None if it is not loose here. Raises Corrupt, OSError."""
        if object_id[:2] not in self._there or len(object_id) != 40:
            return None
        for directory in self._directories:
            try:
                with open(f"{directory}/{object_id[:2]}/{object_id[2:]}", "rb") as file:  # noqa: PTH123 - a Path costs more than the read
                    return _parse(object_id, file.read())
            except FileNotFoundError:
                continue
        return None


def _parse(object_id: str, stored: bytes) -> tuple[str, bytes]:
    inflate = zlib.decompressobj()
    try:
        whole = inflate.decompress(stored)
    except zlib.error as error:
        raise Corrupt(str(error)) from error
    if not inflate.eof:
        raise Corrupt("the file is cut off")
    if hashlib.sha1(whole, usedforsecurity=False).hexdigest() != object_id:
        raise Corrupt("the content does not fit the id")
    header, _, content = whole.partition(b"\0")
    kind, _, size = header.partition(b" ")
    if size != b"%d" % len(content):
        raise Corrupt("the size is wrong")
    return kind.decode("ascii", "replace"), content


def _with_alternates(objects: Path) -> list[str]:
    found: list[str] = []
    waiting = [objects]
    while waiting and len(found) < 10:
        directory = waiting.pop(0)
        if str(directory) in found:
            continue
        found.append(str(directory))
        try:
            lines = (directory / "info" / "alternates").read_bytes().splitlines()
        except OSError:
            continue
        waiting += [directory / os.fsdecode(line) for line in lines if line and not line.startswith(b"#")]
    return found
