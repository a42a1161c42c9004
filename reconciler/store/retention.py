"""What the store lets go with time, a few rows in each transaction, so that others are never kept waiting.

Never an open run or its plan, a plan that can still be applied, the newest run and the newest plan (the index and `status` ask for them), or a
specification that a record, an observation or a change of a kept plan names. Whoever dies in the middle leaves something to do for the next time.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from reconciler.blobs.blob_store import BlobStore
from reconciler.settings import Retention
from reconciler.store.archive import move_log
from reconciler.store.audit import record
from reconciler.store.engine import Connection, Store, chunks
from reconciler.store.pages import ROWS, pages
from reconciler.store.runs import FORGET
from reconciler.types.audit import LOOP, Entry
from reconciler.types.canonical import unpack

DAY_S = 86_400.0
DELIVERIES_S = 14 * DAY_S
"""So long the ids of deliveries are remembered; what is older is refused where a forge tells its time."""
SAMPLES_S = 90 * DAY_S
"""So long it is known how the fleets stood."""
LATE_S = 3_600.0
"""So long an observation may be under way from the look at the world to the store."""
OF_A_RUN = {
    "log": ("id",),
    "attempt": ("run", "step", "fence"),
    "lane": ("run", "wave", "driver", "tenant"),
    "phase": ("run", "tenant", "track", "number"),
    "kept_window": ("run", "address"),
    "rollback": ("run",),
    "task": ("id",),
    "task_total": ("run", "step", "part", "number"),
    "host_total": ("run", "step", "part", "tenant", "host"),
    "item": ("run", "step", "address"),
    "step": ("run", "seq"),
}
"""What belongs to a run, with its key, in the order in which it goes."""
OLD_WORKERS = (
    "FROM worker WHERE until < ? AND NOT EXISTS (SELECT 1 FROM step WHERE step.owner = worker.id) "
    "AND NOT EXISTS (SELECT 1 FROM repository WHERE repository.owner = worker.id) "
    "AND NOT EXISTS (SELECT 1 FROM pull WHERE pull.owner = worker.id) "
    "AND NOT EXISTS (SELECT 1 FROM forge WHERE forge.owner = worker.id)"
)
OLD_DELIVERIES = "FROM delivery WHERE at < ?"
OLD_SAMPLES = "FROM sample WHERE at < ?"
OLD_PULLS = (
    "FROM pull WHERE state <> 'open' AND owner = '' AND asked_at IS NULL AND COALESCE(planned_at, 0) < ? "
    "AND NOT EXISTS (SELECT 1 FROM posting WHERE {of} AND (posting.due_at >= ? OR wanted <> posted)) "
    "AND NOT EXISTS (SELECT 1 FROM pull_command WHERE {of} AND (pull_command.at >= ? OR done_at IS NULL))"
).replace("{of}", "forge = pull.forge AND project = pull.project AND number = pull.number")
TOKENS_S = 90 * DAY_S
"""So long a token is listed after it has expired or was revoked."""
OLD_SIGN_INS = {
    "session": ("id", "FROM session WHERE expires_at < ?", 0.0),
    "invitation": ("id", "FROM invitation WHERE expires_at < ?", 0.0),
    "tries": ("key", "FROM tries WHERE until < ?", 0.0),
    "api_token": ("id", "FROM api_token WHERE COALESCE(revoked_at, expires_at) < ?", TOKENS_S),
}
"""What has ended of signing in, by table: its key, what finds it, and for how many seconds it is kept."""
OLD_INSTALLS = "FROM installation WHERE ended_at < ? AND seq < (SELECT max(newest.seq) FROM installation AS newest)"
"""Not the one that changed last: by its number serving processes know what they have seen."""
OLD_BOOTS = (
    "FROM boot_seen WHERE at < ? AND NOT EXISTS "
    "(SELECT 1 FROM record WHERE record.address = 'netboot/machine/' || boot_seen.tenant || '/' || boot_seen.host)"
)
OLD_OCCURRENCES = "FROM occurrence WHERE at < ? AND state <> 'waiting'"
OLD_FACT_CHANGES = "FROM fact_change WHERE at < ?"
GONE_HOSTS = (
    "FROM {table} WHERE NOT EXISTS (SELECT 1 FROM record WHERE record.address = 'fleet/host/' || {table}.tenant || '/' || {table}.host)"
)
"""What was told of hosts that are on no record: a run may tell it after the record went."""
OF_HOSTS = {"host_seen": ("tenant", "host"), "host_facts": ("tenant", "host"), "host_fact": ("tenant", "host", "path")}
OF_A_PULL = ("posting", "pull_command", "pull_lock")
OLD_OUTLINES = 'FROM outline WHERE NOT EXISTS (SELECT 1 FROM plan WHERE plan."row" = outline.plan)'
OLD_LINES = "FROM log WHERE run = ? AND at < ? AND id < (SELECT max(id) FROM log AS newest WHERE newest.run = ?)"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pruned:
    """How much of each kind went, or would go: `logs` of runs to the blob store, the rest for good. `forgets` are lines about forgotten records."""

    logs: int
    runs: int
    plans: int
    specs: int
    forgets: int
    workers: int
    deliveries: int
    pulls: int
    sign_ins: int
    installs: int
    blobs: int


def prune(store: Store, blobs: BlobStore, keep: Retention, now: float, *, dry_run: bool = False, identity: str = LOOP) -> Pruned:
    """Let go of what is older than the settings say at `now` (seconds since the epoch), and of blobs that have expired. Once a day is often enough.

    It reads every record, observation and kept change to find the specifications that nobody names. `identity`: who asks for it; the audit trail, which
    stays, tells before anything goes.
    """
    with store.read() as connection:
        runs = _old_runs(connection, now - keep.runs_days * DAY_S)
        plans = _old_plans(connection, runs, now, now - keep.plans_days * DAY_S)
        logs = [run for run in _with_log(connection, now - keep.log_days * DAY_S) if run not in runs]
        lines = FORGET, now - keep.runs_days * DAY_S, FORGET
        forgets = _counted(connection, OLD_LINES, lines)
        workers = _counted(connection, OLD_WORKERS, (now - keep.log_days * DAY_S,))
        deliveries = _counted(connection, OLD_DELIVERIES, (now - DELIVERIES_S,))
        pulls = _old_pulls(connection, now - keep.plans_days * DAY_S)
        sign_ins = sum(_counted(connection, what, (now - kept_s,)) for _, what, kept_s in OLD_SIGN_INS.values())
        installs = _counted(connection, OLD_INSTALLS, (now - keep.runs_days * DAY_S,))
    expired = list(blobs.expired())
    if not dry_run:
        going = {"logs": len(logs), "runs": len(runs), "plans": len(plans), "forgets": forgets, "pulls": len(pulls)}
        going |= {"installs": installs, "blobs": len(expired)}
        _tell(store, identity, keep, going)
        logs = [run for run in logs if move_log(store, blobs, run)]
        for run_id, archive in runs.items():
            if archive:
                blobs.delete(archive)
            _delete_run(store, run_id)
        for row in plans:
            _delete_plan(store, row)
        _delete(store, "outline", ("plan", "piece"), OLD_OUTLINES)
        _delete(store, "log", ("id",), OLD_LINES, lines)
        _delete(store, "worker", ("id",), OLD_WORKERS, (now - keep.log_days * DAY_S,))
        _delete(store, "delivery", ("forge", "id"), OLD_DELIVERIES, (now - DELIVERIES_S,))
        _delete(store, "sample", ("at", "source", "tenant"), OLD_SAMPLES, (int(now - SAMPLES_S),))
        for place in pulls:
            _delete_pull(store, place, now - keep.plans_days * DAY_S)
        for table, (key, what, kept_s) in OLD_SIGN_INS.items():
            _delete(store, table, (key,), what, (now - kept_s,))
        _delete(store, "installation", ("id",), OLD_INSTALLS, (now - keep.runs_days * DAY_S,))
        _delete(store, "occurrence", ("source", "operation", "due_at"), OLD_OCCURRENCES, (now - keep.runs_days * DAY_S,))
        _delete(store, "boot_seen", ("tenant", "host"), OLD_BOOTS, (now - keep.runs_days * DAY_S,))
        _delete(store, "fact_change", ("id",), OLD_FACT_CHANGES, (now - keep.runs_days * DAY_S,))
        for table, columns in OF_HOSTS.items():
            _delete(store, table, columns, GONE_HOSTS.replace("{table}", table))
        for name in expired:
            blobs.delete(name)
    specs = _sweep(store, plans, dry_run=dry_run)
    return Pruned(
        logs=len(logs),
        runs=len(runs),
        plans=len(plans),
        specs=specs,
        forgets=forgets,
        workers=workers,
        deliveries=deliveries,
        pulls=len(pulls),
        sign_ins=sign_ins,
        installs=installs,
        blobs=len(expired),
    )


def _tell(store: Store, identity: str, keep: Retention, going: Mapping[str, int]) -> None:
    """Record what is about to go, if there is anything."""
    if any(going.values()):
        days = {"runs": keep.runs_days, "plans": keep.plans_days, "logs": keep.log_days}
        with store.write(alone=False) as connection:
            record(connection, Entry(identity=identity, action="prune", details={"going": dict(going), "olderThanDays": days}))


def _old_runs(connection: Connection, before: float) -> dict[str, str]:
    """Runs that ended before a time, with the names of their archives; not the newest of a source: the index asks whether it is still there."""
    query = (
        "SELECT id, archive FROM run WHERE ended_at < ? "
        "AND started_at < (SELECT max(newest.started_at) FROM run AS newest WHERE newest.source = run.source) ORDER BY ended_at, id"
    )
    return dict(connection.rows(query, (before,)))


def _old_plans(connection: Connection, old_runs: Collection[str], now: float, before: float) -> list[int]:
    """The rows of plans that were made before a time, have expired, belong to no run that stays, and that neither `status` nor an open pull
    request tells of."""
    kept = {row for run_id, row in connection.rows("SELECT id, plan FROM run") if run_id not in old_runs}
    kept.update(_told(connection))
    kept.update(row for (row,) in connection.rows("SELECT plan FROM pull WHERE state = 'open' AND plan IS NOT NULL"))
    query = 'SELECT "row" FROM plan WHERE created_at < ? AND expires_at < ? AND "row" < (SELECT max("row") FROM plan) ORDER BY "row"'
    return [row for (row,) in connection.rows(query, (before, now)) if row not in kept]


def _told(connection: Connection) -> Iterator[int]:
    """For each source the newest plan of the commit applied last that had no scope."""
    for name, commit in list(connection.rows("SELECT name, applied_commit FROM source")):
        query = 'SELECT "row" FROM plan WHERE source = ? AND "commit" = ? ORDER BY "row" DESC'
        for (row,) in list(connection.rows(query, (name, commit))):
            if not unpack(connection.scalar('SELECT body FROM plan WHERE "row" = ?', (row,)))["scope"]:
                yield row
                break


def _with_log(connection: Connection, before: float) -> list[str]:
    """Runs that ended before a time and of whose log the table has something."""
    query = "SELECT id FROM run WHERE ended_at < ? AND EXISTS (SELECT 1 FROM log WHERE log.run = run.id) ORDER BY ended_at, id"
    return [run_id for (run_id,) in connection.rows(query, (before,))]


def _counted(connection: Connection, what: str, params: tuple[object, ...]) -> int:
    return int(connection.scalar(f"SELECT count(*) {what}", params))


def _delete(store: Store, table: str, key: tuple[str, ...], what: str, params: tuple[object, ...] = ()) -> None:
    """Delete what `FROM table WHERE ..` finds, some rows in each transaction."""
    keys = ", ".join(key)
    query = f"DELETE FROM {table} WHERE ({keys}) IN (SELECT {keys} {what} LIMIT ?) RETURNING 1"  # noqa: S608 - names from here
    gone = ROWS
    while gone == ROWS:
        with store.write(alone=False) as connection:
            gone = len(list(connection.rows(query, (*params, ROWS))))


def _delete_run(store: Store, run_id: str) -> None:
    for table, key in OF_A_RUN.items():
        _delete(store, table, key, f"FROM {table} WHERE run = ?", (run_id,))
    _delete(store, "run", ("id",), "FROM run WHERE id = ?", (run_id,))


def _delete_plan(store: Store, row: int) -> None:
    _delete(store, "change", ("plan", "seq"), "FROM change WHERE plan = ?", (row,))
    _delete(store, "plan", ('"row"',), 'FROM plan WHERE "row" = ?', (row,))


class _Names(msgspec.Struct):
    """What a stored change says of specifications."""

    before: str
    after: str
    desired: str


_names = msgspec.json.Decoder(_Names).decode


def _old_pulls(connection: Connection, before: float) -> list[tuple[Any, ...]]:
    """Pull requests that are closed, and of which nothing was planned, said or posted since."""
    query = f"SELECT forge, project, number {OLD_PULLS} ORDER BY forge, project, number"
    return list(connection.rows(query, (before, before, before)))


def _delete_pull(store: Store, place: tuple[Any, ...], before: float) -> None:
    """One of these with all that belongs to it, unless something has happened to it meanwhile."""
    with store.write(alone=False) as connection:
        query = f"DELETE {OLD_PULLS} AND forge = ? AND project = ? AND number = ?"
        if connection.changed(query, (before, before, before, *place)):
            for table in OF_A_PULL:
                connection.run(f"DELETE FROM {table} WHERE forge = ? AND project = ? AND number = ?", place)  # noqa: S608 - names from above


def _sweep(store: Store, gone: Collection[int], *, dry_run: bool) -> int:
    """Delete the specifications that nobody names; `gone` are plans that do not count. How many there are."""
    with store.read() as connection:
        since = connection.now() - LATE_S
        plans = _plans(connection)
        named = _named(connection, gone)  # as hashes: of two with the same one, both are kept
        idle = [found for part in pages(connection, "spec", ("digest",), ("digest",)) for (found,) in part if hash(found) not in named]
    if dry_run:
        return len(idle)
    number = 0
    for part in chunks(idle, ROWS):
        with store.write(alone=False) as connection:
            # whoever saves one of these meanwhile waits, or has been waited for: then its plan is seen here
            query = "SELECT digest FROM spec WHERE digest IN (...) ORDER BY digest FOR UPDATE"
            locked = list(connection.rows_in(query, part))
            for row in sorted(_plans(connection) - plans):
                named.update(_of_changes(connection.rows("SELECT body FROM change WHERE plan = ?", (row,))))
                plans.add(row)
            for found, at in connection.rows("SELECT digest, at FROM observation WHERE at >= ? ORDER BY at", (since,)):
                named.add(hash(found))
                since = at
            left = [found for (found,) in locked if hash(found) not in named]
            connection.run_in("DELETE FROM spec WHERE digest IN (...)", left)
        number += len(left)
    return number


def _plans(connection: Connection) -> set[int]:
    return {row for (row,) in connection.rows('SELECT "row" FROM plan')}


def _named(connection: Connection, gone: Collection[int]) -> set[int]:
    """Hashes of the digests that something names."""
    found: set[int] = set()
    for part in pages(connection, "record", ("address", "digest", "observed_digest"), ("address",)):
        found.update(hash(name) for _, *names in part for name in names)
    for part in pages(connection, "observation", ("address", "digest"), ("address",)):
        found.update(hash(name) for _, name in part)
    lost = set(gone)
    for part in pages(connection, "change", ("plan", "seq", "body"), ("plan", "seq")):
        found.update(_of_changes((body,) for plan, _, body in part if plan not in lost))
    return found


def _of_changes(bodies: Iterator[tuple[Any, ...]]) -> Iterator[int]:
    for (body,) in bodies:
        names = _names(body)
        yield from (hash(names.before), hash(names.after), hash(names.desired))
