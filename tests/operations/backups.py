"""Backups taken apart and put together again, damaged in every way."""

import gzip
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reconciler.store.backup_file import MANIFEST
from reconciler.types.canonical import digest_bytes


def members(path: Path) -> dict[str, bytes]:
    """Name and body of each member, in order."""
    with tarfile.open(path, "r:gz") as tar:
        found = {info.name: tar.extractfile(info) for info in tar}
        return {name: file.read() for name, file in found.items() if file is not None}


def manifest(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(members(path)[MANIFEST])
    return found


def packed(parts: Mapping[str, bytes] | list[tuple[tarfile.TarInfo, bytes]]) -> bytes:
    """A compressed tar file of these members."""
    out = io.BytesIO()
    pairs = parts if isinstance(parts, list) else [(tarfile.TarInfo(name), body) for name, body in parts.items()]
    with tarfile.open(fileobj=out, mode="w:gz") as tar:
        for info, body in pairs:
            info.size = len(body) if info.isreg() else 0
            tar.addfile(info, io.BytesIO(body))
    return out.getvalue()


def sealed(parts: Mapping[str, bytes], **said: Any) -> bytes:
    """The same with a manifest that fits; `said` replaces parts of it."""
    found = json.loads(parts[MANIFEST]) | {"members": {name: digest_bytes(body) for name, body in parts.items() if name != MANIFEST}} | said
    return packed({**{name: body for name, body in parts.items() if name != MANIFEST}, MANIFEST: json.dumps(found).encode()})


def unzipped(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())
