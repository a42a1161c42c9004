"""Every test of the store runs on both kinds of database."""

from tests.store.databases import connection, database_url, empty_url, kind, store

__all__ = ["connection", "database_url", "empty_url", "kind", "store"]
