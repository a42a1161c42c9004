"""What is known of hosts, on both databases."""

from typing import Any

import pytest

from reconciler.store.engine import Connection
from reconciler.store.host_counts import Among, changed_alike, hosts_with, values_of
from reconciler.store.hosts import (
    AGAIN_S,
    by_age,
    changes_of,
    drop_hosts,
    facts_of,
    hosts_named,
    mark_converged,
    merged,
    save_told,
    seen_of,
)
from reconciler.store.observations import save_observations
from reconciler.store.records import drop_records, save_records
from reconciler.types.observation import Present
from reconciler.types.resource import Recorded, Rules
from reconciler.types.task import HostTold

ALL = Among(everything=True)


def told(host: str, at: float, *, tenant: str = "shop", why: str = "", **facts: Any) -> HostTold:
    return HostTold(tenant=tenant, host=host, at=at, answered=not why, why=why, facts=facts)


def test_a_host_that_does_not_answer_keeps_when_it_did_and_its_facts(connection: Connection) -> None:
    save_told(connection, [told("a", 10.0, kernel="6.1")])
    save_told(connection, [told("a", 20.0, why="connection refused")])
    assert seen_of(connection, "shop", "a") == (20.0, 10.0, None, "connection refused")
    assert facts_of(connection, "shop", "a") == (10.0, {"kernel": "6.1"})
    save_told(connection, [told("a", 30.0, kernel="6.1")])
    assert seen_of(connection, "shop", "a") == (30.0, 30.0, None, "")


def test_first_facts_are_no_change_and_later_ones_are_told_by_path(connection: Connection) -> None:
    save_told(connection, [told("a", 10.0, kernel="6.1", memory_mb=1024, fips=False)])
    assert changes_of(connection, "shop", "a", 10) == []
    save_told(connection, [told("a", 20.0, kernel="6.2", fips=False, swap_mb=0)])
    assert changes_of(connection, "shop", "a", 10) == [(20.0, "swap_mb", "", "0"), (20.0, "kernel", '"6.1"', '"6.2"')]
    assert facts_of(connection, "shop", "a") == (20.0, {"kernel": "6.2", "memory_mb": 1024, "fips": False, "swap_mb": 0})


def test_what_was_not_asked_stays_and_what_is_gone_goes() -> None:
    before = {"kernel": "6.1", "interfaces.eth0.mac": "a", "interfaces.eth1.mac": "b"}
    assert merged(before, {"interfaces.eth0.mac": "c"}) == {"kernel": "6.1", "interfaces.eth0.mac": "c"}


def test_the_same_facts_again_write_their_time_now_and_then(connection: Connection) -> None:
    for at in (10.0, 20.0, 10.0 + AGAIN_S):
        save_told(connection, [told("a", at, kernel="6.1")])
        assert facts_of(connection, "shop", "a") == (10.0, {"kernel": "6.1"})
    save_told(connection, [told("a", 11.0 + AGAIN_S, kernel="6.1")])
    assert facts_of(connection, "shop", "a") == (11.0 + AGAIN_S, {"kernel": "6.1"})


def test_changes_are_grouped_over_hosts_and_counted_once_for_each(connection: Connection) -> None:
    hosts = [f"h{n:03}" for n in range(120)]
    save_told(connection, [told(host, 10.0, kernel="6.1", tenant="lab" if host < "h020" else "shop") for host in hosts])
    save_told(connection, [told(host, 20.0, kernel="6.2", tenant="lab" if host < "h020" else "shop") for host in hosts])
    save_told(connection, [told("h050", 30.0, kernel="6.1"), told("h051", 30.0, kernel="6.3")])
    save_told(connection, [told("h050", 40.0, kernel="6.2")])
    found = changed_alike(connection, ALL, 15.0)
    assert [(one.path, one.before, one.after, one.hosts, one.first_at, one.last_at) for one in found] == [
        ("kernel", '"6.1"', '"6.2"', 120, 20.0, 40.0),
        ("kernel", '"6.2"', '"6.1"', 1, 30.0, 30.0),
        ("kernel", '"6.2"', '"6.3"', 1, 30.0, 30.0),
    ]
    assert changed_alike(connection, ALL, 35.0)[0].hosts == 1
    assert changed_alike(connection, ALL, 0.0, "memory_mb") == []
    assert changed_alike(connection, Among(tenants=["lab"]), 15.0)[0].hosts == 20
    assert changed_alike(connection, Among(tenants=["lab"], hosts=[("shop", "h099")]), 15.0)[0].hosts == 21
    assert changed_alike(connection, Among(), 15.0) == []
    assert values_of(connection, ALL, "kernel") == [("6.2", 119), ("6.3", 1)]
    assert values_of(connection, Among(hosts=[("shop", "h051"), ("lab", "h051")]), "kernel") == [("6.3", 1)]


