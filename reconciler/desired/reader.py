"""The one YAML reader: bytes of a file in, plain values and every problem out. No I/O; it never raises on what a user wrote.

YAML 1.2 core schema (yaml.org/spec/1.2.2, 10.3) built on the events of libyaml, less what hides meaning from a reviewer: no anchors, no
aliases, no merge keys, no tags but `!vault`, no duplicate keys, no keys that are not text. The fast path keeps no positions; `positions`
and `locate` read the file again when an error or `explain` needs one.
"""

from dataclasses import dataclass
from typing import Any

from _ruamel_yaml import CParser  # type: ignore[import-not-found]  # a compiled module without stubs
from ruamel.yaml.error import YAMLError
from ruamel.yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    StreamEndEvent,
)

from reconciler.desired.reader_errors import VAULT, forbidden_text, syntax_problem, unreadable
from reconciler.desired.reader_numbers import SPECIAL_STARTS, BadNumber, plain
from reconciler.desired.reader_positions import MAX_DEPTH, Positions, locate, positions
from reconciler.types.origin import Origin
from reconciler.types.problem import Problem
from reconciler.types.values import RESERVED_PREFIX, VAULT_KEY

__all__ = ["MAX_DEPTH", "MAX_DOCUMENTS", "MAX_PROBLEMS", "Document", "Positions", "Reading", "locate", "positions", "read"]

MAX_DOCUMENTS = 10_000
MAX_PROBLEMS = 1_000
"""In one file; reading ends there."""
_ODD_KEY_STARTS = SPECIAL_STARTS | {"<", RESERVED_PREFIX[0]}
"""The first characters of keys that need a second look."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One document: `index` is its number in the file from 0 (empty ones count), `line` where its content starts, from 1.

    `value` is a tree of plain dict, list, str, int, float, bool and None; a `!vault` value is `{VAULT_KEY: text}`.
    """

    path: str
    index: int
    line: int
    value: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """What a file held: `documents` in which nothing is wrong, and all problems, sorted.

    `broken`: something in the file is unknown, so what it should say is not absent either. `cut`: reading ended early (a syntax error, a
    limit), so that even the number of documents is unknown.
    """

    documents: tuple[Document, ...]
    problems: tuple[Problem, ...] = ()
    cut: bool = False

    @property
    def broken(self) -> bool:
        """Whether any document of the file is unknown."""
        return self.cut or bool(self.problems)


class _CutError(Exception):
    """A limit was passed; the problem is on the list already."""


def read(path: str, data: bytes) -> Reading:
    """All documents of a file of at most 4 MiB, and all problems. `path` stands in origins only. Empty documents are left out."""
    refusal = unreadable(path, data)
    if refusal is not None:
        return Reading(documents=(), problems=(refusal,), cut=True)
    return _Pass(path, data).read()


