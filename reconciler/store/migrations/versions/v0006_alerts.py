"""Alerts: what is so, and what each receiver of a channel was told of it."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None
READABLE_FROM = "0005"
"""The least migration whose code may use the database after this one."""


def upgrade() -> None:
    """Expand."""
    op.create_table(
        "alert",
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("event", sa.String(), nullable=False),
        sa.Column("source", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("next", sa.String(), nullable=False),
        sa.Column("since", sa.Float(), nullable=False),
        sa.Column("about", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "alert_line",
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("sent", sa.LargeBinary(), nullable=False),
        sa.Column("unsaid", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("retry_at", sa.Float(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("line"),
    )
    op.create_table(
        "alert_entry",
        sa.Column("line", sa.String(), nullable=False),
        sa.Column("key", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("tried", sa.Boolean(), nullable=False),
        sa.Column("told_at", sa.Float(), nullable=True),
        sa.Column("over_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("line", "key"),
    )
    ended = sa.text("ended_at IS NOT NULL")
    op.create_index("run_by_end", "run", ["ended_at"], sqlite_where=ended, postgresql_where=ended)
    noted = sa.text("state = 'ready' AND note <> ''")
    op.create_index("step_put_off", "step", ["run", "seq"], sqlite_where=noted, postgresql_where=noted)
    machines = sa.text("address < 'boot/' OR address >= 'boot0' AND address < 'fleet/' OR address >= 'fleet0'")
    op.create_index("observation_of_machines", "observation", ["at"], sqlite_where=machines, postgresql_where=machines)
    op.execute("INSERT INTO about (key, value) VALUES ('alerts', '')")
