"""The least that the same work costs, measured in the same run: `python -m bench.floors read|one|imports REPOSITORY`, each in its own process.

`read`: every document of `main~1`, once: `git cat-file --batch`, one parse in compiled code, one schema check in compiled code, one digest of
its JSON. `one`: the pruned difference of two trees and one such parse, many times over. `imports`: only what a plan has to import.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

READ = "git cat-file, ryaml, jsonschema-rs, SHA-256"
ONE = "pruned tree difference and one ryaml parse, p50"
IMPORTS = "an interpreter and the imports"


def read(repository: str) -> None:
    """Every blob, parsed, checked and digested, one after the other."""
    import jsonschema_rs  # noqa: PLC0415 - only this floor pays for its imports
    import msgspec  # noqa: PLC0415
    import ryaml  # noqa: PLC0415

    import schemas  # noqa: PLC0415

    valid = {kind: jsonschema_rs.Draft202012Validator(schemas.bundled(kind)).is_valid for kind in schemas.KINDS}
    encode = msgspec.json.Encoder(order="sorted").encode
    git = ["git", "-C", repository]
    with tempfile.TemporaryFile() as names:
        subprocess.run([*git, "ls-tree", "-r", "--format=%(objectname)", "main~1"], stdout=names, check=True)
        names.seek(0)
        with subprocess.Popen([*git, "cat-file", "--batch"], stdin=names, stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            while line := process.stdout.readline():
                blob = process.stdout.read(int(line.split()[2]) + 1).decode()
                for document in ryaml.loads_all(blob) if "\n---\n" in blob else (ryaml.loads(blob),):
                    assert valid[document["kind"]](document)
                    hashlib.sha256(encode(document)).digest()


def one(repository: str) -> None:
    """Prints the seconds of the median one-file commit."""
    import pygit2  # noqa: PLC0415
    import ryaml  # noqa: PLC0415

    found = pygit2.Repository(repository)
    read = found.odb.read
    branches = sorted(name for name in found.branches.local if name.startswith("edit-"))
    took = []
    for turn in range(200):
        began = time.perf_counter()
        before, after = (found.revparse_single(rev).tree.id for rev in ("main~1", branches[turn % len(branches)]))
        blobs = list(_differing(read, before, after))
        for blob in blobs:
            ryaml.loads(read(blob)[1].decode())
        took.append(time.perf_counter() - began)
        assert len(blobs) == 1
    print(json.dumps({"p50_s": sorted(took)[100]}))


def _differing(read: Any, before: Any, after: Any) -> Any:
    """The ids of the blobs that are in one tree and not in the other; nothing is deleted here. What is equal is not entered."""
    from pygit2 import Oid  # noqa: PLC0415

    old, new = _lines(read(before)[1]), _lines(read(after)[1])
    was = {line[:-21]: line[-20:] for line in old - new}
    for line in new - old:
        if line.startswith(b"40000 "):
            yield from _differing(read, Oid(raw=was[line[:-21]]), Oid(raw=line[-20:]))
        else:
            yield Oid(raw=line[-20:])


def _lines(data: bytes) -> set[bytes]:
    found, at = set(), 0
    while at < len(data):
        end = data.index(b"\0", at) + 21
        found.add(data[at:end])
        at = end
    return found


def imports(repository: str) -> None:
    """What no plan can do without."""
    del repository
    import sqlite3  # noqa: F401, PLC0415

    import _ruamel_yaml  # noqa: F401, PLC0415
    import click  # noqa: F401, PLC0415
    import jsonschema_rs  # noqa: F401, PLC0415
    import msgspec  # noqa: F401, PLC0415
    import pygit2  # noqa: F401, PLC0415
    import ruamel.yaml.events  # noqa: F401, PLC0415


if __name__ == "__main__":
    {"read": read, "one": one, "imports": imports}[sys.argv[1]](str(Path(sys.argv[2])))
