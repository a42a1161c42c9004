"""What is decided in bulk is what would be decided one by one; and a specification can be made again from the record and the fields."""

from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from reconciler.plan.alike import Alike, difference
from reconciler.plan.decide import Case, decide
from reconciler.plan.fields import Versions, field_changes, patched, same
from reconciler.types.canonical import digest, pack
from reconciler.types.change import Change
from reconciler.types.resource import Resource
from tests.plan.made import DISK, FILE, ROLE, present, recorded, resource

LEAF = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 3), st.sampled_from(["", "a", "/", "~1", "1"]), st.sampled_from([1.0, 0.5, 1e22])
)
KEYS = st.sampled_from(["a", "b", "a/b", "~", "size", "mode"])
TREE = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3), max_leaves=8)
SPEC = st.dictionaries(st.sampled_from(["values", "size", "mode", "generation", "a", "~", "x/y"]), TREE, max_size=4)


def one_by_one(kind: Any, desired: Resource, before: Any) -> Any:
    record = recorded(desired.address, before)
    base = resource(desired.address, before)
    case = Case(address=desired.address, kind=kind, observation=present(before), desired=desired, base=base, base_known=True)
    return decide(replace(case, recorded=record, recorded_spec=before))


@given(before=SPEC, after=SPEC, kind=st.sampled_from([DISK, FILE, ROLE]))
@settings(max_examples=400, deadline=None)
def test_alike_is_what_decide_says(before: Any, after: Any, kind: Any) -> None:
    desired = resource(f"d/{kind.name}/t/a", after)
    if digest(before) == desired.digest:
        return
    made = Alike(source="s").change(desired, kind, digest(before), pack(before), pack(desired.rules.stated()))
    wanted = one_by_one(kind, desired, before)
    if made is None:
        assert not isinstance(wanted, Change) or wanted.action != "update" or kind.engine or kind.renews
        return
    assert isinstance(wanted, Change)
    assert (made, made.digest, made.causes) == (wanted, wanted.digest, wanted.causes)


@given(before=SPEC, after=SPEC)
@settings(max_examples=400, deadline=None)
def test_a_specification_is_made_again_from_the_record_and_the_fields(before: Any, after: Any) -> None:
    fields = field_changes(Versions(desired=after, base=before, recorded=before, observed=before))
    assert same(patched(before, fields), after)
    assert digest(patched(before, fields)) == digest(after)


@given(shared=st.tuples(SPEC, SPEC), own=st.lists(st.text("ab", min_size=1, max_size=2), min_size=2, max_size=2, unique=True))
@settings(max_examples=200, deadline=None)
def test_what_differs_alike_shares_its_fields(shared: tuple[Any, Any], own: list[str]) -> None:
    alike = Alike(source="s")
    changes = []
    for name in own:
        before, after = ({**spec, "name": name} for spec in shared)
        desired = resource(f"d/file/t/{name}", after)
        if digest(before) == desired.digest:
            return
        changes.append(alike.change(desired, FILE, digest(before), pack(before), pack(desired.rules.stated())))
    assert len(alike.known) == 1
    if changes[0] is not None and changes[1] is not None:
        assert changes[0].fields is changes[1].fields and changes[0].digest != changes[1].digest


def test_a_difference_names_the_parts_two_levels_deep() -> None:
    before = {"values": {"a": 1, "b": {"c": 1}, "same": [1]}, "x": 1}
    after = {"values": {"b": {"c": 2}, "same": [1]}, "y": [2]}
    changed = ("values/a", b"1", b""), ("values/b", b'{"c":1}', b'{"c":2}')
    assert difference(pack(before), pack(after)) == (*changed, ("x", b"1", b""), ("y", b"", b"[2]"))
