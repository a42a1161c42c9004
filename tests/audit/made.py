"""Trails made by hand, and what somebody who owns the database may do to one."""

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.store.audit import AUDIT, record
from reconciler.store.engine import Connection, Store, insert
from reconciler.types.audit import START, Entry, Head, Row, chained

UNLOCK = {
    "sqlite": ("DROP TRIGGER audit_no_update", "DROP TRIGGER audit_no_delete", "DROP TRIGGER audit_no_replace"),
    "postgresql": ("DROP TRIGGER audit_append_only ON audit",),
}


def entry(number: int = 0, **more: Any) -> Entry:
    values: dict[str, Any] = {
        "identity": f"local:ada{number % 2}",
        "action": ("apply", "pause", "forget")[number % 3],
        "subjects": (f"boot/user-data/shop/web-{number}",),
        "tenants": ("shop", "lab")[: number % 3],
        "source": "main",
        "plan": f"{number:064x}",
        "commit": f"{number:040x}",
        "run": f"run-{number % 4}",
        "reason": f'number {number} "ä€😀" \\ ',
        "details": {"number": number, "share": number / 7, "nothing": None, "more": [True, {"a": "b"}]},
    }
    return Entry(**values | more)


def chain(number: int, after: Head = START) -> list[Row]:
    """Rows that follow on one another."""
    found: list[Row] = []
    for seq in range(number):
        last = Head(found[-1].seq, found[-1].hash) if found else after
        found.append(chained(entry(seq), 1_800_000_000.0 + seq / 3, last))
    return found


def fill(store: Store, number: int) -> Head:
    """Record so many entries; gives the head."""
    with store.write() as connection:
        rows = [record(connection, entry(seq)) for seq in range(number)]
    return Head(rows[-1].seq, rows[-1].hash)


def unlock(connection: Connection) -> None:
    """As whoever owns the database can."""
    for statement in UNLOCK[connection.kind]:
        connection.run(statement)


def raw_rows(connection: Connection) -> list[dict[str, Any]]:
    """What stands in the table."""
    names = ", ".join(f'"{name}"' for name in AUDIT)
    return [dict(zip(AUDIT, values, strict=True)) for values in connection.rows(f"SELECT {names} FROM audit ORDER BY seq")]


def rewrite(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Have exactly these stand in the table; the triggers are gone."""
    connection.run("DELETE FROM audit")
    connection.run_many(insert("audit", AUDIT), [tuple(row[name] for name in AUDIT) for row in rows])
