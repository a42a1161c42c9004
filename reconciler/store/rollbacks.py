"""Runs that are taken back by themselves: wanted in the transaction that stops a rollout, done once by whoever follows the repository. Functions on a
connection; the caller owns the transaction.

    wanted --(made is written)--> pushed --> reverted, proposed
       |                                       `left` to a person: as he has spoken first, or it cannot be told what to take back

Until `made` is written a person who promotes or cancels the run keeps it as it is; from then on it goes to its end.
"""

from dataclasses import dataclass

from reconciler.store.engine import Connection, insert
from reconciler.store.followed import ask

WANTED, REVERTED, PROPOSED, LEFT = "wanted", "reverted", "proposed", "left"
ROLLBACK = ("run", "source", "mode", "at", "why", "taken", "state", "branch", "made", "note")
COLUMNS = ", ".join(ROLLBACK)


@dataclass(frozen=True, slots=True, kw_only=True)
class RollbackRow:
    """See the table."""

    run: str
    source: str
    mode: str
    at: float
    why: str
    taken: str
    state: str = WANTED
    branch: str = ""
    made: str = ""
    note: str = ""

    @property
    def text(self) -> str:
        """How it stands, for people."""
        text = {
            WANTED: "is about to be taken back by itself: octofleet serve does it when it looks at the repository",
            REVERTED: f"was taken back by itself: commit {self.made[:10]} on {self.branch}",
            PROPOSED: f"is taken back when somebody merges the branch {self.branch} ({self.made[:10]})",
            LEFT: "is not taken back by itself",
        }[self.state]
        return f"the run {text}: {self.note}" if self.note else f"the run {text}"


def want(connection: Connection, run: str, mode: str, at: float, why: str) -> None:
    """Have a run taken back, once: where a person has spoken of it before, nothing is wanted any more. Whoever follows its repository looks at once."""
    query = 'SELECT run.source, plan."commit", plan.location FROM run JOIN plan ON plan."row" = run.plan WHERE run.id = ?'
    source, commit, location = connection.row(f"{query} AND run.state <> 'cancelling'", (run,)) or ("", "", "")
    if not source:  # a person has cancelled it
        return
    values = (run, source, mode, at, why, commit, WANTED, "", "", "")
    if connection.changed(f"{insert('rollback', ROLLBACK)} ON CONFLICT (run) DO NOTHING", values):
        ask(connection, location)


def drop(connection: Connection, run: str, why: str) -> None:
    """A person has spoken: the run is not taken back by itself, unless that has begun."""
    connection.run("UPDATE rollback SET state = 'left', note = ? WHERE run = ? AND state = 'wanted' AND made = ''", (why, run))


def load_rollback(connection: Connection, run: str) -> RollbackRow | None:
    """How taking back a run stands; None if nothing of the kind was ever wanted."""
    row = connection.row(f"SELECT {COLUMNS} FROM rollback WHERE run = ?", (run,))  # noqa: S608 - names from above
    return RollbackRow(**dict(zip(ROLLBACK, row, strict=True))) if row else None


def wanted(connection: Connection, location: str) -> list[RollbackRow]:
    """Those of a repository that nobody has done yet, the oldest first; not of runs that a person has paused."""
    names = ", ".join(f"rollback.{name}" for name in ROLLBACK)
    query = (
        f"SELECT {names} FROM rollback JOIN run ON run.id = rollback.run "  # noqa: S608 - names from above
        'JOIN plan ON plan."row" = run.plan WHERE rollback.state = ? AND plan.location = ? AND (run.state <> ? OR made <> ?) ORDER BY at, run.id'
    )
    return [RollbackRow(**dict(zip(ROLLBACK, row, strict=True))) for row in connection.rows(query, (WANTED, location, "paused", ""))]


def took_back(connection: Connection, source: str, commit: str) -> str:
    """The run of a source that brought a commit and was taken back by itself, or by a branch that was proposed; empty if there is none."""
    query = "SELECT run FROM rollback WHERE source = ? AND taken = ? AND state IN ('reverted', 'proposed') ORDER BY at LIMIT 1"
    return str(connection.scalar(query, (source, commit)) or "")


def begin_rollback(connection: Connection, run: str, branch: str, made: str) -> bool:
    """It is about to be pushed. False if a person, or another process, was faster."""
    query = "UPDATE rollback SET branch = ?, made = ? WHERE run = ? AND state = 'wanted'"
    return connection.changed(query, (branch, made, run)) == 1


def end_rollback(connection: Connection, row: RollbackRow) -> bool:
    """It is done, or left. False if it was before."""
    query = "UPDATE rollback SET state = ?, branch = ?, made = ?, note = ? WHERE run = ? AND state = 'wanted'"
    return connection.changed(query, (row.state, row.branch, row.made, row.note, row.run)) == 1
