"""What every blob store promises; `tests/blobs/test_blob_stores.py` holds each one to it.

A name is one or more parts joined by `/`; a part begins with a letter or digit and goes on with letters, digits, `.`, `_` and `-`. A body is
bytes, held in memory as a whole.
"""

import re
from collections.abc import Iterator
from typing import Protocol

from reconciler.errors import Permanent

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*(/[A-Za-z0-9][A-Za-z0-9._-]*)*")
LONGEST = 200


class BlobStore(Protocol):
    """Bytes by name. A blob is there whole or not at all, and gone for readers when its time has come. Every method raises `OctofleetError`."""

    @property
    def place(self) -> str:
        """Where the blobs are, for people; without credentials."""

    def put(self, name: str, body: bytes, expires_at: float | None = None) -> None:
        """Keep a body under a name, in place of what was there; until `expires_at` (seconds since the epoch), or until it is deleted."""

    def get(self, name: str) -> bytes | None:
        """The body, or None if there is none or its time has come."""

    def until(self, name: str) -> float | None:
        """When the blob expires; None: never, or there is none."""

    def delete(self, name: str) -> None:
        """Remove it, if it is there."""

    def names(self, prefix: str = "") -> Iterator[str]:
        """The names of all blobs that begin so, in order; not of those whose time has come."""

    def expired(self) -> Iterator[str]:
        """The names of those whose time has come and that are still kept: whoever prunes deletes them."""


def check_name(name: str) -> str:
    """The name. Raises `Permanent` if no blob may have it."""
    if len(name) > LONGEST or not _NAME.fullmatch(name):
        raise Permanent(f"{name[:LONGEST]!r} is no name of a blob", hint="use letters, digits, `.`, `_`, `-` and `/`", code="blob-name")
    return name
