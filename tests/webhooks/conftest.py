"""What is stored is tested on both kinds of database."""

from tests.store.databases import database_url, kind, store

__all__ = ["database_url", "kind", "store"]
