"""What all tables share."""

from typing import Any

from sqlalchemy import MetaData, text

metadata = MetaData()


def where(condition: str) -> dict[str, Any]:
    """What makes an index cover only some rows, in both databases."""
    return {"sqlite_where": text(condition), "postgresql_where": text(condition)}
