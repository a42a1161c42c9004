"""The drift schedule by a clock of the test's own, on both databases: what is counted is when which host was begun."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from threading import Thread

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reconciler.gate.drift import Schedule, place, schedule_of
from reconciler.store.engine import Connection, Store, sqlite_url
from reconciler.store.host_checks import FREE, LOST_S, checks_of, claim, end_checks, enroll, next_due
from reconciler.store.records import drop_records, save_records
from tests.operations.rows import add
from tests.store.databases import database
from tests.store.made import record

HOUR, DAY = 3600.0, 86_400.0
BEGIN = 20_000 * DAY


def hosts(connection: Connection, number: int) -> list[str]:
    groups = [f"host/shop/h{n:04}" for n in range(number)]
    save_records(connection, [record(f"ansible/role/shop/{group.rpartition('/')[2]}.web", group=group) for group in groups])
    return groups


@dataclass
class Clock:
    """Servers that ask every `tick` seconds; a check takes `takes` seconds."""

    schedule: Schedule
    tick: float = 300.0
    takes: float = 100.0
    begun: dict[str, list[float]] = field(default_factory=dict)
    under_way: list[tuple[float, float, list[str]]] = field(default_factory=list)
    most_under_way: int = 0

    def go(self, connection: Connection, since: float, until: float) -> None:
        now = since
        while now < until:
            for over, at, groups in [one for one in self.under_way if one[0] <= now]:
                end_checks(connection, groups, at, over)
            self.under_way = [one for one in self.under_way if one[0] > now]
            enroll(connection, "f", self.schedule, now)
            for _ in range(2):  # two servers ask at the same time
                if groups := claim(connection, "f", self.schedule, now):
                    self.under_way.append((now + self.takes, now, groups))
                    for group in groups:
                        self.begun.setdefault(group, []).append(now)
            self.most_under_way = max(self.most_under_way, sum(len(groups) for *_, groups in self.under_way))
            now += self.tick

    def times(self) -> list[float]:
        return sorted(at for found in self.begun.values() for at in found)

    def most_within(self, span: float) -> int:
        times, first, most = self.times(), 0, 0
        for last, at in enumerate(times):
            while times[first] <= at - span:
                first += 1
            most = max(most, last - first + 1)
        return most


def gaps(times: list[float]) -> Iterator[float]:
    return (later - earlier for earlier, later in pairwise(times))


def test_each_host_is_checked_once_in_each_interval_spread_over_it(connection: Connection) -> None:
    groups = hosts(connection, 200)
    clock = Clock(Schedule(interval_s=DAY))
    clock.go(connection, BEGIN, BEGIN + 3 * DAY)
    assert set(clock.begun) == set(groups)
    late = {group for group in groups if place(group, DAY) > DAY - clock.tick}  # the last time that a server asks is before these
    assert len(late) < 5
    assert all(len(found) == 3 for group, found in clock.begun.items() if group not in late)
    assert all(DAY - clock.tick <= gap <= DAY + clock.tick for found in clock.begun.values() for gap in gaps(found))
    by_hour = Counter(int((at - BEGIN) // HOUR) for at in clock.times())
    assert len(by_hour) == 72
    assert max(by_hour.values()) <= 25  # 200 hosts over 24 hours are 8.3 in each


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    number=st.integers(1, 60),
    budget=st.integers(1, 20),
    per=st.sampled_from([HOUR, 2 * HOUR, 5 * HOUR]),
    at_once=st.integers(1, 10),
    interval=st.sampled_from([2 * HOUR, 6 * HOUR]),
    away=st.tuples(st.floats(0, 10), st.floats(0, 12)),
)
def test_never_above_the_budget_and_all_are_reached(
    tmp_path_factory: pytest.TempPathFactory, number: int, budget: int, per: float, at_once: int, interval: float, away: tuple[float, float]
) -> None:
    schedule = Schedule(interval_s=interval, hosts=budget, per_s=per, at_once=at_once)
    clock = Clock(schedule, tick=600.0, takes=500.0)
    with database("sqlite", tmp_path_factory.mktemp("store")) as url:
        store = Store(url)
        with store.write() as connection:
            groups = hosts(connection, number)
            down, up = BEGIN + away[0] * HOUR, BEGIN + (away[0] + away[1]) * HOUR
            clock.go(connection, BEGIN, down)
            clock.go(connection, up, up + 3 * DAY)
        store.close()
    assert clock.most_within(per) <= budget
    assert clock.most_under_way <= at_once
    assert all(gap >= interval / 2 for found in clock.begun.values() for gap in gaps(found))
    if budget * 3 * DAY / per >= 2 * number and at_once * 3 * DAY / 600 >= 2 * number:
        assert set(clock.begun) == set(groups)
    if budget * interval / per >= 2 * number and at_once * interval / 600 >= 2 * number:
        slack = 2 * number / min(budget / per, at_once / 600) + 2 * per
        last = [found[-1] for found in clock.begun.values()]
        assert min(last) >= up + 3 * DAY - interval - slack
        assert all(gap <= interval + slack + away[1] * HOUR for found in clock.begun.values() for gap in gaps(found))


def test_after_downtime_the_longest_due_come_first_within_the_budget(connection: Connection) -> None:
    groups = hosts(connection, 50)
    schedule = Schedule(interval_s=DAY, hosts=10, per_s=HOUR)
    enroll(connection, "f", schedule, BEGIN)
    later = BEGIN + 2 * DAY
    due = sorted(groups, key=lambda group: checks_of(connection, [group])[group].due_at)
    assert claim(connection, "f", schedule, later) == due[:10]
    assert claim(connection, "f", schedule, later + HOUR - 1) == []
    assert claim(connection, "f", schedule, later + HOUR) == due[10:20]
    assert next_due(connection, "f", later + HOUR)[1] == 30


def test_what_a_run_is_about_to_change_waits_and_keeps_nobody_else(connection: Connection) -> None:
    groups = hosts(connection, 2)
    schedule = Schedule(interval_s=DAY)
    enroll(connection, "f", schedule, BEGIN)
    plan = {"source": "f", "commit": "c", "created_at": 0.0, "expires_at": 0.0, "applyable": True, "location": "l", "body": b"{}"}
    add(connection, "plan", row=1, id="p", **plan)
    add(connection, "run", id="r", plan=1, source="f", state="running", started_at=0.0, ended_at=None, reason="")
    where = "ansible/role/shop/h0000.web"
    add(connection, "item", run="r", step=1, address=where, change=0, action="run", status="", error="", ended_at=None)
    assert claim(connection, "f", schedule, BEGIN + DAY) == [groups[1]]
    connection.run("UPDATE item SET status = 'done'")
    assert claim(connection, "f", schedule, BEGIN + DAY) == [groups[0]]


def test_hosts_that_an_open_run_keeps_or_that_have_no_ansible_are_in_nobodys_way(connection: Connection) -> None:
    groups, schedule = hosts(connection, 1000), Schedule(interval_s=DAY, at_once=1)
    enroll(connection, "f", schedule, BEGIN)
    first = sorted(groups, key=lambda group: checks_of(connection, [group])[group].due_at)
    addresses = [f"ansible/role/shop/{group.rpartition('/')[2]}.web" for group in first]
    drop_records(connection, addresses[400:800])
    plan = {"source": "f", "commit": "c", "created_at": 0.0, "expires_at": 0.0, "applyable": True, "location": "l", "body": b"{}"}
    add(connection, "plan", row=1, id="p", **plan)
    add(connection, "run", id="r", plan=1, source="f", state="running", started_at=0.0, ended_at=None, reason="")
    for where in addresses[:400]:
        add(connection, "item", run="r", step=1, address=where, change=0, action="run", status="", error="", ended_at=None)
    assert claim(connection, "f", schedule, BEGIN + DAY) == [first[800]]
    assert set(checks_of(connection, groups)) == {*first[:400], *first[800:]}
    end_checks(connection, [first[800]], BEGIN + DAY, BEGIN + DAY)
    connection.run("UPDATE run SET ended_at = 1.0")
    assert claim(connection, "f", schedule, BEGIN + DAY) == [first[0]]


def test_who_is_free_is_found_by_indexes(tmp_path: Path) -> None:
    store = Store(sqlite_url(tmp_path))
    with store.read() as connection:
        steps = [row[3] for row in connection.rows(f"EXPLAIN QUERY PLAN {FREE}", ("f", 1.0, 1.0, 1))]
    store.close()
    assert [step for step in steps if "USING" in step] == [
        "SEARCH host_check USING INDEX host_check_by_due (source=? AND due_at<?)",
        "SCAN run USING INDEX run_open",
        "SEARCH record USING INDEX record_by_group (source=? AND group=?)",
        "SEARCH item USING INDEX item_by_address (run=? AND address=?)",
    ]


def test_a_host_without_ansible_is_let_go_and_a_changed_interval_is_followed(connection: Connection) -> None:
    groups = hosts(connection, 2)
    enroll(connection, "f", Schedule(interval_s=7 * DAY), BEGIN)
    assert enroll(connection, "f", Schedule(interval_s=HOUR), BEGIN) == 2
    drop_records(connection, ["ansible/role/shop/h0000.web"])
    assert claim(connection, "f", Schedule(interval_s=HOUR), BEGIN + HOUR) == [groups[1]]
    assert set(checks_of(connection, groups)) == {groups[1]}


def test_a_check_whose_process_died_is_no_longer_under_way_after_a_time(connection: Connection) -> None:
    hosts(connection, 2)
    schedule = Schedule(interval_s=HOUR / 2, at_once=1)
    enroll(connection, "f", schedule, BEGIN)
    assert len(claim(connection, "f", schedule, BEGIN + HOUR)) == 1
    assert claim(connection, "f", schedule, BEGIN + HOUR + LOST_S - 1) == []
    assert len(claim(connection, "f", schedule, BEGIN + HOUR + LOST_S)) == 1


def test_two_processes_at_once_never_take_one_host_twice_or_more_than_the_budget(store: Store) -> None:
    schedule = Schedule(interval_s=DAY, hosts=40, at_once=40)
    with store.write() as connection:
        hosts(connection, 60)
        enroll(connection, "f", schedule, BEGIN)
    taken: list[str] = []

    def work() -> None:
        for _ in range(10):
            with store.write() as connection:
                taken.extend(claim(connection, "f", Schedule(interval_s=DAY, hosts=40, at_once=40), BEGIN + DAY))

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert len(taken) == len(set(taken)) == 40


def test_places_are_spread_and_a_schedule_is_read_from_the_fleet() -> None:
    tenths = Counter(int(place(f"host/shop/h{n}", 10.0)) for n in range(10_000))
    assert len(tenths) == 10
    assert 900 <= min(tenths.values()) <= max(tenths.values()) <= 1100
    assert schedule_of({}) is None
    found = schedule_of({"drift": {"interval": "12h", "window": "shop/nights", "budget": {"hosts": 5, "per": "30m", "atOnce": 2}}})
    assert found == Schedule(interval_s=12 * HOUR, hosts=5, per_s=1800.0, at_once=2, window="fleet/maintenancewindow/shop/nights")
