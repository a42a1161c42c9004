"""The tables of machines that are installed over the network."""

from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, String, Table

from reconciler.store.tables.base import metadata, where

installation = Table(
    "installation",
    metadata,
    Column("id", String, primary_key=True),
    Column("tenant", String, nullable=False),
    Column("host", String, nullable=False),
    Column("source", String, nullable=False),
    Column("generation", Integer, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("operation", String, nullable=False),
    Column("run", String, nullable=False),
    Column("token", String, nullable=False),
    Column("armed_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("claimed_at", Float),
    Column("claimed_by", String, nullable=False),
    Column("released_at", Float),
    Column("released_to", String, nullable=False),
    Column("stage", String, nullable=False),
    Column("stage_at", Float),
    Column("ended_at", Float),
    Column("log", String, nullable=False),
    Column("facts", LargeBinary, nullable=False),
    Column("seq", Integer, nullable=False),
    Column("power", String, nullable=False),
    Index("installation_open", "tenant", "host", unique=True, **where("ended_at IS NULL")),
    Index("installation_of", "tenant", "host", "armed_at"),
    Index("installation_by_operation", "operation"),
    Index("installation_by_token", "token", unique=True),
    Index("installation_by_seq", "seq"),
    Index("installation_by_end", "ended_at", **where("ended_at IS NOT NULL")),
    Index("installation_badly", "tenant", "host", **where("state IN ('failed', 'expired')")),
)
"""One generation of one host, on its way from being armed to its end: see `types.installation`. `token`: the digest of what its URLs hold; `claimed_by`:
the address of the machine that was given its script; `released_at`: when an answer file was first fetched, `released_to` by whom; `stage`: what the
installer said last; `log`: the end of its log; `power`: whether its machine was told to boot; `seq` grows with every change of any of them."""

installed = Table(
    "installed",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("host", String, primary_key=True),
    Column("generation", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("sure", Boolean, nullable=False),
    Column("keys", String, nullable=False),
    Column("why", String, nullable=False),
)
"""The highest generation that a host was installed with; survives the host. Not `sure`: after a restore, until somebody has said so. `keys`: lines of its
SSH host keys; `why`: the installation, or a person's word and reason."""

boot_seen = Table(
    "boot_seen",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("host", String, primary_key=True),
    Column("at", Float, nullable=False),
    Column("address", String, nullable=False),
    Column("firmware", String, nullable=False),
    Column("decision", String, nullable=False),
    Column("why", String, nullable=False),
)
"""What a known machine was last told to boot, and why."""
