"""Which state of the gates of steps holds. Functions on a connection; the caller owns the transaction.

Whoever changes what closes a gate calls `touch`, and whoever begins steps reads `version`: both lock one row, so that one comes before the other, and
what was loaded for a version holds as long as the version stands.
"""

from typing import Literal

from reconciler.store.engine import Connection

Lock = Literal["", " FOR SHARE", " FOR UPDATE"]


def version(connection: Connection, lock: Lock = "") -> str:
    """Which state of the gates there is. With a lock (not in a transaction that only reads) it stays until the transaction ends; for whoever may have to
    change it (`touch`) after he has locked a run, ` FOR UPDATE`: others who begin steps wait for him before they lock anything."""
    return str(connection.scalar(f"SELECT value FROM about WHERE key = 'gates'{lock}") or "")  # noqa: S608 - see above


def touch(connection: Connection) -> None:
    """The gates change: steps that wait for one are looked at again, and nobody goes by what he has loaded before."""
    connection.run(
        "INSERT INTO about (key, value) VALUES ('gates', '1') "
        "ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(about.value AS INTEGER) + 1 AS VARCHAR)"
    )
    connection.run("UPDATE step SET due_at = 0 WHERE owner = '' AND state = 'ready' AND attempts = 0 AND due_at > ?", (connection.now(),))
