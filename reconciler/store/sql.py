"""SQL as text: the statements that repeat, and lists of values.

SQL is plain text that SQLite from 3.35 and PostgreSQL 15 both understand: `ON CONFLICT .. DO UPDATE`, `RETURNING`, names that either of them
reserves ("group", "commit", "row") in double quotes, `NOT settled` instead of a comparison, and text that sorts by code point. Parameters are
positional `?`, and no text holds a `?` or a `%` that is something else: for PostgreSQL each `?` becomes `%s`. ` FOR UPDATE`, or ` FOR UPDATE OF` a table,
may end a query whose rows nobody else is to change until the transaction ends, and ` FOR KEY SHARE` one whose rows nobody else is to delete; SQLite,
which has one writer at a time, leaves them out.
"""

import re
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, TypeVar

T = TypeVar("T")
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


def spread(sql: str, values: Sequence[Any]) -> tuple[str, list[Any]]:
    """The text with places for the values in its `(...)`, and the parameters for them. Values that are tuples are rows of a table with `column1` and so
    on: `FROM (...) AS these`, as SQLite reads a whole table for `IN`.

    The last value is repeated up to a power of two, so that there are few different texts for a database to prepare.
    """
    number = 1 << (len(values) - 1).bit_length()
    padded = [*values, *[values[-1]] * (number - len(values))]
    if isinstance(values[0], tuple):
        return _spread(sql, number, len(values[0])), [part for value in padded for part in value]
    return _spread(sql, number, 0), padded


@lru_cache(maxsize=1024)
def _spread(sql: str, number: int, columns: int) -> str:
    places = f"VALUES {', '.join([f'({_places(columns)})'] * number)}" if columns else _places(number)
    return sql.replace("(...)", f"({places})")


def keys(sql: str) -> int:
    """How many columns are the key of an `upsert`; 0 for an `insert`."""
    _, found, rest = sql.partition(" ON CONFLICT (")
    return rest[: rest.index(")")].count(",") + 1 if found else 0


def _places(number: int) -> str:
    return ", ".join("?" * number)


def chunks(values: Sequence[T], size: int = MOST_IN) -> Iterator[Sequence[T]]:
    """Parts that fit into one `IN (...)`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]


BEGINS = "LIKE ? ESCAPE '/'"
"""The condition that a column begins as `beginning` says."""


def beginning(text: str) -> str:
    """A pattern for `BEGINS`. In lower case: SQLite does not tell the cases apart, PostgreSQL does."""
    return re.sub(r"([/%_])", r"/\1", text.lower()) + "%"


def within(text: str) -> str:
    """A pattern for `LIKE ? ESCAPE '/'` on a column in lower case that has this text in it."""
    return f"%{beginning(text)}"
