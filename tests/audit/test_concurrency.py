"""Many processes append to one trail, alone and beside others: it never forks, and no entry is lost or doubled."""

import subprocess
import sys
import threading
from collections import Counter

import pytest

from reconciler.errors import OctofleetError
from reconciler.store.audit import AUDIT, every, newest, record, verify
from reconciler.store.engine import Store, Unavailable, insert
from reconciler.types.audit import Row
from tests.audit.made import entry, raw_rows

EACH, PROCESSES = 50, 4
PROGRAM = """
import sys
from reconciler.store.audit import record
from reconciler.store.engine import Store, insert
from reconciler.types.audit import Entry
store, name = Store(sys.argv[1]), sys.argv[2]
sys.stdin.readline()
for number in range(int(sys.argv[3])):
    with store.write(alone=number % 3 == 0) as connection:
        connection.run(insert("log", ("run", "step", "at", "text")), (name, number, 1.0, ""))
        record(connection, Entry(identity=name, action="apply", run=name, details={"number": number}))
        if number % 10 == 9:  # a transaction of several
            record(connection, Entry(identity=name, action="more", run=name))
store.close()
"""


def test_processes_that_append_at_once(store: Store) -> None:
    command = [sys.executable, "-c", PROGRAM, store.url]
    processes = [subprocess.Popen([*command, f"p{n}", str(EACH)], stdin=subprocess.PIPE) for n in range(PROCESSES)]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write(b"go\n")
        process.stdin.close()
    verified = [0]
    while any(process.poll() is None for process in processes):
        with store.read() as connection:  # whoever reads meanwhile sees a chain that is whole
            found = verify(connection)
        assert found.wrong is None and found.rows >= verified[-1]
        verified.append(found.rows)
    assert [process.wait() for process in processes] == [0] * PROCESSES
    with store.read() as connection:
        rows = [row for row in every(connection) if isinstance(row, Row)]
        assert verify(connection, newest(connection)).rows == len(rows) == PROCESSES * EACH * 11 // 10
        assert connection.scalar("SELECT count(*) FROM log") == PROCESSES * EACH
    assert Counter(row.identity for row in rows) == {f"p{n}": EACH * 11 // 10 for n in range(PROCESSES)}
    for n in range(PROCESSES):
        assert [row.details["number"] for row in rows if row.identity == f"p{n}" and row.action == "apply"] == list(range(EACH))
    assert len(set(verified)) > 3, "the reader saw it grow"


@pytest.mark.parametrize("kind", ["postgresql"], indirect=True)
def test_who_appends_waits_for_the_one_before_and_follows_on_it(store: Store) -> None:
    with store.write(alone=False) as connection:
        first = record(connection, entry(1))
        waiting = threading.Event()

        def second() -> None:
            with store.write(alone=False) as other:
                waiting.set()
                record(other, entry(2))

        thread = threading.Thread(target=second)
        thread.start()
        assert waiting.wait(30)
        query = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
        while not connection.scalar(query):
            connection.run("SELECT pg_stat_clear_snapshot()")
    thread.join(30)
    with store.read() as connection:
        rows = [row for row in every(connection) if isinstance(row, Row)]
    assert [row.seq for row in rows] == [1, 2] and rows[1].previous == first.hash


def test_what_is_undone_leaves_no_gap(store: Store) -> None:
    for number in range(6):
        try:
            with store.write(alone=False) as connection:
                record(connection, entry(number))
                if number % 2:
                    raise Unavailable("it broke")
        except Unavailable:
            pass
    with store.read() as connection:
        assert verify(connection).rows == 3 == newest(connection).seq


REFUSED = {
    "sqlite": (
        "UPDATE audit SET reason = 'x' WHERE seq = 1",
        "DELETE FROM audit WHERE seq = 1",
        "DELETE FROM audit",
        "INSERT OR REPLACE INTO audit SELECT * FROM audit WHERE seq = 1",
        "REPLACE INTO audit SELECT * FROM audit",
    ),
    "postgresql": (
        "UPDATE audit SET reason = 'x' WHERE seq = 1",
        "DELETE FROM audit WHERE seq = 1",
        "DELETE FROM audit",
        "TRUNCATE audit",
        "INSERT INTO audit SELECT * FROM audit WHERE seq = 1 ON CONFLICT (seq) DO UPDATE SET reason = 'x'",
        "MERGE INTO audit USING (SELECT 1 AS seq) AS new ON audit.seq = new.seq WHEN MATCHED THEN DELETE",
    ),
}


@pytest.mark.parametrize("number", range(6))
def test_the_table_is_append_only(store: Store, kind: str, number: int) -> None:
    if number >= len(REFUSED[kind]):
        return
    with store.write() as connection:
        record(connection, entry())
    with pytest.raises(OctofleetError, match="the audit trail is append-only"), store.write() as connection:
        connection.run(REFUSED[kind][number])
    with store.read() as connection:
        assert verify(connection).rows == 1


def test_a_second_row_of_one_number_is_refused(store: Store) -> None:
    with store.write() as connection:
        record(connection, entry())
        (row,) = raw_rows(connection)
    with pytest.raises(OctofleetError, match=r"append-only|duplicate key"), store.write() as connection:
        connection.run(insert("audit", AUDIT), tuple(row.values()))
    with store.read() as connection:
        assert verify(connection).rows == 1
