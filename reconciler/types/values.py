"""Values that are not plain JSON: secrets, and what is known only after another resource was applied.

A specification is a tree of dict, list, str, int, float, bool and None, with `Secret` and `KnownAfter` as further leaves.
"""

from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Secret:
    """A secret in a specification: what names it and `token`, the keyed digest of its value at observation. The value itself is never here."""

    ref: SecretRef
    token: str

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


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownAfter:
    """An output of another resource, resolved and journaled when the step that needs it starts. `path` is RFC 6901 into its outputs."""

    address: str
    path: str


def holds_secret(value: Any) -> bool:
    """Whether a `Secret` stands anywhere in the tree."""
    if isinstance(value, Secret):
        return True
    if isinstance(value, Mapping):
        return any(holds_secret(item) for item in value.values())
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        return any(holds_secret(item) for item in value)
    return False
