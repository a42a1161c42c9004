"""Reading a whole table in the order of its key, some rows at a time: neither database has to hold all of them for us."""

from collections.abc import Iterator, Sequence
from typing import Any

from reconciler.store.engine import Connection

ROWS = 500
"""How many rows are read at once, and the most that one transaction of `retention` deletes of a table."""


def pages(
    connection: Connection, table: str, columns: Sequence[str], key: Sequence[str], size: int = ROWS
) -> Iterator[list[tuple[Any, ...]]]:
    """Rows of the table in parts; `key` are columns that tell any two rows apart, the first of `columns`."""
    names, keys = (", ".join(f'"{name}"' for name in some) for some in (columns, key))
    after = f" WHERE ({keys}) > ({', '.join('?' * len(key))})"
    query = f'SELECT {names} FROM "{table}"'  # noqa: S608 - names from this package
    last: tuple[Any, ...] = ()
    while True:
        found = list(connection.rows(f"{query}{after if last else ''} ORDER BY {keys} LIMIT ?", (*last, size)))
        if found:
            yield found
        if len(found) < size:
            return
        last = found[-1][: len(key)]
