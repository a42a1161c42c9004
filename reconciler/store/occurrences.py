"""The times that scheduled operations were due. Functions on a connection; the caller owns the transaction."""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.store.engine import Connection, upsert

COLUMNS = ("source", "operation", "due_at", "state", "at", "run", "plan", "note")
BEGUN, WAITING, MISSED, REPORTED = "begun", "waiting", "missed", "reported"
QUERY = f"SELECT {', '.join(COLUMNS)} FROM occurrence"  # noqa: S608 - from above


@dataclass(frozen=True, slots=True, kw_only=True)
class Occurrence:
    """One time that an operation (`TENANT/NAME`, `/NAME` without a tenant) was due, in seconds since the epoch. `state`: `waiting`, `begun`, `reported` (the
    plan was made, and this server applies nothing) or `missed`; `note`: why it waits or was missed; `plan`: the id of the last plan of it."""

    source: str
    operation: str
    due_at: float
    state: str
    at: float
    run: str = ""
    plan: str = ""
    note: str = ""


def note(connection: Connection, found: Occurrence, was: str | None = None) -> bool:
    """Insert it, or replace one that waits with the plan `was` (by default its own). False if it stands otherwise: somebody else goes on with it."""
    row = (found.source, found.operation, found.due_at, found.state, found.at, found.run, found.plan, found.note)
    query = f"{upsert('occurrence', COLUMNS, key=3)} WHERE occurrence.state = ? AND occurrence.plan = ?"
    return connection.changed(query, (*row, WAITING, found.plan if was is None else was)) == 1


def of_operation(connection: Connection, source: str, operation: str, due: Sequence[float]) -> list[Occurrence]:
    """What is known of these times."""
    query = f"{QUERY} WHERE source = ? AND operation = ? AND due_at IN (...)"
    return [_made(row) for row in connection.rows_in(query, due, (source, operation))]


def open_occurrences(connection: Connection, source: str) -> list[Occurrence]:
    """Those of a Fleet that wait."""
    rows = connection.rows(f"{QUERY} WHERE source = ? AND state = ? ORDER BY operation, due_at", (source, WAITING))
    return [_made(row) for row in rows]


def latest(connection: Connection, source: str, operation: str) -> Occurrence | None:
    """The last time that it was due."""
    row = connection.row(f"{QUERY} WHERE source = ? AND operation = ? ORDER BY due_at DESC LIMIT 1", (source, operation))
    return None if row is None else _made(row)


def run_of_plan(connection: Connection, source: str, plan: str) -> str:
    """The newest run of a plan, by the plan's id; empty if there is none."""
    query = 'SELECT run.id FROM run JOIN plan ON plan."row" = run.plan WHERE run.source = ? AND plan.id = ? ORDER BY run.started_at DESC LIMIT 1'
    return str(connection.scalar(query, (source, plan)) or "")


def _made(row: Sequence[object]) -> Occurrence:
    source, operation, due_at, state, at, run, plan, why = row
    return Occurrence(source=source, operation=operation, due_at=due_at, state=state, at=at, run=run, plan=plan, note=why)  # type: ignore[arg-type]
