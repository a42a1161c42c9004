"""Phases: everybody once, in the order that the rollout says, never more at once than it says."""

from collections.abc import Mapping, Sequence
from math import ceil
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from reconciler.gate.rollout import RolledOut, number_of, phases
from reconciler.types.plan import Phase


def hosts(number: int, rollout: Mapping[str, Any] | None, tenant: str = "shop", **labels: str) -> list[RolledOut]:
    return [RolledOut(group=f"host/{tenant}/web-{n:03}", tenant=tenant, labels=labels, rollout=rollout) for n in range(number)]


def told(found: Sequence[Phase]) -> list[tuple[str, int]]:
    return [(phase.title, len(phase.groups)) for phase in found]


def test_canary_batches_and_health() -> None:
    found = phases(hosts(10, {"canary": 1, "serial": "40%", "soak": "10m", "health": True, "maxFailures": 2, "promote": "canary"}))
    assert told(found) == [
        ("canary", 1),
        ("canary: health", 1),
        ("the rest, batch 1 of 3", 4),
        ("the rest, batch 1 of 3: health", 4),
        ("the rest, batch 2 of 3", 4),
        ("the rest, batch 2 of 3: health", 4),
        ("the rest, batch 3 of 3", 1),
        ("the rest, batch 3 of 3: health", 1),
    ]
    assert [phase.soak_s for phase in found] == [0, 600] * 4 and [phase.check for phase in found] == [False, True] * 4
    assert [phase.promote for phase in found] == [False, False, True, False, False, False, False, False]
    assert {phase.max_failures for phase in found} == {2} and [phase.number for phase in found] == list(range(8))


def test_waves_by_label() -> None:
    rollout = {"waves": [{"name": "small", "labels": {"site": "b"}}, {"labels": {"site": "a"}}], "soak": "1h", "promote": "wave"}
    members = hosts(2, rollout, site="a") + [
        RolledOut(group=f"host/shop/{name}", tenant="shop", labels=labels, rollout=rollout)
        for name, labels in {"b1": {"site": "b"}, "c1": {"site": "c"}, "b2": {"site": "b", "rack": "1"}}.items()
    ]
    found = phases(reversed(members))
    assert told(found) == [("small", 2), ("wave 2", 2), ("the rest", 1)]
    assert [phase.promote for phase in found] == [False, True, True] and [phase.soak_s for phase in found] == [0, 3600, 3600]


def test_tracks() -> None:
    one, other = {"canary": 1}, {"canary": 1, "name": "db"}
    found = phases([*hosts(3, one), *hosts(2, one, "lab"), *hosts(2, other, "lab2"), *hosts(5, None, "free")])
    assert {(phase.tenant, len(phase.track)) for phase in found} == {("shop", 8), ("lab", 8), ("lab2", 2)}
    assert phases(hosts(1, {"canary": 1})) == (), "one host alone is no rollout"
    assert told(phases(hosts(1, {"canary": 1, "health": True}))) == [("the rest", 1), ("the rest: health", 1)]


counts = st.one_of(st.integers(0, 12), st.integers(0, 100).map(lambda n: f"{n}%"))
rollouts = st.fixed_dictionaries(
    {},
    optional={
        "canary": counts,
        "serial": counts,
        "maxFailures": counts,
        "soak": st.sampled_from(["5s", "10m"]),
        "health": st.booleans(),
        "promote": st.sampled_from(["never", "canary", "wave", "batch"]),
        "waves": st.lists(st.sampled_from("abc").map(lambda site: {"labels": {"site": site}}), max_size=3),
    },
)


@given(rollouts, st.lists(st.sampled_from("abcd"), min_size=1, max_size=30))
def test_everybody_once_and_in_order(rollout: dict[str, Any], sites: list[str]) -> None:
    members = [RolledOut(group=f"host/shop/h{n:02}", tenant="shop", labels={"site": site}, rollout=rollout) for n, site in enumerate(sites)]
    found = phases(members)
    changing = [phase for phase in found if not phase.check]
    if not found:
        return
    out = [group for phase in changing for group in phase.groups]
    assert sorted(out) == [member.group for member in members] and all(phase.groups for phase in found)
    checks = [phase.groups for phase in found if phase.check]
    assert checks == ([phase.groups for phase in changing] if rollout.get("health") else [])
    if "serial" in rollout:
        most = max(1, number_of(rollout["serial"], len(sites)))
        assert all(len(phase.groups) <= most for phase in changing if phase.title != "canary")
    assert [phase.number for phase in found] == list(range(len(found))) and not found[0].promote and found[0].soak_s == 0
    assert phases(reversed(members)) == found


@given(st.integers(0, 100), st.integers(0, 1000))
def test_shares_are_rounded_up(percent: int, whole: int) -> None:
    assert number_of(f"{percent}%", whole) == ceil(percent * whole / 100)
