"""The tables of what people say and are told: approvals, pauses, windows, the audit trail, alerts."""

from sqlalchemy import Boolean, Column, Float, Index, Integer, LargeBinary, String, Table

from reconciler.store.tables.base import metadata, where

approval = Table(
    "approval",
    metadata,
    Column("id", String, primary_key=True),
    Column("plan", String, nullable=False, index=True),
    Column("identity", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("reason", String, nullable=False),
    Column("run", String, nullable=False),
    Column("yes", Boolean, nullable=False),
)
"""Somebody's word for the changes in `approved`, yes or no; `plan` is the id of the plan that showed them, `run` the one that it served, or empty."""

approved = Table(
    "approved",
    metadata,
    Column("approval", String, primary_key=True),
    Column("change", String, primary_key=True),
    Index("approved_by_change", "change"),
)
"""The digests of the changes that an approval saw."""

pause = Table(
    "pause",
    metadata,
    Column("id", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("scope", String, nullable=False),
    Column("identity", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("reason", String, nullable=False),
    Column("ended_at", Float),
)
"""Nothing begins in a scope until then, by a person's word. An empty source: in every fleet."""

override = Table(
    "override",
    metadata,
    Column("id", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("window", String, nullable=False),
    Column("identity", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("until", Float, nullable=False),
    Column("reason", String, nullable=False),
    Column("ended_at", Float),
)
"""A maintenance window (an address) that does not count until then, by a person's word."""

kept_window = Table(
    "kept_window",
    metadata,
    Column("run", String, primary_key=True),
    Column("address", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""Windows as they were when a run began that changes or ends them: it goes by these too, so that one commit cannot loosen a window and use it."""

audit = Table(
    "audit",
    metadata,
    Column("seq", Integer, primary_key=True, autoincrement=False),
    Column("at", Float, nullable=False),
    Column("identity", String, nullable=False),
    Column("action", String, nullable=False),
    Column("subjects", LargeBinary, nullable=False),
    Column("tenants", LargeBinary, nullable=False),
    Column("source", String, nullable=False),
    Column("plan", String, nullable=False),
    Column("commit", String, nullable=False),
    Column("run", String, nullable=False),
    Column("reason", String, nullable=False),
    Column("details", LargeBinary, nullable=False),
    Column("previous", String, nullable=False),
    Column("hash", String, nullable=False),
    Index("audit_by_run", "run", "seq", **where("run <> ''")),
    Index("audit_by_plan", "plan", "seq", **where("plan <> ''")),
    Index("audit_by_identity", "identity", "seq"),
    Index("audit_by_action", "action", "seq"),
)
"""Who said and did what, numbered from 1. Triggers refuse UPDATE and DELETE; `hash` is over everything else of the row, `previous` the hash of the row
before: see `types.audit`."""

alert = Table(
    "alert",
    metadata,
    Column("key", String, primary_key=True),
    Column("event", String, nullable=False),
    Column("source", String, nullable=False),
    Column("tenant", String, nullable=False),
    Column("subject", String, nullable=False),
    Column("text", String, nullable=False),
    Column("next", String, nullable=False),
    Column("since", Float, nullable=False),
    Column("about", String, nullable=False),
)
"""What is so now that somebody may want to be told of."""

alert_line = Table(
    "alert_line",
    metadata,
    Column("line", String, primary_key=True),
    Column("sent", LargeBinary, nullable=False),
    Column("unsaid", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("retry_at", Float, nullable=False),
    Column("error", String, nullable=False),
)
"""How things stand with each receiver: the address of its channel, `#`, and its number there. See `alert.line.Line`."""

alert_entry = Table(
    "alert_entry",
    metadata,
    Column("line", String, primary_key=True),
    Column("key", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("at", Float, nullable=False),
    Column("tried", Boolean, nullable=False),
    Column("told_at", Float),
    Column("over_at", Float),
)
"""What a receiver was told, or is to be told: see `alert.line.Entry`. `body` is the condition, as it may be over already."""
