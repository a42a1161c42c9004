"""How many hosts stood how, over time; and resources by the name that the world gives them."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None
READABLE_FROM = "0003"
"""The least migration whose code may use the database after this one."""


def upgrade() -> None:
    """Expand."""
    op.create_table(
        "sample",
        sa.Column("at", sa.Integer(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("converged", "changing", "drifted", "unknown", "failed")),
        sa.PrimaryKeyConstraint("at", "source", "tenant"),
    )
    named = sa.text("external_id <> ''")
    op.create_index("record_by_external_id", "record", ["external_id"], sqlite_where=named, postgresql_where=named)
