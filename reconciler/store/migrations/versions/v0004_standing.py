"""How a followed repository stands, for programs and in the next step."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None
READABLE_FROM = "0003"
"""The least migration whose code may use the database after this one."""


def upgrade() -> None:
    """Expand. Columns have defaults, so that replicas of the version before can still insert."""
    for name in ("code", "about", "next"):
        op.add_column("repository", sa.Column(name, sa.String(), nullable=False, server_default=sa.text("''")))
