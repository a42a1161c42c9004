"""Migrations give exactly the tables, keep what was there, and are the only thing that needs SQLAlchemy."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from reconciler.store.engine import HEAD, Store, sqlite_url
from reconciler.store.observations import load_observations, oldest, open_addresses, open_groups
from reconciler.store.records import Counts, load_records, mark, recorded_groups, records_of, save_records, touched_since
from reconciler.store.tables import metadata
from reconciler.types.canonical import digest, pack
from reconciler.types.observation import Absent, Present
from tests.store.made import RULES, record


def config() -> Config:
    made = Config()
    made.set_main_option("script_location", "reconciler:store/migrations")
    return made


def test_migrations_bring_an_empty_database_to_exactly_the_tables(tmp_path: Path) -> None:
    Store(sqlite_url(tmp_path)).close()
    with create_engine(sqlite_url(tmp_path)).connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_what_alembic_does_not_compare(tmp_path: Path) -> None:
    Store(sqlite_url(tmp_path)).close()
    made = create_engine("sqlite://")
    metadata.create_all(made)
    with made.connect() as wanted, closing(sqlite3.connect(tmp_path / "octofleet.db")) as found:
        query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name"
        indexes = found.execute(query).fetchall()
        assert indexes == [tuple(row) for row in wanted.exec_driver_sql(query)]
    assert dict(indexes)["observation_open"] == "CREATE INDEX observation_open ON observation (address) WHERE NOT settled"


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [HEAD]


SPEC = {"a": 1}


def first_shape(directory: Path) -> None:
    """A database as migration 0001 makes it, with two sources, three records and their observations."""
    engine = create_engine(sqlite_url(directory))
    with engine.connect() as connection:
        made = config()
        made.attributes["connection"] = connection
        command.upgrade(made, "0001")
        connection.commit()
    engine.dispose()
    with closing(sqlite3.connect(directory / "octofleet.db")) as database:
        rows = [("m/k/shop/a", "f", "host/shop/a"), ("m/k/shop/b", "f", "host/shop/b"), ("m/k/lab/c", "g", "host/lab/c")]
        database.executemany(
            "INSERT INTO record VALUES (?, ?, ?, ?, ?, 'x', 'o', 'c')",
            [(where, source, "d" * 64, pack(RULES.stated()), group) for where, source, group in rows],
        )
        seen = pack({"spec": SPEC, "externalId": "id"})
        database.execute("INSERT INTO observation VALUES ('m/k/shop/a', 'present', ?, ?, 2.0, 1)", (digest(SPEC), seen))
        database.execute("INSERT INTO observation VALUES ('m/k/shop/b', 'absent', '', ?, 1.0, 0)", (pack({}),))
        database.commit()


def test_a_database_of_the_first_shape_keeps_what_it_has(tmp_path: Path) -> None:
    first_shape(tmp_path)
    store = Store(sqlite_url(tmp_path))
    with store.write() as connection:
        store_id, seq = mark(connection, "f")
        assert len(store_id) == 32 and seq == 0 and touched_since(connection, "f", 0) == []
        assert load_records(connection, ["m/k/shop/a"]) == {"m/k/shop/a": record("m/k/shop/a", group="host/shop/a")}
        assert dict(Counts(connection, "f")) == {("m", "k"): 2} and list(recorded_groups(connection, "g")) == ["host/lab/c"]
        assert records_of(connection, "g", ["host/lab/c"]) == {"host/lab/c": [("m/k/lab/c", "d" * 64, pack(RULES.stated()))]}
        assert load_observations(connection, ["m/k/shop/a", "m/k/shop/b"]) == {
            "m/k/shop/a": Present(spec=SPEC, digest=digest(SPEC), at=2.0, external_id="id"),
            "m/k/shop/b": Absent(at=1.0),
        }
        assert open_addresses(connection, "f") == ["m/k/shop/b"] and open_groups(connection, "f") == {"host/shop/b"}
        assert oldest(connection, "f") == 1.0
        save_records(connection, [record("m/k/shop/a", group="host/shop/a")])
        assert mark(connection, "f") == (store_id, 1) and touched_since(connection, "f", 0) == ["host/shop/a"]
    store.close()
    with create_engine(sqlite_url(tmp_path)).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


IMPORTS = (
    "import reconciler.store.engine, reconciler.store.records, reconciler.store.observations, reconciler.store.plans, reconciler.store.runs"
)


def loaded(directory: Path) -> set[str]:
    """The modules of a process that opens the database in a directory and reads it."""
    program = f"import sys\n{IMPORTS}\nwith reconciler.store.engine.Store(sys.argv[1]).read() as c: reconciler.store.records.mark(c, 'f')\nprint(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program, sqlite_url(directory)], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_an_existing_database_is_opened_without_sqlalchemy(tmp_path: Path) -> None:
    assert {"sqlalchemy", "alembic"} <= loaded(tmp_path), "a new one is migrated"
    assert not {"sqlalchemy", "alembic"} & loaded(tmp_path)
