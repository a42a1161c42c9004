"""The tables of what Ansible runs did and of what is known of hosts."""

from sqlalchemy import Column, Float, Index, Integer, LargeBinary, String, Table

from reconciler.store.tables.base import metadata

task = Table(
    "task",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("run", String, nullable=False),
    Column("step", Integer, nullable=False),
    Column("tenant", String, nullable=False),
    Column("host", String, nullable=False),
    Column("name", String, nullable=False),
    Column("place", String, nullable=False),
    Column("status", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("seconds", Float, nullable=False),
    Column("message", String, nullable=False),
    Index("task_of_run", "run", "id"),
    Index("task_of_host", "tenant", "host", "at"),
)
"""What one task of a playbook did on one host in a run: `changed`, `failed`, `ignored` (it failed, and that was ignored) or `unreachable`; `ok` and `skipped`
where the settings keep all.
`place`: a file of the repository and a line. Redacted."""

task_total = Table(
    "task_total",
    metadata,
    Column("run", String, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("tenant", String, nullable=False),
    Column("name", String, nullable=False),
    Column("place", String, nullable=False),
    *(Column(count, Integer, nullable=False) for count in ("ok", "changed", "failed", "ignored", "skipped", "unreachable")),
    Column("seconds", Float, nullable=False),
    Column("most_s", Float, nullable=False),
    Column("slowest", String, nullable=False),
)
"""One task over all hosts of one playbook run, by how it ended there, and how long it took: on all hosts together, and on the slowest. `part`: which
playbook run of the step; `number`: its place in the order in which tasks began."""

host_total = Table(
    "host_total",
    metadata,
    Column("run", String, primary_key=True),
    Column("step", Integer, primary_key=True),
    Column("part", Integer, primary_key=True),
    Column("tenant", String, primary_key=True),
    Column("host", String, primary_key=True),
    *(Column(count, Integer, nullable=False) for count in ("ok", "changed", "failed", "ignored", "skipped", "unreachable")),
    Column("seconds", Float, nullable=False),
    Column("at", Float, nullable=False),
    Index("host_total_of_host", "tenant", "host", "at"),
)
"""All tasks of one playbook run on one host."""

host_seen = Table(
    "host_seen",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("host", String, primary_key=True),
    Column("checked_at", Float),
    Column("seen_at", Float),
    Column("converged_at", Float),
    Column("note", String, nullable=False),
    Index("host_seen_by_check", "checked_at"),
)
"""When a host was last asked, when it last answered, and when all that was asked about was last as desired. `note`: why it did not answer, or is not."""

host_facts = Table(
    "host_facts",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("host", String, primary_key=True),
    Column("at", Float, nullable=False),
    Column("digest", String, nullable=False),
    Column("body", LargeBinary, nullable=False),
)
"""What a host said last of itself: the facts that do not change by themselves."""

host_fact = Table(
    "host_fact",
    metadata,
    Column("tenant", String, primary_key=True),
    Column("host", String, primary_key=True),
    Column("path", String, primary_key=True),
    Column("value", String, nullable=False),
    Index("host_fact_by_value", "path", "value", "tenant", "host"),
)
"""Those of the facts by which hosts are found and counted. `value`: as people read it."""

host_check = Table(
    "host_check",
    metadata,
    Column("group", String, primary_key=True),
    Column("source", String, nullable=False),
    Column("interval_s", Float, nullable=False),
    Column("due_at", Float, nullable=False),
    Column("begun_at", Float),
    Column("ended_at", Float),
    Index("host_check_by_due", "source", "due_at"),
    Index("host_check_by_begun", "source", "begun_at"),
)
"""When a host is checked next by its Fleet's drift schedule, and when that was begun and ended last. `interval_s`: by which `due_at` was reckoned."""

check_spent = Table(
    "check_spent",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("source", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("hosts", Integer, nullable=False),
    Index("check_spent_by_time", "source", "at"),
)
"""How many hosts a drift schedule began to check when: what its budget is reckoned by."""

fact_change = Table(
    "fact_change",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("at", Float, nullable=False),
    Column("tenant", String, nullable=False),
    Column("host", String, nullable=False),
    Column("path", String, nullable=False),
    Column("before", String, nullable=False),
    Column("after", String, nullable=False),
    Index("fact_change_by_time", "at", "path"),
    Index("fact_change_of_host", "tenant", "host", "at"),
)
"""A fact that a host told otherwise than before. `before` and `after`: JSON texts, empty where there is none."""

occurrence = Table(
    "occurrence",
    metadata,
    Column("source", String, primary_key=True),
    Column("operation", String, primary_key=True),
    Column("due_at", Float, primary_key=True),
    Column("state", String, nullable=False),
    Column("at", Float, nullable=False),
    Column("run", String, nullable=False),
    Column("plan", String, nullable=False),
    Column("note", String, nullable=False),
)
"""One time that a scheduled operation was due: `begun`, `waiting` (for an approval or another run), `refused` or `missed`. `operation`: `TENANT/NAME`."""