class _Pass:
    """One pass over one file. `rare` says that the file holds a character without which no anchor, tag or escape can be."""

    def __init__(self, path: str, data: bytes) -> None:
        self.path, self.data = path, data
        self.get = CParser(data).get_event
        self.rare = b"&" in data or b"!" in data or b"\\" in data
        self.problems: list[Problem] = []

    def read(self) -> Reading:
        documents: list[Document] = []
        cut = False
        try:
            self._documents(documents)
        except YAMLError as error:
            self.problems.append(syntax_problem(self.path, self.data, error))
            cut = True
        except _CutError:
            cut = True
        return Reading(documents=tuple(documents), problems=tuple(sorted(self.problems)), cut=cut)

    def _documents(self, documents: list[Document]) -> None:
        self.get()
        index = 0
        while type(event := self.get()) is not StreamEndEvent:
            if index == MAX_DOCUMENTS:
                self._problem(event, "yaml-too-large", f"a file holds at most {MAX_DOCUMENTS} documents", "split the file")
                raise _CutError
            self._document(event, index, documents)
            index += 1

    def _document(self, start: DocumentStartEvent, index: int, documents: list[Document]) -> None:
        before = len(self.problems)
        if start.version not in (None, (1, 2)):
            self._problem(start, "yaml-directive", "every file is read as YAML 1.2", "remove the line that begins with %YAML")
        if start.tags:
            self._problem(start, "yaml-directive", "%TAG is not allowed", "remove the line that begins with %TAG")
        root = self.get()
        empty = type(root) is ScalarEvent and root.value == "" and root.implicit[0] and root.tag is None and root.anchor is None
        value = None if empty else self._node(root, 0)
        self.get()
        if not empty and len(self.problems) == before:
            documents.append(Document(path=self.path, index=index, line=root.start_mark.line + 1, value=value))

    def _node(self, event: Any, depth: int) -> Any:
        kind = type(event)
        if kind is ScalarEvent:
            return self._scalar(event)
        if kind is AliasEvent:
            self._anchor(event, f"*{event.anchor}")
            return None
        if depth >= MAX_DEPTH:
            self._problem(event, "yaml-too-deep", f"lists and maps are nested more than {MAX_DEPTH} deep", "flatten the document")
            raise _CutError
        if self.rare:
            self._inspect(event)
        return self._mapping(depth + 1) if kind is MappingStartEvent else self._sequence(depth + 1)

    def _mapping(self, depth: int) -> dict[str, Any]:
        get, rare = self.get, self.rare
        found: dict[str, Any] = {}
        marks: dict[str, Any] = {}
        while type(event := get()) is not MappingEndEvent:
            if rare or type(event) is not ScalarEvent or (key := event.value)[:1] in _ODD_KEY_STARTS:
                key = self._key(event, depth)
            value = get()
            if rare or type(value) is not ScalarEvent:
                node = self._node(value, depth)
            else:
                node = value.value
                if node[:1] in SPECIAL_STARTS and value.implicit[0]:
                    node = self._plain(value)
            if key is None:
                continue
            if key in found:
                first = marks[key].start_mark
                where = f"{first.line + 1}:{first.column + 1}"
                self._problem(event, "yaml-duplicate-key", f"the key {key!r} is here twice (first at {where})", "keep one of them")
            else:
                found[key] = node
                marks[key] = event
        return found

    def _sequence(self, depth: int) -> list[Any]:
        found: list[Any] = []
        while type(event := self.get()) is not SequenceEndEvent:
            found.append(self._node(event, depth))
        return found

    def _key(self, event: Any, depth: int) -> str | None:
        """The text of a key; None after a problem."""
        if type(event) is not ScalarEvent:
            if type(event) is not AliasEvent:
                self._problem(event, "yaml-key", "a key must be text, not a list or a map", "write a plain word as the key")
            self._node(event, depth)
            return None
        text: str = event.value
        if self.rare and not self._inspect(event):
            return None
        if event.implicit[0] and text == "<<":
            hint = "put shared settings in a Profile and name it with `extends`"
            self._problem(event, "yaml-merge-key", "merge keys (<<) are not allowed", hint)
            return None
        if event.implicit[0] and self._plain(event) is not text:
            self._problem(event, "yaml-key", f"the key {text or 'null'} is not text", f'quote it: "{text}"')
            return None
        if text.startswith(RESERVED_PREFIX):
            self._problem(event, "yaml-reserved-key", f"keys that begin with {RESERVED_PREFIX} are reserved", "choose another name")
            return None
        return text

    def _scalar(self, event: Any) -> Any:
        if self.rare:
            if event.tag == "!vault":
                return self._vault(event)
            if not self._inspect(event):
                return None
        return self._plain(event) if event.implicit[0] else event.value

    def _plain(self, event: Any) -> Any:
        """A plain scalar by the core schema."""
        try:
            return plain(event.value)
        except BadNumber as error:
            self._problem(event, "yaml-number", error.message, error.hint)
            return None

    def _vault(self, event: Any) -> Any:
        if event.anchor is not None:
            self._anchor(event, f"&{event.anchor}")
        if not VAULT.fullmatch(event.value):
            hint = "paste the whole output of `ansible-vault encrypt_string`, from $ANSIBLE_VAULT;1.1;AES256 on, below `!vault |`"
            self._problem(event, "yaml-vault", "this is not an Ansible Vault value", hint)
            return None
        return {VAULT_KEY: event.value}

    def _inspect(self, event: Any) -> bool:
        """Whether neither anchor, tag nor forbidden character stands at an event; tells each."""
        before = len(self.problems)
        if event.anchor is not None:
            self._anchor(event, f"&{event.anchor}")
        if event.tag is not None:
            name = event.tag.replace("tag:yaml.org,2002:", "!!")
            self._problem(event, "yaml-tag", f"the tag {name} is not allowed here", "remove it; only `!vault` is known, on a text")
        if type(event) is ScalarEvent and (what := forbidden_text(event.value)):
            self._problem(event, "yaml-control-character", f"the text holds {what}", "remove it from the text")
        return len(self.problems) == before

    def _anchor(self, event: Any, name: str) -> None:
        hint = "write the value out, or put it in a Profile that others extend"
        self._problem(event, "yaml-anchor", f"anchors and aliases are not allowed ({name})", hint)

    def _problem(self, event: Any, code: str, message: str, hint: str) -> None:
        mark = event.start_mark
        origin = Origin(path=self.path, line=mark.line + 1, column=mark.column + 1)
        self.problems.append(Problem(origin=origin, code=code, message=message, hint=hint))
        if len(self.problems) == MAX_PROBLEMS:
            last = f"there are more than {MAX_PROBLEMS} problems in this file"
            self.problems.append(Problem(origin=origin, code="yaml-too-many", message=last, hint="correct the first ones and try again"))
            raise _CutError
