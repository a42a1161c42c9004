"""Migrations give exactly the tables, keep what was there, and are the only thing that needs SQLAlchemy."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection as Sqlalchemy
from sqlalchemy import create_engine
from sqlalchemy.pool import NullPool

from reconciler.errors import OctofleetError
from reconciler.store import migration
from reconciler.store.engine import HEAD, Connection, Store, _database
from reconciler.store.observations import load_observations, oldest, open_addresses, open_groups
from reconciler.store.records import Counts, load_records, mark, recorded_groups, records_of, save_records, touched_since
from reconciler.store.tables import metadata
from reconciler.types.canonical import digest, pack
from reconciler.types.observation import Absent, Present
from tests.store.databases import database
from tests.store.made import RULES, record

NEXT = [f"{int(HEAD) + number:04}" for number in (1, 2, 3)]
"""The migrations that are not there yet."""


def config(connection: Sqlalchemy | None = None) -> Config:
    made = Config()
    made.set_main_option("script_location", migration.HERE)
    made.attributes["connection"] = connection
    return made


@contextmanager
def sqlalchemy(url: str) -> Iterator[Sqlalchemy]:
    """A connection of SQLAlchemy's, in a transaction."""
    found = _database(url)
    with create_engine(found.engine, creator=found.connect, poolclass=NullPool).connect() as connection, connection.begin():
        found.begin(connection.connection.driver_connection, "write")
        yield connection


@contextmanager
def unopened(url: str) -> Iterator[Connection]:
    """A connection that writes to a database which no store has opened."""
    found = _database(url)
    raw = found.connect()
    try:
        connection = found.begin(raw, "write")
        yield connection
        connection.commit()
    finally:
        found.close(raw)


def differences(url: str) -> list[object]:
    with sqlalchemy(url) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "compare_server_default": True})
        return list(compare_metadata(context, metadata))


def test_migrations_bring_an_empty_database_to_exactly_the_tables(empty_url: str) -> None:
    assert differences(empty_url)
    Store(empty_url).close()
    assert differences(empty_url) == []


INDEXES = {
    "sqlite": "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL ORDER BY name",
    "postgresql": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename <> 'alembic_version' ORDER BY 1",
}
OPEN = {
    "sqlite": "CREATE INDEX observation_open ON observation (address) WHERE NOT settled",
    "postgresql": "CREATE INDEX observation_open ON public.observation USING btree (address) WHERE (NOT settled)",
}


def test_what_alembic_does_not_compare(kind: str, empty_url: str, tmp_path: Path) -> None:
    Store(empty_url).close()
    (tmp_path / "wanted").mkdir()
    with database(kind, tmp_path / "wanted", empty=True) as wanted, sqlalchemy(wanted) as connection, unopened(empty_url) as found:
        metadata.create_all(connection)
        indexes = list(found.rows(INDEXES[kind]))
        assert indexes == [tuple(row) for row in connection.exec_driver_sql(INDEXES[kind])]
    assert dict(indexes)["observation_open"] == OPEN[kind]


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_every_text_column_sorts_by_code_point(store: Store) -> None:
    columns = (
        "SELECT attrelid::regclass::text || '.' || attname, collname FROM pg_attribute "
        "JOIN pg_class ON pg_class.oid = attrelid AND relnamespace = 'public'::regnamespace AND relkind IN ('r', 'i') "
        "JOIN pg_collation ON pg_collation.oid = attcollation"
    )
    with store.read() as connection:
        assert connection.scalar("SELECT datlocprovider FROM pg_database WHERE datname = current_database()") == "i", "not by itself"
        found = dict(connection.rows(columns))
    assert len(found) > 60 and "record.address" in found and set(found.values()) == {"C"}


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [HEAD]


SPEC = {"a": 1}


def first_shape(url: str) -> None:
    """A database as migration 0001 makes it, with two sources, three records and their observations."""
    with sqlalchemy(url) as connection:
        command.upgrade(config(connection), "0001")
    rows = [("m/k/shop/a", "f", "host/shop/a"), ("m/k/shop/b", "f", "host/shop/b"), ("m/k/lab/c", "g", "host/lab/c")]
    seen = pack({"spec": SPEC, "externalId": "id"})
    with unopened(url) as writing:
        writing.run_many(
            "INSERT INTO record VALUES (?, ?, ?, ?, ?, 'x', 'o', 'c')",
            [(where, source, "d" * 64, pack(RULES.stated()), group) for where, source, group in rows],
        )
        writing.run("INSERT INTO observation VALUES ('m/k/shop/a', 'present', ?, ?, 2.0, ?)", (digest(SPEC), seen, True))
        writing.run("INSERT INTO observation VALUES ('m/k/shop/b', 'absent', '', ?, 1.0, ?)", (pack({}), False))


def test_a_database_of_the_first_shape_keeps_what_it_has(empty_url: str) -> None:
    first_shape(empty_url)
    store = Store(empty_url)
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
    assert differences(empty_url) == []


def test_all_migrations_run_or_none(empty_url: str, tmp_path: Path) -> None:
    first_shape(empty_url)
    with pytest.raises(ZeroDivisionError):
        migration.migrate(_database(empty_url), later(tmp_path, "op.create_table('later', sa.Column('a', sa.String()))\n    1 / 0"))
    with unopened(empty_url) as connection:
        assert connection.scalar("SELECT version_num FROM alembic_version") == "0001"
    with pytest.raises(_database(empty_url).errors), unopened(empty_url) as connection:
        connection.run("SELECT 1 FROM touched")
    Store(empty_url).close()
    assert differences(empty_url) == []


IMPORTS = (
    "import reconciler.store.engine, reconciler.store.records, reconciler.store.observations, reconciler.store.plans, reconciler.store.runs"
)


