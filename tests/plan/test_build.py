"""A whole plan: order, lifetimes, deferrals that spread, moves, guards, and the identity of a plan."""

# ruff: noqa: E501 - tables read better with one case on a line

import random
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.errors import Refused
from reconciler.plan.build import build
from reconciler.plan.decide import Case
from reconciler.types.change import Action, Cause
from reconciler.types.plan import Deferred, Plan
from reconciler.types.problem import Problem
from tests.plan.made import ABSENT, UNKNOWN, A, B, C, case, frame, proposed, recorded, resource, rules

X = {"size": 1}
ROLE = "d/role/t/a.web"


def new(where: str, *needs: str, order: int = 0, **more: object) -> Case:
    return case(where, desired=resource(where, X, rules(*needs, order=order)), seen=ABSENT, **more)  # type: ignore[arg-type]


def old(where: str, *needs: str, order: int = 0, **more: object) -> Case:
    return case(where, record=recorded(where, X, rules(*needs, order=order)), recorded_spec=X, seen=more.pop("seen", X), **more)  # type: ignore[arg-type]


def actions(plan: Plan) -> list[tuple[int, str, str]]:
    return [(change.wave, change.action.value, change.address) for change in plan.changes]


def test_dependencies_come_first_and_removals_last_in_reverse() -> None:
    d, e = "d/disk/t/d", "d/disk/t/e"
    plan = build(frame(), [new(A), new(B, A), new(C, order=5), old(d), old(e, d)])
    assert actions(plan) == [(0, "create", A), (1, "create", B), (2, "create", C), (3, "delete", e), (4, "delete", d)]
    needs = {change.address: change.depends_on for change in plan.changes}
    assert needs == {A: (), B: (A,), C: (), e: (), d: (e,)}


def test_an_order_below_its_dependency_waits_all_the_same() -> None:
    plan = build(frame(), [new(A, order=9), new(B, A, order=1)])
    assert [change.address for change in plan.changes] == [A, B]
    assert plan.changes[0].wave < plan.changes[1].wave


def test_a_circle_is_refused_by_name() -> None:
    with pytest.raises(Refused, match="circle") as caught:
        build(frame(), [new(A, C), new(B, A), new(C, B)])
    assert caught.value.code == "cycle" and all(where in caught.value.message for where in (A, B, C))
    with pytest.raises(Refused):
        build(frame(), [new(A, A)])


def test_a_replaced_target_voids_what_lives_on_it() -> None:
    big = resource(A, {"size": 2})
    config = resource(B, X, rules(A, lifetime=True))
    on_config = resource(C, X, rules(B, lifetime=True))
    beside = resource("d/disk/t/z", X, rules(A))
    cases = [case(A, desired=big, record=X, seen=X, base=X)] + [
        case(item.address, desired=item, record=recorded(item.address, X, item.rules), recorded_spec=X, seen=X, base=X)
        for item in (config, on_config, beside)
    ]
    plan = build(frame(), cases)
    assert [(c.action, c.address) for c in plan.changes] == [(Action.REPLACE, A), (Action.CREATE, B), (Action.CREATE, C)]
    assert all(change.causes == {Cause.COMMIT} for change in plan.changes)


def test_a_renewal_voids_without_a_replacement_and_a_plain_update_does_not() -> None:
    role = resource(ROLE, X, rules(A, lifetime=True))
    on_it = case(ROLE, desired=role, record=recorded(ROLE, X, role.rules), recorded_spec=X, seen=proposed())
    renewed = case(A, desired={"generation": 2}, record={"generation": 1}, seen={"generation": 1})
    assert [(c.action, c.address) for c in build(frame(), [on_it, renewed]).changes] == [(Action.UPDATE, A), (Action.RUN, ROLE)]
    updated = case(A, desired={"mode": 2}, record={"mode": 1}, seen={"mode": 1})
    assert [c.address for c in build(frame(), [on_it, updated]).changes] == [A]


def test_what_needs_something_put_off_is_put_off() -> None:
    plan = build(frame(), [replace(new(A), observation=UNKNOWN), new(B, A), new(C, B), new("d/disk/t/z")])
    assert [change.address for change in plan.changes] == ["d/disk/t/z"]
    assert [(item.address, item.code) for item in plan.deferred] == [
        (A, "unreachable"),
        (B, "dependency-deferred"),
        (C, "dependency-deferred"),
    ]
    assert not plan.complete and plan.applyable


