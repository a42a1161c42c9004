"""Bringing a database to the newest shape with Alembic. In: how to connect. Imported only when there is something to bring it to."""

import sqlite3
from collections.abc import Callable

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool


def migrate(connect: Callable[[], sqlite3.Connection]) -> None:
    """Run what migrations are missing, all or none, while nobody else uses the database. Raises `sqlite3.DatabaseError`."""
    config = Config()
    config.set_main_option("script_location", "reconciler:store/migrations")
    engine = create_engine("sqlite://", creator=connect, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            connection.exec_driver_sql("BEGIN EXCLUSIVE")
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            connection.commit()
    except DBAPIError as error:
        if error.orig is None:
            raise
        raise error.orig from None
