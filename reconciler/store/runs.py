"""The journal of runs: which steps there are, which have begun, how each change ended. Functions on a connection; the caller owns the transaction.

A run is `running`, or `paused` or `cancelling` by a person's word, until it ends `done`, `failed` or `cancelled`. A step is `ready`, `started` (its
effects may have reached the world), `waiting` (for an operation that goes on without us) or `ended`. Who works on a step is told in `leases`,
what happens to it in `journal`.
"""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.errors import Refused
from reconciler.events import happened
from reconciler.store.engine import Connection, insert
from reconciler.store.observations import unsettle
from reconciler.store.sql import BEGINS, beginning
from reconciler.types.change import Action
from reconciler.types.outcome import Status

RUN = ("id", "plan", "source", "state", "started_at", "ended_at", "reason")
STEP = ("run", "seq", "wave", "driver", "tenant", "state", "attempts", "operation")
LANE = ("run", "wave", "driver", "tenant", "open")
STEPS = "SELECT seq, wave, driver, tenant, state, attempts, started_at, operation, owner, fence, due_at, note FROM step"
RUNS = "SELECT id, plan, source, state, started_at, ended_at, reason FROM run"
PART = 200
"""Runs that are read at once."""
MANY = 500
"""Steps of a run that change how a table is best read."""
FORGET = "forget"
"""Stands for a run in the log's lines about records that were forgotten."""
ITEM = ("run", "step", "address", "change", "action", "status", "error")


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One change in a step. `change` is its place in the plan; `status` is None until it has ended."""

    address: str
    change: int
    action: Action
    status: Status | None = None
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalStep:
    """A step as the journal has it: see the table. `driver` is empty for changes of the record alone; `operations` are the handles to ask about."""

    seq: int
    wave: int
    driver: str
    tenant: str
    items: tuple[Item, ...]
    state: str = "ready"
    attempts: int = 0
    started_at: float | None = None
    operations: tuple[str, ...] = ()
    owner: str = ""
    fence: int = 0
    due_at: float = 0.0
    note: str = ""

    @property
    def open(self) -> tuple[Item, ...]:
        """The items that have not ended."""
        return tuple(item for item in self.items if item.status is None)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalRun:
    """A run without its steps. Times are seconds since the epoch."""

    id: str
    plan: int
    source: str
    state: str
    started_at: float
    ended_at: float | None
    reason: str


def create_run(connection: Connection, made: JournalRun, steps: Sequence[JournalStep], leaving: Sequence[str] = ()) -> None:
    """Write a new run with all its steps and take hold of their resources, and of the old addresses that moves leave.

    What was seen of them before counts no longer as settled: whatever comes of the run, the next plan looks again. Raises `Refused` if
    another run holds one.
    """
    addresses = sorted({found.address for part in steps for found in part.items} | set(leaving))
    refuse_held(connection, addresses)
    connection.run(insert("run", RUN), (made.id, made.plan, made.source, made.state, made.started_at, None, made.reason))
    connection.run_many(insert("step", STEP), [(made.id, s.seq, s.wave, s.driver, s.tenant, s.state, 0, "") for s in steps])
    lanes = Counter((step.wave, step.driver, step.tenant) for step in steps)
    connection.run_many(insert("lane", LANE), [(made.id, *lane, number) for lane, number in sorted(lanes.items())])
    items = [(made.id, s.seq, i.address, i.change, i.action.value, "", "") for s in steps for i in s.items]
    connection.run_many(insert("item", ITEM), items)
    connection.run_many(insert("hold", ("address", "run")), [(address, made.id) for address in addresses])
    unsettle(connection, addresses)
    if len(steps) >= MANY:
        connection.grown("step", "item", "change", "lane", "hold")
    if not steps:  # there is no last one that would end it
        end_run(connection, made.id, "done", made.started_at)


def refuse_held(connection: Connection, addresses: Sequence[str]) -> None:
    """Raises `Refused` if a run holds one of these resources."""
    for where, by in connection.rows_in("SELECT address, run FROM hold WHERE address IN (...)", addresses):
        raise Refused(
            f"{where} is being changed by run {by}",
            hint=f"wait for it (octofleet status), or if its process is gone, octofleet resume {by}",
            code="held",
        )


def load_run(connection: Connection, run_id: str) -> JournalRun | None:
    """One run."""
    row = connection.row(f"{RUNS} WHERE id = ?", (run_id,))
    return _run(row) if row else None


def open_run(connection: Connection, run_id: str) -> JournalRun:
    """A run that has not ended. Raises `Refused` if there is none."""
    run = load_run(connection, run_id)
    if run is None or run.ended_at is not None:
        raise Refused(f"run {run_id} is not open", hint="octofleet runs lists them", code="no-run")
    return run


def _run(row: Sequence[Any]) -> JournalRun:
    run_id, plan, source, state, started_at, ended_at, reason = row
    return JournalRun(id=run_id, plan=plan, source=source, state=state, started_at=started_at, ended_at=ended_at, reason=reason)


def list_runs(connection: Connection, *, limit: int = 50) -> list[JournalRun]:
    """Runs, newest first."""
    return [_run(row) for row in connection.rows(f"{RUNS} ORDER BY started_at DESC, id LIMIT ?", (limit,))]


def runs_before(connection: Connection, key: Sequence[Any] | None) -> Iterator[JournalRun]:
    """Runs, newest first, some at a time; with the beginning and the id of one, those after it."""
    while True:
        before = "WHERE started_at < ? OR started_at = ? AND id > ? " if key else ""
        params = (key[0], key[0], key[1]) if key else ()
        found = [_run(row) for row in connection.rows(f"{RUNS} {before}ORDER BY started_at DESC, id LIMIT ?", (*params, PART))]
        yield from found
        if len(found) < PART:
            return
        key = found[-1].started_at, found[-1].id


def find_runs(connection: Connection, prefix: str) -> list[JournalRun]:
    """The runs whose id begins so, newest first; the one with this id alone, if there is one."""
    exact = load_run(connection, prefix)
    found = connection.rows(f"{RUNS} WHERE id {BEGINS} ORDER BY started_at DESC, id", (beginning(prefix),))
    return [exact] if exact else [_run(row) for row in found]


def last_ended(connection: Connection, source: str) -> JournalRun | None:
    """The newest run of a source that has ended."""
    row = connection.row(f"{RUNS} WHERE source = ? AND ended_at IS NOT NULL ORDER BY started_at DESC, id LIMIT 1", (source,))
    return _run(row) if row else None


def open_runs(connection: Connection) -> list[JournalRun]:
    """Runs that have not ended, oldest first."""
    return [_run(row) for row in connection.rows(f"{RUNS} WHERE ended_at IS NULL ORDER BY started_at, id")]


def load_steps(connection: Connection, run_id: str, seqs: Sequence[int] | None = None) -> list[JournalStep]:
    """The steps of a run in order, or those with these numbers, with their items."""
    items: dict[int, list[Item]] = {}
    query = "SELECT step, address, change, action, status, error FROM item WHERE run = ?"
    for seq, address, change, action, status, error in _of_steps(connection, query, run_id, "step", seqs):
        ended = Status(status) if status else None
        items.setdefault(seq, []).append(Item(address=address, change=change, action=Action(action), status=ended, error=error))
    found = _of_steps(connection, f"{STEPS} WHERE run = ?", run_id, "seq", seqs)
    return sorted((_step(row, items) for row in found), key=lambda step: step.seq)


def _of_steps(connection: Connection, query: str, run_id: str, column: str, seqs: Sequence[int] | None) -> Iterator[tuple[Any, ...]]:
    return connection.rows(query, (run_id,)) if seqs is None else connection.rows_in(f"{query} AND {column} IN (...)", seqs, (run_id,))


def _step(row: Sequence[Any], items: Mapping[int, list[Item]]) -> JournalStep:
    seq, wave, driver, tenant, state, attempts, started_at, operation, owner, fence, due_at, note = row
    return JournalStep(
        seq=seq,
        wave=wave,
        driver=driver,
        tenant=tenant,
        items=tuple(sorted(items.get(seq, ()), key=lambda item: item.address)),
        state=state,
        attempts=attempts,
        started_at=started_at,
        operations=tuple(json.loads(operation)) if operation else (),
        owner=owner,
        fence=fence,
        due_at=due_at,
        note=note,
    )


def run_items(
    connection: Connection, run_id: str, conditions: Sequence[tuple[str, Sequence[object]]], key: Sequence[Any] | None
) -> Iterator[tuple[JournalStep, Item, float | None]]:
    """The changes of a run for which these conditions hold, each with its step (without the others) and when it ended; in the order of the steps, some at a
    time; with a step and an address, those after it."""
    so = "".join(f" AND {condition}" for condition, _ in conditions)
    query = (
        "SELECT item.address, item.change, item.action, item.status, item.error, item.ended_at, step.seq, step.wave, step.driver, step.tenant, "  # noqa: S608 - from the code
        "step.state, step.attempts, step.started_at, step.operation, step.owner, step.fence, step.due_at, step.note "
        "FROM item JOIN step ON step.run = item.run AND step.seq = item.step "
        f"WHERE item.run = ?{so} AND (item.step, item.address) > (?, ?) ORDER BY item.step, item.address LIMIT ?"
    )
    while True:
        after = key if key is not None else (-1, "")
        rows = list(connection.rows(query, (run_id, *(value for _, values in conditions for value in values), *after, ITEMS_AT_ONCE)))
        for address, change, action, status, error, ended_at, *step in rows:
            ended = Status(status) if status else None
            item = Item(address=address, change=change, action=Action(action), status=ended, error=error)
            yield _step(step, {}), item, ended_at
        if len(rows) < ITEMS_AT_ONCE:
            return
        key = rows[-1][6], rows[-1][0]


ITEMS_AT_ONCE = 500


def waves_of(connection: Connection, run_id: str) -> list[tuple[int, str, str, int]]:
    """By wave, tenant and state how many steps a run has."""
    query = "SELECT wave, tenant, state, count(*) FROM step WHERE run = ? GROUP BY wave, tenant, state ORDER BY wave, tenant, state"
    return [(wave, tenant, state, number) for wave, tenant, state, number in connection.rows(query, (run_id,))]


def ended_items(connection: Connection, run_id: str) -> dict[str, Status]:
    """How each change of a run ended, as far as it has; of a replacement, its last part."""
    rows = connection.rows("SELECT address, status FROM item WHERE run = ? AND status <> '' ORDER BY step", (run_id,))
    return {address: Status(status) for address, status in rows}


def statuses(connection: Connection, run_id: str) -> dict[str, int]:
    """How many changes of a run ended with each status; `open` for those that have not."""
    query = "SELECT status, count(*) FROM item WHERE run = ? GROUP BY status ORDER BY status"
    return {status or "open": number for status, number in connection.rows(query, (run_id,))}


def statuses_of(connection: Connection, run_id: str, tenant: str) -> Iterator[tuple[str, int]]:
    """The same of one tenant's changes."""
    query = (
        "SELECT item.status, count(*) FROM step JOIN item ON item.run = step.run AND item.step = step.seq "
        "WHERE step.run = ? AND step.tenant = ? GROUP BY item.status"
    )
    return ((status or "open", number) for status, number in connection.rows(query, (run_id, tenant)))


