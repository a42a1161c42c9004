"""Alembic's entry: runs migrations on the connection that `reconciler.store.engine` opened."""

from typing import Any

from alembic import context
from sqlalchemy import String
from sqlalchemy.ext.compiler import compiles

from reconciler.store.tables import metadata


@compiles(String, "postgresql")
def by_code_point(element: String, compiler: Any, **more: Any) -> str:
    """Every text column sorts as SQLite's do, whatever the database's own collation is."""
    return f'{compiler.visit_string(element, **more)} COLLATE "C"'


context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True, transactional_ddl=False
)
context.run_migrations()
