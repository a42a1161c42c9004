"""What is wrong with settings, in words: which value, what it must be, and the line or the environment variable that it came from.

In: what was read from TOML, and the structs that declare the settings. Out: problems by path, and for each struct's field a description that the
reference has too.
"""

import re
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Annotated, Any, Literal, get_args, get_origin

import msgspec

Place = tuple[str | int, ...]
"""Keys from the top level down; a number is the place in a list, from 0."""
Problem = tuple[Place, str]

_NAMES = {str: "text", int: "whole number", float: "number", bool: "true or false"}
_SHOWN_MOST = 40
_HEADER = re.compile(r"\s*(\[\[?)\s*([^\[\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*([A-Za-z0-9_.\-"']+)\s*=""")


def described(of: Any) -> str:
    """What a setting of this type takes: `whole number from 1 to 1000`."""
    if get_origin(of) is Annotated:
        inner, *limits = get_args(of)
        return described(inner) + "".join(_limits(found) for found in limits)
    if get_origin(of) is Literal:
        return " or ".join(f"`{choice}`" if choice else "empty" for choice in get_args(of))
    if get_origin(of) is dict:
        return f"table: for each name a {described(get_args(of)[1])}"
    if get_origin(of) is list:
        return f"list of {_NAMES.get(get_args(of)[0], 'table')}s"
    return _NAMES.get(of, "table")


def _limits(of: Any) -> str:
    if of.min_length:
        return ", not empty"
    if of.pattern:
        return f" that matches `{of.pattern}`"
    return f" from {_plain(of.ge)} to {_plain(of.le)}"


def _plain(number: float) -> str:
    return str(int(number)) if number == int(number) else str(number)


def problems(value: Any, of: Any, place: Place = ()) -> Iterator[Problem]:
    """Everything by which a value that was read is not of this type."""
    kind = get_origin(of)
    if isinstance(of, type) and issubclass(of, msgspec.Struct):
        yield from _of_table(value, of, place)
    elif kind is dict and isinstance(value, Mapping):
        for key, inner in value.items():
            yield from problems(inner, get_args(of)[1], (*place, key))
    elif kind is list and isinstance(value, list):
        for number, inner in enumerate(value):
            yield from problems(inner, get_args(of)[0], (*place, number))
    else:
        try:
            msgspec.convert(value, of, strict=False)
        except msgspec.ValidationError:
            yield place, _must(value, of)


def _of_table(value: Any, of: type[msgspec.Struct], place: Place) -> Iterator[Problem]:
    if not isinstance(value, Mapping):
        yield place, _must(value, of)
        return
    fields = {field.name: field for field in msgspec.structs.fields(of)}
    for key, inner in value.items():
        if key in fields:
            yield from problems(inner, fields[key].type, (*place, key))
        else:
            close = get_close_matches(key, fields, n=1)
            yield (*place, key), "is no setting" + (f"; did you mean {close[0]}?" if close else "")
    for field in fields.values():
        if field.required and field.name not in value:
            yield (*place, field.name), "is missing"


def _must(value: Any, of: Any) -> str:
    text = described(of)
    article = "a " if text.startswith(("whole", "number", "list", "table")) else ""
    return f"is {_shown(value)}, and must be {article}{text}"


def _shown(value: Any) -> str:
    if isinstance(value, str):
        return f'"{value[:_SHOWN_MOST]}"' if value else "empty"
    if isinstance(value, bool | int | float):
        return str(value).lower()
    return "a list" if isinstance(value, list) else "a table" if isinstance(value, Mapping) else "a date"


def type_at(of: Any, place: Place) -> Any:
    """The type of the setting there, None if there is none."""
    for key in place:
        if isinstance(of, type) and issubclass(of, msgspec.Struct):
            of = next((field.type for field in msgspec.structs.fields(of) if field.name == key), None)
        else:
            of = get_args(of)[1] if get_origin(of) is dict else None
    return of


def named(place: Place) -> str:
    """A setting as people name it: `apply.slots`; in the second table of a list: `repositories 2: location`."""
    text = ""
    for key in place:
        text += f" {key + 1}:" if isinstance(key, int) else f"{' ' if text.endswith(':') else '.' if text else ''}{key}"
    return text.removesuffix(":")


def line_of(text: str, place: Place) -> int | None:
    """The line of a file of TOML that sets this, or the innermost table around it that has a line. Keys inside values in braces have none."""
    lines: dict[Place, int] = {}
    table: Place = ()
    lists: dict[Place, int] = {}
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.match(line):
            table = _keys(header[2])
            if header[1] == "[[":
                lists[table] = lists.get(table, -1) + 1
                table = (*table, lists[table])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *_keys(key[1])), number)
    return next((lines[place[:size]] for size in range(len(place), 0, -1) if place[:size] in lines), None)


def _keys(text: str) -> Place:
    return tuple(part.strip().strip("\"'") for part in text.split("."))
