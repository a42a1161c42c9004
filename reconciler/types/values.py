"""Values that are not plain JSON: secrets, and what is known only after another resource was applied.

A specification is a tree of dict, list, str, int, float, bool and None, with `Secret` and `KnownAfter` as further leaves.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NoReturn, TypeAlias

Spec: TypeAlias = Mapping[str, Any]
"""A frozen-by-convention tree: whoever makes one hands it over and never changes it again."""

SECRET_KEY = "$octofleet.secret"  # noqa: S105 - the name of a key, not a secret
KNOWN_AFTER_KEY = "$octofleet.knownAfter"
VAULT_KEY = "$octofleet.vault"
RESERVED_PREFIX = "$octofleet."


UNKNOWN = "!"
"""Begins the token of a secret that could not be read; the reason follows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SecretRef:
    """Names a secret without holding it: a store granted to the tenant and a key in it, or a vault text in the manifest itself."""

    store: str
    key: str

    def __str__(self) -> str:
        return f"{self.store}/{self.key}" if self.store else "vault value"


class _Leaf:
    """A frozen value that stands in trees. Not a dataclass: msgspec would write one as a map of its fields and never ask what it means."""

    __slots__: tuple[str, ...] = ()

    def __setattr__(self, name: str, value: object) -> NoReturn:
        raise AttributeError(f"a {type(self).__name__} is frozen")

    def _key(self) -> tuple[object, ...]:
        return tuple(getattr(self, name) for name in self.__slots__)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and isinstance(other, _Leaf) and other._key() == self._key()

    def __hash__(self) -> int:
        return hash((type(self), self._key()))


class Secret(_Leaf):
    """A secret in a specification: what names it and `token`, the keyed digest of its value at observation. The value itself is never here."""

    __slots__ = ("ref", "token")
    ref: SecretRef
    token: str

    def __init__(self, *, ref: SecretRef, token: str) -> None:
        object.__setattr__(self, "ref", ref)
        object.__setattr__(self, "token", token)

    def __repr__(self) -> str:
        return "Secret(***)"

    def __str__(self) -> str:
        return "***"


class SecretValue:
    """A secret's plaintext on its way from a store to an apply. It hides from repr, str, format, JSON and pickle."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """The plaintext. Call it only where the value leaves for the world."""
        return self._value

    def __repr__(self) -> str:
        return "SecretValue(***)"

    def __str__(self) -> str:
        return "***"

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a SecretValue is never pickled or copied")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretValue) and other._value == self._value

    __hash__ = None  # type: ignore[assignment]


class KnownAfter(_Leaf):
    """An output of another resource, resolved and journaled when the step that needs it starts. `path` is RFC 6901 into its outputs."""

    __slots__ = ("address", "path")
    address: str
    path: str

    def __init__(self, *, address: str, path: str) -> None:
        object.__setattr__(self, "address", address)
        object.__setattr__(self, "path", path)

    def __repr__(self) -> str:
        return f"KnownAfter({self.address}, {self.path})"


def secrets_in(value: Any) -> Iterator[Secret]:
    """Every `Secret` in the tree."""
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from secrets_in(item)
    elif isinstance(value, Sequence) and not isinstance(value, str | bytes):
        for item in value:
            yield from secrets_in(item)


def holds_secret(value: Any) -> bool:
    """Whether a `Secret` stands anywhere in the tree."""
    if isinstance(value, str | bytes | int | None):
        return False
    if isinstance(value, Mapping):
        return any(map(holds_secret, value.values()))
    return isinstance(value, Secret) or (isinstance(value, Sequence) and any(map(holds_secret, value)))


def redacted(value: object) -> Any:
    """A tree for JSON in which secrets show only what they refer to."""
    if isinstance(value, Secret):
        return {"secret": str(value.ref)}
    if isinstance(value, KnownAfter):
        return {"knownAfter": value.address, "path": value.path}
    if isinstance(value, Mapping):
        return {key: redacted(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [redacted(item) for item in value]
    return value
