"""Many at once: writers that are alone take turns, others run side by side, and readers never miss what changed."""

import random
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import pairwise

import pytest

from reconciler.store import connection as common
from reconciler.store import postgresql
from reconciler.store.engine import Connection, Store, Unavailable, insert
from reconciler.store.pull_locks import locks_of, release, take_locks
from reconciler.store.pulls import PullKey
from reconciler.store.records import drop_records, mark, save_records
from tests.store.made import record

ADD = insert("log", ("run", "step", "at", "text"))
postgresql_alone = pytest.mark.parametrize("kind", ["postgresql"], indirect=True)


def together(*jobs: Callable[[], None]) -> None:
    """Run them in threads; raises what one of them raised."""
    failed: list[BaseException] = []

    def guarded(job: Callable[[], None]) -> None:
        try:
            job()
        except BaseException as error:  # noqa: BLE001 - raised below
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in failed:
        raise error


PROCESS = """
import sys, time
from reconciler.store.engine import Store, insert
store = Store(sys.argv[1])
for _ in range(40):
    with store.write() as connection:
        seen = connection.scalar("SELECT count(*) FROM log")
        time.sleep(0.001)
        connection.run(insert("log", ("run", "step", "at", "text")), (sys.argv[2], seen, 1.0, ""))
        connection.run(insert("log", ("run", "step", "at", "text")), (sys.argv[2], seen + 1, 1.0, ""))
store.close()
"""


def test_processes_that_write_alone_never_interleave(store: Store) -> None:
    processes = [subprocess.Popen([sys.executable, "-c", PROCESS, store.url, name]) for name in "ab"]
    assert [process.wait() for process in processes] == [0, 0]
    with store.read() as connection:
        found = list(connection.rows("SELECT step, run FROM log ORDER BY id"))
    assert [step for step, _ in found] == list(range(160))
    assert all(first == second for (_, first), (_, second) in zip(found[::2], found[1::2], strict=True))


@postgresql_alone
def test_writers_that_are_not_alone_run_side_by_side(store: Store) -> None:
    with store.write(alone=False) as one, store.write(alone=False) as two, store.write() as three:
        for connection in (one, two, three):
            connection.run(ADD, ("r", 0, 1.0, "x"))
        with store.read() as connection:
            assert connection.scalar("SELECT count(*) FROM log") == 0
    with store.read() as connection:
        assert connection.scalar("SELECT count(*) FROM log") == 3


def noted(connection: Connection) -> tuple[int, dict[str, int]]:
    """The newest number, and the number of each group."""
    groups = dict(connection.rows('SELECT "group", seq FROM touched WHERE source = ?', ("f",)))
    return mark(connection, "f")[1], groups


