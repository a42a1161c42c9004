"""The tables of forges and of pull requests."""

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, String, Table

from reconciler.store.tables.base import metadata, where

delivery = Table(
    "delivery",
    metadata,
    Column("forge", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("at", Float, nullable=False),
    Index("delivery_by_at", "at"),
)
"""What forges have sent, so that nothing counts twice. What a delivery asks for is written in the same transaction."""

pull = Table(
    "pull",
    metadata,
    Column("forge", String, primary_key=True),
    Column("project", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("location", String, nullable=False),
    Column("state", String, nullable=False),
    Column("head", String, nullable=False),
    Column("branch", String, nullable=False),
    Column("seen", LargeBinary, nullable=False),
    Column("trusted", String, nullable=False),
    Column("let_go", String, nullable=False),
    Column("made_of", String, nullable=False),
    Column("plan", Integer),
    Column("planned_at", Float),
    Column("asked_at", Float),
    Column("due_at", Float, nullable=False),
    Column("owner", String, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("note", String, nullable=False),
    Index("pull_due", "due_at", **where("owner = ''")),
    Index("pull_owned", "owner", **where("owner <> ''")),
    Index("pull_onto", "location", "branch", "state"),
)
"""Pull requests of followed repositories: where the forge says they stand (`seen`), the head that a maintainer
trusts, the head that was unlocked, and the last plan: what it
was `made_of` and its row. `asked_at`, `due_at`, `owner`, `fence` as of a repository."""

pull_command = Table(
    "pull_command",
    metadata,
    Column("forge", String, primary_key=True),
    Column("comment", String, primary_key=True),
    Column("project", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("author", String, nullable=False),
    Column("body", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("done_at", Float),
    Column("answer", String, nullable=False),
    Index("pull_command_of", "forge", "project", "number", "at"),
)
"""Comments that say something to Octofleet, and what came of each."""

posting = Table(
    "posting",
    metadata,
    Column("forge", String, primary_key=True),
    Column("project", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("what", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("wanted", String, nullable=False),
    Column("posted", String, nullable=False),
    Column("id", String, nullable=False),
    Column("posted_at", Float),
    Column("due_at", Float, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("note", String, nullable=False),
    Index("posting_open", "forge", "due_at", **where("wanted <> posted")),
)
"""What is to stand at a forge, and the digests of what should and what does, since `posted_at`:
`what` is `comment`, `status CONTEXT COMMIT` or `heard COMMENT`; `id` names it
there."""

forge = Table(
    "forge",
    metadata,
    Column("name", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("polled_at", Float),
    Column("failures", Integer, nullable=False),
    Column("note", String, nullable=False),
)
"""One queue of postings for each forge, which one process at a time works on; when it was polled, and how it stands."""

pull_lock = Table(
    "pull_lock",
    metadata,
    Column("source", String, primary_key=True),
    Column("address", String, primary_key=True),
    Column("forge", String, nullable=False),
    Column("project", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("identity", String, nullable=False),
    Column("reason", String, nullable=False),
    Index("pull_lock_of", "forge", "project", "number"),
)
"""Which pull request holds a resource, and since when. `identity` is empty where its plan took it, else who locked it."""
