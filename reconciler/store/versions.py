"""Which state of the gates of steps holds. Functions on a connection; the caller owns the transaction.

Whoever changes what closes a gate calls `touch`, and whoever begins steps reads `version`: both lock one row, so that one comes before the other, and
what was loaded for a version holds as long as the version stands.
"""

from reconciler.store.engine import Connection


def version(connection: Connection, *, lock: bool) -> str:
    """Which state of the gates there is. With `lock` (not in a transaction that only reads) it stays until the transaction ends."""
    query = "SELECT value FROM about WHERE key = 'gates'"
    return str(connection.scalar(f"{query} FOR SHARE" if lock else query) or "")


def touch(connection: Connection) -> None:
    """The gates change: steps that wait for one are looked at again, and nobody goes by what he has loaded before."""
    connection.run(
        "INSERT INTO about (key, value) VALUES ('gates', '1') "
        "ON CONFLICT (key) DO UPDATE SET value = CAST(CAST(about.value AS INTEGER) + 1 AS VARCHAR)"
    )
    connection.run("UPDATE step SET due_at = 0 WHERE owner = '' AND state = 'ready' AND attempts = 0 AND due_at > ?", (connection.now(),))
