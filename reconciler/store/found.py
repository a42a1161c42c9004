"""What begins with some text, for the search: by indexes, and a few of each. Functions on a connection; the caller owns the transaction."""

from collections.abc import Iterator

from reconciler.store.engine import Connection
from reconciler.store.sql import BEGINS, beginning

LEAST_COMMIT = 4


def plans_begin(connection: Connection, text: str, most: int) -> list[tuple[int, str, str, str]]:
    """Row, id, source and commit of plans, newest first."""
    query = f'SELECT "row", id, source, "commit" FROM plan WHERE id {BEGINS} ORDER BY "row" DESC LIMIT ?'  # noqa: S608 - fixed text
    return list(connection.rows(query, (beginning(text), most)))


def pulls_like(connection: Connection, text: str, most: int) -> list[tuple[str, str, int, str, int | None]]:
    """Forge, project, number, source and row of the last plan of pull requests of this number (`7`, `#7`) or project, newest first. An empty source: nothing
    of the repository has been applied."""
    number = text.removeprefix("#")
    mine = "pull.number = ?" if number.isdecimal() and len(number) < 10 else f"pull.project {BEGINS}"
    query = (
        "SELECT pull.forge, pull.project, pull.number, coalesce(source.name, ''), pull.plan FROM pull "  # noqa: S608 - fixed text
        f"LEFT JOIN source ON source.location = pull.location WHERE {mine} ORDER BY pull.number DESC, pull.project LIMIT ?"
    )
    return list(connection.rows(query, (int(number) if number.isdecimal() and len(number) < 10 else beginning(text), most)))


def resources_begin(connection: Connection, text: str, most: int) -> Iterator[tuple[str, str, str, str]]:
    """Source, group, address and external id of resources whose address begins so, then of those whose external id does."""
    last = text + "\U0010ffff"
    for column, named in (("address", ""), ("external_id", "external_id <> '' AND ")):
        query = (
            f'SELECT source, "group", address, external_id FROM record WHERE {named}{column} >= ? AND {column} < ? '  # noqa: S608 - from above
            f"ORDER BY {column} LIMIT ?"
        )
        yield from list(connection.rows(query, (text, last, most)))


def commits(connection: Connection, text: str, most: int) -> Iterator[tuple[str, str, str, int | None]]:
    """Commits with their source: those applied last, then those of plans, the newest first, with the plan's id and row."""
    if len(text) < LEAST_COMMIT:
        return
    begins = beginning(text)
    query = f"SELECT applied_commit, name FROM source WHERE applied_commit {BEGINS} ORDER BY name"  # noqa: S608 - fixed text
    yield from [(commit, source, "", None) for commit, source in connection.rows(query, (begins,))]
    query = f'SELECT "commit", source, id, "row" FROM plan WHERE "commit" {BEGINS} ORDER BY "row" DESC LIMIT ?'  # noqa: S608 - fixed text
    yield from list(connection.rows(query, (begins, most)))
