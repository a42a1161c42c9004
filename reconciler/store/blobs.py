"""Blobs in the database: what a blob store is where several machines share one. Functions on a connection, and the store made of them."""

from collections.abc import Iterator
from dataclasses import dataclass

from reconciler.blobs.blob_store import check_name
from reconciler.store.engine import Connection, Store, upsert

COLUMNS = ("name", "body", "at", "expires_at")


def save_blob(connection: Connection, name: str, body: bytes, expires_at: float | None) -> None:
    """Keep a body under a name, in place of what was there."""
    connection.run(upsert("blob", COLUMNS), (check_name(name), body, connection.now(), expires_at))


@dataclass(frozen=True, kw_only=True)
class DatabaseBlobs:
    """See `BlobStore`. What has expired is told by the database's clock."""

    store: Store

    @property
    def place(self) -> str:
        """The database."""
        return f"the database {self.store.name}"

    def put(self, name: str, body: bytes, expires_at: float | None = None) -> None:
        """See `BlobStore`."""
        with self.store.write(alone=False) as connection:
            save_blob(connection, name, body, expires_at)

    def get(self, name: str) -> bytes | None:
        """See `BlobStore`."""
        with self.store.read() as connection:
            query = "SELECT body FROM blob WHERE name = ? AND (expires_at IS NULL OR expires_at > ?)"
            found = connection.scalar(query, (check_name(name), connection.now()))
        return None if found is None else bytes(found)

    def until(self, name: str) -> float | None:
        """See `BlobStore`."""
        with self.store.read() as connection:
            found: float | None = connection.scalar("SELECT expires_at FROM blob WHERE name = ?", (check_name(name),))
        return found

    def delete(self, name: str) -> None:
        """See `BlobStore`."""
        with self.store.write(alone=False) as connection:
            connection.run("DELETE FROM blob WHERE name = ?", (check_name(name),))

    def names(self, prefix: str = "") -> Iterator[str]:
        """See `BlobStore`."""
        with self.store.read() as connection:
            query = "SELECT name FROM blob WHERE name >= ? AND (expires_at IS NULL OR expires_at > ?) ORDER BY name"
            found = [name for (name,) in connection.rows(query, (prefix, connection.now())) if name.startswith(prefix)]
        return iter(found)

    def expired(self) -> Iterator[str]:
        """See `BlobStore`."""
        with self.store.read() as connection:
            found = [name for (name,) in connection.rows("SELECT name FROM blob WHERE expires_at <= ?", (connection.now(),))]
        return iter(found)