def loaded(url: str) -> set[str]:
    """The modules of a process that opens the database and reads it."""
    program = (
        f"import sys\n{IMPORTS}\nstore = reconciler.store.engine.Store(sys.argv[1])\n"
        "with store.read() as c: reconciler.store.records.mark(c, 'f')\nstore.close()\nprint(*sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", program, url], capture_output=True, text=True, check=True)
    return {name.partition(".")[0] for name in done.stdout.split()}


def test_an_existing_database_is_opened_without_sqlalchemy(kind: str, empty_url: str) -> None:
    assert {"sqlalchemy", "alembic"} <= loaded(empty_url), "a new one is migrated"
    again = loaded(empty_url)
    assert not {"sqlalchemy", "alembic"} & again and ("psycopg" in again) == (kind == "postgresql")


# Upgrades: replicas of the version before go on while a new one has migrated.

LATER = '''
"""later."""
import sqlalchemy as sa
from alembic import op
revision, down_revision, branch_labels, depends_on = "{revision}", "{before}", None, None
{constant}
def upgrade():
    {body}
'''
EXPAND = """for name in ("record", "observation", "plan", "run", "step", "spec", "log", "mark", "touched"):
        op.add_column(name, sa.Column("later", sa.String(), nullable=False, server_default=sa.text("''")))
        op.create_index(name + "_later", name, ["later"])
    op.create_table("later", sa.Column("address", sa.String(), primary_key=True))
    op.execute("INSERT INTO later SELECT address FROM record")"""


def later(directory: Path, body: str, constant: str = "", revision: str = NEXT[0], before: str = HEAD) -> str:
    """Where Octofleet's migrations are, and one more."""
    folder = directory / "migrations"
    if not folder.exists():
        (folder / "versions").mkdir(parents=True)
        here = Path(migration.__file__).parent / "migrations"
        for file in (here / "env.py", *(here / "versions").glob("v*.py")):
            (folder / file.relative_to(here)).write_bytes(file.read_bytes())
    text = LATER.format(revision=revision, before=before, constant=constant, body=body)
    (folder / "versions" / f"v{revision}.py").write_text(text)
    return str(folder)


def said(url: str) -> str:
    with unopened(url) as connection:
        return str(connection.scalar("SELECT value FROM about WHERE key = 'readable_from'"))


def test_a_new_database_says_who_may_use_it(empty_url: str) -> None:
    Store(empty_url).close()
    assert said(empty_url) == "0005", "code before would begin what a gate keeps"


def test_an_expanded_database_serves_the_code_before_and_a_contracted_one_does_not(database_url: str, tmp_path: Path) -> None:
    store = Store(database_url)
    with store.write() as connection:
        save_records(connection, [record("m/k/shop/a")])
    migration.migrate(_database(database_url), later(tmp_path, EXPAND, f'READABLE_FROM = "{HEAD}"'))
    assert said(database_url) == HEAD
    again = Store(database_url)
    with again.write() as connection:
        save_records(connection, [record("m/k/shop/b")])
    with store.read() as connection:
        assert mark(connection, "f")[1] == 2
    again.close()

    migration.migrate(_database(database_url), later(tmp_path, "op.drop_column('run', 'archive')", revision=NEXT[1], before=NEXT[0]))
    assert said(database_url) == NEXT[1]
    with pytest.raises(OctofleetError) as caught:
        Store(database_url)
    assert "made by a newer Octofleet" in caught.value.message and "use that version, or another" in caught.value.hint

    careless = later(tmp_path, "pass", f'READABLE_FROM = "{HEAD}"', revision=NEXT[2], before=NEXT[1])
    migration.migrate(_database(database_url), careless)
    assert said(database_url) == NEXT[1], "what is gone does not come back"
    store.close()


def test_one_that_does_not_say_who_may_use_it_is_for_its_own_code(database_url: str) -> None:
    Store(database_url).close()
    with unopened(database_url) as connection:
        connection.run(f"UPDATE alembic_version SET version_num = '{NEXT[0]}'")
        connection.run("DELETE FROM about WHERE key = 'readable_from'")
    with pytest.raises(OctofleetError, match="made by a newer Octofleet"):
        Store(database_url)


def test_a_newer_process_that_migrates_first_is_noticed(empty_url: str, tmp_path: Path) -> None:
    """It was not there when this one looked: what it brought is left alone."""
    folder = later(tmp_path, "pass")
    migration.migrate(_database(empty_url), folder)
    migration.migrate(_database(empty_url))
    with unopened(empty_url) as connection:
        assert connection.scalar("SELECT version_num FROM alembic_version") == NEXT[0]
    assert said(empty_url) == NEXT[0]


def test_an_open_store_goes_on_while_another_process_migrates(database_url: str, tmp_path: Path) -> None:
    folder = later(tmp_path, EXPAND, f'READABLE_FROM = "{HEAD}"')
    store = Store(database_url)
    program = (
        "import sys; from reconciler.store.engine import _database; from reconciler.store.migration import migrate; "
        "migrate(_database(sys.argv[1]), sys.argv[2])"
    )
    other = subprocess.Popen([sys.executable, "-c", program, database_url, folder])
    done = after = 0
    while after < 20:
        after += other.poll() is not None
        with store.write(alone=done % 2 == 0) as connection:
            save_records(connection, [record(f"m/k/shop/n{done}", group=f"host/shop/n{done}")])
        done += 1
        with store.read() as connection:
            assert mark(connection, "f")[1] == done == len(touched_since(connection, "f", 0))
    assert other.returncode == 0
    with store.read() as connection:
        assert connection.scalar("SELECT version_num FROM alembic_version") == NEXT[0]
    store.close()
