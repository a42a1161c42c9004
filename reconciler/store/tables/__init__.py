"""The tables, for Alembic alone. `migrations/` brings a database to this shape; a test holds the two together.

Times are seconds since the epoch. Digests are 64 hexadecimal digits. JSON columns hold bytes made by `reconciler.types.canonical.pack`.
"""

from reconciler.store.tables import gates, hosts, installs, pulls, records, runs, sign_in
from reconciler.store.tables.base import metadata, where

__all__ = ["gates", "hosts", "installs", "metadata", "pulls", "records", "runs", "sign_in", "where"]
