"""What incremental planning asks of the records: which groups changed since, what a group holds, how many there are, what is open or old."""

import re
from pathlib import Path

import pytest

from reconciler.store.engine import Connection, Store
from reconciler.store.observations import drop_observations, oldest, open_addresses, open_groups, save_observations, unsettle
from reconciler.store.records import (
    Counts,
    count_records,
    drop_records,
    load_records,
    mark,
    recorded_groups,
    records_of,
    save_records,
    touched_since,
)
from reconciler.types.canonical import pack
from reconciler.types.observation import Absent
from tests.store.databases import database
from tests.store.made import RULES, record

A, B = "host/shop/a", "host/shop/b"


def seq(connection: Connection, source: str = "f") -> int:
    return mark(connection, source)[1]


def test_a_database_has_an_id_of_its_own(store: Store, kind: str, tmp_path: Path) -> None:
    with store.read() as connection:
        mine, none = mark(connection, "f")
    assert none == 0 and len(mine) == 32 and int(mine, 16) >= 0
    (tmp_path / "other").mkdir()
    with database(kind, tmp_path / "other", empty=True) as url:
        for where, same in ((url, False), (store.url, True)):
            again = Store(where)
            with again.read() as connection:
                assert (mark(connection, "f")[0] == mine) == same
            again.close()


def test_every_call_touches_its_groups_under_one_new_number(connection: Connection) -> None:
    save_records(connection, [record("m/k/shop/a1", group=A), record("m/k/shop/a2", group=A), record("m/k/shop/b", group=B)])
    assert seq(connection) == 1 and touched_since(connection, "f", 0) == [A, B]
    save_records(connection, [record("m/k/shop/b", group=B)])
    assert seq(connection) == 2 and touched_since(connection, "f", 1) == [B] and touched_since(connection, "f", 0) == [A, B]
    drop_records(connection, ["m/k/shop/a1"])
    assert seq(connection) == 3 and touched_since(connection, "f", 2) == [A] and touched_since(connection, "f", 0) == [B, A]
    assert touched_since(connection, "f", 3) == []


def test_what_changes_nothing_touches_nothing(connection: Connection) -> None:
    save_records(connection, [])
    drop_records(connection, [])
    drop_records(connection, ["m/k/shop/none"])
    assert seq(connection) == 0 and touched_since(connection, "f", 0) == []


def test_sources_count_for_themselves(connection: Connection) -> None:
    save_records(connection, [record("m/k/shop/a", group=A)])
    save_records(connection, [record("m/k/lab/b", source="g", group=B), record("m/k/shop/c", group=B)])
    assert (seq(connection), seq(connection, "g")) == (2, 1)
    assert touched_since(connection, "f", 1) == [B] and touched_since(connection, "g", 0) == [B]


def test_a_takeover_touches_the_group_of_the_owner_before(connection: Connection) -> None:
    save_records(connection, [record("m/k/shop/a", group=A)])
    save_records(connection, [record("m/k/shop/a", source="g", group=B)])
    assert touched_since(connection, "f", 1) == [A] and touched_since(connection, "g", 0) == [B]
    drop_records(connection, ["m/k/shop/a"])
    assert seq(connection) == 2 and touched_since(connection, "g", 1) == [B]


def test_a_record_that_moves_to_another_group_touches_both(connection: Connection) -> None:
    save_records(connection, [record("m/k/shop/a", group=A)])
    save_records(connection, [record("m/k/shop/a", group=B)])
    assert touched_since(connection, "f", 1) == [A, B]


def test_what_is_undone_was_never_touched(store: Store) -> None:
    with pytest.raises(KeyError), store.write() as connection:
        save_records(connection, [record("m/k/shop/a", group=A)])
        raise KeyError
    with store.read() as connection:
        assert seq(connection) == 0 and touched_since(connection, "f", 0) == []


def test_records_by_group(connection: Connection) -> None:
    many = [record(f"m/k/shop/n{n}", group=f"host/shop/n{n}") for n in range(1201)]
    save_records(connection, [*many, record("m/j/shop/n0", group="host/shop/n0", digest="e" * 64)])
    save_records(connection, [record("m/k/lab/n0", source="g", group="host/shop/n0")])
    found = records_of(connection, "f", [*(item.group for item in many), "host/shop/none"])
    assert len(found) == 1201 and found["host/shop/n7"] == [("m/k/shop/n7", "d" * 64, pack(RULES.stated()))]
    assert sorted(found["host/shop/n0"]) == [
        ("m/j/shop/n0", "e" * 64, pack(RULES.stated())),
        ("m/k/shop/n0", "d" * 64, pack(RULES.stated())),
    ]
    assert list(recorded_groups(connection, "f")) == sorted({item.group for item in many})
    assert list(recorded_groups(connection, "g")) == ["host/shop/n0"] and list(recorded_groups(connection, "none")) == []


