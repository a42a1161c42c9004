"""The files of a whole tree parsed, on all cores where it pays: below `WORTH_IT` unknown files a pool costs more than it saves.

Workers get bytes and give bytes; they touch neither the repository nor the index.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from reconciler.desired.contribution import Reader, SourceFile

WORTH_IT = 20_000
BATCH = 250


def parse_all(reader: Reader, files: Sequence[SourceFile]) -> None:
    """Have the index know the parse of every file; within `Index.writing`."""
    unknown = {file.blob: file for file in files if file.problem is None and not reader.index.knows(file.blob_id)}
    for part in _batches(unknown.values()):
        reader.index.remember([(file.blob_id, reader.packed(file.path, reader.blob(file.blob))) for file in part])


def _batches(files: Iterable[SourceFile]) -> Iterator[list[SourceFile]]:
    left = iter(files)
    while part := list(islice(left, BATCH)):
        yield part
