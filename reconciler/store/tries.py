"""How often something was tried, counted in the database, so that all processes count together: a storage of `limits`."""

from limits.storage import Storage

from reconciler.store.connection import Connection

COUNTED = (
    "INSERT INTO tries (key, count, until) VALUES (?, ?, ?) ON CONFLICT (key) DO UPDATE SET "
    "count = CASE WHEN tries.until <= ? THEN excluded.count ELSE tries.count + excluded.count END, "
    "until = CASE WHEN tries.until <= ? THEN excluded.until ELSE tries.until END RETURNING count"
)
"""One statement: whoever comes at the same time waits for it, and counts on from there."""


class Tries(Storage):
    """Counts by the database's clock in windows that begin with the first try. It is of one transaction, whose owner commits what was counted."""

    STORAGE_SCHEME = None

    def __init__(self, connection: Connection) -> None:
        super().__init__()
        self._connection = connection

    @property
    def base_exceptions(self) -> type[Exception]:
        """Unused: errors of the database go to whoever owns the transaction."""
        return Exception

    def incr(self, key: str, expiry: int, amount: int = 1) -> int:
        """Count so many more; how many there are in this window, which ends `expiry` seconds after it began."""
        now = self._connection.now()
        return int(self._connection.scalar(COUNTED, (key, amount, now + expiry, now, now)))

    def get(self, key: str) -> int:
        """How many there are in this window."""
        return int(self._connection.scalar("SELECT count FROM tries WHERE key = ? AND until > ?", (key, self._connection.now())) or 0)

    def get_expiry(self, key: str) -> float:
        """When this window ends, in seconds since the epoch; now, if there is none."""
        now = self._connection.now()
        return max(now, float(self._connection.scalar("SELECT until FROM tries WHERE key = ?", (key,)) or now))

    def check(self) -> bool:
        """Whether the database answers."""
        return self._connection.row("SELECT 1") is not None

    def reset(self) -> int:
        """Forget everything; how much that was."""
        return self._connection.changed("DELETE FROM tries")

    def clear(self, key: str) -> None:
        """Forget what was tried here."""
        self._connection.run("DELETE FROM tries WHERE key = ?", (key,))
