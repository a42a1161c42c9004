"""Lists in parts: a page of rows and a cursor that names where the next one begins."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Annotated, Any

import msgspec

from reconciler.errors import Refused
from reconciler.types.canonical import pack

MOST_NUMBER = 2**53
"""Of a row: every database has room for it, and every reader of JSON."""
Limit = Annotated[int, msgspec.Meta(ge=1, le=500, description="How many at most.")]
Step = Annotated[int, msgspec.Meta(ge=-1, le=MOST_NUMBER, description="The number of a step of a run; -1 for all.")]
Cursor = Annotated[str, msgspec.Meta(max_length=1000, description="`next` of the page before; empty for the first one.")]

Reason = Annotated[
    str, msgspec.Meta(min_length=1, max_length=4000, pattern=r"^[^\x00-\x1f\x7f]*\S[^\x00-\x1f\x7f]*$", description="Why; recorded.")
]
Note = Annotated[
    str, msgspec.Meta(max_length=4000, pattern=r"^[^\x00-\x1f\x7f]*$", description="Why, if there is something to say; recorded.")
]


def one_of(words: Iterable[str]) -> msgspec.Meta:
    """Of a text that is one of these words, or empty for any."""
    known = list(map(str, words))
    return msgspec.Meta(pattern=f"^({'|'.join(known)})?$", extra={"words": known}, extra_json_schema={"enum": ["", *known]})


@cache
def words_of(asks: type) -> Mapping[str, Sequence[str]]:
    """The words that those fields of a question take which take no others, by the name of the field."""
    found = msgspec.inspect.type_info(asks)
    fields = found.fields if isinstance(found, msgspec.inspect.StructType) else ()
    return {field.encode_name: words for field in fields if (words := _words(field.type))}


def _words(kind: msgspec.inspect.Type) -> list[str]:
    match kind:
        case msgspec.inspect.Metadata():
            return list((kind.extra or {}).get("words", ())) or _words(kind.type)
        case msgspec.inspect.UnionType():
            return [word for one in kind.types for word in _words(one)]
        case msgspec.inspect.EnumType():
            return [str(one.value) for one in kind.cls]
        case msgspec.inspect.LiteralType():
            return list(map(str, kind.values))
        case _:
            return []


class Document(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """What is answered; times are seconds since the epoch."""


class Ask(msgspec.Struct, frozen=True, kw_only=True, rename="camel", forbid_unknown_fields=True):
    """What is asked: a query, or a body."""


class Paged(Ask, frozen=True, kw_only=True):
    """What every list takes."""

    limit: Limit = 50
    cursor: Cursor = ""


def cursor_of(*key: Any) -> str:
    """The cursor after the row with this key."""
    return urlsafe_b64encode(pack(list(key))).decode().rstrip("=")


def after(cursor: str, *kinds: type) -> Sequence[Any] | None:
    """The key in a cursor, whose parts are of these types; None for the first page. Raises `Refused` for one that we did not make."""
    if not cursor:
        return None
    try:
        found = msgspec.json.decode(urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)), type=list[Any])
        if any(isinstance(part, int) and abs(part) > MOST_NUMBER for part in found):
            raise ValueError("no number of a row")
        return [msgspec.convert(part, kind) for part, kind in zip(found, kinds, strict=True)]
    except (ValueError, RecursionError, msgspec.DecodeError):
        raise Refused("the cursor is none that a list gave", hint="leave it out to begin with the first page", code="usage") from None


class Raw(msgspec.Struct, frozen=True, kw_only=True):
    """What is answered as it is, and not as JSON: an image, a file, of the route's content type. `policy`: its own Content-Security-Policy, in place of
    that of pages."""

    body: bytes
    policy: str = "default-src 'none'; sandbox"
