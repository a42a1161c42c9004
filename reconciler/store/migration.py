"""Bringing a database to the newest shape with Alembic. Imported only when there is something to bring it to.

A migration expands: it adds what the newest code needs and leaves what the code before uses, so that replicas of both work during an upgrade. A
later one, when none is left, contracts. Each says in `READABLE_FROM` the least migration whose code may use the database after it; one that says
nothing is for its own code alone. The database keeps the greatest of them in the table `about`.
"""

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from reconciler.store.connection import Database
from reconciler.store.sql import upsert

HERE = "reconciler:store/migrations"


def migrate(database: Database, location: str = HERE) -> None:
    """Run what migrations are missing, all or none, one process at a time. Raises the driver's errors."""
    config = Config()
    config.set_main_option("script_location", location)
    scripts = ScriptDirectory.from_config(config)
    engine = create_engine(database.engine, creator=database.connect, poolclass=NullPool)
    try:
        with engine.connect() as connection, connection.begin():  # Alembic commits nothing that it has not begun
            raw = connection.connection.driver_connection
            ours = database.begin(raw, "migration")
            found, _ = database.version(raw)
            if found is not None and found >= (scripts.get_current_head() or ""):
                return  # another process was first, perhaps a newer one
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            ours.run(upsert("about", ("key", "value")), ("readable_from", readable_from(scripts)))
    except DBAPIError as error:
        if error.orig is None:
            raise
        raise error.orig from None
    finally:
        engine.dispose()


def readable_from(scripts: ScriptDirectory) -> str:
    """The least migration whose code may use a database that all of these have run on."""
    return max(getattr(script.module, "READABLE_FROM", script.revision) for script in scripts.walk_revisions())
