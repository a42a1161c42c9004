"""The tables of accounts, sessions, invitations and API tokens; see `tables`. Nothing in them is a secret: secrets are kept as hashes."""

from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, String, Table

from reconciler.store.tables.base import metadata

account = Table(
    "account",
    metadata,
    Column("name", String, primary_key=True),
    Column("display", String, nullable=False),
    Column("password", String, nullable=False),
    Column("owner", Boolean, nullable=False),
    Column("made_at", Float, nullable=False),
    Column("disabled_at", Float),
)
"""Who signs in with a password: `password` is its Argon2id hash, empty while there is none. `owner`: made by somebody with the files in hand."""

session = Table(
    "session",
    metadata,
    Column("id", String, primary_key=True),
    Column("account", String, nullable=False, index=True),
    Column("made_at", Float, nullable=False),
    Column("seen_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("source", String, nullable=False),
    Column("agent", String, nullable=False),
)
"""Who has signed in and not signed out: `id` is the SHA-256 of the cookie's value, `source` the address that it was made from."""

invitation = Table(
    "invitation",
    metadata,
    Column("id", String, primary_key=True),
    Column("account", String, nullable=False, index=True),
    Column("owner", Boolean, nullable=False),
    Column("reset", Boolean, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("used_at", Float),
)
"""One-time links: `id` is the SHA-256 of the link's secret. `account`: for whom, empty for the first one, who says it himself; `reset`: there is one of
that name, which gets a new password."""

api_token = Table(
    "api_token",
    metadata,
    Column("id", String, primary_key=True),
    Column("secret", String, nullable=False),
    Column("label", String, nullable=False),
    Column("identity", String, nullable=False),
    Column("actions", LargeBinary, nullable=False),
    Column("made_by", String, nullable=False),
    Column("made_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("last_used_at", Float),
    Column("revoked_at", Float),
)
"""Tokens of the API: `id` is shown, `secret` is a SHA-256. They act as `identity`, and are good for `actions` at most."""

tries = Table(
    "tries",
    metadata,
    Column("key", String, primary_key=True),
    Column("count", Integer, nullable=False),
    Column("until", Float, nullable=False),
    Index("tries_by_until", "until"),
)
"""How often something was tried in a window that ends then, over all processes. `key` tells neither names nor addresses."""
