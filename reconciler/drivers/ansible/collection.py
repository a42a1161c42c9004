"""The Ansible collection `octofleet.fleet` as `ansible-galaxy collection install` takes it, made without Ansible.

In: the files of its directory in this package. Out: a tar archive with MANIFEST.json and FILES.json (both of format 1, as `ansible-galaxy collection build`
writes them), the same bytes for the same files. Ansible runs what is in it in a process of its own; nothing here imports it.
"""

import gzip
import hashlib
import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

NAMESPACE, NAME = "octofleet", "fleet"
DIRECTORY = Path(__file__).parent / f"collection-{NAMESPACE}.{NAME}"
LICENSE = "Apache-2.0"
FILES, MANIFEST = "FILES.json", "MANIFEST.json"


def built(version: str) -> tuple[str, bytes]:
    """The file name and the bytes of the archive, as this version."""
    paths = sorted(path for path in DIRECTORY.rglob("*") if "__pycache__" not in path.parts)
    files = {path.relative_to(DIRECTORY).as_posix(): path.read_bytes() if path.is_file() else None for path in paths}
    listed = _json({"files": [_entry(".", None), *(_entry(name, data) for name, data in files.items())], "format": 1})
    manifest = _json({"collection_info": _info(version), "file_manifest_file": _entry(FILES, listed), "format": 1})
    return f"{NAMESPACE}-{NAME}-{version}.tar.gz", _packed({MANIFEST: manifest, FILES: listed} | files)


def _info(version: str) -> dict[str, Any]:
    return {
        "namespace": NAMESPACE,
        "name": NAME,
        "version": version,
        "authors": ["Octofleet"],
        "readme": "README.md",
        "tags": ["inventory", "infrastructure"],
        "description": "Octofleet's hosts as an inventory",
        "license": [LICENSE],
        "license_file": None,
        "dependencies": {},
        "repository": None,
        "documentation": None,
        "homepage": None,
        "issues": None,
    }


def _entry(name: str, data: bytes | None) -> dict[str, Any]:
    """A file, or without data a directory."""
    digest = None if data is None else hashlib.sha256(data).hexdigest()
    kind, algorithm = ("dir", None) if data is None else ("file", "sha256")
    return {"name": name, "ftype": kind, "chksum_type": algorithm, "chksum_sha256": digest, "format": 1}


def _json(value: object) -> bytes:
    return json.dumps(value, indent=1).encode()


def _packed(files: Mapping[str, bytes | None]) -> bytes:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in files.items():
            member = tarfile.TarInfo(name)
            member.type, member.mode, member.size = (tarfile.DIRTYPE, 0o755, 0) if data is None else (tarfile.REGTYPE, 0o644, len(data))
            archive.addfile(member, io.BytesIO(data or b""))
    return gzip.compress(plain.getvalue(), mtime=0)
