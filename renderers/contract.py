"""What a renderer is, and how it says that it cannot render.

In: nothing. Out: the types every format file shares. Must not import anything of this package: everything else imports this file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

Value = dict[str, Any] | list[Any] | str | int | bool
"""A tree of dict, list, str, int and bool; nothing else reaches a renderer."""


class RenderError(Exception):
    """A file cannot be made from these values; `pointer` (RFC 6901) names the field in `values`, `message` what to do about it."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(f"{pointer or '/'}: {message}")
        self.pointer = pointer
        self.message = message


class Text(str):
    """A user's string that knows where in `values` it stands, so that an escape function can name the field it refuses."""

    __slots__ = ("pointer",)

    pointer: str

    def __new__(cls, text: str, pointer: str = "") -> Text:
        """The string `text`, found at the RFC 6901 `pointer`."""
        made = super().__new__(cls, text)
        made.pointer = pointer
        return made


def pointer_of(text: str) -> str:
    """Where `text` stands in `values`; empty for a string of our own."""
    return text.pointer if isinstance(text, Text) else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Renderer:
    """One format: which hosts get its file, under which name, from which part of their values."""

    format: str
    version: int  # raised when the bytes for the same values change
    filename: str  # below <boot.url>/<tenant>/<name>/
    uses: tuple[str, ...]  # the top-level keys of `values` that `serves` and `render` read
    serves: Callable[[Mapping[str, Any]], bool]
    render: Callable[[Mapping[str, Any]], bytes]  # pure and deterministic; raises RenderError
