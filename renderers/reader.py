"""Typed reading of `values`: each field is asked for by type, and a wrong one is refused by its pointer.

In: the tree of one host. Out: strings (`Text`), integers, booleans and lists. Must not know any format.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from renderers import escape
from renderers.contract import RenderError, Text


@dataclass(frozen=True, slots=True)
class Node:
    """One place in `values`; a missing place is a node of None."""

    value: Any
    pointer: str = ""

    def __getitem__(self, key: str) -> Node:
        if self.value is None:
            return Node(None, f"{self.pointer}/{key}")
        if not isinstance(self.value, Mapping):
            raise RenderError(self.pointer, "must be a map")
        return Node(self.value.get(key), f"{self.pointer}/{key}")

    def __bool__(self) -> bool:
        return self.value is not None

    def items(self) -> Iterator[Node]:
        """The items of a list; nothing where it is missing."""
        if self.value is None:
            return
        if not isinstance(self.value, list | tuple):
            raise RenderError(self.pointer, "must be a list")
        for index, item in enumerate(self.value):
            yield Node(item, f"{self.pointer}/{index}")

    def maybe(self, pattern: str = "", what: str = "") -> Text | None:
        """The string here, of one line and fully matching `pattern`, which a user knows as `what`; None where it is missing."""
        if self.value is None:
            return None
        if not isinstance(self.value, str):
            raise RenderError(self.pointer, "must be a string" if not isinstance(self.value, Mapping) else "must be a resolved string")
        text = Text(self.value, self.pointer)
        escape.line(text)
        if pattern and not re.fullmatch(pattern, text):
            raise RenderError(self.pointer, f"{self.value!r} is not {what}")
        return text

    def text(self, pattern: str = "", what: str = "", *, default: str | None = None, why: str = "it is needed here") -> Text:
        """Like `maybe`, but a missing string is `default`, or an error that says `why` it is needed."""
        found = self.maybe(pattern, what)
        if found is not None:
            return found
        if default is None:
            raise RenderError(self.pointer, f"missing: {why}")
        return Text(default, self.pointer)

    def texts(self, pattern: str = "", what: str = "") -> tuple[Text, ...]:
        """The strings of a list, each like `text`."""
        return tuple(item.text(pattern, what) for item in self.items())

    def flag(self, default: bool | None = None) -> bool | None:
        """The boolean here, or `default`."""
        if self.value is None:
            return default
        if not isinstance(self.value, bool):
            raise RenderError(self.pointer, "must be true or false")
        return self.value

    def number(self, low: int, high: int) -> int | None:
        """The integer here, from `low` to `high`; None where it is missing."""
        if self.value is None:
            return None
        if isinstance(self.value, bool) or not isinstance(self.value, int) or not low <= self.value <= high:
            raise RenderError(self.pointer, f"must be an integer from {low} to {high}")
        return self.value

    def url(self, *schemes: str) -> Text | None:
        """The URL here, of one of `schemes` (http and https unless said), as ASCII and without user or password; None where missing."""
        found = self.maybe()
        if found is None:
            return None
        allowed = schemes or ("http", "https")
        form = r"[a-z]+://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9.-]+)(:[0-9]{1,5})?(/[A-Za-z0-9._~:/?\[\]@!&()*+,;=%'$-]*)?"
        if not re.fullmatch(form, found) or urlsplit(found).scheme not in allowed:
            raise RenderError(self.pointer, f"must be a URL of {' or '.join(allowed)} without user or fragment, other characters as %XX")
        return found
