"""The tables, for Alembic alone. `migrations/` brings a database to this shape; a test holds the two together.

Times are seconds since the epoch. Digests are 64 hexadecimal digits. JSON columns hold bytes made by `reconciler.types.canonical.pack`.
"""

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, LargeBinary, MetaData, String, Table, text

metadata = MetaData()

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
"""What is true of the database itself: `store_id`, 32 hexadecimal digits drawn when it was made, tells it from any other."""

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
    Index("observation_open", "address", sqlite_where=text("NOT settled"), postgresql_where=text("NOT settled")),
)
"""The latest observation of each resource. `settled`: it was as recorded. A present one has no specification if `spec` has it."""

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

run = Table(
    "run",
    metadata,
    Column("id", String, primary_key=True),
    Column("plan", Integer, ForeignKey("plan.row"), nullable=False),
    Column("source", String, nullable=False, index=True),
    Column("state", String, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("reason", String, nullable=False),
)
"""The execution of one plan: `running`, `done`, `failed` or `cancelled`."""

step = Table(
    "step",
    metadata,
    Column("run", String, ForeignKey("run.id"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("wave", Integer, nullable=False),
    Column("driver", String, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("started_at", Float),
    Column("operation", String, nullable=False),
)
"""Changes that one driver call applies together: `ready`, `started`, `waiting` (for an operation) or `ended`."""

item = Table(
    "item",
    metadata,
    Column("run", String, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("address", String, primary_key=True),
    Column("change", Integer, nullable=False),
    Column("action", String, nullable=False),
    Column("status", String, nullable=False),
    Column("error", String, nullable=False),
    Column("ended_at", Float),
)
"""One change within a step and how it ended; `status` is empty until then. A replacement is two items in two steps."""

hold = Table(
    "hold",
    metadata,
    Column("address", String, primary_key=True),
    Column("run", String, nullable=False, index=True),
)
"""Who may change a resource now: one run at a time."""

log = Table(
    "log",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run", String, nullable=False, index=True),
    Column("step", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("text", String, nullable=False),
)
"""What a run had to say, line by line, redacted."""
