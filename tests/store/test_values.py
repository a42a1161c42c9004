"""What goes in comes out the same, and in the same order, on either kind of database."""

from itertools import pairwise

import pytest

from reconciler.store.engine import Connection, insert
from reconciler.store.records import (
    Counts,
    count_records,
    recorded_groups,
    records_of_group,
    save_records,
    save_source,
    sources,
    touched_since,
)
from tests.store.made import record

LOG = insert("log", ("run", "step", "at", "text"))
BLOB = insert("blob", ("name", "body", "at", "expires_at"))
NAMES = [
    "a",
    "B",
    "b",
    "A",
    "a-b",
    "a/b",
    "a_b",
    "ab",
    "a b",
    "a.b",
    "Z",
    "_",
    "-",
    "0",
    "é",
    "e",
    "f",
    "ß",
    "ss",
    "Ω",
    "日本",
    "\uffee",
    "\U0001f600",
    "z",
]
"""Upper and lower case, signs that a dictionary's order ignores, accents, and characters on both sides of the end of UTF-16's first plane."""


def test_text_sorts_by_code_point_wherever_the_store_sorts(connection: Connection) -> None:
    save_records(connection, [record(f"m/k/shop/{name}", group=f"host/shop/{name}") for name in NAMES])
    save_records(connection, [record(f"m/k/lab/{name}", source="g", group="host/lab/one") for name in NAMES])
    for at, name in enumerate(NAMES):
        save_source(connection, name, "/r", "c", float(at))
    groups = sorted(f"host/shop/{name}" for name in NAMES)
    assert list(recorded_groups(connection, "f")) == groups == touched_since(connection, "f", 0)
    assert records_of_group(connection, "host/lab/one") == sorted(f"m/k/lab/{name}" for name in NAMES)
    assert [item["name"] for item in sources(connection)] == sorted(NAMES)


def test_ranges_and_the_least_go_by_code_point(connection: Connection) -> None:
    kinds = sorted(name for name in NAMES if "/" not in name)
    save_records(connection, [record(f"m/{kind}/shop/{number}") for kind in kinds for number in range(2)])
    assert list(Counts(connection, "f")) == [("m", kind) for kind in sorted(kinds, key=lambda kind: f"m/{kind}/")]
    assert {count_records(connection, "f", "m", kind) for kind in kinds} == {2}
    for low, high in pairwise(kinds):
        query = "SELECT count(*) FROM record WHERE address >= ? AND address < ?"
        assert connection.scalar(query, (f"m/{low}", f"m/{high}")) == sum(2 for kind in kinds if f"m/{low}" <= f"m/{kind}/" < f"m/{high}")


def test_keys_that_look_alike_are_two(connection: Connection) -> None:
    alike = ["a", "A", "a ", "á", "a\u0301"]
    save_records(connection, [record(f"m/k/shop/{name}") for name in alike])
    assert count_records(connection, "f", "m", "k") == len(alike)


@pytest.mark.parametrize("at", [0.0, 1.5, 1e-7, 1795677128.9914523, 0.1 + 0.2])
def test_times_come_back_to_the_last_digit(connection: Connection, at: float) -> None:
    connection.run(LOG, ("r", 0, at, "x"))
    assert connection.scalar("SELECT at FROM log") == at


def test_bytes_are_bytes_and_booleans_are_booleans(connection: Connection) -> None:
    body = bytes(range(256)) * 3
    connection.run_many(BLOB, [("all", body, 1, None), ("none", b"", 2.0, 3)])
    found = list(connection.rows("SELECT body, at, expires_at FROM blob ORDER BY name"))
    assert found == [(body, 1.0, None), (b"", 2.0, 3.0)] and [type(row[0]) for row in found] == [bytes, bytes]
    connection.run("INSERT INTO observation VALUES ('a', 'absent', '', ?, 1.0, ?)", (b"", True))
    assert connection.scalar("SELECT settled FROM observation") == True  # noqa: E712 - SQLite says 1
    assert connection.scalar("SELECT count(*) FROM observation WHERE settled") == 1


@pytest.mark.parametrize("text", ["", 'it\'s "so" \\ % ? %s {x}', "two\nlines\t", "\ufffd\U0010ffff", "x" * 1_000_000])
def test_text_comes_back(connection: Connection, text: str) -> None:
    connection.run(LOG, ("r", 0, 1.0, text))
    assert connection.scalar("SELECT text FROM log WHERE text = ?", (text,)) == text


def test_many_rows_come_back(connection: Connection, kind: str) -> None:
    texts = ["", 'it\'s "so" \\ % ? %s {x}', "\\u0000", "\ufffd\U0010ffff", "a\0b", "\\u0000\0"]
    connection.run_many(BLOB, [(text, bytes(range(256)), number + 0.1 + 0.2, None) for number, text in enumerate(texts)])
    rows = connection.rows_in("SELECT name, body, at, expires_at FROM blob WHERE name IN (...) ORDER BY at", texts)
    shown = [text.replace("\0", "\ufffd") if kind == "postgresql" else text for text in texts]
    assert list(rows) == [(text, bytes(range(256)), number + 0.1 + 0.2, None) for number, text in enumerate(shown)]
    query = "UPDATE blob SET expires_at = column3 FROM (...) AS these WHERE name = column1 AND at > column2"
    connection.run_in(query, [(text, 2, 0.5) for text in texts])
    assert [at for (at,) in connection.rows("SELECT expires_at FROM blob ORDER BY at")] == [None, None, 0.5, 0.5, 0.5, 0.5]
    connection.run_many("DELETE FROM blob WHERE name = ? AND at > ?", [(text, 1) for text in texts])
    assert connection.scalar("SELECT count(*) FROM blob") == 1


def test_a_line_with_a_nul_does_not_stop_a_run(connection: Connection, kind: str) -> None:
    connection.run_many(LOG, [("r", 0, 1.0, "a\0b")])
    assert connection.scalar("SELECT text FROM log") == ("a\ufffdb" if kind == "postgresql" else "a\0b")


def test_how_many_rows_a_statement_changed(connection: Connection) -> None:
    connection.run_many(LOG, [(f"r{number}", number % 2, 1.0, "x") for number in range(7)])
    assert connection.changed("UPDATE log SET text = ? WHERE step = ?", ("y", 1)) == 3
    assert connection.changed("UPDATE log SET text = ? WHERE step = ?", ("y", 9)) == 0
    assert connection.changed(LOG, ("r", 0, 1.0, "x")) == 1 and connection.changed("DELETE FROM log") == 8


def test_the_clock_moves_within_a_transaction(connection: Connection) -> None:
    before = connection.now()
    assert isinstance(before, float)
    while (now := connection.now()) == before:
        pass
    assert now > before


def test_rows_that_a_decision_rests_on_can_be_locked(connection: Connection) -> None:
    save_records(connection, [record("m/k/shop/a")])
    assert connection.row("SELECT seq FROM mark WHERE source = ? FOR UPDATE", ("f",)) == (1,)
