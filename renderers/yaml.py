"""A tree of plain values as a YAML block document: readable, in the order given, the same bytes every time.

In: dict, list, str, int and bool. Out: text that YAML 1.1 and 1.2 readers read back equal. Must not use anchors, tags, or other types:
those would be guesses about the reader.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from renderers import escape
from renderers.contract import RenderError

_LONGEST_KEY = 120  # libyaml reads simple keys of up to 128 characters


def document(tree: dict[str, Any], header: str = "") -> bytes:
    """`tree` as a UTF-8 block document below the line `header`; raises RenderError for a type or a character that YAML cannot carry."""
    text = "\n".join([*([header] if header else []), *_block(tree, "")]) + "\n"
    return text.encode()


def _block(value: Any, indent: str) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            if len(key) > _LONGEST_KEY:
                raise RenderError("", f"a YAML key has at most {_LONGEST_KEY} characters: shorten {key[:20]}...")
            yield from _entry(f"{indent}{escape.yaml(key)}:", item, indent + "  ")
    else:
        for item in value:
            nested = list(_block(item, indent + "  ")) if isinstance(item, dict | list) and item else [f"{indent}  {scalar(item)}"]
            yield f"{indent}- {nested[0][len(indent) + 2 :]}"
            yield from nested[1:]


def _entry(lead: str, item: Any, indent: str) -> Iterator[str]:
    if isinstance(item, dict | list) and item:
        yield lead
        yield from _block(item, indent)
    else:
        yield f"{lead} {scalar(item)}"


def scalar(value: Any) -> str:
    """One value without line breaks: a string, integer or boolean, or an empty map or list."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int):
        return str(value)
    if isinstance(value, str):
        return escape.yaml(value)
    if isinstance(value, dict | list) and not value:
        return "{}" if isinstance(value, dict) else "[]"
    raise RenderError("", f"a value of type {type(value).__name__} cannot stand in a rendered file")
