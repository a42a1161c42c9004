"""Pull requests: what forges sent of them, what is known of each, and a lease on it, so that of many processes one at a time works on it. Functions on a
connection; the caller owns the transaction."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from reconciler.store.engine import Connection, insert
from reconciler.types.canonical import unpack

PULL = (
    "forge", "project", "number", "location", "state", "head", "branch", "seen", "trusted", "let_go", "made_of", "plan", "planned_at", "asked_at", "due_at",
    "owner", "fence", "failures", "note",
)  # fmt: skip
COLUMNS = ", ".join(PULL)
PART = 200
"""Pull requests that are read at once."""
NEVER = 1e12
"""A time that does not come: the pull request is looked at when somebody asks."""


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class PullKey:
    """Which pull request: the name of its forge in the settings, its project there, its number."""

    forge: str
    project: str
    number: int

    @property
    def place(self) -> tuple[str, str, int]:
        """As SQL has it."""
        return self.forge, self.project, self.number

    def __str__(self) -> str:
        return f"{self.forge}/{self.project}#{self.number}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRow:
    """A pull request as it was left: `state`, `head` and the base `branch` as last seen, `seen` all of that as JSON; the commit that a maintainer lets plan
    although it is a fork's (`trusted`), the head whose resources others
    may have (`let_go`); what the last plan was `made_of`, its row and time. Times are seconds since the epoch."""

    key: PullKey
    location: str
    state: str
    head: str
    branch: str
    seen: bytes
    trusted: str
    let_go: str
    made_of: str
    plan: int | None
    planned_at: float | None
    asked_at: float | None
    due_at: float
    owner: str
    fence: int
    failures: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A comment that says something to Octofleet. `done_at` and `answer` tell what came of it."""

    forge: str
    comment: str
    project: str
    number: int
    author: str
    body: str
    at: float
    done_at: float | None = None
    answer: str = ""


def received(connection: Connection, forge: str, delivery: str) -> bool:
    """Remember a delivery; False if it came before."""
    query = f"{insert('delivery', ('forge', 'id', 'at'))} ON CONFLICT (forge, id) DO NOTHING"
    return connection.changed(query, (forge, delivery, connection.now())) == 1


def forget_deliveries(connection: Connection, before: float) -> int:
    """Forget the deliveries of a time that is long over."""
    return connection.changed("DELETE FROM delivery WHERE at < ?", (before,))


def ask_pull(connection: Connection, key: PullKey, location: str) -> None:
    """Have a pull request looked at now, which may be new."""
    now = connection.now()
    row = (*key.place, location, "open", "", "", b"{}", "", "", "", None, None, now, now, "", 0, 0, "")
    query = f"{insert('pull', PULL)} ON CONFLICT (forge, project, number) DO UPDATE SET asked_at = excluded.asked_at"
    connection.run(query, row)


def open_onto(connection: Connection, location: str, branch: str) -> list[PullKey]:
    """The open pull requests onto a branch, by key."""
    query = "SELECT forge, project, number FROM pull WHERE location = ? AND branch = ? AND state = 'open' ORDER BY forge, project, number"
    return [PullKey(forge=forge, project=project, number=number) for forge, project, number in connection.rows(query, (location, branch))]


def take_pull(connection: Connection, worker: str) -> PullRow | None:
    """One that is due or asked for, on lease; the one that waits longest. Before those, one that this worker has already: it works on one at a time, so the
    database was away when it was to be given back. The worker must be known."""
    query = (
        "SELECT forge, project, number FROM pull WHERE (owner = ? OR owner = '' AND (asked_at IS NOT NULL OR due_at <= ?)) "
        "AND EXISTS (SELECT 1 FROM worker WHERE id = ?) ORDER BY owner DESC, COALESCE(asked_at, due_at) LIMIT 1"
    )
    place = connection.row(query, (worker, connection.now(), worker))
    if place is None:
        return None
    take = "UPDATE pull SET owner = ?, fence = fence + 1 WHERE forge = ? AND project = ? AND number = ? AND owner IN ('', ?) RETURNING "
    row = connection.row(take + COLUMNS, (worker, *place, worker))
    return _pull(row) if row else None


def give_back_pull(connection: Connection, left: PullRow) -> bool:
    """End the lease and leave it so; False if the lease was taken away. A request that came meanwhile stays, and so does what was said of its head."""
    query = (
        "UPDATE pull SET owner = '', location = ?, state = ?, head = ?, branch = ?, seen = ?, made_of = ?, plan = ?, planned_at = ?, "
        "due_at = ?, failures = ?, note = ?, asked_at = CASE WHEN asked_at = ? THEN NULL ELSE asked_at END "
        "WHERE forge = ? AND project = ? AND number = ? AND fence = ?"
    )
    stands = (
        left.location, left.state, left.head, left.branch, left.seen, left.made_of, left.plan, left.planned_at, left.due_at, left.failures, left.note,
    )  # fmt: skip
    return connection.changed(query, (*stands, left.asked_at, *left.key.place, left.fence)) == 1


