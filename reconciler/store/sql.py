"""SQL as text: the statements that repeat, and lists of values.

SQL is plain text that SQLite from 3.35 and PostgreSQL 15 both understand: `ON CONFLICT .. DO UPDATE`, `RETURNING`, names that either of them
reserves ("group", "commit", "row") in double quotes, `NOT settled` instead of a comparison, and text that sorts by code point. Parameters are
positional `?`, and no text holds a `?` or a `%` that is something else: for PostgreSQL each `?` becomes `%s`.
"""

from collections.abc import Iterator, Sequence
from functools import cache, lru_cache

MOST_IN = 500
"""How many values go into one `IN (...)`."""


@cache
def insert(table: str, columns: tuple[str, ...]) -> str:
    """SQL that inserts a row; its parameters are in the order of the columns."""
    names = ", ".join(f'"{name}"' for name in columns)
    return f'INSERT INTO "{table}" ({names}) VALUES ({_places(len(columns))})'  # noqa: S608 - names from this package


@cache
def upsert(table: str, columns: tuple[str, ...], *, key: int = 1, newer: str = "") -> str:
    """SQL that inserts a row or replaces the one with the same key, the first `key` columns; with `newer`, only where that column is not less."""
    names = [f'"{name}"' for name in columns]
    changed = ", ".join(f"{name} = excluded.{name}" for name in names[key:])
    condition = f' WHERE excluded."{newer}" >= "{table}"."{newer}"' if newer else ""
    return f"{insert(table, columns)} ON CONFLICT ({', '.join(names[:key])}) DO UPDATE SET {changed}{condition}"


@lru_cache(maxsize=256)
def spread(sql: str, number: int) -> str:
    """The text with so many places in its `IN (...)`."""
    return sql.replace("IN (...)", f"IN ({_places(number)})")


def _places(number: int) -> str:
    return ", ".join("?" * number)


def chunks(values: Sequence[str], size: int = MOST_IN) -> Iterator[Sequence[str]]:
    """Parts that fit into one `IN (...)`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
