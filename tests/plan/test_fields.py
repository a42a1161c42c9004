"""Field differences and their causes: desired, base, recorded and observed told apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.plan.fields import Versions, escape, field_changes, same, spec_changes
from reconciler.types.canonical import canonical
from reconciler.types.change import MISSING, Cause
from reconciler.types.values import Secret, SecretRef
from tests.types.test_canonical import TREES

COMMIT, PENDING, DRIFT, INPUT, UPGRADE = Cause.COMMIT, Cause.PENDING, Cause.DRIFT, Cause.INPUT, Cause.UPGRADE


def secret(token: str, key: str = "k") -> Secret:
    return Secret(ref=SecretRef(store="s", key=key), token=token)


@given(TREES, TREES)
def test_same_is_equal_canonical_forms(a: object, b: object) -> None:
    assert same(a, b) == (canonical(a) == canonical(b))
    assert same(a, a)


def versions(observed: object, desired: object, recorded: object = MISSING, base: object = None) -> Versions:
    return Versions(desired=desired, base=base, recorded=recorded, observed=observed)


@pytest.mark.parametrize(
    ("observed", "desired", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, ["/a"]),
        ({"a": 0}, {"a": False}, ["/a"]),
        ({}, {"a": None}, ["/a"]),
        ({"a": None}, {}, ["/a"]),
        ({"a": ""}, {"a": None}, ["/a"]),
        ({"a": "1"}, {"a": 1}, ["/a"]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"b": 1, "c": 3}}, ["/a/c"]),
        ({"a": {"b": 1}}, {"a": []}, ["/a"]),
        ({"a": [1, 2, 3]}, {"a": [1, 9, 3]}, ["/a/1"]),
        ({"a": [1, 2]}, {"a": [1, 2, 3]}, ["/a"]),
        ({"a": [{"x": 1}, {"x": 2}]}, {"a": [{"x": 1}, {"x": 3}]}, ["/a/1/x"]),
        ({"a": []}, {"a": {}}, ["/a"]),
        ({"a/b": {"~": 1}}, {"a/b": {"~": 2}}, ["/a~1b/~0"]),
        ({"z": 1, "a": 1}, {"z": 2, "a": 2}, ["/a", "/z"]),
        (MISSING, {"a": 1}, [""]),
        ({"p": secret("t")}, {"p": secret("t", "other")}, []),
        ({"p": secret("t")}, {"p": secret("u")}, ["/p"]),
        ({"p": "t"}, {"p": secret("t")}, ["/p"]),
    ],
)  # fmt: skip
def test_paths(observed: object, desired: object, expected: list[str]) -> None:
    assert [item.path for item in field_changes(versions(observed, desired))] == expected


def test_missing_is_not_null_in_the_change() -> None:
    (gone,) = field_changes(versions({"a": None}, {}))
    assert gone.before is None and gone.after is MISSING
    assert gone.stated() == {"path": "/a", "before": None}


M = MISSING
TABLE = [  # desired, base, recorded, observed -> causes of /f
    (2, 1, 1, 1, {COMMIT}),
    (2, 2, 1, 1, {PENDING}),
    (1, 1, 1, 2, {DRIFT}),
    (2, 1, 1, 3, {COMMIT, DRIFT}),
    (2, 2, 1, 3, {PENDING, DRIFT}),
    (3, 2, 1, 1, {COMMIT, PENDING}),
    (3, 2, 1, 4, {COMMIT, PENDING, DRIFT}),
    (2, None, 1, 1, {COMMIT}),
    (2, None, 1, 3, {COMMIT, DRIFT}),
    (1, None, 1, 3, {DRIFT}),
    (M, 1, 1, 1, {COMMIT}),
    (M, M, 1, 1, {PENDING}),
    (M, M, M, 1, {DRIFT}),
    (1, 1, 1, M, {DRIFT}),
    (1, M, M, M, {COMMIT}),
    (1, 1, M, M, {PENDING}),
    (None, M, M, M, {COMMIT}),
    (True, 1, 1, 1, {COMMIT}),
    (secret("b"), secret("a"), secret("a"), secret("a"), {INPUT}),
    (secret("b"), secret("b"), secret("a"), secret("a"), {INPUT}),
    (secret("a"), secret("a"), secret("a"), secret("z"), {DRIFT}),
    (secret("b"), secret("a"), secret("a"), secret("z"), {INPUT, DRIFT}),
    (secret("b", "new"), secret("a"), secret("a"), secret("a"), {COMMIT}),
    (secret("a"), "plain", "plain", "plain", {COMMIT}),
]  # fmt: skip


@pytest.mark.parametrize(("desired", "base", "recorded", "observed", "expected"), TABLE)
def test_causes(desired: object, base: object, recorded: object, observed: object, expected: set[Cause]) -> None:
    def tree(value: object) -> object:
        return {"g": 0} if value is MISSING else {"g": 0, "f": value}

    (change,) = field_changes(
        Versions(desired=tree(desired), base=None if base is None else tree(base), recorded=tree(recorded), observed=tree(observed))
    )
    assert change.path == "/f"
    assert change.causes == expected


def test_a_renderers_version_is_an_upgrade_and_mixes() -> None:
    def spec(version: int, value: int) -> dict[str, object]:
        return {"renderer": {"version": version}, "values": {"a": value}}

    found = field_changes(Versions(desired=spec(2, 2), base=spec(2, 1), recorded=spec(1, 1), observed=spec(1, 7)))
    assert {item.path: item.causes for item in found} == {"/renderer/version": {UPGRADE}, "/values/a": {COMMIT, DRIFT}}


def test_spec_changes_compare_with_the_record() -> None:
    found = spec_changes(Versions(desired={"a": 2}, base=None, recorded={"a": 1}, observed={"a": 2}))
    assert [(item.path, item.causes) for item in found] == [("/a", {COMMIT, DRIFT})]


@given(st.text())
def test_escape_is_rfc_6901(key: str) -> None:
    assert escape(key).replace("~1", "/").replace("~0", "~") == key
    assert "/" not in escape(key)
