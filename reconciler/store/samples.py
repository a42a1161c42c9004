"""How many hosts stood how, over time. Functions on a connection; the caller owns the transaction."""

from collections.abc import Iterable, Iterator, Sequence

from reconciler.store.engine import Connection, insert

EVERY_S = 300
COLUMNS = ("at", "source", "tenant", "converged", "changing", "drifted", "unknown", "failed")
Sample = tuple[int, str, str, int, int, int, int, int]
"""As the columns."""


def has_sample(connection: Connection, at: int) -> bool:
    """Whether somebody has noted this moment."""
    return connection.row("SELECT 1 FROM sample WHERE at = ? LIMIT 1", (at,)) is not None


def save_samples(connection: Connection, samples: Iterable[Sample]) -> None:
    """Note them, where nobody was first."""
    connection.run_many(f"{insert('sample', COLUMNS)} ON CONFLICT (at, source, tenant) DO NOTHING", sorted(samples))


def summed(connection: Connection, source: str, tenant: str | None, ats: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Of some moments, each with the sums over a source, or over one tenant of it."""
    of = "" if tenant is None else "tenant = ? AND "
    sums = ", ".join(f"sum({name})" for name in COLUMNS[3:])
    query = f"SELECT at, {sums} FROM sample WHERE source = ? AND {of}at IN (...) GROUP BY at"  # noqa: S608 - names from above
    return connection.rows_in(query, ats, (source,) if tenant is None else (source, tenant))
