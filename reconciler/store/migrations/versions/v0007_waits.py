"""what follows by itself: rollouts that are taken back when they stop, and deadlines of waits for a person."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None
READABLE_FROM = "0005"
"""The least migration whose code may use the database after this one: code before leaves what stops to a person, without a deadline."""


def upgrade() -> None:
    """Expand. Columns have defaults, so that replicas of the version before can still insert."""
    op.add_column("phase", sa.Column("on_stop", sa.String(), nullable=False, server_default=sa.text("'wait'")))
    op.add_column("phase", sa.Column("wait_s", sa.Float(), nullable=False, server_default="604800"))
    op.add_column("phase", sa.Column("deadline_at", sa.Float(), nullable=True))
    op.create_table(
        "rollback",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("mode", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("why", sa.String(), nullable=False),
        sa.Column("taken", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("branch", sa.String(), nullable=False, server_default=sa.text("''")),
        sa.Column("made", sa.String(), nullable=False, server_default=sa.text("''")),
        sa.Column("note", sa.String(), nullable=False, server_default=sa.text("''")),
        sa.PrimaryKeyConstraint("run"),
    )
    op.create_index("ix_rollback_source", "rollback", ["source"])
