"""what incremental planning asks: which groups were touched, what is open, what was seen longest ago."""

import secrets as random

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Expand."""
    op.create_table(
        "touched",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("group", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("source", "group"),
    )
    op.create_index("touched_by_seq", "touched", ["source", "seq"])
    op.create_table(
        "mark",
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("source"),
    )
    about = op.create_table(
        "about",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("value", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.bulk_insert(about, [{"key": "store_id", "value": random.token_hex(16)}])
    op.create_index("observation_by_at", "observation", ["at"])
    op.drop_index("observation_open", "observation")
    is_open = sa.text("NOT settled")
    op.create_index("observation_open", "observation", ["address"], sqlite_where=is_open, postgresql_where=is_open)