def test_what_something_put_off_stands_on_is_not_deleted() -> None:
    plan = build(frame(), [old(A), old(B, A, seen=UNKNOWN)])
    assert not plan.changes
    assert {item.address for item in plan.deferred} == {A, B}
    the_other_way = build(frame(), [old(A, seen=UNKNOWN), old(B, A)])
    assert [change.address for change in the_other_way.changes] == [B]


def test_a_move_is_one_change() -> None:
    moved = case(A, desired=resource(A, X, moved_from=B), record=recorded(B, X), recorded_spec=X, seen=X)
    (change,) = build(frame(), [moved]).changes
    assert (change.action, change.address, change.moved_from) == (Action.MOVE, A, B)


def test_only_the_causes_asked_for() -> None:
    cases = [new(A), case(B, desired={"mode": 1}, record={"mode": 1}, seen={"mode": 2})]
    plan = build(frame(causes=frozenset({Cause.DRIFT})), cases)
    assert [change.address for change in plan.changes] == [B]


NAMES = [f"d/{kind}/t/{name}" for kind in ("disk", "file", "role") for name in "abcd"]
SPECS = st.sampled_from([None, {"size": 1}, {"size": 2, "mode": 1}])


@st.composite
def cases(draw: st.DrawFn) -> list[Case]:
    """Cases that depend on earlier names only, so that there is no circle."""
    made = []
    for index, where in enumerate(NAMES):
        of = rules(
            *draw(st.lists(st.sampled_from(NAMES[:index]), unique=True, max_size=2)) if index else (),
            lifetime=draw(st.booleans()),
            order=draw(st.integers(0, 2)),
        )
        desired, record, seen = draw(SPECS), draw(SPECS), draw(SPECS)
        observed = (
            draw(st.sampled_from([UNKNOWN, ABSENT, None])) if seen is None else proposed("/size") if "role" in where and desired else seen
        )
        made.append(
            case(
                where,
                desired=None if desired is None else resource(where, desired, of),
                record=None if record is None else recorded(where, record, of),
                recorded_spec=record,
                seen=observed,
                base=draw(SPECS),
            )
        )
    return made


@settings(max_examples=60, deadline=None)
@given(cases(), st.randoms(use_true_random=False))
def test_the_order_of_cases_never_matters(given_cases: list[Case], shuffle: random.Random) -> None:
    first = build(frame(), given_cases)
    mixed = list(given_cases)
    shuffle.shuffle(mixed)
    second = build(frame(commit="other", base="b", created_at=5.0, expires_at=9.0), mixed)
    assert second.id == first.id
    assert second.changes == first.changes and second.deferred == first.deferred
    seen = {item.address: item.observation for item in given_cases}
    assert all(seen[c.address] not in (UNKNOWN, None) or c.action in (Action.FORGET,) for c in first.changes)
    place = {change.address: change.wave for change in first.changes}
    assert all(place[needed] < change.wave for change in first.changes for needed in change.depends_on)
    assert not {item.address for item in first.deferred} & set(place)


def test_a_plan_id_is_a_function_of_its_inputs() -> None:
    plan = build(frame(hosts=1), [new(A), new(B, A)])
    same = [
        replace(plan, commit="x"),
        replace(plan, base="y"),
        replace(plan, created_at=0.0),
        replace(plan, expires_at=0.0),
        replace(plan, observed_from=3.0),
        replace(plan, changes=plan.changes[::-1]),
    ]
    assert {item.id for item in same} == {plan.id}
    put_off = Deferred(address=C, code="unreachable", reason="r")
    problem = Problem(origin=plan.changes[0].origin, code="c", message="m")
    first = plan.changes[0]
    other = [
        replace(plan, source="other"), replace(plan, scope="host/t/*"), replace(plan, changes=plan.changes[:1]), replace(plan, deferred=(put_off,)),
        *(replace(plan, changes=(replace(first, **change), plan.changes[1])) for change in ({"before_digest": "0"}, {"after_digest": "0"}, {"desired_digest": "0"}, {"wave": 7}, {"rules": rules(protect=True)}, {"moved_from": C}, {"action": Action.UPDATE}, {"depends_on": (C,)})),
    ]  # fmt: skip
    assert len({plan.id, *(item.id for item in other)}) == len(other) + 1
    assert replace(plan, deferred=(put_off,)).id == replace(plan, deferred=(replace(put_off, reason="another"),)).id
    assert replace(plan, problems=(problem,)).id == plan.id and not replace(plan, problems=(problem,)).complete
    assert replace(plan, changes=(replace(first, causes=frozenset({Cause.DRIFT})), plan.changes[1])).id == plan.id
