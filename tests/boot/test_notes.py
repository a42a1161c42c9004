"""Notes that many wait for: each is told what its own gave, and who has gone does not stop the rest."""

import asyncio
from collections.abc import Callable
from pathlib import Path

from reconciler.boot.notes import Notes
from reconciler.store.engine import Connection, Store, sqlite_url


def numbered(number: int) -> Callable[[Connection], int]:
    def note(connection: Connection) -> int:
        return int(connection.scalar("SELECT ?", (number,)))

    return note


def test_each_is_told_its_own_and_who_has_gone_is_not(tmp_path: Path) -> None:
    notes = Notes(Store(sqlite_url(tmp_path)), lambda: None)

    async def ask() -> list[int]:
        waiting = [asyncio.ensure_future(notes.write(numbered(number))) for number in range(50)]
        waiting[7].cancel()
        notes.start()
        return await asyncio.gather(*waiting[:7], *waiting[8:])

    assert asyncio.run(ask()) == [number for number in range(50) if number != 7]
    assert asyncio.run(ask_again(notes)) == 99, "the thread goes on, for another event loop too"
    notes.close()


async def ask_again(notes: Notes) -> int:
    return await notes.write(numbered(99))
