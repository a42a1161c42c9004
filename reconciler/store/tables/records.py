"""The tables of what is known of the world, and of plans."""

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, LargeBinary, String, Table

from reconciler.store.tables.base import metadata, where

OF_MACHINES = "address < 'boot/' OR address >= 'boot0' AND address < 'fleet/' OR address >= 'fleet0'"
"""Addresses of what is seen by asking a machine, or another system: not of the record and of boot files. `store.conditions` asks in the same words."""

source = Table(
    "source",
    metadata,
    Column("name", String, primary_key=True),
    Column("location", String, nullable=False),
    Column("applied_commit", String, nullable=False),
    Column("at", Float, nullable=False),
)
"""A Fleet that this installation has applied: where it came from and the commit applied last."""

spec = Table(
    "spec",
    metadata,
    Column("digest", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
"""Specifications by digest; secrets in them are references with a token."""

record = Table(
    "record",
    metadata,
    Column("address", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("rules", LargeBinary, nullable=False),
    Column("group", String, nullable=False),
    Column("external_id", String, nullable=False),
    Column("observed_digest", String, nullable=False),
    Column("commit", String, nullable=False),
    Index("record_by_group", "source", "group"),
    Index("record_by_external_id", "external_id", **where("external_id <> ''")),
)
"""Resources as last applied. An address has one owner among all sources."""

touched = Table(
    "touched",
    metadata,
    Column("source", String, primary_key=True),
    Column("group", String, primary_key=True),
    Column("seq", Integer, nullable=False),
    Index("touched_by_seq", "source", "seq"),
)
"""When the records of a group last changed: a number that grows by one with each change of a source's records."""

mark = Table(
    "mark",
    metadata,
    Column("source", String, primary_key=True),
    Column("seq", Integer, nullable=False),
)
"""The newest of those numbers."""

about = Table(
    "about",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)
"""What is true of the database itself: `store_id`, 32 hexadecimal digits drawn when it was made, tells it from any other. Whoever appends to the audit
trail locks the row `audit`, whose value means nothing. `alerts` has the worker that sends alerts, and `alerts_seen` until when it has looked at runs that
ended."""

observation = Table(
    "observation",
    metadata,
    Column("address", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("at", Float, nullable=False),
    Column("settled", Boolean, nullable=False),
    Index("observation_by_at", "at"),
    Index("observation_open", "address", **where("NOT settled")),
    Index("observation_of_machines", "at", **where(OF_MACHINES)),
)
"""The latest observation of each resource. `settled`: it was as recorded. A present one has no specification if `spec` has it."""

backoff = Table(
    "backoff",
    metadata,
    Column("address", String, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("until", Float, nullable=False),
    Column("reason", String, nullable=False),
)
"""Resources whose changes failed, and until when the loop leaves them alone."""

plan = Table(
    "plan",
    metadata,
    Column("row", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, index=True),
    Column("source", String, nullable=False),
    Column("commit", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("applyable", Boolean, nullable=False),
    Column("location", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""Plans without their changes. One id may stand in several rows: the same plan made twice."""

change = Table(
    "change",
    metadata,
    Column("plan", Integer, ForeignKey("plan.row"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("address", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""The changes of a plan in its order."""

outline = Table(
    "outline",
    metadata,
    Column("plan", Integer, primary_key=True, autoincrement=False),
    Column("piece", Integer, primary_key=True, autoincrement=False),
    Column("body", LargeBinary, nullable=False),
)
"""What `store.outlines` keeps of all changes of a plan, in pieces. It goes after its plan, so that an Octofleet that knows nothing of it can prune too."""

sample = Table(
    "sample",
    metadata,
    Column("at", Integer, primary_key=True, autoincrement=False),
    Column("source", String, primary_key=True),
    Column("tenant", String, primary_key=True),
    Column("converged", Integer, nullable=False),
    Column("changing", Integer, nullable=False),
    Column("drifted", Integer, nullable=False),
    Column("unknown", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
)
"""How many hosts of a tenant stood how, every five minutes; `at` is a multiple of these."""
