"""The journal of runs: which steps there are, which have begun, how each change ended. Functions on a connection; the caller owns the transaction.

A step is `ready`, `started` (its effects may have reached the world), `waiting` (for an operation that goes on without us) or `ended`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.errors import Refused
from reconciler.store.engine import Connection, insert
from reconciler.store.observations import unsettle
from reconciler.types.change import Action
from reconciler.types.outcome import Status

RUN = ("id", "plan", "source", "state", "started_at", "ended_at", "reason")
STEP = ("run", "seq", "wave", "driver", "state", "attempts", "operation")
RUNS = "SELECT id, plan, source, state, started_at, ended_at, reason FROM run"
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
    """A step as the journal has it. `driver` is empty for changes of the record alone; `operation` is the handle to ask about when waiting."""

    seq: int
    wave: int
    driver: str
    items: tuple[Item, ...]
    state: str = "ready"
    attempts: int = 0
    started_at: float | None = None
    operation: str = ""


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
    connection.run_many(insert("step", STEP), [(made.id, s.seq, s.wave, s.driver, s.state, 0, "") for s in steps])
    items = [(made.id, s.seq, i.address, i.change, i.action.value, "", "") for s in steps for i in s.items]
    connection.run_many(insert("item", ITEM), items)
    connection.run_many(insert("hold", ("address", "run")), [(address, made.id) for address in addresses])
    unsettle(connection, addresses)


def refuse_held(connection: Connection, addresses: Sequence[str]) -> None:
    """Raises `Refused` if a run holds one of these resources."""
    for where, by in connection.rows_in("SELECT address, run FROM hold WHERE address IN (...)", addresses):
        raise Refused(
            f"{where} is being changed by run {by}",
            hint=f"wait for it (octofleet status), or if its process is gone, octofleet apply --resume {by}",
            code="held",
        )


def load_run(connection: Connection, run_id: str) -> JournalRun | None:
    """One run."""
    row = connection.row(f"{RUNS} WHERE id = ?", (run_id,))
    return _run(row) if row else None


def _run(row: Sequence[Any]) -> JournalRun:
    run_id, plan, source, state, started_at, ended_at, reason = row
    return JournalRun(id=run_id, plan=plan, source=source, state=state, started_at=started_at, ended_at=ended_at, reason=reason)


def list_runs(connection: Connection, *, state: str | None = None, limit: int = 50) -> list[JournalRun]:
    """Runs, newest first."""
    where, params = ("", (limit,)) if state is None else ("WHERE state = ?", (state, limit))
    return [_run(row) for row in connection.rows(f"{RUNS} {where} ORDER BY started_at DESC, id LIMIT ?", params)]


def load_steps(connection: Connection, run_id: str) -> list[JournalStep]:
    """The steps of a run in order, with their items."""
    items: dict[int, list[Item]] = {}
    query = "SELECT step, address, change, action, status, error FROM item WHERE run = ? ORDER BY step, address"
    for seq, address, change, action, status, error in connection.rows(query, (run_id,)):
        ended = Status(status) if status else None
        items.setdefault(seq, []).append(Item(address=address, change=change, action=Action(action), status=ended, error=error))
    query = "SELECT seq, wave, driver, state, attempts, started_at, operation FROM step WHERE run = ? ORDER BY seq"
    return [
        JournalStep(
            seq=seq,
            wave=wave,
            driver=driver,
            items=tuple(items.get(seq, ())),
            state=state,
            attempts=attempts,
            started_at=started_at,
            operation=operation,
        )
        for seq, wave, driver, state, attempts, started_at, operation in connection.rows(query, (run_id,))
    ]


def begin_step(connection: Connection, run_id: str, seq: int, at: float) -> None:
    """From here on the step's effects may have reached the world."""
    query = "UPDATE step SET state = 'started', attempts = attempts + 1, started_at = coalesce(started_at, ?) WHERE run = ? AND seq = ?"
    connection.run(query, (at, run_id, seq))


def note_operation(connection: Connection, run_id: str, seq: int, operation: str) -> None:
    """The step waits for an operation in the world."""
    connection.run("UPDATE step SET state = 'waiting', operation = ? WHERE run = ? AND seq = ?", (operation, run_id, seq))


def end_items(connection: Connection, run_id: str, seq: int, ended: Mapping[str, tuple[Status, str]], at: float) -> None:
    """These changes have ended; with the last of a step, the step has."""
    query = "UPDATE item SET status = ?, error = ?, ended_at = ? WHERE run = ? AND step = ? AND address = ?"
    connection.run_many(query, [(status.value, error, at, run_id, seq, address) for address, (status, error) in ended.items()])
    still_open = connection.row("SELECT address FROM item WHERE run = ? AND step = ? AND status = '' LIMIT 1", (run_id, seq))
    if still_open is None:
        connection.run("UPDATE step SET state = 'ended' WHERE run = ? AND seq = ?", (run_id, seq))


def end_run(connection: Connection, run_id: str, state: str, at: float) -> None:
    """The run is over; its resources are free."""
    connection.run("UPDATE run SET state = ?, ended_at = ? WHERE id = ?", (state, at, run_id))
    connection.run("DELETE FROM hold WHERE run = ?", (run_id,))


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
