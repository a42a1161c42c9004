"""What people said of changes. Functions on a connection; the caller owns the transaction."""

from collections.abc import Iterable

from reconciler.gate.approvals import Approval
from reconciler.store.engine import Connection, insert

APPROVAL = ("id", "plan", "identity", "at", "expires_at", "reason", "run", "yes")


def save_approval(connection: Connection, plan: str, made: Approval) -> None:
    """Somebody has spoken, of changes that the plan with this id showed."""
    row = (made.id, plan, made.identity, made.at, made.expires_at, made.reason, "", made.yes)
    connection.run(insert("approval", APPROVAL), row)
    connection.run_many(insert("approved", ("approval", "change")), [(made.id, change) for change in sorted(made.changes)])


def standing(connection: Connection, now: float) -> list[Approval]:
    """What was said and has neither expired nor served a run, the oldest first."""
    query = "SELECT id, identity, at, expires_at, reason, yes FROM approval WHERE run = '' AND expires_at > ? ORDER BY at, id"
    rows = list(connection.rows(query, (now,)))
    seen: dict[str, set[str]] = {}
    for of, change in connection.rows_in("SELECT approval, change FROM approved WHERE approval IN (...)", [row[0] for row in rows]):
        seen.setdefault(of, set()).add(change)
    return [
        Approval(id=of, identity=who, at=at, expires_at=until, reason=why, yes=bool(yes), changes=frozenset(seen.get(of, ())))
        for of, who, at, until, why, yes in rows
    ]


def standing_ids(connection: Connection, now: float) -> tuple[str, ...]:
    """The ids of `standing`, in its order."""
    query = "SELECT id FROM approval WHERE run = '' AND expires_at > ? ORDER BY at, id"
    return tuple(found for (found,) in connection.rows(query, (now,)))


def serve(connection: Connection, ids: Iterable[str], run: str) -> None:
    """These have served a run, and serve no other."""
    connection.run_in("UPDATE approval SET run = ? WHERE id IN (...)", sorted(ids), (run,))
