"""Three ways to validate agree on whatever a person may write: the files and the bundle with jsonschema, the bundle with jsonschema-rs."""

import copy
from collections.abc import Iterator
from functools import cache
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import schemas
from tests.conftest import missing
from tests.schemas.documents import by_bundle, by_file, samples

Step = tuple[str | int, ...]

NAMES = [
    "",
    "web-01\n",
    "web\x00",
    "-",
    "a" * 64,
    "../x",
    "/",
    "٣",
    "ſ",
    "\u2028",
    "\x85",
    "%d%d",
    "secretRef",
    "$octofleet.vault",
    "$octofleet.secret",
]
TEXTS = [
    "10.0.0.300",
    "::1",
    "52:54:00:AA:bb:cc",
    "1e5",
    "rest",
    "20GB",
    "http://example.com/\n",
    "HTTP://EXAMPLE.COM",
    "$6$a",
    "24 h",
    "{{ x }}",
]
NASTY = st.sampled_from([*NAMES, *TEXTS])
LEAF = st.one_of(st.none(), st.booleans(), st.integers(-2, 70000), st.floats(allow_nan=False, allow_infinity=False, width=32), NASTY)
VALUE = st.recursive(LEAF, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(NASTY, inner, max_size=2), max_leaves=4)
SAMPLES = samples()


def places(node: Any, at: Step = ()) -> Iterator[Step]:
    """The path to every value inside a document."""
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield (*at, key)
        yield from places(child, (*at, key))


@st.composite
def documents(draw: st.DrawFn) -> Any:
    """A sample with one to three values dropped, replaced, retyped, repeated or added."""
    document = copy.deepcopy(draw(st.sampled_from(SAMPLES)))
    for _ in range(draw(st.integers(1, 3))):
        *way, last = draw(st.sampled_from([place for place in places(document) if place[0] != "kind"]))
        node = document
        for key in way:
            node = node[key]
        match draw(st.sampled_from(["drop", "replace", "retype", "add", "tail"])):
            case "drop":
                del node[last]
            case "replace":
                node[last] = draw(VALUE)
            case "retype":
                node[last] = draw(st.sampled_from([[node[last]], {"name": node[last]}, {"secretRef": node[last]}, str(node[last])]))
            case "tail" if isinstance(node[last], str):
                node[last] += draw(NASTY)
            case _ if isinstance(node, dict):
                node[draw(NASTY)] = draw(VALUE)
            case _:
                node.append(node[last])
    return document


@given(documents())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_files_and_the_bundle_agree(document: Any) -> None:
    assert by_file(document["kind"]).is_valid(document) == by_bundle(document["kind"]).is_valid(document)


@given(documents())
@settings(max_examples=600, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_jsonschema_and_jsonschema_rs_agree(document: Any) -> None:
    assert fast(document["kind"]).is_valid(document) == by_bundle(document["kind"]).is_valid(document)


@cache
def fast(kind: str) -> Any:
    """jsonschema-rs on the bundle."""
    try:
        import jsonschema_rs
    except ImportError:
        missing("jsonschema-rs", "pip install jsonschema-rs")
    return jsonschema_rs.validator_for(schemas.bundled(kind))
