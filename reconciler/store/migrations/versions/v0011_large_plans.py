"""Plans in outline; and the audit trail by who and by what."""

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None
READABLE_FROM = "0003"
"""The least migration whose code may use the database after this one."""


def upgrade() -> None:
    """Expand."""
    op.create_table(
        "outline",
        sa.Column("plan", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("piece", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("plan", "piece"),
    )
    op.create_index("audit_by_identity", "audit", ["identity", "seq"])
    op.create_index("audit_by_action", "audit", ["action", "seq"])
