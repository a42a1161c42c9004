"""The journal of runs: which steps there are, which have begun, how each change ended. Functions on a connection; the caller owns the transaction.

A step is `ready`, `started` (its effects may have reached the world), `waiting` (for an operation that goes on without us) or `ended`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, Row, delete, insert, select, update

from reconciler.errors import Refused
from reconciler.store.engine import chunks
from reconciler.store.observations import unsettle
from reconciler.store.tables import hold, item, log, run, step
from reconciler.types.change import Action
from reconciler.types.outcome import Status


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
    connection.execute(
        insert(run).values(
            id=made.id, plan=made.plan, source=made.source, state=made.state, started_at=made.started_at, ended_at=None, reason=made.reason
        )
    )
    rows = [
        {"run": made.id, "seq": s.seq, "wave": s.wave, "driver": s.driver, "state": s.state, "attempts": 0, "operation": ""} for s in steps
    ]
    items = [
        {"run": made.id, "step": s.seq, "address": i.address, "change": i.change, "action": i.action.value, "status": "", "error": ""}
        for s in steps
        for i in s.items
    ]
    for table, values in ((step, rows), (item, items), (hold, [{"address": address, "run": made.id} for address in addresses])):
        if values:
            connection.execute(insert(table), values)
    unsettle(connection, addresses)


def refuse_held(connection: Connection, addresses: Sequence[str]) -> None:
    """Raises `Refused` if a run holds one of these resources."""
    for part in chunks(addresses):
        taken = connection.execute(select(hold).where(hold.c.address.in_(part)).limit(1)).first()
        if taken is not None:
            raise Refused(
                f"{taken.address} is being changed by run {taken.run}",
                hint=f"wait for it (octofleet status), or if its process is gone, octofleet apply --resume {taken.run}",
                code="held",
            )


def load_run(connection: Connection, run_id: str) -> JournalRun | None:
    """One run."""
    row = connection.execute(select(run).where(run.c.id == run_id)).first()
    return _run(row) if row else None


def _run(row: Row[tuple[object, ...]]) -> JournalRun:
    return JournalRun(
        id=row.id, plan=row.plan, source=row.source, state=row.state, started_at=row.started_at, ended_at=row.ended_at, reason=row.reason
    )


def list_runs(connection: Connection, *, state: str | None = None, limit: int = 50) -> list[JournalRun]:
    """Runs, newest first."""
    query = select(run).order_by(run.c.started_at.desc(), run.c.id).limit(limit)
    return [_run(row) for row in connection.execute(query if state is None else query.where(run.c.state == state))]


def load_steps(connection: Connection, run_id: str) -> list[JournalStep]:
    """The steps of a run in order, with their items."""
    items: dict[int, list[Item]] = {}
    for row in connection.execute(select(item).where(item.c.run == run_id).order_by(item.c.step, item.c.address)):
        status = Status(row.status) if row.status else None
        found = Item(address=row.address, change=row.change, action=Action(row.action), status=status, error=row.error)
        items.setdefault(row.step, []).append(found)
    return [
        JournalStep(
            seq=row.seq,
            wave=row.wave,
            driver=row.driver,
            items=tuple(items.get(row.seq, ())),
            state=row.state,
            attempts=row.attempts,
            started_at=row.started_at,
            operation=row.operation,
        )
        for row in connection.execute(select(step).where(step.c.run == run_id).order_by(step.c.seq))
    ]


def begin_step(connection: Connection, run_id: str, seq: int, at: float) -> None:
    """From here on the step's effects may have reached the world."""
    here = (step.c.run == run_id) & (step.c.seq == seq)
    connection.execute(update(step).where(here).values(state="started", attempts=step.c.attempts + 1))
    connection.execute(update(step).where(here & step.c.started_at.is_(None)).values(started_at=at))


def note_operation(connection: Connection, run_id: str, seq: int, operation: str) -> None:
    """The step waits for an operation in the world."""
    connection.execute(update(step).where((step.c.run == run_id) & (step.c.seq == seq)).values(state="waiting", operation=operation))


def end_items(connection: Connection, run_id: str, seq: int, ended: Mapping[str, tuple[Status, str]], at: float) -> None:
    """These changes have ended; with the last of a step, the step has."""
    for address, (status, error) in ended.items():
        here = (item.c.run == run_id) & (item.c.step == seq) & (item.c.address == address)
        connection.execute(update(item).where(here).values(status=status.value, error=error, ended_at=at))
    still_open = select(item.c.address).where((item.c.run == run_id) & (item.c.step == seq) & (item.c.status == "")).limit(1)
    if connection.execute(still_open).first() is None:
        connection.execute(update(step).where((step.c.run == run_id) & (step.c.seq == seq)).values(state="ended"))


def end_run(connection: Connection, run_id: str, state: str, at: float) -> None:
    """The run is over; its resources are free."""
    connection.execute(update(run).where(run.c.id == run_id).values(state=state, ended_at=at))
    connection.execute(delete(hold).where(hold.c.run == run_id))


def write_log(connection: Connection, run_id: str, lines: Iterable[tuple[int, float, str]]) -> None:
    """Append lines (step, time, text) to a run's log."""
    rows = [{"run": run_id, "step": seq, "at": at, "text": text} for seq, at, text in lines]
    if rows:
        connection.execute(insert(log), rows)


def read_log(connection: Connection, run_id: str) -> list[tuple[int, float, str]]:
    """Step, time and text of every line of a run."""
    rows = connection.execute(select(log.c.step, log.c.at, log.c.text).where(log.c.run == run_id).order_by(log.c.id))
    return [(seq, at, text) for seq, at, text in rows]
