"""The tables of runs, of the processes that work on them, and of what the loop follows."""

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, LargeBinary, String, Table, text

from reconciler.store.tables.base import metadata, where

run = Table(
    "run",
    metadata,
    Column("id", String, primary_key=True),
    Column("plan", Integer, ForeignKey("plan.row"), nullable=False),
    Column("source", String, nullable=False, index=True),
    Column("state", String, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("ended_at", Float),
    Column("reason", String, nullable=False),
    Column("archive", String, nullable=False, server_default=text("''")),
    Column("stop", Boolean, nullable=False, server_default=text("FALSE")),
    Index("run_open", "started_at", **where("ended_at IS NULL")),
    Index("run_by_end", "ended_at", **where("ended_at IS NOT NULL")),
)
"""The execution of one plan: `running`, `paused`, `cancelling`, `done`, `failed` or `cancelled`. `archive` names the blob that has its log, once it does;
`stop`: whether a person wants what is under way of it to be stopped."""

step = Table(
    "step",
    metadata,
    Column("run", String, ForeignKey("run.id"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("wave", Integer, nullable=False),
    Column("driver", String, nullable=False),
    Column("state", String, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("started_at", Float),
    Column("operation", String, nullable=False),
    Column("tenant", String, nullable=False, server_default=text("''")),
    Column("owner", String, nullable=False, server_default=text("''")),
    Column("fence", Integer, nullable=False, server_default="0"),
    Column("due_at", Float, nullable=False, server_default="0"),
    Column("note", String, nullable=False, server_default=text("''")),
    Index("step_free", "run", "wave", "driver", "tenant", "due_at", "seq", **where("owner = '' AND state <> 'ended'")),
    Index("step_owned", "owner", "driver", "tenant", **where("owner <> ''")),
    Index("step_put_off", "run", "seq", **where("state = 'ready' AND note <> ''")),
)
"""Changes of one tenant that one driver call applies together: `ready`, `started`, `waiting` (for an operation) or `ended`.

`owner` is the worker that has it on lease, or empty. `fence` grows with every lease given and taken away: who writes under an older number
is refused. Nobody takes it before `due_at`; `note` says to a person why. `attempts` counts the calls in a row that could only be tried again later.
`operation` is a JSON list of the handles to ask about when waiting, or empty.
"""

item = Table(
    "item",
    metadata,
    Column("run", String, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("address", String, primary_key=True),
    Column("change", Integer, nullable=False),
    Column("action", String, nullable=False),
    Column("status", String, nullable=False),
    Column("error", String, nullable=False),
    Column("ended_at", Float),
    Index("item_by_address", "run", "address"),
)
"""One change within a step and how it ended; `status` is empty until then. A replacement is two items in two steps."""

attempt = Table(
    "attempt",
    metadata,
    Column("run", String, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("fence", Integer, primary_key=True),
    Column("worker", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("ended_at", Float),
    Column("result", String, nullable=False),
    Column("error", String, nullable=False),
)
"""Each lease of a step: who had it, from when to when, and how it ended: `ended`, `waiting`, `retry`,
`handed-over` or `lost`; empty until then."""

lane = Table(
    "lane",
    metadata,
    Column("run", String, primary_key=True),
    Column("wave", Integer, primary_key=True),
    Column("driver", String, primary_key=True),
    Column("tenant", String, primary_key=True),
    Column("open", Integer, nullable=False),
    Index("lane_open", "run", "wave", **where("open > 0")),
)
"""How many steps of a tenant and driver have not ended in a wave of a run. The least wave with any is the run's current one."""

hold = Table(
    "hold",
    metadata,
    Column("address", String, primary_key=True),
    Column("run", String, nullable=False, index=True),
)
"""Who may change a resource now: one run at a time."""

phase = Table(
    "phase",
    metadata,
    Column("run", String, primary_key=True),
    Column("tenant", String, primary_key=True),
    Column("track", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("title", String, nullable=False),
    Column("first_wave", Integer, nullable=False),
    Column("last_wave", Integer, nullable=False),
    Column("hosts", Integer, nullable=False),
    Column("state", String, nullable=False),
    Column("soak_s", Float, nullable=False),
    Column("promote", Boolean, nullable=False),
    Column("max_failures", Integer, nullable=False),
    Column("opens_at", Float),
    Column("note", String, nullable=False),
    Column("on_stop", String, nullable=False, server_default=text("'wait'")),
    Column("wait_s", Float, nullable=False, server_default="604800"),
    Column("deadline_at", Float),
)
"""A part of a rollout within a run, in its order: `waiting` (for the one before), `due` (soaking until `opens_at`, and for a person's promotion if `promote`;
else its steps may begin), `stopped` (too many hosts of the track have failed: for a person) or `ended`. It is made of the run's waves from first to last. What
waits for a person does so for `wait_s` seconds, until `deadline_at`."""

rollback = Table(
    "rollback",
    metadata,
    Column("run", String, primary_key=True),
    Column("source", String, nullable=False, index=True),
    Column("mode", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("why", String, nullable=False),
    Column("taken", String, nullable=False),
    Column("state", String, nullable=False),
    Column("branch", String, nullable=False, server_default=text("''")),
    Column("made", String, nullable=False, server_default=text("''")),
    Column("note", String, nullable=False, server_default=text("''")),
)
"""A run that is taken back by itself, as its rollout's `onStop` says (`mode`), from the transaction that stopped it: `wanted`, then `reverted`, `proposed` or
`left` (to a person; `note` says why). `taken` is the commit that is taken back. `made`: the commit that does it, written before it is pushed to `branch`."""

log = Table(
    "log",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run", String, nullable=False, index=True),
    Column("step", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("text", String, nullable=False),
)
"""What a run had to say, line by line, redacted."""

blob = Table(
    "blob",
    metadata,
    Column("name", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("at", Float, nullable=False),
    Column("expires_at", Float),
)
"""Artifacts and archived logs, where the blob store is this database."""

worker = Table(
    "worker",
    metadata,
    Column("id", String, primary_key=True),
    Column("name", String, nullable=False),
    Column("role", String, nullable=False),
    Column("version", String, nullable=False),
    Column("started_at", Float, nullable=False),
    Column("until", Float, nullable=False),
)
"""Processes that may hold leases. All leases of one end when `until`, by the database's clock, has passed without it being moved on."""

repository = Table(
    "repository",
    metadata,
    Column("location", String, primary_key=True),
    Column("head", String, nullable=False),
    Column("planned", String, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("asked_at", Float),
    Column("owner", String, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("note", String, nullable=False),
    Column("at", Float),
    Column("code", String, nullable=False, server_default=text("''")),
    Column("about", String, nullable=False, server_default=text("''")),
    Column("next", String, nullable=False, server_default=text("''")),
)
"""What the loop follows: the commit last seen at the branch, the one last planned, when to look again, and how it stands. `owner`, `fence` as of a step."""
