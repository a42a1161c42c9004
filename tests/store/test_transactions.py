"""Transactions: whole or not at all, one state for a reader, writers in turn, and errors of the database in our own words."""

import threading

import pytest

from reconciler.errors import OctofleetError
from reconciler.store import connection as common
from reconciler.store.engine import Connection, Store, Unavailable, insert, upsert

ADD = insert("log", ("run", "step", "at", "text"))
sqlite_alone = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


def lines(connection: Connection) -> int:
    return int(connection.scalar("SELECT count(*) FROM log"))


def test_sql_is_written_with_its_names_quoted() -> None:
    assert insert("t", ("a", "group")) == 'INSERT INTO "t" ("a", "group") VALUES (?, ?)'
    assert upsert("t", ("a", "b", "c", "d"), key=2, newer="c") == (
        'INSERT INTO "t" ("a", "b", "c", "d") VALUES (?, ?, ?, ?) ON CONFLICT ("a", "b") '
        'DO UPDATE SET "c" = excluded."c", "d" = excluded."d" WHERE excluded."c" >= "t"."c"'
    )


@sqlite_alone
def test_connections_keep_their_promises(store: Store) -> None:
    with store.read() as connection:
        found = {name: connection.scalar(f"PRAGMA {name}") for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")}
    assert found == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": common.WAIT_MS}


def test_a_reader_sees_one_state_and_may_write_beside_it(store: Store) -> None:
    with store.read() as outer:
        assert lines(outer) == 0
        with store.write() as connection:
            connection.run(ADD, ("r", 0, 1.0, "x"))
        assert lines(outer) == 0
        with store.read() as inner:
            assert lines(inner) == 1
    with store.read() as connection:
        assert lines(connection) == 1


def test_a_failed_write_is_undone_while_its_query_is_still_open(store: Store) -> None:
    rows = None
    with pytest.raises(KeyError), store.write() as connection:
        connection.run_many(ADD, ((f"r{n}", 0, 1.0, "x") for n in range(3)))
        rows = connection.rows("SELECT run FROM log")
        next(rows)
        raise KeyError
    with store.write() as connection:
        assert lines(connection) == 0
        connection.run(ADD, ("r", 0, 1.0, "x"))
    del rows


def test_writers_take_turns(store: Store) -> None:
    def count() -> None:
        for _ in range(20):
            with store.write() as connection:
                seen = lines(connection)
                connection.run(ADD, ("r", seen, 1.0, "x"))

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as connection:
        assert [step for (step,) in connection.rows("SELECT step FROM log ORDER BY id")] == list(range(80))


def test_connections_are_used_again(store: Store) -> None:
    raws = set()
    for _ in range(5):
        with store.read() as connection:
            raws.add(id(connection._raw))
    assert len(raws) == 1


def test_a_writer_that_waits_too_long_is_told_so(database_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "WAIT_MS", 10)
    store = Store(database_url)
    with store.write(), pytest.raises(Unavailable) as caught, store.write():
        raise AssertionError("two writers at once")
    assert caught.value.code == "store-unavailable" and "another octofleet process" in caught.value.hint and not caught.value.in_doubt
    store.close()


def test_foreign_keys_are_enforced_in_our_words(store: Store) -> None:
    with pytest.raises(OctofleetError) as caught, store.write() as connection:
        connection.run(insert("change", ("plan", "seq", "address", "digest", "body")), (99, 0, "a", "d", b""))
    assert caught.value.code == "store" and not isinstance(caught.value, Unavailable)
    assert type(caught.value.__cause__).__name__ in ("IntegrityError", "ForeignKeyViolation")


@sqlite_alone
def test_a_full_disk_leaves_nothing_half_written(store: Store) -> None:
    with pytest.raises(OctofleetError) as caught, store.write() as connection:
        connection.run(f"PRAGMA max_page_count={connection.scalar('PRAGMA page_count') + 1}")
        connection.run(ADD, ("r", 0, 1.0, "x"))
        connection.run(ADD, ("r", 0, 1.0, "x" * 1_000_000))
    assert "free space" in caught.value.hint
    with store.write() as connection:
        assert lines(connection) == 0
        connection.run(ADD, ("r", 0, 1.0, "x" * 1_000_000))


def test_many_values_go_in_parts(store: Store) -> None:
    with store.write() as connection:
        connection.run_many(ADD, [(f"r{n}", n % 2, 1.0, "x") for n in range(1203)])
        names = [f"r{n}" for n in range(1203)]
        found = list(connection.rows_in("SELECT run FROM log WHERE step = ? AND run IN (...)", names, (1,)))
        assert sorted(found) == sorted((f"r{n}",) for n in range(1, 1203, 2))
        assert list(connection.rows_in("SELECT run FROM log WHERE run IN (...)", [])) == []
        connection.run_in("UPDATE log SET step = ? WHERE run IN (...)", names, (7,))
        connection.run_in("DELETE FROM log WHERE run IN (...)", names[1:])
        assert list(connection.rows("SELECT run, step FROM log")) == [("r0", 7)]
