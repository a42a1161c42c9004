"""Blobs as files of one directory that only its owner may enter.

A file is named as its blob, with `~` for `/`, and begins with a line that says until when it is kept; the body follows. It is written beside
its place and renamed.
"""

import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from reconciler.blobs.blob_store import check_name
from reconciler.errors import Permanent
from reconciler.files import private_directory, remove_file, replace_file

MARK = b"octofleet-blob "
LEFT_S = 86_400.0
"""After so long a file that was never renamed was left by a process that died."""


@dataclass(frozen=True, kw_only=True)
class DirectoryBlobs:
    """See `BlobStore`."""

    directory: Path

    @property
    def place(self) -> str:
        """The directory."""
        return f"the directory {self.directory}"

    def put(self, name: str, body: bytes, expires_at: float | None = None) -> None:
        """See `BlobStore`."""
        path = self._path(name)
        private_directory(self.directory)
        until = b"never" if expires_at is None else repr(float(expires_at)).encode()
        replace_file(path, MARK + until + b"\n" + body, mode=0o600)

    def get(self, name: str) -> bytes | None:
        """See `BlobStore`."""
        until, body = self._read(name) or (None, None)
        return None if until is not None and until <= time.time() else body

    def until(self, name: str) -> float | None:
        """See `BlobStore`."""
        until, _ = self._read(name, 0) or (None, b"")
        return until

    def _read(self, name: str, size: int = -1) -> tuple[float | None, bytes] | None:
        """Until when, and as much of the body as is asked for; None if there is no such blob."""
        path = self._path(name)
        try:
            with path.open("rb") as file:
                return _until(file, name), file.read(size)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _unreadable(path, error) from error

    def delete(self, name: str) -> None:
        """See `BlobStore`."""
        remove_file(self._path(name), self.directory)

    def names(self, prefix: str = "") -> Iterator[str]:
        """See `BlobStore`."""
        now = time.time()
        return (name for name in self._all() if name.startswith(prefix) and ((until := self.until(name)) is None or until > now))

    def expired(self) -> Iterator[str]:
        """See `BlobStore`. Files that were never renamed go on the way."""
        now = time.time()
        for path in self.directory.glob(".octofleet-*"):
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < now - LEFT_S:
                    remove_file(path, self.directory)
        return (name for name in self._all() if (until := self.until(name)) is not None and until <= now)

    def _path(self, name: str) -> Path:
        return self.directory / check_name(name).replace("/", "~")

    def _all(self) -> list[str]:
        try:
            return sorted(path.name.replace("~", "/") for path in self.directory.iterdir() if not path.name.startswith("."))
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unreadable(self.directory, error) from error


def _until(file: BinaryIO, name: str) -> float | None:
    """What the first line says; the file stands at the body then."""
    line = file.readline(len(MARK) + 40)
    text = line.removeprefix(MARK).removesuffix(b"\n")
    try:
        if not line.startswith(MARK) or not line.endswith(b"\n"):
            raise ValueError("no such line")
        return None if text == b"never" else float(text)
    except ValueError as error:
        hint = "remove the file, or restore it from a backup"
        raise Permanent(f"the file of the blob {name} was not written by Octofleet", hint=hint, code="blob") from error


def _unreadable(path: Path, error: OSError) -> Permanent:
    return Permanent(f"cannot read {path}: {error.strerror}", hint="make the directory of blobs readable for this user", code="blob")
