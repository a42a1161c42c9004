"""API tokens. Functions on a connection; the caller owns the transaction."""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from reconciler.store.engine import Connection, insert
from reconciler.types.canonical import canonical

TOKEN = ("id", "secret", "label", "identity", "actions", "made_by", "made_at", "expires_at", "last_used_at", "revoked_at")
COLUMNS = ", ".join(TOKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What acts as `identity` over the API, and may be used for `actions` at most. `secret`: the digest of its secret. Times in seconds since the epoch."""

    id: str
    secret: str = field(repr=False)
    label: str
    identity: str
    actions: tuple[str, ...]
    made_by: str
    made_at: float
    expires_at: float
    last_used_at: float | None = None
    revoked_at: float | None = None

    def state(self, now: float) -> str:
        """`live`, `expired` or `revoked`."""
        return "revoked" if self.revoked_at is not None else "live" if now < self.expires_at else "expired"


def save_token(connection: Connection, made: Token) -> None:
    """A new token."""
    values = {name: getattr(made, name) for name in TOKEN} | {"actions": canonical(list(made.actions))}
    connection.run(insert("api_token", TOKEN), tuple(values.values()))


def load_token(connection: Connection, of: str) -> Token | None:
    """The token with this id, whatever its state."""
    row = connection.row(f"SELECT {COLUMNS} FROM api_token WHERE id = ?", (of,))  # noqa: S608 - names from above
    return _token(row) if row else None


def tokens(connection: Connection) -> list[Token]:
    """All of them, the newest first."""
    return [_token(row) for row in connection.rows(f"SELECT {COLUMNS} FROM api_token ORDER BY made_at DESC, id")]  # noqa: S608 - names from above


def _token(row: tuple[Any, ...]) -> Token:
    fields = dict(zip(TOKEN, row, strict=True))
    return Token(**fields | {"actions": tuple(msgspec.json.decode(fields["actions"]))})


def used(connection: Connection, of: str, now: float) -> None:
    """It was used."""
    connection.run("UPDATE api_token SET last_used_at = ? WHERE id = ? AND (last_used_at IS NULL OR last_used_at < ?)", (now, of, now))


def revoke(connection: Connection, of: str, now: float) -> bool:
    """End it for good; whether it was not before."""
    return connection.changed("UPDATE api_token SET revoked_at = ? WHERE id = ? AND revoked_at IS NULL", (now, of)) == 1
