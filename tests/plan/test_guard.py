"""Every guard at its edge: what it just refuses and what it just lets through."""

# ruff: noqa: E501 - tables read better with one case on a line

import pytest

from reconciler.plan.build import build
from reconciler.plan.decide import Case
from reconciler.plan.guard import GuardRules
from reconciler.types.kind import Kind
from reconciler.types.plan import Plan
from reconciler.types.resource import OnDelete, Recorded, Rules
from tests.plan.made import KINDS, A, case, frame, recorded, resource, rules

X = {"size": 1}
DISKS = ("d", "disk")


def plan(removed: int, known: int, *, kind: str = "disk", guard_rules: GuardRules | None = None, hosts: int = 5, **more: object) -> Plan:
    cases = [case(f"d/{kind}/t/n{n:03d}", record=X, seen=X, **more) for n in range(removed)]  # type: ignore[arg-type]
    return build(frame(rules=guard_rules or GuardRules(), counts={("d", kind): known}, hosts=hosts), cases)


def refusals(of: Plan) -> list[str]:
    return [verdict.guard for verdict in of.guards if verdict.refuses]


@pytest.mark.parametrize(
    ("removed", "known", "refused"),
    [(3, 3, False), (4, 4, True), (3, 5, False), (4, 39, True), (4, 40, False), (5, 50, False), (6, 50, True), (10, 100, False), (11, 100, True), (11, 109, True), (11, 110, False)],
)  # fmt: skip
def test_ten_percent_and_at_least_three(removed: int, known: int, refused: bool) -> None:
    made = plan(removed, known)
    assert refusals(made) == (["max-deletes:d/disk"] if refused else [])
    assert made.applyable is not refused
    if refused:
        (verdict,) = made.guards
        assert len(verdict.addresses) == removed and f"{removed} of {known}" in verdict.message and verdict.hint


def test_the_fleets_own_numbers() -> None:
    assert refusals(plan(1, 100, guard_rules=GuardRules(max_delete_floor=0, max_delete_percent=0)))
    assert not refusals(plan(100, 100, guard_rules=GuardRules(max_delete_percent=100)))
    assert GuardRules.of({"guards": {"maxDeletePercent": 50, "allowEmpty": True}}) == GuardRules(max_delete_percent=50, allow_empty=True)
    assert GuardRules.of({}) == GuardRules()


def test_what_can_be_made_again_is_not_counted() -> None:
    assert not refusals(plan(50, 50, kind="file"))


def test_replacements_and_forgetting_count_as_removals() -> None:
    replaced = [case(f"d/disk/t/n{n}", desired={"size": 2}, record=X, seen=X) for n in range(4)]
    assert refusals(build(frame(counts={DISKS: 4}), replaced)) == ["max-deletes:d/disk"]
    forgotten = [case(f"d/disk/t/n{n}", record=recorded(f"d/disk/t/n{n}", X, rules(on_delete=OnDelete.FORGET)), seen=X) for n in range(4)]
    assert refusals(build(frame(counts={DISKS: 4}), forgotten)) == ["max-deletes:d/disk"]


@pytest.mark.parametrize("desired", [None, {"size": 2}], ids=["delete", "replace"])
def test_what_is_recorded_as_protected_is_neither_deleted_nor_replaced(desired: dict[str, int] | None) -> None:
    kept = recorded(A, X, rules(protect=True))
    want = None if desired is None else resource(A, desired, rules(protect=False))
    (verdict,) = build(frame(), [case(A, desired=want, record=kept, recorded_spec=X, seen=X)]).guards
    assert verdict.guard == "protected" and verdict.addresses == (A,) and "host/t/a" in verdict.message


def test_protection_comes_off_with_a_record_change_first() -> None:
    kept = recorded(A, X, rules(protect=True))
    loosened = build(frame(), [case(A, desired=resource(A, X, rules(protect=False)), record=kept, recorded_spec=X, seen=X)])
    assert [change.action.value for change in loosened.changes] == ["record"] and not loosened.guards
    assert not build(frame(), [case(A, record=recorded(A, X, rules(protect=False)), seen=X)]).guards
    updated = build(
        frame(), [case(A, desired=resource(A, {"size": 1, "mode": 2}, rules(protect=True)), record=kept, recorded_spec=X, seen=X)]
    )
    assert updated.applyable


class Uncounted(dict[tuple[str, str], int]):
    """Numbers that nobody may ask for."""

    def get(self, key: object, default: object = None) -> object:  # type: ignore[override]
        raise AssertionError(f"{key} was counted")


def test_nothing_is_counted_that_no_guard_needs() -> None:
    made = [case("d/disk/t/n", desired=X, seen=X), case("d/file/t/n", record=X, seen=X)]
    assert not build(frame(counts=Uncounted(), hosts=5), made).guards
    assert not build(frame(counts=Uncounted(), hosts=0, rules=GuardRules(allow_empty=True)), made).guards


HOST = ("fleet", "host")


@pytest.mark.parametrize(
    ("hosts", "known", "allowed", "refused"), [(0, 1, False, True), (0, 0, False, False), (1, 9, False, False), (0, 9, True, False)]
)
def test_an_empty_repository_does_not_empty_the_fleet(hosts: int, known: int, allowed: bool, refused: bool) -> None:
    made = build(frame(hosts=hosts, counts={HOST: known}, rules=GuardRules(allow_empty=allowed)), [])
    assert refusals(made) == (["empty-desired"] if refused else [])


@pytest.mark.parametrize(("allowed", "on_delete"), [(False, OnDelete.DELETE), (True, OnDelete.DELETE), (False, OnDelete.FORGET)])
def test_a_tenant_goes_only_where_that_is_allowed(allowed: bool, on_delete: OnDelete) -> None:
    tenant = Kind(name="tenant", order=0)
    where = "fleet/tenant/-/shop"
    of = Rules(tenant="shop", on_delete=on_delete)
    gone = Case(address=where, kind=tenant, observation=case(seen=X).observation, recorded_spec=X, recorded=Recorded(
        address=where, source="s", digest="d", rules=of, group="tenant/shop", external_id="", observed_digest="", commit=""))  # fmt: skip
    made = build(frame(kinds=KINDS | {("fleet", "tenant"): tenant}, rules=GuardRules(allow_tenant_delete=allowed)), [gone])
    assert refusals(made) == ([] if allowed else ["tenant-deletion"])
