"""The real tables in memory, behind a connection that breaks: before a commit, after it, or for a while. Every commit is looked at."""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

from reconciler.store.engine import Connection, Store, Unavailable, sqlite_url
from reconciler.store.sqlite import SqliteConnection
from tests.simulation.scheduler import Process, Scheduler

WATCH = """
CREATE TEMP TABLE broken (text TEXT NOT NULL);
CREATE TEMP TRIGGER t1 AFTER UPDATE OF status ON main.item WHEN OLD.status <> '' AND NEW.status <> OLD.status BEGIN
    INSERT INTO broken VALUES (NEW.address || ' ended ' || OLD.status || ', then ' || NEW.status); END;
CREATE TEMP TRIGGER t2 AFTER UPDATE OF fence ON main.step WHEN NEW.fence < OLD.fence BEGIN
    INSERT INTO broken VALUES ('the fence of step ' || NEW.seq || ' went back'); END;
CREATE TEMP TRIGGER t3 AFTER UPDATE OF owner ON main.step WHEN OLD.owner <> '' AND NEW.owner NOT IN ('', OLD.owner) BEGIN
    INSERT INTO broken VALUES ('step ' || NEW.seq || ' was given to ' || NEW.owner || ' while ' || OLD.owner || ' had it'); END;
CREATE TEMP TRIGGER t4 AFTER UPDATE OF owner ON main.step WHEN OLD.owner = '' AND NEW.owner <> '' AND NEW.fence <= OLD.fence BEGIN
    INSERT INTO broken VALUES ('step ' || NEW.seq || ' was given under an old fence'); END;
CREATE TEMP TRIGGER t5 AFTER UPDATE OF state ON main.step WHEN OLD.state = 'ended' AND NEW.state <> 'ended'
    OR OLD.state <> 'ready' AND NEW.state = 'ready' BEGIN
    INSERT INTO broken VALUES ('step ' || NEW.seq || ' was ' || OLD.state || ', then ' || NEW.state); END;
CREATE TEMP TRIGGER t6 AFTER UPDATE OF ended_at ON main.run WHEN OLD.ended_at IS NOT NULL BEGIN
    INSERT INTO broken VALUES ('run ' || NEW.id || ' ended twice'); END;
CREATE TEMP TRIGGER t7 AFTER UPDATE OF state ON main.run WHEN OLD.state = 'cancelling' AND NEW.state <> 'cancelled' AND NEW.state <> 'cancelling' BEGIN
    INSERT INTO broken VALUES ('run ' || NEW.id || ' was cancelled, then ' || NEW.state); END;
CREATE TEMP TRIGGER t8 AFTER UPDATE OF status ON main.item WHEN NEW.status IN ('cancelled', 'superseded', 'stale')
    AND (SELECT state FROM main.step WHERE run = NEW.run AND seq = NEW.step) <> 'ready' AND EXISTS (SELECT * FROM main.worker) BEGIN
    INSERT INTO broken VALUES (NEW.address || ' had begun, and ended ' || NEW.status); END;
"""
ALWAYS = {
    "a lane counts wrong": """SELECT lane.run, wave, driver, tenant, open FROM lane WHERE open <> (SELECT count(*) FROM step
        WHERE step.run = lane.run AND step.wave = lane.wave AND step.driver = lane.driver AND step.tenant = lane.tenant AND state <> 'ended')""",
    "a run is open without open changes, or ended with some": """SELECT id FROM run WHERE (ended_at IS NULL) <>
        EXISTS (SELECT * FROM item WHERE item.run = run.id AND status = '')""",
    "a step is open without open changes, or ended with some": """SELECT run, seq FROM step WHERE (state <> 'ended') <>
        EXISTS (SELECT * FROM item WHERE item.run = step.run AND item.step = step.seq AND status = '')""",
    "an open run lacks a hold": """SELECT item.run, item.address FROM item JOIN run ON run.id = item.run WHERE run.ended_at IS NULL
        AND NOT EXISTS (SELECT * FROM hold WHERE hold.address = item.address AND hold.run = item.run)""",
    "an ended run holds something": "SELECT hold.run, address FROM hold JOIN run ON run.id = hold.run WHERE run.ended_at IS NOT NULL",
    "an ended step is somebody's": "SELECT run, seq FROM step WHERE state = 'ended' AND owner <> ''",
    "a lease without an open attempt": """SELECT run, seq, fence FROM step WHERE owner <> '' AND NOT EXISTS (SELECT * FROM attempt
        WHERE attempt.run = step.run AND attempt.step = step.seq AND attempt.fence = step.fence AND ended_at IS NULL AND worker = owner)""",
    "an open attempt without its lease": """SELECT run, step, fence FROM attempt WHERE ended_at IS NULL AND NOT EXISTS (SELECT * FROM step
        WHERE step.run = attempt.run AND step.seq = attempt.step AND step.fence = attempt.fence AND owner = worker)""",
    "a lease that was lost still counts": """SELECT attempt.run, attempt.step, attempt.fence FROM attempt JOIN step
        ON step.run = attempt.run AND step.seq = attempt.step AND step.fence <= attempt.fence WHERE result = 'lost'""",
    "a lease of nobody": "SELECT run, seq, owner FROM step WHERE owner <> '' AND owner NOT IN (SELECT id FROM worker)",
    "a step in vain more often than it was tried": """SELECT run, seq, attempts FROM step WHERE attempts > (SELECT count(*) FROM attempt
        WHERE attempt.run = step.run AND attempt.step = step.seq AND result = 'retry')""",
}  # fmt: skip
"""Queries that find something only if a promise is broken."""