def test_records_are_counted_by_driver_and_kind(connection: Connection) -> None:
    addresses = ["m/k/shop/a", "m/k/shop/b", "m/k/-/f", "m/kk/shop/a", "m/k-x/shop/a", "mm/k/shop/a", "l/k/shop/a"]
    save_records(connection, [record(where) for where in addresses])
    save_records(connection, [record("m/k/lab/a", source="g"), record("z/z/lab/a", source="g")])
    assert count_records(connection, "f", "m", "k") == 3 and count_records(connection, "g", "m", "k") == 1
    numbers = Counts(connection, "f")
    assert numbers.get(("m", "k"), 0) == 3 and numbers.get(("z", "z"), 0) == 0 and ("z", "z") not in numbers
    assert dict(numbers) == {("m", "k"): 3, ("m", "kk"): 1, ("m", "k-x"): 1, ("mm", "k"): 1, ("l", "k"): 1} and len(numbers) == 5


def test_what_is_open_and_what_is_old(connection: Connection) -> None:
    save_records(connection, [record("m/k/shop/a", group=A), record("m/k/shop/b", group=B), record("m/k/lab/c", source="g", group=A)])
    seen = {"m/k/shop/a": 3.0, "m/k/shop/b": 2.0, "m/k/lab/c": 1.0, "m/k/shop/unrecorded": 0.5}
    save_observations(connection, {where: Absent(at=at) for where, at in seen.items()}, dict.fromkeys(seen, True) | {"m/k/shop/b": False})
    assert (
        open_groups(connection, "f") == {B} and open_groups(connection, "g") == set() and open_addresses(connection, "f") == ["m/k/shop/b"]
    )
    assert oldest(connection, "f") == 2.0 and oldest(connection, "g") == 1.0 and oldest(connection, "none") is None
    unsettle(connection, list(seen))
    assert open_groups(connection, "f") == {A, B} and open_groups(connection, "g") == {A}
    drop_observations(connection, ["m/k/shop/b"])
    assert open_groups(connection, "f") == {A} and oldest(connection, "f") == 3.0


BY_ADDRESS = ("SEARCH", "record", "sqlite_autoindex_record_1")
INDEXED = {
    "records_of": (lambda c: records_of(c, "f", [A, B]), [("SEARCH", "record", "record_by_group")]),
    "recorded_groups": (lambda c: list(recorded_groups(c, "f")), [("SEARCH", "record", "record_by_group")]),
    "count_records": (lambda c: count_records(c, "f", "m", "k"), [BY_ADDRESS]),
    "touched_since": (lambda c: touched_since(c, "f", 0), [("SEARCH", "touched", "touched_by_seq")]),
    "open_groups": (lambda c: open_groups(c, "f"), [("SCAN", "observation", "observation_open"), BY_ADDRESS]),
    "open_addresses": (lambda c: open_addresses(c, "f"), [("SCAN", "observation", "observation_open"), BY_ADDRESS]),
    "oldest": (lambda c: oldest(c, "f"), [("SCAN", "observation", "observation_by_at"), BY_ADDRESS]),
    "load_records": (lambda c: load_records(c, ["x"]), [BY_ADDRESS]),
}


sqlite_alone = pytest.mark.parametrize("kind", ["sqlite"], indirect=True)


@sqlite_alone
@pytest.mark.parametrize("name", INDEXED)
@pytest.mark.parametrize("analyzed", [False, True])
def test_indexes_are_used(connection: Connection, name: str, analyzed: bool) -> None:
    many = [record(f"m/k/shop/n{n}", group=f"host/shop/n{n}") for n in range(2000)]
    save_records(connection, many)
    save_observations(connection, {item.address: Absent(at=float(n)) for n, item in enumerate(many)}, {i.address: True for i in many})
    if analyzed:
        connection.run("ANALYZE")
    ask, steps = INDEXED[name]
    said: list[str] = []
    connection._raw.set_trace_callback(said.append)
    ask(connection)
    connection._raw.set_trace_callback(None)
    (query,) = said
    plan = "\n".join(row[3] for row in connection.rows(f"EXPLAIN QUERY PLAN {query}"))
    assert re.findall(r"(SCAN|SEARCH)(?: TABLE)? (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", plan) == steps


@sqlite_alone
def test_the_oldest_is_found_without_looking_at_the_others(connection: Connection) -> None:
    many = [record(f"m/k/shop/n{n}") for n in range(3000)]
    save_records(connection, many)
    save_observations(connection, {item.address: Absent(at=float(n)) for n, item in enumerate(many)}, {i.address: True for i in many})
    steps = 0

    def step() -> int:
        nonlocal steps
        steps += 1
        return 0

    connection._raw.set_progress_handler(step, 10)
    assert oldest(connection, "f") == 0.0 and open_groups(connection, "f") == set()
    connection._raw.set_progress_handler(None, 0)
    assert steps < 20
