"""Opening the database, bringing it to the newest shape, and turning its errors into ones that a user can act on."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, inspect
from sqlalchemy.exc import ArgumentError, DatabaseError

from reconciler.errors import OctofleetError

BUSY_TIMEOUT_MS = 30_000
HEAD = "0001"
"""The newest migration; a test holds it against the migrations folder."""


def sqlite_url(data_dir: Path) -> str:
    """The default database of an installation."""
    return f"sqlite:///{data_dir / 'octofleet.db'}"


class Store:
    """An open database. `read` and `write` give a connection in a transaction; a write is committed at the end of its block or not at all."""

    def __init__(self, url: str) -> None:
        self.url = url
        self._engine = _engine(url)
        with self._speaking():
            _migrate(self._engine)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one state of the database."""
        with self._speaking(), self._engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN")
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that is alone in writing (SQLite) or isolated (PostgreSQL)."""
        with self._speaking(), self._engine.begin() as connection:
            if connection.dialect.name == "sqlite":
                connection.exec_driver_sql("BEGIN IMMEDIATE")
            yield connection

    @contextmanager
    def _speaking(self) -> Iterator[None]:
        try:
            yield
        except DatabaseError as error:
            raise OctofleetError(
                f"cannot use the database {self.name}: {error.orig}", hint=_advice(str(error.orig)), code="store"
            ) from error

    @property
    def name(self) -> str:
        """The database as it may be shown: without a password."""
        return self._engine.url.render_as_string(hide_password=True)

    def close(self) -> None:
        """Let go of all connections."""
        self._engine.dispose()


def _engine(url: str) -> Engine:
    try:
        engine = create_engine(url)
    except (ArgumentError, ImportError) as error:
        hint = "write it as sqlite:///PATH; PostgreSQL is not supported yet"
        raise OctofleetError(f"the setting database_url cannot be used: {error}", hint=hint, code="settings") from error
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _sqlite_connect)
    return engine


def _sqlite_connect(connection: Any, _: object) -> None:
    connection.isolation_level = None  # transactions are begun by Store.write, so that a writer waits at its beginning
    for pragma in (f"busy_timeout={BUSY_TIMEOUT_MS}", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _migrate(engine: Engine) -> None:
    found = _version(engine)
    if found == HEAD:
        return
    if found is not None and found > HEAD:
        name = engine.url.render_as_string(hide_password=True)
        hint = "use that version, or another data directory"
        raise OctofleetError(f"the database {name} was made by a newer Octofleet", hint=hint, code="store")
    from alembic import command  # noqa: PLC0415 - takes longer to import than most commands run
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", "reconciler:store/migrations")
    with engine.connect() as connection:
        if connection.dialect.name == "sqlite":
            connection.exec_driver_sql("BEGIN EXCLUSIVE")
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
        connection.commit()


def _version(engine: Engine) -> str | None:
    try:
        with engine.connect() as connection:
            return connection.exec_driver_sql("select version_num from alembic_version").scalar()
    except DatabaseError:
        if inspect(engine).get_table_names():
            raise
        return None


def _advice(text: str) -> str:
    for part, advice in {
        "full": "free space on that disk, then run the same command again: nothing was half-written",
        "readonly": "make the data directory writable, or name another one with --data-dir",
        "unable to open": "check that the data directory exists and is writable, or name another one with --data-dir",
        "locked": "another octofleet process is writing; run the same command again",
        "malformed": "the file is damaged: restore it from a backup",
    }.items():
        if part in text:
            return advice
    return "octofleet doctor checks the database"


def upsert(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], *, newer: str | None = None) -> None:
    """Insert rows, replacing those with the same primary key; with `newer`, only where that column is not less. One code path for SQLite and PostgreSQL."""
    if not rows:
        return
    from sqlalchemy.dialects import postgresql, sqlite  # noqa: PLC0415 - only one of them is used

    insert = (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
    keys = [column.name for column in table.primary_key.columns]
    changed = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in keys}
    condition = insert.excluded[newer] >= table.c[newer] if newer else None
    connection.execute(insert.on_conflict_do_update(index_elements=keys, set_=changed, where=condition), list(rows))


def chunks(values: Sequence[str], size: int = 500) -> Iterator[Sequence[str]]:
    """Parts that fit into one `IN (...)`."""
    for start in range(0, len(values), size):
        yield values[start : start + size]
