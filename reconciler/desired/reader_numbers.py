"""Plain scalars that are not text, by the YAML 1.2 core schema (yaml.org/spec/1.2.2, 10.3.2), less what is nearly always a mistake.

In: the text of a plain scalar. Out: null, bool, int, float, or the text itself.
Must not look at YAML 1.1 (`yes`, `12:30:45`, `1_000` are text).
"""

import math
import re

_CONSTANTS: dict[str, bool | None] = {
    "": None,
    "~": None,
    "null": None,
    "Null": None,
    "NULL": None,
    "true": True,
    "True": True,
    "TRUE": True,
    "false": False,
    "False": False,
    "FALSE": False,
}
_NUMBER_STARTS = frozenset("0123456789+-.")
SPECIAL_STARTS = _NUMBER_STARTS | {text[:1] for text in _CONSTANTS}
"""A plain scalar that begins with none of these (the empty text is one of them) is text."""
LARGEST = 2**53 - 1
"""The largest integer that every JSON reader keeps (RFC 8259, 6; I-JSON, RFC 7493)."""

_INTEGER = re.compile(r"[-+]?[0-9]+")
_OCTAL = re.compile(r"0o[0-7]+")
_HEXADECIMAL = re.compile(r"0x[0-9a-fA-F]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LEADING_ZERO = re.compile(r"[-+]?0[0-9]")
_LIKE_OCTAL = re.compile(r"0{1,3}[1-7][0-7]{0,10}")
_LONGEST = 20


class BadNumber(Exception):
    """A plain scalar that reads as a number and must not."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message, self.hint = message, hint


def plain(text: str) -> int | float | bool | str | None:
    """What a plain scalar stands for: the very `text` if it is text. Raises BadNumber."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    return _number(text) if text[0] in _NUMBER_STARTS else text


def _number(text: str) -> int | float | str:
    if _INTEGER.fullmatch(text):
        return _integer(text, 10)
    if _FLOAT.fullmatch(text):
        return _float(text)
    if _OCTAL.fullmatch(text):
        return _integer(text, 8)
    if _HEXADECIMAL.fullmatch(text):
        return _integer(text, 16)
    if _NOT_FINITE.fullmatch(text):
        raise BadNumber(f"{text} is not a number that a manifest can hold", f'quote it if it is text: "{text}"')
    return text


def _integer(text: str, base: int) -> int:
    if base == 10:
        _refuse_leading_zero(text)
    digits = text if base == 10 else text[2:]
    if len(digits.lstrip("0")) > _LONGEST or abs(value := int(digits, base)) > LARGEST:
        raise BadNumber(f"{_shown(text)} is larger than 2^53-1, the largest integer kept exactly", "quote it to keep it as text")
    return value


def _float(text: str) -> float:
    _refuse_leading_zero(text)
    value = float(text)
    if not math.isfinite(value):
        raise BadNumber(f"{_shown(text)} is too large for a number", "quote it to keep it as text")
    return value


def _refuse_leading_zero(text: str) -> None:
    if _LEADING_ZERO.match(text):
        hint = f'quote it if it is text: "{_shown(text)}"'
        if _LIKE_OCTAL.fullmatch(text):
            hint += f", or write 0o{text.lstrip('0')} for an octal number"
        raise BadNumber(f"{_shown(text)} has a leading zero, which readers take differently", hint)


def _shown(text: str) -> str:
    return text if len(text) <= 2 * _LONGEST else f"{text[:_LONGEST]}..."
