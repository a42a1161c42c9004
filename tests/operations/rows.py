"""Rows of the store, made by hand: plans, runs with everything that belongs to them, and what is there when they have been pruned."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from reconciler.store.engine import Connection, Store, insert, upsert
from reconciler.store.tables import metadata
from reconciler.types.canonical import digest, pack

NOW = 1_800_000_000.0
DAY = 86_400.0
TABLES = {table.name: tuple(table.columns.keys()) for table in metadata.sorted_tables}


def add(connection: Connection, table: str, **values: Any) -> None:
    connection.run(insert(table, tuple(values)), tuple(values.values()))


def add_spec(connection: Connection, text: str) -> str:
    """A specification; its digest."""
    spec = {"is": text}
    connection.run(upsert("spec", ("digest", "body")), (digest(spec), pack(spec)))
    return digest(spec)


def add_plan(
    connection: Connection, row: int, age: float, *, expires: float = 1.0, specs: Sequence[str] = (), scope: str = "", **more: Any
) -> None:
    """A plan of so many days ago that expired after `expires` days, with a change for each specification."""
    made = NOW - age * DAY
    values = {"id": f"{row:064x}", "source": "f", "commit": "c", "created_at": made, "expires_at": made + expires * DAY} | more
    add(connection, "plan", row=row, applyable=True, location="l", body=pack({"scope": scope, "deferred": []}), **values)
    add(connection, "outline", plan=row, piece=0, body=b"o")
    for seq, text in enumerate(specs):
        desired = add_spec(connection, text)
        body = pack({"before": "b", "after": "a", "desired": desired, "fields": []})
        add(connection, "change", plan=row, seq=seq, address=f"a/{seq}", digest=f"{seq:064x}", body=body)


def add_run(connection: Connection, run: str, plan: int, age: float | None, *, steps: int = 2, lines: int = 3, source: str = "f") -> None:
    """A run that ended so many days ago, or (None) is open."""
    ended = None if age is None else NOW - age * DAY
    state = "running" if age is None else "done"
    add(connection, "run", id=run, plan=plan, source=source, state=state, started_at=(ended or NOW) - 60, ended_at=ended, reason="")
    for seq in range(steps):
        add(
            connection,
            "step",
            run=run,
            seq=seq,
            wave=0,
            driver="m",
            state="ended" if ended else "started",
            attempts=1,
            operation="",
            owner="w",
            fence=3,
        )
        add(
            connection, "item", run=run, step=seq, address=f"a/{seq}", change=seq, action="create", status="done" if ended else "", error=""
        )
        add(
            connection, "attempt", run=run, step=seq, fence=3, worker="w", at=NOW, ended_at=ended, result="ended" if ended else "", error=""
        )
    add(connection, "lane", run=run, wave=0, driver="m", tenant="", open=0)
    if ended is None:
        add(connection, "hold", address=f"held/{run}", run=run)
    for number in range(lines):
        add(connection, "log", run=run, step=0, at=(ended or NOW) + number, text=f"{run} says {number}\r\n\x85 ä€😀")


def everything(store: Store) -> dict[str, list[tuple[Any, ...]]]:
    """All rows of all tables, with true and false as numbers."""
    with store.read() as connection:
        return {table: rows_of(connection, table) for table in TABLES}


def rows_of(connection: Connection, table: str) -> list[tuple[Any, ...]]:
    names = ", ".join(f'"{name}"' for name in TABLES[table])
    rows = connection.rows(f'SELECT {names} FROM "{table}"')
    return sorted((tuple(int(value) if isinstance(value, bool) else value for value in row) for row in rows), key=repr)


def ids(store: Store, table: str, column: str) -> set[Any]:
    with store.read() as connection:
        return {value for (value,) in connection.rows(f'SELECT "{column}" FROM "{table}"')}


class Died(BaseException):
    """Stands for the end of the process."""


class Countdown:
    """Raises `Died` at the n-th tick; 0: never. `ticks` counts."""

    def __init__(self, n: int = 0) -> None:
        self.n, self.ticks = n, 0

    def tick(self) -> None:
        self.ticks += 1
        if self.ticks == self.n:
            raise Died


class Watched(Store):
    """Dies before or after a commit, and knows the most rows that a transaction took away."""

    def __init__(self, url: str, countdown: Countdown) -> None:
        super().__init__(url)
        self.countdown, self.most = countdown, 0

    @contextmanager
    def write(self, *, alone: bool = True) -> Iterator[Connection]:
        with super().write(alone=alone) as connection:
            before = self._rows(connection)
            yield connection
            self.most = max(self.most, before - self._rows(connection))
            self.countdown.tick()
        self.countdown.tick()

    def _rows(self, connection: Connection) -> int:
        return sum(int(connection.scalar(f'SELECT count(*) FROM "{table}"')) for table in TABLES)


class WatchedBlobs:
    """A blob store that dies before or after something is written."""

    def __init__(self, blobs: Any, countdown: Countdown) -> None:
        self.blobs, self.countdown = blobs, countdown

    def __getattr__(self, name: str) -> Any:
        return getattr(self.blobs, name)

    def put(self, *args: Any) -> None:
        self.countdown.tick()
        self.blobs.put(*args)
        self.countdown.tick()

    def delete(self, name: str) -> None:
        self.countdown.tick()
        self.blobs.delete(name)
        self.countdown.tick()


def kept_of(blobs: Any) -> Mapping[str, bytes | None]:
    return {name: blobs.get(name) for name in blobs.names()}


def add_installation(connection: Connection, of: str, state: str, *, seq: int, ended: float | None, host: str = "web-1") -> None:
    """An installation of a host of tenant t, that ended so many days ago, or (None) goes on."""
    add(
        connection,
        "installation",
        id=of,
        tenant="t",
        host=host,
        source="f",
        generation=2,
        attempt=1,
        attempts=3,
        state=state,
        operation="r.1",
        run="r",
        token=f"digest of {of}",
        armed_at=NOW - (ended or 0.0) * DAY - 60,
        expires_at=NOW + DAY,
        claimed_at=NOW - 30,
        claimed_by="192.0.2.9",
        released_at=None,
        released_to="",
        stage="booted",
        stage_at=NOW,
        ended_at=None if ended is None else NOW - ended * DAY,
        log="ä€😀\n",
        facts=b'{"kernel":"6.1"}',
        seq=seq,
        power="none",
    )
