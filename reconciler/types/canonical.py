"""One canonical form and one digest for every value: JSON by RFC 8785 (JCS), SHA-256 in lower-case hexadecimal.

msgspec with sorted keys gives RFC 8785's bytes but for three cases: floating-point numbers, integers beyond 2**53 and keys outside the
Basic Multilingual Plane (RFC 8785 sorts by UTF-16 code unit). `_unsure` finds every text that may hold one (it may also find others); those
go through the slower reference library. Tests hold the two against each other.
"""

import hashlib
import re
from typing import Any

import msgspec

from reconciler.types.values import KNOWN_AFTER_KEY, RESERVED_PREFIX, SECRET_KEY, KnownAfter, Secret, SecretRef

_IN_MAP, _IN_LIST, _AT_START = (re.compile(prefix + rb"[-0-9](?:[0-9]*[.eE]|[0-9]{15})").search for prefix in (rb'":', rb",", rb"\["))
"""A float or a long integer as a value in a map or list. Three patterns, because the engine skips quickly to a fixed text and to nothing else; `:`
alone would take many a MAC address for a float."""
_ASTRAL = re.compile(rb"[\xf0-\xf4]")
"""The first byte of a character beyond the Basic Multilingual Plane; no other byte of UTF-8 is one of these."""
_MARK = RESERVED_PREFIX.encode()
_DIGITS = b"-0123456789"


def _digested(value: Any) -> Any:
    if isinstance(value, Secret):
        return {SECRET_KEY: value.token}
    return _known_after(value)


def _stored(value: Any) -> Any:
    if isinstance(value, Secret):
        return {SECRET_KEY: {"store": value.ref.store, "key": value.ref.key, "token": value.token}}
    return _known_after(value)


def _known_after(value: Any) -> Any:
    if isinstance(value, KnownAfter):
        return {KNOWN_AFTER_KEY: {"address": value.address, "path": value.path}}
    raise TypeError(f"a {type(value).__name__} has no canonical form")


_encode = msgspec.json.Encoder(order="sorted", enc_hook=_digested).encode
_pack = msgspec.json.Encoder(order="sorted", enc_hook=_stored).encode
_decode = msgspec.json.Decoder().decode


def canonical(value: Any) -> bytes:
    """The canonical JSON of a tree of JSON values, `Secret` (by its token alone) and `KnownAfter`. Raises TypeError for any other type."""
    data = _encode(value)
    return _reference(data) if _unsure(data) else data


def _unsure(data: bytes) -> bool:
    """Whether the text may not be canonical. A number that stands alone always may."""
    if data[0] in _DIGITS or _IN_MAP(data) or _IN_LIST(data) or _AT_START(data):
        return True
    return not data.isascii() and _ASTRAL.search(data) is not None


def _reference(data: bytes) -> bytes:
    import rfc8785  # noqa: PLC0415 - needed rarely

    return rfc8785.dumps(_decode(data))


def fragment(value: Any) -> msgspec.Raw:
    """A tree in its canonical form, ready to stand in others."""
    return msgspec.Raw(canonical(value))


def digest(value: Any) -> str:
    """The SHA-256 of the canonical form, 64 hexadecimal digits."""
    return hashlib.sha256(canonical(value)).hexdigest()


def digest_parts(value: Any) -> str:
    """The same of a tree that holds no number but small integers, unless within a `fragment`: nothing in it can be other than canonical."""
    return hashlib.sha256(_encode(value)).hexdigest()


def digest_bytes(data: bytes) -> str:
    """The SHA-256 of bytes as they are, 64 hexadecimal digits."""
    return hashlib.sha256(data).hexdigest()


NOTHING = digest(None)
"""The digest that stands for no specification at all (an absent resource, an empty proposal)."""


def pack(value: Any) -> bytes:
    """The tree as JSON for the store: unlike the canonical form it keeps what a `Secret` refers to, so that `unpack` gives it back."""
    return _pack(value)


def unpack(data: bytes) -> Any:
    """The tree that `pack` was given."""
    tree = _decode(data)
    return _revive(tree) if _MARK in data else tree


def _revive(value: Any) -> Any:
    if isinstance(value, dict):
        if SECRET_KEY in value:
            inner = value[SECRET_KEY]
            return Secret(ref=SecretRef(store=inner["store"], key=inner["key"]), token=inner["token"])
        if KNOWN_AFTER_KEY in value:
            return KnownAfter(**value[KNOWN_AFTER_KEY])
        return {key: _revive(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_revive(item) for item in value]
    return value
