"""The tables, for Alembic alone. `migrations/` brings a database to this shape; a test holds the two together.

Times are seconds since the epoch. Digests are 64 hexadecimal digits. JSON columns hold bytes made by `reconciler.types.canonical.pack`.
"""

from sqlalchemy import Boolean, Column, Float, ForeignKey, Index, Integer, LargeBinary, String, Table, text

from reconciler.store import tables_sign_in
from reconciler.store.metadata import metadata, where

__all__ = ["metadata", "tables_sign_in"]

OF_MACHINES = "address < 'boot/' OR address >= 'boot0' AND address < 'fleet/' OR address >= 'fleet0'"
"""Addresses of what is seen by asking a machine, or another system: not of the record and of boot files. `store.conditions` asks in the same words."""

source = Table(
    "source",
    metadata,
    Column("name", String, primary_key=True),
    Column("location", String, nullable=False),
    Column("applied_commit", String, nullable=False),
    Column("at", Float, nullable=False),
)
"""A Fleet that this installation has applied: where it came from and the commit applied last."""

spec = Table(
    "spec",
    metadata,
    Column("digest", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
)
"""Specifications by digest; secrets in them are references with a token."""

record = Table(
    "record",
    metadata,
    Column("address", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("rules", LargeBinary, nullable=False),
    Column("group", String, nullable=False),
    Column("external_id", String, nullable=False),
    Column("observed_digest", String, nullable=False),
    Column("commit", String, nullable=False),
    Index("record_by_group", "source", "group"),
    Index("record_by_external_id", "external_id", **where("external_id <> ''")),
)
"""Resources as last applied. An address has one owner among all sources."""

touched = Table(
    "touched",
    metadata,
    Column("source", String, primary_key=True),
    Column("group", String, primary_key=True),
    Column("seq", Integer, nullable=False),
    Index("touched_by_seq", "source", "seq"),
)
"""When the records of a group last changed: a number that grows by one with each change of a source's records."""

mark = Table(
    "mark",
    metadata,
    Column("source", String, primary_key=True),
    Column("seq", Integer, nullable=False),
)
"""The newest of those numbers."""

about = Table(
    "about",
    metadata,
    Column("key", String, primary_key=True),
    Column("value", String, nullable=False),
)
"""What is true of the database itself: `store_id`, 32 hexadecimal digits drawn when it was made, tells it from any other. Whoever appends to the audit
trail locks the row `audit`, whose value means nothing. `alerts` has the worker that sends alerts, and `alerts_seen` until when it has looked at runs that
ended."""

observation = Table(
    "observation",
    metadata,
    Column("address", String, primary_key=True),
    Column("kind", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("at", Float, nullable=False),
    Column("settled", Boolean, nullable=False),
    Index("observation_by_at", "at"),
    Index("observation_open", "address", **where("NOT settled")),
    Index("observation_of_machines", "at", **where(OF_MACHINES)),
)
"""The latest observation of each resource. `settled`: it was as recorded. A present one has no specification if `spec` has it."""

plan = Table(
    "plan",
    metadata,
    Column("row", Integer, primary_key=True, autoincrement=True),
    Column("id", String, nullable=False, index=True),
    Column("source", String, nullable=False),
    Column("commit", String, nullable=False),
    Column("created_at", Float, nullable=False),
    Column("expires_at", Float, nullable=False),
    Column("applyable", Boolean, nullable=False),
    Column("location", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""Plans without their changes. One id may stand in several rows: the same plan made twice."""

change = Table(
    "change",
    metadata,
    Column("plan", Integer, ForeignKey("plan.row"), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("address", String, nullable=False),
    Column("digest", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""The changes of a plan in its order."""

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
    Index("run_open", "started_at", **where("ended_at IS NULL")),
    Index("run_by_end", "ended_at", **where("ended_at IS NOT NULL")),
)
"""The execution of one plan: `running`, `paused`, `cancelling`, `done`, `failed` or `cancelled`. `archive` names the blob that has its log, once it does."""

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

delivery = Table(
    "delivery",
    metadata,
    Column("forge", String, primary_key=True),
    Column("id", String, primary_key=True),
    Column("at", Float, nullable=False),
    Index("delivery_by_at", "at"),
)
"""What forges have sent, so that nothing counts twice. What a delivery asks for is written in the same transaction."""

pull = Table(
    "pull",
    metadata,
    Column("forge", String, primary_key=True),
    Column("project", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("location", String, nullable=False),
    Column("state", String, nullable=False),
    Column("head", String, nullable=False),
    Column("branch", String, nullable=False),
    Column("seen", LargeBinary, nullable=False),
    Column("trusted", String, nullable=False),
    Column("let_go", String, nullable=False),
    Column("made_of", String, nullable=False),
    Column("plan", Integer),
    Column("planned_at", Float),
    Column("asked_at", Float),
    Column("due_at", Float, nullable=False),
    Column("owner", String, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("note", String, nullable=False),
    Index("pull_due", "due_at", **where("owner = ''")),
    Index("pull_owned", "owner", **where("owner <> ''")),
    Index("pull_onto", "location", "branch", "state"),
)
"""Pull requests of followed repositories: where the forge says they stand (`seen`), the head that a maintainer
trusts, the head that was unlocked, and the last plan: what it
was `made_of` and its row. `asked_at`, `due_at`, `owner`, `fence` as of a repository."""

pull_command = Table(
    "pull_command",
    metadata,
    Column("forge", String, primary_key=True),
    Column("comment", String, primary_key=True),
    Column("project", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("author", String, nullable=False),
    Column("body", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("done_at", Float),
    Column("answer", String, nullable=False),
    Index("pull_command_of", "forge", "project", "number", "at"),
)
"""Comments that say something to Octofleet, and what came of each."""

posting = Table(
    "posting",
    metadata,
    Column("forge", String, primary_key=True),
    Column("project", String, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("what", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("wanted", String, nullable=False),
    Column("posted", String, nullable=False),
    Column("id", String, nullable=False),
    Column("posted_at", Float),
    Column("due_at", Float, nullable=False),
    Column("failures", Integer, nullable=False),
    Column("note", String, nullable=False),
    Index("posting_open", "forge", "due_at", **where("wanted <> posted")),
)
"""What is to stand at a forge, and the digests of what should and what does, since `posted_at`:
`what` is `comment`, `status CONTEXT COMMIT` or `heard COMMENT`; `id` names it
there."""

forge = Table(
    "forge",
    metadata,
    Column("name", String, primary_key=True),
    Column("owner", String, nullable=False),
    Column("fence", Integer, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("polled_at", Float),
    Column("failures", Integer, nullable=False),
    Column("note", String, nullable=False),
)
"""One queue of postings for each forge, which one process at a time works on; when it was polled, and how it stands."""

pull_lock = Table(
    "pull_lock",
    metadata,
    Column("source", String, primary_key=True),
    Column("address", String, primary_key=True),
    Column("forge", String, nullable=False),
    Column("project", String, nullable=False),
    Column("number", Integer, nullable=False),
    Column("at", Float, nullable=False),
    Column("identity", String, nullable=False),
    Column("reason", String, nullable=False),
    Index("pull_lock_of", "forge", "project", "number"),
)
"""Which pull request holds a resource, and since when. `identity` is empty where its plan took it, else who locked it."""

backoff = Table(
    "backoff",
    metadata,
    Column("address", String, primary_key=True),
    Column("failures", Integer, nullable=False),
    Column("until", Float, nullable=False),
    Column("reason", String, nullable=False),
)
"""Resources whose changes failed, and until when the loop leaves them alone."""

blob = Table(
    "blob",
    metadata,
    Column("name", String, primary_key=True),
    Column("body", LargeBinary, nullable=False),
    Column("at", Float, nullable=False),
    Column("expires_at", Float),
)
"""Artifacts and archived logs, where the blob store is this database."""

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

sample = Table(
    "sample",
    metadata,
    Column("at", Integer, primary_key=True, autoincrement=False),
    Column("source", String, primary_key=True),
    Column("tenant", String, primary_key=True),
    Column("converged", Integer, nullable=False),
    Column("changing", Integer, nullable=False),
    Column("drifted", Integer, nullable=False),
    Column("unknown", Integer, nullable=False),
    Column("failed", Integer, nullable=False),
)
"""How many hosts of a tenant stood how, every five minutes; `at` is a multiple of these."""

hold = Table(
    "hold",
    metadata,
    Column("address", String, primary_key=True),
    Column("run", String, nullable=False, index=True),
)
"""Who may change a resource now: one run at a time."""

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
