"""Who has signed in and not signed out. Functions on a connection; the caller owns the transaction."""

from dataclasses import dataclass

from reconciler.store.engine import Connection, insert

SESSION = ("id", "account", "made_at", "seen_at", "expires_at", "source", "agent")


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """`id`: the digest of the cookie's value; `source` and `agent`: where it was made from, and with what."""

    id: str
    account: str
    made_at: float
    seen_at: float
    expires_at: float
    source: str
    agent: str


def save_session(connection: Connection, made: Session) -> None:
    """A new session."""
    connection.run(insert("session", SESSION), tuple(getattr(made, name) for name in SESSION))


def load_session(connection: Connection, of: str, now: float, idle_s: float) -> tuple[Session, str, bool] | None:
    """A session that is alive, with its account's name for people, and whether that is an owner's: neither expired, nor idle for longer than `idle_s`, nor
    of an account that is disabled."""
    columns = ", ".join(f"session.{name}" for name in SESSION)
    query = (
        f"SELECT {columns}, account.display, account.owner FROM session JOIN account ON account.name = session.account "  # noqa: S608 - names from above
        "WHERE session.id = ? AND account.disabled_at IS NULL AND session.expires_at > ? AND session.seen_at > ?"
    )
    row = connection.row(query, (of, now, now - idle_s))
    if row is None:
        return None
    *fields, display, owner = row
    return Session(**dict(zip(SESSION, fields, strict=True))), display, bool(owner)


def sessions_of(connection: Connection, account: str) -> list[Session]:
    """All that an account has, the newest first."""
    query = f"SELECT {', '.join(SESSION)} FROM session WHERE account = ? ORDER BY made_at DESC, id"  # noqa: S608 - names from above
    return [Session(**dict(zip(SESSION, row, strict=True))) for row in connection.rows(query, (account,))]


def seen(connection: Connection, of: str, now: float) -> None:
    """It was used."""
    connection.run("UPDATE session SET seen_at = ? WHERE id = ? AND seen_at < ?", (now, of, now))


def end_session(connection: Connection, of: str) -> str:
    """End it; whose it was, empty if there was none."""
    return str(connection.scalar("DELETE FROM session WHERE id = ? RETURNING account", (of,)) or "")


def end_sessions_of(connection: Connection, account: str) -> int:
    """End all that an account has; how many there were."""
    return connection.changed("DELETE FROM session WHERE account = ?", (account,))
