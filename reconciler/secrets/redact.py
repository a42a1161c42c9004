"""Secrets taken out of text that others made: the output of engines, which may print what they were given.

In: values that were revealed. Out: a function from text to text. Give it whole events or lines: a value that is cut between two calls is
not found. It finds a value as it is and as JSON, URL, HTML, Python and base64 (also inside longer base64) write it, and long lines of it
alone. It is a last net: types, not this, keep secrets out of plans and records.
"""

import base64
import json
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from urllib.parse import quote, quote_plus

from reconciler.types.values import SecretValue

MASK = "***"
LONG_LINE = 8
"""A line of a value that has at least so many characters is a secret of its own."""


def redactor(values: Iterable[SecretValue]) -> Callable[[str], str]:
    """Replaces every occurrence of any value, in any of its forms, by `***`; the longest form wins. Empty values are left alone."""
    forms = {form for value in values for form in _forms(value.reveal()) if form}
    if not forms:
        return lambda text: text
    pattern = re.compile("|".join(re.escape(form) for form in sorted(forms, key=lambda form: (-len(form), form))))
    return lambda text: pattern.sub(MASK, text)


def _forms(value: str) -> Iterator[str]:
    lines = [line.strip() for line in value.splitlines()]
    parts = [line for line in lines if len(line) >= LONG_LINE] if len(lines) > 1 else []
    for text in (value, value.strip("\r\n"), *parts):
        yield from _written(text)


def _written(text: str) -> Iterator[str]:
    import html  # noqa: PLC0415 - its table of entities is needed only where something is redacted

    yield text
    for ascii_only in (True, False):
        once = json.dumps(text, ensure_ascii=ascii_only)[1:-1]
        yield once
        yield json.dumps(once, ensure_ascii=ascii_only)[1:-1]  # JSON inside JSON, as Ansible nests results
    yield repr(text)[1:-1]
    yield html.escape(text)
    yield shlex.quote(text)[1:-1] if "'" in text else text
    for encoded in (
        quote(text, safe="", errors="surrogateescape"),
        quote(text, errors="surrogateescape"),
        quote_plus(text, errors="surrogateescape"),
    ):
        yield encoded
        yield re.sub(r"%[0-9A-F]{2}", lambda found: found[0].lower(), encoded)
    yield from _base64(text.encode("utf-8", "surrogateescape"))


def _base64(data: bytes) -> Iterator[str]:
    """Whole, and the characters that stay the same wherever the bytes stand inside longer base64 (8 and more of them)."""
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(data).decode()
        for before in range(3):
            encoded = encode(b"\0" * before + data).decode()
            inner = encoded[-(-before * 8 // 6) : (before + len(data)) * 8 // 6]
            if len(inner) >= LONG_LINE:
                yield inner
