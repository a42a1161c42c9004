"""Merging layers: what wins, what adds, what is never changed."""

from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st

import schemas
from reconciler.desired.merge import merge

RULES = {"/packages": "union", "/users": "name"}
NAMES = st.sampled_from("abc")
USERS = st.lists(
    st.fixed_dictionaries({"name": NAMES}, optional={"uid": st.integers(0, 3), "groups": st.lists(NAMES, max_size=2)}),
    max_size=3,
    unique_by=lambda u: u["name"],
)
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "packages": st.lists(NAMES, max_size=3, unique=True), "users": USERS, "list": st.lists(NAMES, max_size=3), "timezone": NAMES,
        "keyboard": st.dictionaries(NAMES, st.integers(0, 2), max_size=2), "secret": st.sampled_from([{"secretRef": {"store": "s", "key": "k"}}, "plain"]),
    },
)  # fmt: skip


@given(SETTINGS, SETTINGS, SETTINGS)
def test_merging_is_associative_idempotent_and_changes_nothing_given(a: dict, b: dict, c: dict) -> None:  # type: ignore[type-arg]
    before = deepcopy((a, b, c))
    assert merge(merge(a, b, RULES), c, RULES) == merge(a, merge(b, c, RULES), RULES)
    assert merge(a, a, RULES) == a and merge(a, {}, RULES) == a and merge({}, a, RULES) == a
    assert (a, b, c) == before


@given(SETTINGS, SETTINGS)
def test_the_layer_above_wins_and_unions_lose_nothing(a: dict, b: dict) -> None:  # type: ignore[type-arg]
    merged = merge(a, b, RULES)
    assert set(merged) == {*a, *b}
    for key in ("timezone", "list", "secret"):
        if key in b:
            assert merged[key] == b[key]
    assert merged.get("packages", []) == [*a.get("packages", []), *(p for p in b.get("packages", []) if p not in a.get("packages", []))]
    assert [u["name"] for u in merged.get("users", [])] == list(
        dict.fromkeys(u["name"] for u in [*a.get("users", []), *b.get("users", [])])
    )


def test_the_schemas_rules() -> None:
    rules = schemas.merge_rules()
    assert {
        "/packages": "union",
        "/ntp/servers": "union",
        "/kernel_args": "union",
        "/users": "name",
        "/interfaces": "name",
    }.items() <= dict(rules).items()


def test_a_disk_is_chosen_one_way() -> None:
    by_path, by_match = {"disk": {"device": "/dev/sda", "layout": "lvm"}}, {"disk": {"match": {"ssd": True}}}
    assert merge(by_path, by_match, {}) == {"disk": {"layout": "lvm", "match": {"ssd": True}}}
    assert merge(by_match, by_path, {}) == {"disk": {"device": "/dev/sda", "layout": "lvm"}}


def test_a_secret_is_one_value() -> None:
    below, above = {"p": {"secretRef": {"store": "a", "key": "k"}}}, {"p": {"secretRef": {"store": "b", "key": "k"}}}
    assert merge(below, above, {}) == above
    assert merge({"p": {"x": 1}}, above, {}) == above and merge(above, {"p": {"x": 1}}, {}) == {"p": {"x": 1}}
