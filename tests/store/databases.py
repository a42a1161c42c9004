"""Both kinds of database for a test: fixtures that run it on SQLite and on PostgreSQL.

A test module elsewhere imports `database_url` and asks for it: `Store(database_url)`, or `OCTOFLEET_DATABASE_URL` for a command.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reconciler.store.engine import Connection, Store, sqlite_url
from tests.peers import postgresql

KINDS = ("sqlite", "postgresql")


@contextmanager
def database(kind: str, directory: Path, *, empty: bool = False) -> Iterator[str]:
    """The URL of a new database, for a block. `empty`: no migration has run; an SQLite file is made when it is opened, and always begins so."""
    if kind == "sqlite":
        yield sqlite_url(directory)
        return
    with postgresql.fresh(empty=empty) as url:
        yield url


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which kind of database a test is about."""
    return str(request.param)


@pytest.fixture
def database_url(kind: str, tmp_path: Path) -> Iterator[str]:
    """A new database of either kind."""
    with database(kind, tmp_path) as url:
        yield url


@pytest.fixture
def empty_url(kind: str, tmp_path: Path) -> Iterator[str]:
    """A new database of either kind that no migration has run on."""
    with database(kind, tmp_path, empty=True) as url:
        yield url


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    """An open store of either kind."""
    made = Store(database_url)
    yield made
    made.close()


@pytest.fixture
def connection(store: Store) -> Iterator[Connection]:
    """A connection that writes to it."""
    with store.write() as made:
        yield made