def tenants_of_run(connection: Connection, run_id: str) -> set[str]:
    """The tenants that a run changes something of, an empty one for what is across tenants."""
    return {tenant for (tenant,) in connection.rows("SELECT DISTINCT tenant FROM lane WHERE run = ?", (run_id,))}


def open_drivers(connection: Connection, run_id: str) -> set[str]:
    """The drivers that a run still needs."""
    return {name for (name,) in connection.rows("SELECT DISTINCT driver FROM lane WHERE run = ? AND open > 0 AND driver <> ''", (run_id,))}


def end_run(connection: Connection, run_id: str, state: str, at: float) -> None:
    """The run is over; its resources are free."""
    connection.run("UPDATE run SET state = ?, ended_at = ? WHERE id = ?", (state, at, run_id))
    connection.run("DELETE FROM hold WHERE run = ?", (run_id,))
    connection.run("DELETE FROM kept_window WHERE run = ?", (run_id,))
    happened("run-ended", run=run_id, state=state)


def write_log(connection: Connection, run_id: str, lines: Iterable[tuple[int, float, str]]) -> None:
    """Append lines (step, time, text) to a run's log."""
    connection.run_many(insert("log", ("run", "step", "at", "text")), ((run_id, seq, at, text) for seq, at, text in lines))