def trust_head(connection: Connection, key: PullKey, head: str) -> None:
    """Somebody who may lets the plan of this head run engines."""
    connection.run("UPDATE pull SET trusted = ? WHERE forge = ? AND project = ? AND number = ?", (head, *key.place))


def let_go_of(connection: Connection, key: PullKey, head: str) -> None:
    """Have this head hold nothing; with an empty one it may again."""
    connection.run("UPDATE pull SET let_go = ? WHERE forge = ? AND project = ? AND number = ?", (head, *key.place))


def has_pull(connection: Connection, row: PullRow) -> bool:
    """Whether the lease still holds, until the end of this transaction."""
    query = "UPDATE pull SET fence = fence WHERE forge = ? AND project = ? AND number = ? AND fence = ?"
    return connection.changed(query, (*row.key.place, row.fence)) == 1


def load_pull(connection: Connection, key: PullKey) -> PullRow | None:
    """One as it stands."""
    row = connection.row(f"SELECT {COLUMNS} FROM pull WHERE forge = ? AND project = ? AND number = ?", key.place)  # noqa: S608 - from above
    return _pull(row) if row else None


def pulls(connection: Connection, state: str = "open") -> list[PullRow]:
    """All in a state, by key."""
    query = f"SELECT {COLUMNS} FROM pull WHERE state = ? ORDER BY forge, project, number"  # noqa: S608 - names from above
    return [_pull(row) for row in connection.rows(query, (state,))]


def pulls_in(connection: Connection, state: str, key: Sequence[Any] | None) -> Iterator[PullRow]:
    """Those in a state by key, some at a time; with a key (forge, project, number), those after it."""
    while True:
        later = "AND (forge > ? OR forge = ? AND (project > ? OR project = ? AND number > ?)) " if key else ""
        params = (key[0], key[0], key[1], key[1], key[2]) if key else ()
        query = f"SELECT {COLUMNS} FROM pull WHERE state = ? {later}ORDER BY forge, project, number LIMIT ?"  # noqa: S608 - names from above
        found = [_pull(row) for row in connection.rows(query, (state, *params, PART))]
        yield from found
        if len(found) < PART:
            return
        key = found[-1].key.place


def _pull(row: Sequence[Any]) -> PullRow:
    found = dict(zip(PULL, row, strict=True))
    key = PullKey(**{name: found.pop(name) for name in ("forge", "project", "number")})
    return PullRow(key=key, **found)


def pull_authors(connection: Connection, location: str) -> list[tuple[str, str]]:
    """Commits that pull requests of a repository bring, their heads and what the branch got for them, and the identity of who opened each. One that was
    merged may still be open here: it is the commits that count."""
    found = [unpack(seen) for (seen,) in connection.rows("SELECT seen FROM pull WHERE location = ?", (location,))]
    return [(commit, seen["identity"]) for seen in found if seen for commit in (seen["head"], seen["merged_as"]) if commit]


COMMAND = ("forge", "comment", "project", "number", "author", "body", "at", "done_at", "answer")


def save_command(connection: Connection, command: Command) -> bool:
    """Keep a comment to be worked on; False if it is known."""
    row = tuple(getattr(command, name) for name in COMMAND)
    return connection.changed(f"{insert('pull_command', COMMAND)} ON CONFLICT (forge, comment) DO NOTHING", row) == 1


def commands_of(connection: Connection, key: PullKey, *, done: bool, most: int = 50) -> list[Command]:
    """Comments of a pull request that are to be worked on, the oldest first; or with `done` that were, the newest first."""
    which, order = ("IS NOT NULL", "done_at DESC, at DESC") if done else ("IS NULL", "at, comment")
    names = ", ".join(COMMAND)
    query = f"SELECT {names} FROM pull_command WHERE forge = ? AND project = ? AND number = ? AND done_at {which} ORDER BY {order} LIMIT ?"  # noqa: S608 - from here
    return [Command(**dict(zip(COMMAND, row, strict=True))) for row in connection.rows(query, (*key.place, most))]


def answer(connection: Connection, command: Command, text: str) -> bool:
    """Write what came of a command; False if somebody has done so."""
    query = "UPDATE pull_command SET done_at = ?, answer = ? WHERE forge = ? AND comment = ? AND done_at IS NULL"
    return connection.changed(query, (connection.now(), text, command.forge, command.comment)) == 1