@cache
def _template() -> bytes:
    with TemporaryDirectory() as directory:
        Store(sqlite_url(Path(directory))).close()
        with sqlite3.connect(Path(directory) / "octofleet.db") as made:
            made.execute("PRAGMA journal_mode=DELETE")
            return made.serialize()


class _Timed(SqliteConnection):
    __slots__ = ("_database",)

    def __init__(self, raw: sqlite3.Connection, database: "Database") -> None:
        super().__init__(raw)
        self._database = database

    def now(self) -> float:
        return self._database.clock()


class Database:
    """What all processes share. `offset`: how far its clock is from the true one. `broken` says whether a connection breaks now."""

    def __init__(self, scheduler: Scheduler) -> None:
        self.scheduler, self.offset, self.away_until = scheduler, 0.0, 0.0
        self.raw = sqlite3.connect(":memory:", isolation_level=None)
        self.raw.deserialize(_template())
        self.raw.executescript(WATCH)
        self.chance: Callable[[str], bool] = lambda fault: False
        self.limits: dict[str, int] = {}
        self.tenant_limit: int | None = None

    def clock(self) -> float:
        """What everybody agrees on."""
        return self.scheduler.now + self.offset

    def rows(self, sql: str, *parameters: object) -> list[tuple[object, ...]]:
        """What is committed."""
        return self.raw.execute(sql, parameters).fetchall()

    def check(self) -> None:
        """Hold what is committed against the promises."""
        found = [text for (text,) in self.raw.execute("SELECT text FROM broken")]
        for what, query in ALWAYS.items():
            row = self.raw.execute(query).fetchone()
            if row is not None:
                found.append(f"{what}: {row}")
        for driver, most in self.limits.items():
            if (number := self.raw.execute("SELECT count(*) FROM step WHERE owner <> '' AND driver = ?", (driver,)).fetchone()[0]) > most:
                found.append(f"{number} steps of {driver} at once")
        if self.tenant_limit is not None:
            for tenant, number in self.raw.execute("SELECT tenant, count(*) FROM step WHERE owner <> '' GROUP BY tenant"):
                if number > self.tenant_limit:
                    found.append(f"{number} steps of the tenant {tenant} at once")
        for text in found:
            self.scheduler.violated(text)


class SimulatedStore:
    """The store as one process has it."""

    def __init__(self, database: Database, process: Process) -> None:
        self._database, self._process, self._scheduler = database, process, database.scheduler

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """As `Store.read`."""
        self._reach()
        with self._transaction("BEGIN") as connection:
            yield connection

    @contextmanager
    def write(self, *, alone: bool = True) -> Iterator[Connection]:
        """As `Store.write`."""
        del alone
        self._reach()
        before = self._database.raw.total_changes
        with self._transaction("BEGIN IMMEDIATE") as connection:
            yield connection
            if self._database.chance("lost before commit"):
                self._scheduler.note("the connection breaks before the commit")
                raise Unavailable("the connection broke", hint="try again")
        if self._database.raw.total_changes > before + 1:  # one row is a worker's beat or the begin of a step
            self._database.check()
        self._scheduler.switch()
        if self._database.chance("lost after commit"):
            self._scheduler.note("the connection breaks after the commit")
            raise Unavailable("the connection broke", hint="try again")

    def _reach(self) -> None:
        self._scheduler.switch()
        if self._process.dead:
            raise RuntimeError("a dead process writes")
        if self._database.away_until > self._scheduler.now and self._process is not self._scheduler.people:
            raise Unavailable("the database is away", hint="try again")

    @contextmanager
    def _transaction(self, begin: str) -> Iterator[Connection]:
        raw = self._database.raw
        raw.execute(begin)
        try:
            yield _Timed(raw, self._database)
        except BaseException:
            raw.execute("ROLLBACK")
            raise
        raw.execute("COMMIT")
