"""The canonical form against the reference implementation of RFC 8785, and what is stored against what comes back."""

import math

import pytest
import rfc8785
from hypothesis import example, given
from hypothesis import strategies as st

from reconciler.types.canonical import NOTHING, canonical, digest, pack, unpack
from reconciler.types.values import KnownAfter, Secret, SecretRef

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
KEYS = TEXT | st.sampled_from(["\U0001f600", "￿", "\ue000", "\U00010000", "é", "\x00", "\x7f", "\u2028", '"', "\\", "/"])
SAFE = 2**53 - 1
SCALARS = st.none() | st.booleans() | st.integers(-SAFE, SAFE) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
LIKE_NUMBERS = ["1.5", "-1.5", "1e5", "9007199254740993", ":1.5", ",1.5", "[-1.5", '":1.5', '",-1e5', "[9007199254740993", "\\", '\\":1.5']
TREES = st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20)


@given(TREES)
@example({"\U00010000": 1, "￿": 2})
@example({"a": -0.0, "b": 1e21, "c": 1e-7, "d": 5e-324, "e": 1.0, "f": 2**53 - 1})
@example(["1.5", "x1.5", '":1.5', "[1e5", 333333333.3333333])
def test_canonical_is_rfc_8785(tree: object) -> None:
    assert canonical(tree) == rfc8785.dumps(tree)  # type: ignore[arg-type]


@given(TREES)
def test_what_is_packed_comes_back(tree: object) -> None:
    back = unpack(pack(tree))
    assert canonical(back) == canonical(tree)


@pytest.mark.parametrize(
    "number", [1.0, -1.0, 0.0, -0.0, 1.5, -2.5, 1e16, -1e16, 1e21, 1e300, 5e-324, 1e-7, SAFE, -SAFE, 10**15, -(10**15), 10**14]
)
def test_no_number_is_missed_wherever_it_stands(number: float) -> None:
    for beside in ("", "a", 1, None, [], {}, *LIKE_NUMBERS):
        for tree in (
            number,
            [number],
            [beside, number],
            [number, beside],
            {"a": number},
            {"a": beside, "b": number},
            [[[number]]],
            {"a": [number]},
        ):
            assert canonical(tree) == rfc8785.dumps(tree)  # type: ignore[arg-type]


@given(
    st.recursive(
        st.integers(-(2**70), 2**70) | st.floats(width=64) | st.sampled_from(LIKE_NUMBERS),
        lambda inner: st.lists(inner) | st.dictionaries(KEYS, inner),
    )
)
def test_numbers_are_canonical_or_refused(tree: object) -> None:
    try:
        wanted = rfc8785.dumps(tree)  # type: ignore[arg-type]
    except rfc8785.CanonicalizationError:
        return
    assert canonical(tree) == wanted


@pytest.mark.parametrize("key", ["\U00010000", "\U0001f600", "\U0010ffff", "a\U00040000"])
def test_keys_beyond_the_basic_plane_are_sorted_as_utf_16(key: str) -> None:
    tree = {"\uffff": 1, key: 2, "\ue000": 3, "a": {key: 1, "￿": 2}}
    assert canonical(tree) == rfc8785.dumps(tree)  # type: ignore[arg-type]


def test_a_tree_without_references_is_read_as_it_is() -> None:
    plain = {"a": ["$octofleet", "octofleet.secret", {"$octofleet": 1}], "$": None}
    assert unpack(pack(plain)) == plain
    named = {"a": "the text $octofleet.secret in a value"}
    assert unpack(pack(named)) == named


@given(st.dictionaries(KEYS, SCALARS, max_size=6))
def test_the_order_of_keys_is_not_in_the_digest(tree: dict[str, object]) -> None:
    assert digest(dict(reversed(list(tree.items())))) == digest(tree)


def test_missing_null_true_and_one_differ() -> None:
    forms = [{}, {"a": None}, {"a": True}, {"a": 1}, {"a": "1"}, {"a": [1]}, {"a": {"1": 1}}, {"a": False}, {"a": 0}, {"a": ""}]
    assert len({digest(form) for form in forms}) == len(forms)
    assert digest({"a": 1}) == digest({"a": 1.0})
    assert digest(None) == NOTHING


@pytest.mark.parametrize("value", [object(), {"a": {"b": object()}}, 1j])
def test_other_types_have_no_canonical_form(value: object) -> None:
    with pytest.raises(TypeError):
        canonical(value)


def test_integers_that_json_numbers_cannot_hold_are_refused() -> None:
    with pytest.raises(Exception, match=r"9007199254740993|domain|exceed"):
        canonical({"a": 2**53 + 1})


def test_a_secret_is_its_token_alone_and_comes_back_whole() -> None:
    one = Secret(ref=SecretRef(store="env", key="A"), token="t" * 64)
    moved = Secret(ref=SecretRef(store="vault", key="B/c"), token="t" * 64)
    rotated = Secret(ref=SecretRef(store="env", key="A"), token="u" * 64)
    tree = {"users": [{"hashed_passwd": one}], "known": KnownAfter(address="memory/machine/shop/a", path="/ip")}
    assert digest(one) == digest(moved) != digest(rotated)
    assert unpack(pack(tree)) == tree
    assert unpack(pack({"a": moved}))["a"].ref == moved.ref


def test_known_after_has_a_form_of_its_own() -> None:
    assert digest(KnownAfter(address="a/b/c/d", path="/x")) != digest(KnownAfter(address="a/b/c/d", path="/y"))


def test_not_a_number_is_never_null_in_a_plan() -> None:
    """msgspec writes NaN as null; the reader refuses NaN and infinity, so that none comes as far."""
    from reconciler.desired.reader import read

    for text in (b"a: .nan", b"a: .inf", b"a: -.INF"):
        assert read("f.yaml", text).problems
    assert math.isnan(float("nan"))
