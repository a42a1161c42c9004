"""Passwords: Argon2id hashes, a few at once, and what a new password must be (NIST SP 800-63B: length, and no rules of composition)."""

import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from threading import BoundedSemaphore

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from reconciler.errors import RetryLater

HASHER = PasswordHasher()
"""Argon2id with the library's parameters, the second choice of RFC 9106: 64 MiB and three passes."""
LEAST, MOST = 12, 256
"""How many characters a password has."""
AT_ONCE = 2
"""How many hashes are computed at once in this process: each takes 64 MiB and a processor for a while."""
WAIT_S = 10.0
_turns = BoundedSemaphore(AT_ONCE)


def problem(password: str, name: str) -> str:
    """Why this cannot be the password of the account of this name; empty if it can."""
    if not LEAST <= len(password) <= MOST:
        return f"a password has at least {LEAST} characters and at most {MOST}"
    if not _encodable(password):
        return "a password is text"
    if not password.casefold().replace(name.casefold(), ""):
        return "a password is not the name of the account"
    if len(set(password)) == 1:
        return "a password is not one character again and again"
    return ""


def hashed(password: str) -> str:
    """The hash to keep. Raises `RetryLater` if too many are computed already."""
    with _turn():
        return HASHER.hash(_bytes(password))


def matches(kept: str, password: str) -> bool:
    """Whether this is the password that a kept hash is of. An empty hash matches nothing, and takes as long: one verification in any case.

    Raises `RetryLater` if too many are computed already."""
    with _turn():
        try:
            found = HASHER.verify(kept or _nobodys(), _bytes(password if len(password) <= MOST else ""))
        except (VerificationError, InvalidHashError):
            return False
    return found and bool(kept)


def outdated(kept: str) -> bool:
    """Whether a hash was made with other parameters than are used now."""
    return HASHER.check_needs_rehash(kept)


@cache
def _nobodys() -> str:
    """The hash that is verified where there is none. Never of a password: that is never so short."""
    return HASHER.hash(b"nobody")


def prepare() -> None:
    """Have everything ready that the first verification would wait for, so that it tells nothing."""
    _nobodys()


@contextmanager
def _turn() -> Iterator[None]:
    if not _turns.acquire(timeout=WAIT_S):
        raise RetryLater("too many people sign in at once", after_s=WAIT_S, hint="try again in a moment", code="busy")
    try:
        yield
    finally:
        _turns.release()


def _encodable(password: str) -> bool:
    try:
        password.encode()
    except UnicodeEncodeError:
        return False
    return True


def _bytes(password: str) -> bytes:
    """As it is hashed: alike however a keyboard composes its characters."""
    return unicodedata.normalize("NFKC", password).encode("utf-8", "surrogatepass")