def last_work(connection: Connection, source: str) -> list[str]:
    """Names the newest run of a source and the newest line about a forgotten record, as far as there are any, for `knows_work`."""
    run = connection.row("SELECT 'run', id, '' FROM run WHERE source = ? ORDER BY started_at DESC LIMIT 1", (source,))
    line = connection.row("SELECT 'log', id, at FROM log WHERE run = ? ORDER BY id DESC LIMIT 1", (FORGET,))
    return ["/".join(map(str, found)) for found in (run, line) if found is not None]


def knows_work(connection: Connection, named: Iterable[str]) -> bool:
    """Whether all that `last_work` named is still there: it is not in a database that was restored to before, whatever that did since."""
    for table, key, at in (name.split("/") for name in named):
        query = "SELECT '' FROM run WHERE id = ?" if table == "run" else "SELECT at FROM log WHERE id = ?"
        found = connection.row(query, (key if table == "run" else int(key),))
        if found is None or str(found[0]) != at:
            return False
    return True


def read_log(connection: Connection, run_id: str) -> list[tuple[int, float, str]]:
    """Step, time and text of every line of a run."""
    rows = connection.rows("SELECT step, at, text FROM log WHERE run = ? ORDER BY id", (run_id,))
    return [(seq, at, text) for seq, at, text in rows]
