"""Machines that are installed over the network: their installations, what they were installed with, and what they were told to boot."""

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None
READABLE_FROM = "0003"
"""The least migration whose code may use the database after this one."""


def _text(name: str) -> "sa.Column[str]":
    return sa.Column(name, sa.String(), nullable=False)


def _when(name: str) -> "sa.Column[float]":
    return sa.Column(name, sa.Float(), nullable=True)


def upgrade() -> None:
    """Expand."""
    op.create_table(
        "installation",
        sa.Column("id", sa.String(), primary_key=True),
        *(_text(name) for name in ("tenant", "host", "source")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("generation", "attempt", "attempts")),
        *(_text(name) for name in ("state", "operation", "run", "token")),
        *(sa.Column(name, sa.Float(), nullable=False) for name in ("armed_at", "expires_at")),
        _when("claimed_at"),
        _text("claimed_by"),
        _when("released_at"),
        _text("released_to"),
        _text("stage"),
        _when("stage_at"),
        _when("ended_at"),
        _text("log"),
        sa.Column("facts", sa.LargeBinary(), nullable=False),
        sa.Column("seq", sa.Integer(), nullable=False),
        _text("power"),
    )
    going, over = sa.text("ended_at IS NULL"), sa.text("ended_at IS NOT NULL")
    op.create_index("installation_open", "installation", ["tenant", "host"], unique=True, sqlite_where=going, postgresql_where=going)
    op.create_index("installation_of", "installation", ["tenant", "host", "armed_at"])
    op.create_index("installation_by_operation", "installation", ["operation"])
    op.create_index("installation_by_token", "installation", ["token"], unique=True)
    op.create_index("installation_by_seq", "installation", ["seq"])
    op.create_index("installation_by_end", "installation", ["ended_at"], sqlite_where=over, postgresql_where=over)
    badly = sa.text("state IN ('failed', 'expired')")
    op.create_index("installation_badly", "installation", ["tenant", "host"], sqlite_where=badly, postgresql_where=badly)
    op.create_table(
        "installed",
        *(_text(name) for name in ("tenant", "host")),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("sure", sa.Boolean(), nullable=False),
        _text("keys"),
        _text("why"),
        sa.PrimaryKeyConstraint("tenant", "host"),
    )
    op.create_table(
        "boot_seen",
        *(_text(name) for name in ("tenant", "host")),
        sa.Column("at", sa.Float(), nullable=False),
        *(_text(name) for name in ("address", "firmware", "decision", "why")),
        sa.PrimaryKeyConstraint("tenant", "host"),
    )
