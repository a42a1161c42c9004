"""Accounts and the one-time links that make them or give them a new password. Functions on a connection; the caller owns the transaction."""

from dataclasses import dataclass, field
from typing import Any

from reconciler.store.engine import Connection, insert

ACCOUNT = ("name", "display", "password", "owner", "made_at", "disabled_at")
INVITATION = ("id", "account", "owner", "reset", "expires_at", "used_at")


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who signs in with a password. `password`: its hash, empty while there is none; `display`: for people to read."""

    name: str
    display: str
    password: str = field(repr=False)
    owner: bool
    made_at: float
    disabled_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Invitation:
    """A one-time link. `id`: the digest of its secret; `account`: for whom, empty if he says so himself; `reset`: the account is there already."""

    id: str
    account: str
    owner: bool
    reset: bool
    expires_at: float
    used_at: float | None = None


def load_account(connection: Connection, name: str, *, lock: bool = False) -> Account | None:
    """The account of a name. `lock`: nobody else changes it until the transaction ends."""
    query = f"SELECT {', '.join(ACCOUNT)} FROM account WHERE name = ?{' FOR UPDATE' if lock else ''}"  # noqa: S608 - names from above
    found = connection.row(query, (name,))
    return _account(found) if found else None


def accounts(connection: Connection) -> list[Account]:
    """All of them, by name."""
    return [_account(row) for row in connection.rows(f"SELECT {', '.join(ACCOUNT)} FROM account ORDER BY name")]  # noqa: S608 - names from above


def any_account(connection: Connection) -> bool:
    """Whether there is one at all."""
    return connection.row("SELECT 1 FROM account LIMIT 1") is not None


def _account(row: tuple[Any, ...]) -> Account:
    fields = dict(zip(ACCOUNT, row, strict=True))
    return Account(**fields | {"owner": bool(fields["owner"])})


def save_account(connection: Connection, made: Account) -> None:
    """A new account."""
    connection.run(insert("account", ACCOUNT), tuple(getattr(made, name) for name in ACCOUNT))


def set_password(connection: Connection, name: str, password: str, *, instead_of: str | None = None) -> bool:
    """Give an account the hash of another password; with `instead_of` only if it has that one. Whether it was done."""
    if instead_of is None:
        return connection.changed("UPDATE account SET password = ? WHERE name = ?", (password, name)) == 1
    return connection.changed("UPDATE account SET password = ? WHERE name = ? AND password = ?", (password, name, instead_of)) == 1


def set_disabled(connection: Connection, name: str, at: float | None) -> None:
    """Nobody signs in to an account from then on; None: one may again."""
    connection.run("UPDATE account SET disabled_at = ? WHERE name = ?", (at, name))


def save_invitation(connection: Connection, made: Invitation) -> None:
    """A new link, the only one that is good for its account now."""
    if made.account:
        connection.run("DELETE FROM invitation WHERE account = ? AND used_at IS NULL", (made.account,))
    connection.run(insert("invitation", INVITATION), tuple(getattr(made, name) for name in INVITATION))


def load_invitation(connection: Connection, of: str, now: float) -> Invitation | None:
    """The link with this digest, if it is good for something still."""
    query = f"SELECT {', '.join(INVITATION)} FROM invitation WHERE id = ? AND used_at IS NULL AND expires_at > ?"  # noqa: S608 - names from above
    row = connection.row(query, (of, now))
    if row is None:
        return None
    found = dict(zip(INVITATION, row, strict=True))
    return Invitation(**found | {"owner": bool(found["owner"]), "reset": bool(found["reset"])})


def use_invitation(connection: Connection, of: str, now: float) -> bool:
    """Whether the link was good still; it is not any more."""
    query = "UPDATE invitation SET used_at = ? WHERE id = ? AND used_at IS NULL AND expires_at > ?"
    return connection.changed(query, (now, of, now)) == 1
