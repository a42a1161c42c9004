"""Where vault texts stand in a file: the whole file, or values in YAML or JSON. Pure.

In: a file's path and bytes. Out: texts with their lines, and for those that can be edited in place their bytes. YAML is read as events of
libyaml, so that files which are not manifests (anchors, several documents, YAML 1.1) are read too; where it is not YAML, by pattern.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from _ruamel_yaml import CParser  # type: ignore[import-not-found]  # a compiled module without stubs
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import MappingEndEvent, MappingStartEvent, ScalarEvent, SequenceEndEvent, SequenceStartEvent, StreamEndEvent

MARK = "$ANSIBLE_VAULT;"
MAX_YAML_BYTES = 4 * 1024 * 1024
"""A larger file holds vault values only as a whole."""
SUFFIXES = ("", ".yml", ".yaml", ".json")
"""Of files that may hold values; Ansible reads variables from these."""

_BREAK = rb"(?:\r?\n|\\r\\n|\\n)"
_HEX = rb"[0-9a-fA-F]+(?![^\s\\\"'])"
_BLOCK = re.compile(
    rb"\$ANSIBLE_VAULT;1\.[12];AES256(?:;[^\s;\"'\\]+)?[ \t]*(?P<next>" + _BREAK + rb"[ \t]*)" + _HEX + rb"(?:(?P=next)" + _HEX + rb")*"
)
"""A header, and below it lines of hexadecimal that are indented alike."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VaultText:
    """One value: its text as `ansible_vault.parse` takes it, and the line (from 1) where it begins. `whole`: the file is nothing else."""

    text: str
    line: int
    whole: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Bytes of a file, from its header's first to its last digit. `between` is what stands between two of its lines."""

    start: int
    end: int
    line: int
    text: str
    between: bytes

    def written(self, text: str) -> bytes:
        """Another text in the form of this one."""
        return self.between.join(line.encode() for line in text.splitlines())


def is_whole(data: bytes) -> bool:
    """Whether a file is one vault text."""
    return data.startswith(MARK.encode())


def may_hold(path: str, data: bytes) -> bool:
    """Whether a file may hold vault texts: a glance, for most do not."""
    if is_whole(data):
        return True
    return MARK.encode() in data and len(data) <= MAX_YAML_BYTES and PurePosixPath(path).suffix in SUFFIXES


def texts(path: str, data: bytes) -> Iterator[VaultText]:
    """Every vault text of a file, also one that is damaged."""
    if not may_hold(path, data):
        return
    if is_whole(data):
        yield VaultText(text=data.decode(errors="replace"), line=1, whole=True)
        return
    try:
        yield from [VaultText(text=value, line=line) for value, line in scalars(data) if value.lstrip().startswith(MARK)]
    except YAMLError:
        yield from (VaultText(text=place.text, line=place.line) for place in places(data))


def places(data: bytes) -> Iterator[Place]:
    """Where well-formed vault texts stand, in the order of the file; comments are no values, but are not told apart here."""
    for found in _BLOCK.finditer(data):
        text = re.sub(rb"\s*" + _BREAK + rb"\s*", b"\n", found[0]).decode()
        line = data.count(b"\n", 0, found.start()) + 1
        yield Place(start=found.start(), end=found.end(), line=line, text=text, between=found["next"])


def scalars(data: bytes) -> Iterator[tuple[str, int]]:
    """Every scalar of YAML, keys too, with its line from 1. Raises YAMLError."""
    get = CParser(data).get_event
    while type(event := get()) is not StreamEndEvent:
        if type(event) is ScalarEvent:
            yield event.value, event.start_mark.line + 1


def values(data: bytes) -> Iterator[str]:
    """Every scalar of YAML that is no key. Raises YAMLError."""
    get = CParser(data).get_event
    keys: list[bool | None] = []  # of each map or list around: whether a key comes next, None in a list
    while type(event := get()) is not StreamEndEvent:
        kind = type(event)
        if kind in (MappingEndEvent, SequenceEndEvent):
            keys.pop()
            continue
        if keys and keys[-1] is not None:
            keys[-1] = not keys[-1]
        is_key = bool(keys) and keys[-1] is False
        if kind is ScalarEvent and not is_key:
            yield event.value
        if kind in (MappingStartEvent, SequenceStartEvent):
            keys.append(True if kind is MappingStartEvent else None)
