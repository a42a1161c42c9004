"""Where values stand in a YAML file, found by reading it again: positions are recomputed on demand, never kept with values.

In: a file's bytes, a document's number, an RFC 6901 pointer. Out: an `Origin`. Must not judge values; that is the reader's.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from _ruamel_yaml import CParser  # type: ignore[import-not-found]  # a compiled module without stubs
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceEndEvent, SequenceStartEvent, StreamEndEvent

from reconciler.desired.reader_errors import unreadable
from reconciler.types.origin import Origin
from reconciler.types.pointer import escape

MAX_DEPTH = 50
"""How deep lists and maps may be nested."""

_Marks = dict[str, tuple[int, int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Positions:
    """Line and column, from 1, of every key and list item of a file: by document number, then by RFC 6901 pointer."""

    path: str
    marks: Mapping[int, Mapping[str, tuple[int, int]]]

    def origin(self, index: int, pointer: str) -> Origin:
        """Of the key (or list item) at `pointer`; of the deepest ancestor that is there, else of the document, else of the file."""
        marks = self.marks.get(index, {})
        while pointer not in marks and pointer:
            pointer = pointer.rpartition("/")[0]
        line, column = marks.get(pointer, (0, 0))
        return Origin(path=self.path, line=line, column=column)


def positions(path: str, data: bytes) -> Positions:
    """Of the whole file; as far as it could be read, when it is broken. For one key that stands twice: the first."""
    found: dict[int, _Marks] = {}
    if unreadable(path, data) is None:
        with suppress(YAMLError):  # what stands before the error is what can be told
            _walk_documents(CParser(data).get_event, found)
    return Positions(path=path, marks=found)


def locate(path: str, data: bytes, index: int, pointer: str) -> Origin:
    """One look-up in `positions`; take those once for many."""
    return positions(path, data).origin(index, pointer)


def inside(key: Origin, data: bytes, text: str, line: int, column: int) -> Origin:
    """The place of a line and column (from 1) of a text whose key stands at `key`; the key's own where the file has the text in another form."""
    wanted = text.splitlines()[line - 1] if text and line <= len(text.splitlines()) else ""
    for number, found in enumerate(data.decode(errors="replace").splitlines()[key.line - 1 :], key.line):
        if wanted.strip() and wanted.strip() in found:
            begin = found.index(wanted.strip()) - (len(wanted) - len(wanted.lstrip()))
            return Origin(path=key.path, line=number, column=begin + column)
        if number - key.line > len(text.splitlines()):
            break
    return key


def _walk_documents(get: Any, found: dict[int, _Marks]) -> None:
    get()
    index = 0
    while type(get()) is not StreamEndEvent:
        marks: _Marks = {}
        found[index] = marks
        root = get()
        _mark(root, "", marks)
        _walk(get, root, "", marks, 0)
        get()
        index += 1


def _mark(event: Any, pointer: str, marks: _Marks) -> None:
    start = event.start_mark
    marks.setdefault(pointer, (start.line + 1, start.column + 1))


def _walk(get: Any, event: Any, pointer: str, marks: _Marks, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise YAMLError("too deep")
    if type(event) is MappingStartEvent:
        while type(key := get()) is not MappingEndEvent:
            if type(key) is ScalarEvent:
                inner = f"{pointer}/{escape(key.value)}"
                _mark(key, inner, marks)
                _walk(get, get(), inner, marks, depth + 1)
            else:
                _walk(get, key, "\0", {}, depth + 1)
                _walk(get, get(), "\0", {}, depth + 1)
    elif type(event) is SequenceStartEvent:
        number = 0
        while type(item := get()) is not SequenceEndEvent:
            inner = f"{pointer}/{number}"
            _mark(item, inner, marks)
            _walk(get, item, inner, marks, depth + 1)
            number += 1