def test_hosts_are_found_by_a_pattern_in_pages(connection: Connection) -> None:
    save_told(connection, [told(f"h{n}", 10.0, kernel=f"6.{n % 2}_x", product_serial=str(n)) for n in range(6)])
    assert hosts_with(connection, ALL, "kernel", "6.1*", None, 2) == [("shop", "h1", "6.1_x"), ("shop", "h3", "6.1_x")]
    assert hosts_with(connection, ALL, "kernel", "6.1*", ("shop", "h3"), 2) == [("shop", "h5", "6.1_x")]
    assert len(hosts_with(connection, ALL, "kernel", "6.?_X", None, 50)) == 6
    assert hosts_with(connection, ALL, "kernel", "6.1%", None, 50) == []
    assert hosts_with(connection, ALL, "product_serial", "*", None, 50) == []


def record(where: str) -> Recorded:
    return Recorded(
        address=where,
        source="f",
        digest="d",
        rules=Rules(tenant="shop"),
        group="host/shop/a",
        external_id="",
        observed_digest="d",
        commit="c",
    )


@pytest.mark.parametrize("other", ["settled", "open", "never seen"])
def test_a_host_is_converged_when_all_its_roles_were_seen_so(connection: Connection, other: str) -> None:
    one, two = "ansible/role/shop/a.web", "ansible/role/shop/a.db"
    save_records(connection, [record(one), record(two)])
    save_observations(connection, {one: Present(spec={}, digest="d", at=20.0)}, {one: True})
    if other != "never seen":
        save_observations(connection, {two: Present(spec={}, digest="d", at=10.0)}, {two: other == "settled"})
    mark_converged(connection, "f", [one])
    assert seen_of(connection, "shop", "a")[2] == (10.0 if other == "settled" else None)
    mark_converged(connection, "another", [one])
    mark_converged(connection, "f", ["boot/file/shop/a"])


def test_what_is_known_of_a_host_goes_with_its_record_but_not_its_history(connection: Connection) -> None:
    save_told(connection, [told("a", 10.0, kernel="6.1"), told("b", 10.0, kernel="6.1")])
    save_told(connection, [told("a", 20.0, kernel="6.2")])
    save_records(connection, [record("fleet/host/shop/a"), record("ansible/role/shop/a.web")])
    drop_records(connection, ["ansible/role/shop/a.web"])
    assert facts_of(connection, "shop", "a") is not None
    drop_records(connection, ["fleet/host/shop/a"])
    assert facts_of(connection, "shop", "a") is None
    assert seen_of(connection, "shop", "a") == (None, None, None, "")
    assert values_of(connection, ALL, "kernel") == [("6.1", 1)]
    assert len(changes_of(connection, "shop", "a", 10)) == 1
    drop_hosts(connection, [])


def test_hosts_by_how_long_ago_they_answered_and_converged(connection: Connection) -> None:
    now = 10_000_000.0
    for number, age in enumerate((0.0, 3600.0, 3601.0, 86_400.0, 604_801.0)):
        save_told(connection, [told(f"h{number}", now - age)])
    save_told(connection, [told("silent", now, why="no")])
    found = by_age(connection, now)
    assert {age: number for (last, age), number in found.items() if last == "answered"} == {
        "hour": 2, "day": 2, "week": 0, "older": 1, "never": 1,
    }  # fmt: skip
    assert {age: number for (last, age), number in found.items() if last == "converged" and number} == {"never": 6}
    assert hosts_named(connection, "h1") == ["shop"] and hosts_named(connection, "none") == []
