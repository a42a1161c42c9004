"""Pull requests: what forges sent, what is known of each and is to stand there, the comments that are commands, and who holds which resource."""

import sqlalchemy as sa
from alembic import op

from reconciler.store.tables import where

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None
READABLE_FROM = "0005"
"""The least migration whose code may use the database after this one: all of it is new tables."""


def upgrade() -> None:
    """Expand."""
    op.create_table(
        "delivery",
        sa.Column("forge", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("forge", "id"),
    )
    op.create_index("delivery_by_at", "delivery", ["at"])
    op.create_table(
        "pull",
        sa.Column("forge", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("head", sa.String(), nullable=False),
        sa.Column("branch", sa.String(), nullable=False),
        sa.Column("seen", sa.LargeBinary(), nullable=False),
        sa.Column("trusted", sa.String(), nullable=False),
        sa.Column("let_go", sa.String(), nullable=False),
        sa.Column("made_of", sa.String(), nullable=False),
        sa.Column("plan", sa.Integer(), nullable=True),
        sa.Column("planned_at", sa.Float(), nullable=True),
        sa.Column("asked_at", sa.Float(), nullable=True),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("forge", "project", "number"),
    )
    op.create_index("pull_due", "pull", ["due_at"], **where("owner = ''"))
    op.create_index("pull_onto", "pull", ["location", "branch", "state"])
    op.create_index("pull_owned", "pull", ["owner"], **where("owner <> ''"))
    op.create_table(
        "pull_command",
        sa.Column("forge", sa.String(), nullable=False),
        sa.Column("comment", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("author", sa.String(), nullable=False),
        sa.Column("body", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("done_at", sa.Float(), nullable=True),
        sa.Column("answer", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("forge", "comment"),
    )
    op.create_index("pull_command_of", "pull_command", ["forge", "project", "number", "at"])
    op.create_table(
        "posting",
        sa.Column("forge", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("what", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("wanted", sa.String(), nullable=False),
        sa.Column("posted", sa.String(), nullable=False),
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("posted_at", sa.Float(), nullable=True),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("forge", "project", "number", "what"),
    )
    op.create_index("posting_open", "posting", ["forge", "due_at"], **where("wanted <> posted"))
    op.create_table(
        "forge",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("polled_at", sa.Float(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "pull_lock",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("forge", sa.String(), nullable=False),
        sa.Column("project", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("identity", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("source", "address"),
    )
    op.create_index("pull_lock_of", "pull_lock", ["forge", "project", "number"])
