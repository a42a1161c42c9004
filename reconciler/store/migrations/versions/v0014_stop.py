"""Whether a person wants what is under way of a run to be stopped."""

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None
READABLE_FROM = "0003"
"""The least migration whose code may use the database after this one: code before brings what has begun to its end."""


def upgrade() -> None:
    """Expand. The column has a default, so that replicas of the version before can still insert."""
    op.add_column("run", sa.Column("stop", sa.Boolean(), nullable=False, server_default=sa.text("FALSE")))
