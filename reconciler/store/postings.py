"""What is to stand at a forge: the comment of each pull request, commit statuses, reactions. Stored before anything is posted, and posted until it stands.

One process at a time works on the queue of a forge. Functions on a connection; the caller owns the transaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from reconciler.store.engine import Connection, insert
from reconciler.store.pulls import PullKey
from reconciler.types.canonical import digest

COMMENT = "comment"
POSTING = ("forge", "project", "number", "what", "body", "wanted", "posted", "id", "posted_at", "due_at", "failures", "note")


@dataclass(frozen=True, slots=True, kw_only=True)
class Posting:
    """Something that is to stand at a forge. `what` is `comment`, `status CONTEXT COMMIT` or `heard COMMENT`; `wanted` and `posted` are the digests of what
    should stand there and what does; `id` is its name there, empty until it has one. `posted_at`: since when it stands so, None if it never did."""

    key: PullKey
    what: str
    body: bytes
    wanted: str
    posted: str
    id: str
    posted_at: float | None
    due_at: float
    failures: int
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """The queue of a forge, on lease."""

    name: str
    fence: int
    polled_at: float | None
    failures: int


def want(connection: Connection, key: PullKey, what: str, body: bytes) -> None:
    """Have this stand at the forge, in place of what was wanted before."""
    wanted = digest(body.decode())
    query = (
        f"{insert('posting', POSTING)} ON CONFLICT (forge, project, number, what) DO UPDATE SET body = excluded.body, wanted = excluded.wanted, "
        "due_at = CASE WHEN posting.wanted = excluded.wanted THEN posting.due_at ELSE excluded.due_at END, "
        "failures = CASE WHEN posting.wanted = excluded.wanted THEN posting.failures ELSE 0 END"
    )
    connection.run(query, (*key.place, what, body, wanted, "", "", None, connection.now(), 0, ""))


def open_postings(connection: Connection, forge: str, most: int = 20) -> list[Posting]:
    """What does not stand yet and is due, the longest due first; comments and statuses before reactions, of which anybody may cause many."""
    names = ", ".join(POSTING)
    query = (
        f"SELECT {names} FROM posting WHERE forge = ? AND wanted <> posted AND due_at <= ? "  # noqa: S608 - from here
        "ORDER BY what LIKE ?, due_at, project, number, what LIMIT ?"
    )
    return [_posting(row) for row in connection.rows(query, (forge, connection.now(), "heard %", most))]


def stands_since(connection: Connection, key: PullKey, what: str) -> float | None:
    """Since when that stands at the forge which is wanted now; None if it does not."""
    query = "SELECT posted_at FROM posting WHERE forge = ? AND project = ? AND number = ? AND what = ? AND wanted = posted"
    found: float | None = connection.scalar(query, (*key.place, what))
    return found


def postings_of(connection: Connection, key: PullKey) -> list[Posting]:
    """All of a pull request."""
    names = ", ".join(POSTING)
    query = f"SELECT {names} FROM posting WHERE forge = ? AND project = ? AND number = ? ORDER BY what"  # noqa: S608 - from here
    return [_posting(row) for row in connection.rows(query, key.place)]


def _posting(row: Sequence[object]) -> Posting:
    forge, project, number, *rest = row
    return Posting(key=PullKey(forge=forge, project=project, number=number), **dict(zip(POSTING[3:], rest, strict=True)))  # type: ignore[arg-type]


def posted(connection: Connection, found: Posting, name: str) -> None:
    """It stands there, under this name; what was wanted meanwhile is still to be posted."""
    query = "UPDATE posting SET posted = ?, id = ?, posted_at = ?, failures = 0, note = '' WHERE forge = ? AND project = ? AND number = ? AND what = ?"
    connection.run(query, (found.wanted, name, connection.now(), *found.key.place, found.what))


def put_off(connection: Connection, found: Posting, after_s: float, note: str) -> None:
    """It could not be posted: try again then, unless something else is wanted."""
    query = "UPDATE posting SET due_at = ?, failures = failures + 1, note = ? WHERE forge = ? AND project = ? AND number = ? AND what = ? AND wanted = ?"
    connection.run(query, (connection.now() + after_s, note, *found.key.place, found.what, found.wanted))


def know_forge(connection: Connection, name: str) -> None:
    """Have a queue for a forge of the settings."""
    columns = ("name", "owner", "fence", "due_at", "polled_at", "failures", "note")
    connection.run(f"{insert('forge', columns)} ON CONFLICT (name) DO NOTHING", (name, "", 0, 0.0, None, 0, ""))


def load_queue(connection: Connection, name: str) -> Queue | None:
    """The queue as it stands, whoever has it; None for a forge that is not known, or that is put off."""
    row = connection.row("SELECT name, fence, polled_at, failures FROM forge WHERE name = ? AND due_at <= ?", (name, connection.now()))
    return Queue(name=row[0], fence=row[1], polled_at=row[2], failures=row[3]) if row else None


def keep_queue(connection: Connection, queue: Queue) -> bool:
    """Remember when it was polled, and go on with the lease; all is well with the forge. False if the lease was taken away."""
    query = "UPDATE forge SET polled_at = ?, failures = 0, note = '' WHERE name = ? AND fence = ?"
    return connection.changed(query, (queue.polled_at, queue.name, queue.fence)) == 1


def take_queue(connection: Connection, name: str, worker: str) -> Queue | None:
    """The queue on lease, unless somebody else has it or it is put off. The worker must be known."""
    query = (
        "UPDATE forge SET owner = ?, fence = fence + 1 WHERE name = ? AND owner IN ('', ?) AND due_at <= ? "
        "AND EXISTS (SELECT 1 FROM worker WHERE id = ?) RETURNING name, fence, polled_at, failures"
    )
    row = connection.row(query, (worker, name, worker, connection.now(), worker))
    return Queue(name=row[0], fence=row[1], polled_at=row[2], failures=row[3]) if row else None


def give_back_queue(connection: Connection, queue: Queue, *, after_s: float = 0.0, failures: int = 0, note: str = "") -> bool:
    """End the lease; nobody takes it for a while. False if it was taken away."""
    query = "UPDATE forge SET owner = '', due_at = ?, polled_at = ?, failures = ?, note = ? WHERE name = ? AND fence = ?"
    row = (connection.now() + after_s, queue.polled_at, failures, note, queue.name, queue.fence)
    return connection.changed(query, row) == 1
