"""What the loop follows: one row for each repository, and a lease on it, so that of many processes one at a time looks. Functions on a connection; the
caller owns the transaction."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.store.engine import Connection, insert

FOLLOWED = ("location", "head", "planned", "due_at", "asked_at", "owner", "fence", "failures", "note", "at", "code", "about", "next")
NEW, SETTLED, BEGUN, BEHIND, REPORTED, APPROVAL, REFUSED, FAILING = (
    "", "settled", "begun", "behind", "reported", "approval", "refused", "failing",
)  # fmt: skip
"""How a repository stands: not looked at yet; nothing to do; a run was begun; a newer commit waits for a run; what changes is only reported; the plan
waits for approval; it may not be applied; it cannot be looked at or planned."""
COLUMNS = ", ".join(FOLLOWED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A repository as the loop left it: the commit last seen at its branch, the one last planned to its end, when to look again, when somebody asked for
    that, how often in a row that failed, and in words how it stands; `at`: when it was last planned. `code` says how it stands for programs, `about` which
    run or plan that is about, `next` what a person is to do. Times are seconds since the epoch."""

    location: str
    head: str
    planned: str
    due_at: float
    asked_at: float | None
    owner: str
    fence: int
    failures: int
    note: str
    at: float | None
    code: str = NEW
    about: str = ""
    next: str = ""


def follow(connection: Connection, location: str) -> None:
    """Begin to follow a repository, if it is not followed yet; it is due at once."""
    if connection.row("SELECT location FROM repository WHERE location = ?", (location,)) is None:
        query = f"{insert('repository', FOLLOWED)} ON CONFLICT (location) DO NOTHING"
        connection.run(query, (location, "", "", 0.0, None, "", 0, 0, "", None, NEW, "", ""))


def followed(connection: Connection) -> list[Followed]:
    """All of them, by location."""
    return [_followed(row) for row in connection.rows(f"SELECT {COLUMNS} FROM repository ORDER BY location")]  # noqa: S608 - names from above


def _followed(row: Sequence[Any]) -> Followed:
    return Followed(**dict(zip(FOLLOWED, row, strict=True)))


def take(connection: Connection, location: str, worker: str) -> Followed | None:
    """The repository on lease, if it is due and nobody else has it: what this worker has itself, it left behind when the database was away. The worker
    must be known."""
    due = "location = ? AND owner IN ('', ?) AND (due_at <= ? OR asked_at IS NOT NULL) AND EXISTS (SELECT 1 FROM worker WHERE id = ?)"
    query = "UPDATE repository SET owner = ?, fence = fence + 1 WHERE "
    row = connection.row(f"{query}{due} RETURNING {COLUMNS}", (worker, location, worker, connection.now(), worker))
    return _followed(row) if row else None


def give_back(connection: Connection, left: Followed) -> bool:
    """End the lease and leave it so; False if the lease was taken away. A request that came meanwhile stays."""
    query = (
        "UPDATE repository SET owner = '', head = ?, planned = ?, due_at = ?, failures = ?, note = ?, at = ?, code = ?, about = ?, next = ?, "
        "asked_at = CASE WHEN asked_at = ? THEN NULL ELSE asked_at END WHERE location = ? AND fence = ?"
    )
    stands = (left.head, left.planned, left.due_at, left.failures, left.note, left.at, left.code, left.about, left.next)
    return connection.changed(query, (*stands, left.asked_at, left.location, left.fence)) == 1


def run_about(connection: Connection, found: Followed) -> str:
    """The run that its code is about: the one itself, or the newest of the plan, if somebody has applied that since it was planned; empty if none."""
    if found.code in (BEGUN, BEHIND):
        return found.about
    query = 'SELECT run.id FROM run JOIN plan ON plan."row" = run.plan WHERE plan.id = ? AND run.started_at >= ? ORDER BY run.started_at DESC LIMIT 1'
    return str(connection.scalar(query, (found.about, found.at or 0.0)) or "") if found.about else ""


def ask(connection: Connection, location: str) -> bool:
    """Have the repository looked at now. False if nobody follows it."""
    return connection.changed("UPDATE repository SET asked_at = ? WHERE location = ?", (connection.now(), location)) == 1
