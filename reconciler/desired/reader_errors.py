"""What makes a file unreadable, as plain sentences with a place and a next step.

In: bytes, or an error of libyaml. Out: one `Problem`. libyaml's own words are matched only to make better ones; an unknown text is shown.
"""

import re

from ruamel.yaml.error import MarkedYAMLError, YAMLError

from reconciler.types.origin import Origin
from reconciler.types.problem import Problem

MAX_BYTES = 4 * 1024 * 1024
VAULT = re.compile(r"\$ANSIBLE_VAULT;1\.(1;AES256|2;AES256;[^\s;]+)\s*\n[0-9a-f\s]+")

_CONTROL = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
# Read by libyaml as line breaks (YAML 1.1), by editors as characters; and those that turn the direction of text on a reviewer's screen.
_DECEIVING = re.compile(b"\xc2\x85|\xe2\x80[\xa8-\xae]|\xe2\x81[\xa6-\xa9]|\xef\xbb\xbf")
_BOM = b"\xef\xbb\xbf"

_SENTENCES = {
    "mapping values are not allowed in this context": (
        "a second ': ' stands where none may be",
        "check the indentation of this line and of the one above, or quote the text",
    ),
    "did not find expected key": ("this line does not fit the map above it", "check its indentation, and that it reads `key: value`"),
    "did not find expected '-' indicator": (
        "this line does not fit the list above it",
        "check its indentation, and that it begins with `- `",
    ),
    "could not find expected ':'": ("a line that should read `key: value` has no ':'", "add the ':', or quote the text"),
    "did not find expected ',' or ']'": ("a list in [ ] is not closed", "add the missing ',' or ']'"),
    "did not find expected ',' or '}'": ("a map in { } is not closed", "add the missing ',' or '}'"),
    "found unexpected end of stream": ("a quoted text is not closed", "add the closing quote"),
    "found unexpected document indicator": ("a quoted text is not closed before the next document", "add the closing quote"),
    "found unknown escape character": ("an unknown escape stands after a backslash", "double the backslash, or use single quotes"),
    "did not find expected hexdecimal number": ("an escape lacks hexadecimal digits", "write \\xHH, \\uHHHH or \\UHHHHHHHH"),
    "found invalid Unicode character escape code": (
        "an escape names no character (JSON's surrogate pairs are not YAML)",
        "write the character itself, or \\UHHHHHHHH",
    ),
    "found character that cannot start any token": ("a text cannot begin with this character", "quote the text"),
    "did not find expected <document start>": (
        "this does not belong to the document above it",
        "check its indentation, or begin a document with ---",
    ),
    "block sequence entries are not allowed in this context": ("a list cannot begin here", "put the first `- ` on a line of its own"),
    "mapping keys are not allowed in this context": ("a key cannot stand here", "put it on a line of its own"),
    "found unexpected ':'": ("a text in [ ] or { } holds a ':'", "quote the text, or add a space after the ':' of a key"),
    "did not find expected node content": (
        "a value is missing, or a text begins with a character that it cannot",
        "add the value, or quote the text",
    ),
    "found unexpected non-alphabetical character": ("a line that begins with % is a directive", "remove it, or quote the text"),
    "found unknown directive name": ("a line that begins with % is a directive, and this one is unknown", "remove it, or quote the text"),
    "found undefined tag handle": ("the tag is unknown", "remove it; only `!vault` is known"),
    "found incompatible YAML document": ("every file is read as YAML 1.2", "remove the line that begins with %YAML"),
    "did not find expected comment or line break": ("something stands after | or >", "begin the text on the next line"),
}


def unreadable(path: str, data: bytes) -> Problem | None:
    """Why a file cannot be read at all, before any parsing: its size, UTF-16 or UTF-32, characters that deceive."""
    if len(data) > MAX_BYTES:
        size = f"{len(data) / 1024 / 1024:.1f} MiB"
        return _problem(path, (0, 0), "yaml-too-large", f"the file is {size}, more than 4 MiB", "split it into several files")
    if data[:2] in (b"\xff\xfe", b"\xfe\xff") or data[:4] == b"\0\0\xfe\xff":
        return _problem(path, (1, 1), "yaml-encoding", "the file is UTF-16 or UTF-32", "save it as UTF-8")
    if not data.isascii() and (found := _DECEIVING.search(data, 3 if data.startswith(_BOM) else 0)):
        name = f"U+{ord(found[0].decode()):04X}"
        message = f"an invisible character ({name}) that editors and readers take differently"
        hint = "delete it, or write it as an escape in double quotes"
        return _problem(path, _place(data, found.start()), "yaml-control-character", message, hint)
    return None


def forbidden_text(text: str) -> str:
    """The control character that a value holds, named; empty if there is none. Tab and line breaks are allowed."""
    found = _CONTROL.search(text)
    return f"the control character U+{ord(found[0]):04X}" if found else ""


def syntax_problem(path: str, data: bytes, error: YAMLError) -> Problem:
    """The problem that an error of libyaml's reader, scanner or parser stands for."""
    if isinstance(error, MarkedYAMLError) and error.problem_mark is not None:
        return _marked(path, data, error)
    try:
        text = data.decode()
    except UnicodeDecodeError as broken:
        message = f"the byte 0x{data[broken.start]:02x} is not UTF-8"
        return _problem(path, _place(data, broken.start), "yaml-encoding", message, "save the file as UTF-8")
    if found := re.search("[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ufffe\uffff]", text):
        at = _place(data, len(text[: found.start()].encode()))
        return _problem(path, at, "yaml-control-character", f"the file holds the control character U+{ord(found[0]):04X}", "delete it")
    return _problem(path, (0, 0), "yaml-syntax", f"the file is not YAML ({error})", "check the file in an editor")


def _marked(path: str, data: bytes, error: MarkedYAMLError) -> Problem:
    mark, start = error.problem_mark, error.context_mark
    line, column = mark.line + 1, mark.column + 1
    said = error.problem or "the text is not YAML"
    message, hint = _SENTENCES.get(said, (f"this is not YAML: {said}", "check the lines around it"))
    if said == "found character that cannot start any token" and _character(data, line, column) == "\t":
        message, hint = "a tab stands where spaces are needed", "indent with spaces"
    if start is not None and (start.line, start.column) != (mark.line, mark.column):
        message += f" (it began at {start.line + 1}:{start.column + 1})"
    return _problem(path, (line, column), "yaml-syntax", message, hint)


def _character(data: bytes, line: int, column: int) -> str:
    lines = re.split("\r\n|\r|\n", data.decode(errors="replace"))
    return lines[line - 1][column - 1 : column] if line <= len(lines) else ""


def _place(data: bytes, offset: int) -> tuple[int, int]:
    """Line and column, from 1 and in characters, of a byte."""
    lines = re.split("\r\n|\r|\n", data[:offset].removeprefix(_BOM).decode(errors="replace"))
    return len(lines), len(lines[-1]) + 1


def _problem(path: str, at: tuple[int, int], code: str, message: str, hint: str) -> Problem:
    return Problem(origin=Origin(path=path, line=at[0], column=at[1]), code=code, message=message, hint=hint)
