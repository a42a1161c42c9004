"""cpio archives as initial ram disks are (newc: Linux, Documentation/driver-api/early-userspace/buffer-format.rst). Pure."""

import gzip
from collections.abc import Collection, Iterator, Mapping

MAGIC, HEADER = b"070701", 110
FILE, PROGRAM, FOLDER = 0o100644, 0o100755, 0o040755


def archive(files: Mapping[str, bytes], programs: Collection[str] = (), folders: Collection[str] = ()) -> bytes:
    """Files by path, with the directories that they are in, and empty `folders`; `programs` may be run."""
    above = {"/".join(path.split("/")[:depth]) for path in files for depth in range(1, path.count("/") + 1)}
    entries = [(name, FOLDER, b"") for name in sorted(above | set(folders))]
    entries += [(name, PROGRAM if name in programs else FILE, data) for name, data in sorted(files.items())]
    made = b"".join(_entry(name, mode, data, number) for number, (name, mode, data) in enumerate(entries, 1))
    return made + _entry("TRAILER!!!", 0, b"", 0)


def _entry(name: str, mode: int, data: bytes, number: int) -> bytes:
    path = name.encode() + b"\0"
    fields = (number, mode, 0, 0, 2 if mode & 0o040000 else 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
    head = MAGIC + b"".join(b"%08X" % field for field in fields) + path
    return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)


def members(packed: bytes) -> Iterator[tuple[str, bytes]]:
    """Path and content of each entry of a gzipped archive, up to its end."""
    data, at = gzip.decompress(packed), 0
    while data[at : at + 6] == MAGIC:
        size, length = int(data[at + 54 : at + 62], 16), int(data[at + 94 : at + 102], 16)
        begin = at + (HEADER + length + 3) // 4 * 4
        name = data[at + HEADER : at + HEADER + length - 1].decode(errors="replace")
        if name == "TRAILER!!!":
            return
        yield name, data[begin : begin + size]
        at = begin + (size + 3) // 4 * 4
