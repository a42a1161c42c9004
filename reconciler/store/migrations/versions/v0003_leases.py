"""leases, attempts, workers, what the loop follows, and blobs."""

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None
READABLE_FROM = "0003"
"""The least migration whose code may use the database after this one."""

LANES = (
    "INSERT INTO lane (run, wave, driver, tenant, open) "
    "SELECT run, wave, driver, '', count(*) FROM step WHERE state <> 'ended' GROUP BY run, wave, driver"
)


def upgrade() -> None:
    """Expand. Columns have defaults, so that replicas of the version before can still insert."""
    op.add_column("run", sa.Column("archive", sa.String(), nullable=False, server_default=sa.text("''")))
    for name in ("tenant", "owner", "note"):
        op.add_column("step", sa.Column(name, sa.String(), nullable=False, server_default=sa.text("''")))
    op.add_column("step", sa.Column("fence", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("step", sa.Column("due_at", sa.Float(), nullable=False, server_default="0"))
    columns = ["run", "wave", "driver", "tenant", "due_at", "seq"]
    op.create_index("step_free", "step", columns, **where("owner = '' AND state <> 'ended'"))
    op.create_index("item_by_address", "item", ["run", "address"])
    op.create_index("run_open", "run", ["started_at"], **where("ended_at IS NULL"))
    op.create_index("step_owned", "step", ["owner", "driver", "tenant"], **where("owner <> ''"))
    op.create_table(
        "attempt",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("worker", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("ended_at", sa.Float(), nullable=True),
        sa.Column("result", sa.String(), nullable=False),
        sa.Column("error", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("run", "step", "fence"),
    )
    op.create_table(
        "lane",
        sa.Column("run", sa.String(), nullable=False),
        sa.Column("wave", sa.Integer(), nullable=False),
        sa.Column("driver", sa.String(), nullable=False),
        sa.Column("tenant", sa.String(), nullable=False),
        sa.Column("open", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("run", "wave", "driver", "tenant"),
    )
    op.create_index("lane_open", "lane", ["run", "wave"], **where("open > 0"))
    op.execute(LANES)
    _list_operations()
    op.create_table(
        "worker",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("role", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("started_at", sa.Float(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "repository",
        sa.Column("location", sa.String(), nullable=False),
        sa.Column("head", sa.String(), nullable=False),
        sa.Column("planned", sa.String(), nullable=False),
        sa.Column("due_at", sa.Float(), nullable=False),
        sa.Column("asked_at", sa.Float(), nullable=True),
        sa.Column("owner", sa.String(), nullable=False),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("location"),
    )
    op.create_table(
        "backoff",
        sa.Column("address", sa.String(), nullable=False),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("until", sa.Float(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("address"),
    )
    op.create_table(
        "blob",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.Column("expires_at", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )


def _list_operations() -> None:
    """Handles of operations become lists of them."""
    step = sa.table("step", *map(sa.column, ("run", "seq", "operation")))
    for run, seq, operation in op.get_bind().execute(sa.select(step).where(step.c.operation != "")).all():
        op.execute(sa.update(step).where(step.c.run == run, step.c.seq == seq).values(operation=json.dumps([operation])))


def where(condition: str) -> dict[str, Any]:
    """What makes an index cover only some rows, in both databases."""
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}
