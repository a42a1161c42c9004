"""What `octofleet doctor` asks the database: whether it can be written, is of today's shape and whole, and tells the time that we do."""

import time
from collections.abc import Iterator

from reconciler.cli.finding import FAILED, OK, WARNING, Finding, tried
from reconciler.store.engine import HEAD, Connection, Store, upsert

NAME = "database"
LEAST_POSTGRESQL = 150_000
CLOCK_S = 1.0
STANDBYS = "SELECT count(*), count(CASE WHEN sync_state IN ('sync', 'quorum') THEN 1 END) FROM pg_stat_replication"


def database_findings(store: Store) -> Iterator[Finding]:
    """Everything about a database that can be opened."""
    yield tried(NAME, lambda: _written(store))
    yield tried(f"{NAME} tables", lambda: _tables(store))
    if store.url.startswith("postgres"):
        yield tried("postgresql", lambda: _server(store))
        yield tried("postgresql replication", lambda: _replication(store))
        yield tried("clock", lambda: _clock(store))
    else:
        yield tried(f"{NAME} file", lambda: _file(store))


def _written(store: Store) -> str:
    """A row goes in and out again."""
    with store.write() as connection:
        connection.run(upsert("about", ("key", "value")), ("doctor", str(time.time())))
    with store.write() as connection:
        connection.run("DELETE FROM about WHERE key = 'doctor'")
    return f"{store.name} can be written"


def _tables(store: Store) -> Finding:
    with store.read() as connection:
        found = connection.scalar("SELECT version_num FROM alembic_version")
    name = f"{NAME} tables"
    if found == HEAD:
        return Finding(name, OK, f"migration {found}")
    text = f"migration {found}, made by a newer Octofleet; this one knows {HEAD}"
    return Finding(name, WARNING, text, "upgrade this machine too; make backups with the newer one")


def _file(store: Store) -> Finding:
    """SQLite's own check of the file: all but whether indexes and tables agree."""
    with store.read() as connection:
        said = [str(line) for (line,) in connection.rows("PRAGMA quick_check(5)")]
        size = connection.scalar("PRAGMA page_count") * connection.scalar("PRAGMA page_size")
    if said == ["ok"]:
        return Finding(f"{NAME} file", OK, f"whole, {size / 1e6:,.1f} MB")
    text = f"the file is damaged: {'; '.join(said)}"
    return Finding(f"{NAME} file", FAILED, text, "restore a backup into a new data directory: octofleet restore FILE --data-dir DIR")


def _server(store: Store) -> Finding:
    with store.read() as connection:
        number, text = int(_setting(connection, "server_version_num")), _setting(connection, "server_version")
        lasting = {name: _setting(connection, name) for name in ("fsync", "full_page_writes", "synchronous_commit")}
    if number < LEAST_POSTGRESQL:
        return Finding("postgresql", FAILED, f"version {text}", "use PostgreSQL 15 or newer")
    off = [name for name, value in lasting.items() if value == "off"]
    if off:
        found = f"version {text}; {' and '.join(off)} off, so a crash of the server may lose or damage what was written"
        return Finding("postgresql", WARNING, found, f"set {' and '.join(off)} to on")
    return Finding("postgresql", OK, f"version {text}")


def _replication(store: Store) -> Finding:
    with store.read() as connection:
        standbys, waited_for = connection.row(STANDBYS) or (0, 0)
        commit = _setting(connection, "synchronous_commit")
    return replication(standbys, waited_for, commit)


def replication(standbys: int, waited_for: int, commit: str) -> Finding:
    """What `synchronous_commit` and so many standbys, of which so many are waited for, mean for a failover."""
    name = "postgresql replication"
    if not standbys:
        hint = "a copy on another machine is only in your backups; for failover add a synchronous standby"
        return Finding(name, OK, "no standby; " + hint)
    if waited_for and commit not in ("off", "local"):
        return Finding(name, OK, f"{waited_for} of {standbys} standbys are waited for at each commit")
    found = f"{standbys} standbys, and no commit waits for one: a failover may lose the last commits, and a step may be done twice"
    return Finding(name, WARNING, found, "name them in synchronous_standby_names, and set synchronous_commit to on")


def _clock(store: Store) -> Finding:
    with store.read() as connection:
        connection.now()
        before = time.time()
        there = connection.now()
        after = time.time()
    return clock(before, there, after)


def clock(before: float, there: float, after: float) -> Finding:
    """What the database said between two looks at this machine's clock, in seconds."""
    away = max(before - there, there - after, 0.0)
    if away <= CLOCK_S:
        return Finding("clock", OK, "this machine and the database agree")
    text = f"this machine is {away:.1f} s {'ahead of' if before > there else 'behind'} the database"
    return Finding("clock", WARNING, text, "synchronise both with NTP: ages and expiries are told by either clock")


def _setting(connection: Connection, name: str) -> str:
    return str(connection.scalar("SELECT current_setting(?)", (name,)))