@pytest.mark.parametrize("alone", [True, False])
def test_who_has_seen_a_number_never_learns_of_an_older_change_later(store: Store, alone: bool) -> None:
    writers, each = 4, 25
    left = [writers]
    seen: list[tuple[int, dict[str, int]]] = []

    def writer(number: int) -> None:
        chance = random.Random(number)
        for turn in range(each):
            where = f"m/k/shop/w{number}-{turn % 5}"
            with store.write(alone=alone) as connection:
                if turn % 5 == 4:
                    drop_records(connection, [where.rpartition("-")[0] + "-0"])
                save_records(connection, [record(where, group=f"host/shop/{chance.randrange(6)}")])
                if not alone:
                    connection.run("SELECT pg_sleep(?)" if connection.kind == "postgresql" else "SELECT ?", (chance.random() * 0.004,))
        left[0] -= 1

    def reader() -> None:
        while left[0]:
            with store.read() as connection:
                seen.append(noted(connection))

    together(reader, *(lambda number=number: writer(number) for number in range(writers)))
    with store.read() as connection:
        seen.append(noted(connection))
    assert seen[-1][0] == writers * (each + each // 5), "each change had a number of its own"
    assert len({number for number, _ in seen}) > 5
    for (number, before), (_, after) in pairwise(seen):
        assert all(before.get(group) == at for group, at in after.items() if at <= number)
        assert max(before.values(), default=0) <= number


@postgresql_alone
def test_a_record_that_two_change_touches_the_group_in_between(store: Store) -> None:
    """The second one waits for the first, and sees the group that the record then has."""
    with store.write() as connection:
        save_records(connection, [record("m/k/shop/a", group="host/shop/one")])
    began, may_end = threading.Event(), threading.Event()

    def first() -> None:
        with store.write(alone=False) as connection:
            save_records(connection, [record("m/k/shop/a", group="host/shop/two")])
            began.set()
            assert may_end.wait(30)

    def second() -> None:
        assert began.wait(30)
        with store.write(alone=False) as connection:
            pid = connection.scalar("SELECT pg_backend_pid()")
            threading.Thread(target=when_it_waits, args=(pid,)).start()
            save_records(connection, [record("m/k/shop/a", group="host/shop/three")])

    def when_it_waits(pid: int) -> None:
        query, waits = "SELECT count(*) FROM pg_stat_activity WHERE pid = ? AND wait_event_type = 'Lock'", 0
        while not waits:
            with store.read() as connection:
                waits = connection.scalar(query, (pid,))
        may_end.set()

    together(first, second)
    with store.read() as connection:
        assert noted(connection) == (3, {"host/shop/one": 2, "host/shop/two": 3, "host/shop/three": 3})


@postgresql_alone
def test_a_deadlock_ends_one_of_the_two_and_that_one_may_try_again(store: Store) -> None:
    with store.write() as connection:
        connection.run_many("INSERT INTO mark (source, seq) VALUES (?, 0)", [("a",), ("b",)])
    both, refused = threading.Barrier(2), []

    def writer(first: str, then: str) -> None:
        meet = True
        while True:
            try:
                with store.write(alone=False) as connection:
                    assert connection.changed("UPDATE mark SET seq = seq + 1 WHERE source = ?", (first,)) == 1
                    if meet:
                        both.wait(30)
                    meet = False
                    connection.run("UPDATE mark SET seq = seq + 1 WHERE source = ?", (then,))
                return
            except Unavailable as error:
                refused.append(error)

    together(lambda: writer("a", "b"), lambda: writer("b", "a"))
    with store.read() as connection:
        assert list(connection.rows("SELECT source, seq FROM mark ORDER BY source")) == [("a", 2), ("b", 2)]
    assert len(refused) == 1 and not refused[0].in_doubt and "run the same command again" in refused[0].hint


@postgresql_alone
def test_pull_requests_that_swap_resources_do_not_wait_for_each_other(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A third one lets go of what both want too, when both wait for that."""
    monkeypatch.setattr(postgresql, "IDLE_MS", {"write": 60_000, "alone": 60_000})
    third, one, two = (PullKey(forge="hub", project="acme/fleet", number=number) for number in range(3))
    with store.write() as connection:
        for key, address in ((third, "a"), (one, "b"), (two, "c")):
            assert take_locks(connection, key, "fleet", [address]) == []

    def swapped(key: PullKey, address: str) -> None:
        with store.write(alone=False) as connection:
            take_locks(connection, key, "fleet", ["a", address])

    def let_go() -> None:
        with store.write(alone=False) as connection:
            assert release(connection, third) == 1
            query, waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'", 0
            while waiting < 2:
                with store.read() as reader:
                    waiting = reader.scalar(query)

    together(let_go, lambda: swapped(one, "c"), lambda: swapped(two, "b"))
    with store.read() as connection:
        held = {key.number: [lock.address for lock in locks_of(connection, key)] for key in (third, one, two)}
    assert sorted(address for some in held.values() for address in some) in (["a", "b"], ["a", "c"]), (
        "who waited comes to what is free by then"
    )
    assert held[0] == []


@postgresql_alone
def test_a_row_that_another_writer_has_locked_for_too_long(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    with store.write() as connection:
        save_records(connection, [record("m/k/shop/a")])
    query = "SELECT seq FROM mark WHERE source = 'f'"
    with store.write(alone=False) as connection:
        list(connection.rows(f"{query} FOR UPDATE"))
        monkeypatch.setattr(common, "WAIT_MS", 50)
        with pytest.raises(Unavailable), store.write(alone=False) as other:
            assert other.scalar(query) == 1, "a reader does not wait"
            list(other.rows(f"{query} FOR UPDATE"))


@postgresql_alone
def test_a_writer_that_is_frozen_does_not_stop_the_others_for_good(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql, "IDLE_MS", {"write": 50, "alone": 50})
    with pytest.raises(Unavailable), store.write() as frozen:
        frozen.run(ADD, ("r", 0, 1.0, "x"))
        monkeypatch.setattr(postgresql, "IDLE_MS", {"write": 60_000, "alone": 60_000})
        with store.write() as connection:  # waits until the server has ended the other one
            connection.run(ADD, ("r", 1, 1.0, "x"))
        frozen.run(ADD, ("r", 2, 1.0, "x"))
    with store.read() as connection:
        assert list(connection.rows("SELECT step FROM log")) == [(1,)]
