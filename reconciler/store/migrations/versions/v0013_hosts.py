"""What Ansible runs did, task by task and host by host; what is known of hosts; when scheduled operations were due."""

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None
READABLE_FROM = "0003"
"""The least migration whose code may use the database after this one."""
COUNTS = ("ok", "changed", "failed", "ignored", "skipped", "unreachable")


def _text(name: str, *, key: bool = False) -> "sa.Column[str]":
    return sa.Column(name, sa.String(), nullable=False, primary_key=key)


def _number(name: str, *, key: bool = False) -> "sa.Column[int]":
    return sa.Column(name, sa.Integer(), nullable=False, primary_key=key, autoincrement=False)


def _real(name: str, *, key: bool = False, null: bool = False) -> "sa.Column[float]":
    return sa.Column(name, sa.Float(), nullable=null, primary_key=key)


def _id() -> "sa.Column[int]":
    return sa.Column("id", sa.Integer(), primary_key=True, autoincrement=True)


def upgrade() -> None:
    """Expand."""
    op.create_table(
        "task",
        _id(),
        _text("run"),
        _number("step"),
        *(_text(name) for name in ("tenant", "host", "name", "place", "status")),
        *(_real(name) for name in ("at", "seconds")),
        _text("message"),
    )
    op.create_index("task_of_run", "task", ["run", "id"])
    op.create_index("task_of_host", "task", ["tenant", "host", "at"])
    op.create_table(
        "task_total",
        _text("run", key=True),
        *(_number(name, key=True) for name in ("step", "part", "number")),
        *(_text(name) for name in ("tenant", "name", "place")),
        *(_number(name) for name in COUNTS),
        *(_real(name) for name in ("seconds", "most_s")),
        _text("slowest"),
    )
    op.create_table(
        "host_total",
        _text("run", key=True),
        *(_number(name, key=True) for name in ("step", "part")),
        *(_text(name, key=True) for name in ("tenant", "host")),
        *(_number(name) for name in COUNTS),
        *(_real(name) for name in ("seconds", "at")),
    )
    op.create_index("host_total_of_host", "host_total", ["tenant", "host", "at"])
    op.create_table(
        "host_seen",
        *(_text(name, key=True) for name in ("tenant", "host")),
        *(_real(name, null=True) for name in ("checked_at", "seen_at", "converged_at")),
        _text("note"),
    )
    op.create_index("host_seen_by_check", "host_seen", ["checked_at"])
    op.create_table(
        "host_facts",
        *(_text(name, key=True) for name in ("tenant", "host")),
        _real("at"),
        _text("digest"),
        sa.Column("body", sa.LargeBinary(), nullable=False),
    )
    op.create_table("host_fact", *(_text(name, key=True) for name in ("tenant", "host", "path")), _text("value"))
    op.create_index("host_fact_by_value", "host_fact", ["path", "value", "tenant", "host"])
    op.create_table(
        "host_check",
        _text("group", key=True),
        _text("source"),
        *(_real(name) for name in ("interval_s", "due_at")),
        *(_real(name, null=True) for name in ("begun_at", "ended_at")),
    )
    op.create_index("host_check_by_due", "host_check", ["source", "due_at"])
    op.create_index("host_check_by_begun", "host_check", ["source", "begun_at"])
    op.create_table("check_spent", _id(), _text("source"), _real("at"), sa.Column("hosts", sa.Integer(), nullable=False))
    op.create_index("check_spent_by_time", "check_spent", ["source", "at"])
    op.create_table("fact_change", _id(), _real("at"), *(_text(name) for name in ("tenant", "host", "path", "before", "after")))
    op.create_index("fact_change_by_time", "fact_change", ["at", "path"])
    op.create_index("fact_change_of_host", "fact_change", ["tenant", "host", "at"])
    op.create_table(
        "occurrence",
        *(_text(name, key=True) for name in ("source", "operation")),
        _real("due_at", key=True),
        _text("state"),
        _real("at"),
        *(_text(name) for name in ("run", "plan", "note")),
    )
