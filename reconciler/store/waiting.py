"""What is open, put off or ended badly, as rows for whoever explains it. Functions on a connection; the caller owns the transaction.

Steps that have not begun and that nobody put off are counted by lane, never read one by one.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.store.engine import Connection
from reconciler.types.outcome import Status


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneRow:
    """The open steps of a tenant and driver in a wave of a run."""

    wave: int
    driver: str
    tenant: str
    open: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenStep:
    """A step that somebody has, that has begun, or that was put off. `leased_at`: since when its owner has it. Times as in the table."""

    seq: int
    wave: int
    driver: str
    tenant: str
    state: str
    attempts: int
    started_at: float | None
    owner: str
    due_at: float
    note: str
    leased_at: float | None


def lanes_of(connection: Connection, run: str) -> list[LaneRow]:
    """The open lanes of a run, by wave."""
    query = "SELECT wave, driver, tenant, open FROM lane WHERE run = ? AND open > 0 ORDER BY wave, tenant, driver"
    return [
        LaneRow(wave=wave, driver=driver, tenant=tenant, open=number) for wave, driver, tenant, number in connection.rows(query, (run,))
    ]


def open_steps(connection: Connection, run: str) -> Iterator[OpenStep]:
    """The steps of a run that have a story of their own."""
    query = (
        "SELECT step.seq, step.wave, step.driver, step.tenant, step.state, step.attempts, step.started_at, step.owner, step.due_at, step.note, "
        "attempt.at FROM step LEFT JOIN attempt ON attempt.run = step.run AND attempt.step = step.seq AND attempt.fence = step.fence "
        "WHERE step.run = ? AND step.state <> 'ended' AND (step.owner <> '' OR step.state <> 'ready' OR step.note <> '') ORDER BY step.seq"
    )
    for seq, wave, driver, tenant, state, attempts, started_at, owner, due_at, note, leased_at in connection.rows(query, (run,)):
        yield OpenStep(
            seq=seq,
            wave=wave,
            driver=driver,
            tenant=tenant,
            state=state,
            attempts=attempts,
            started_at=started_at,
            owner=owner,
            due_at=due_at,
            note=note,
            leased_at=leased_at,
        )


def changes_of(connection: Connection, run: str) -> dict[str, int]:
    """How many changes of a run stand how: `open`, or the status that they ended with. Checks of a rollout change nothing."""
    rows = connection.rows("SELECT status, count(*) FROM item WHERE run = ? AND action <> 'check' GROUP BY status ORDER BY status", (run,))
    return {status or "open": number for status, number in rows}


def ended_badly(connection: Connection, run: str) -> Iterator[tuple[str, Status, str]]:
    """Address, status and error of the changes of a run that ended and are not done."""
    query = "SELECT address, status, error FROM item WHERE run = ? AND status <> '' AND status <> 'done' ORDER BY step, address"
    return ((address, Status(status), error) for address, status, error in connection.rows(query, (run,)))


def first_words(connection: Connection, run: str, beginning: str, after: str) -> float | None:
    """Time of the oldest line about a whole run that begins so and comes after the newest one that is `after`."""
    since = "coalesce((SELECT max(id) FROM log WHERE run = ? AND step = 0 AND text = ?), 0)"
    query = f"SELECT at FROM log WHERE run = ? AND step = 0 AND text LIKE ? AND id > {since} ORDER BY id LIMIT 1"  # noqa: S608 - see above
    found: float | None = connection.scalar(query, (run, beginning + "%", run, after))
    return found


def last_words(connection: Connection, run: str, beginning: str) -> tuple[float, str] | None:
    """Time and text of the newest line about a whole run that begins so."""
    query = "SELECT at, text FROM log WHERE run = ? AND step = 0 AND text LIKE ? ORDER BY id DESC LIMIT 1"
    found: tuple[float, str] | None = connection.row(query, (run, beginning + "%"))
    return found
