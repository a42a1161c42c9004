"""Ways to validate agree on whatever a person may write: the files and the bundle with jsonschema, and the checker, which asks jsonschema-rs
first, with the reference alone: the same findings, at the same places, in the same words.
"""

import copy
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from enum import Enum
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

import schemas
from reconciler.desired.check import FORMATS, Checker, accepted, findings
from tests.conftest import ROOT
from tests.schemas import generated
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
REFERENCE = Draft202012Validator.FORMAT_CHECKER


class Colour(Enum):
    RED = "red"


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
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_the_checker_finds_what_the_reference_finds_in_changed_samples(document: Any) -> None:
    assert Checker()(document["kind"], document) == findings(document["kind"], document)


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_the_checker_finds_what_the_reference_finds_in_drawn_documents(kind: str) -> None:
    passed: dict[float, int] = {}
    for odd, number in ((0.0, 400), (0.02, 1000), (0.1, 600)):
        for seed in range(number):
            document = generated.document(kind, seed, odd=odd)
            wanted = findings(kind, document)
            assert Checker()(kind, document) == wanted, f"seed {seed}, odd {odd}: {document}"
            passed[odd] = passed.get(odd, 0) + (not wanted)
    assert passed[0.0] > 20 and passed[0.02] > 20 and passed[0.1] < 500, passed


@pytest.mark.parametrize("pattern", generated.patterns())
def test_a_pattern_never_lets_more_pass(pattern: str) -> None:
    fast = jsonschema_rs.Draft202012Validator({"pattern": pattern})

    @given(generated.matching(pattern) | st.sampled_from(generated.ODD_TEXTS) | st.text(max_size=20))
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    def compare(text: str) -> None:
        if accepts(fast, text):
            assert re.search(pattern, text)

    compare()
    for text in ("a" * 100_000, "a/" * 50_000, "1.a-" * 25_000):
        assert fast.is_valid(text) <= bool(re.search(pattern, text))


@pytest.mark.parametrize("name", sorted(generated.formats()))
def test_a_format_is_checked_by_what_the_reference_uses(name: str) -> None:
    assert name in FORMATS, "the fast validator would use its own"

    @given(
        st.sampled_from(generated.ODD_TEXTS)
        | st.text(max_size=20)
        | st.from_regex(r"(https?://)?[a-z0-9.:/%@#\[\]-]{0,30}", fullmatch=True)
    )
    @settings(max_examples=300, deadline=None)
    def compare(text: str) -> None:
        assert judged(FORMATS[name], text) == REFERENCE.conforms(text, name)

    compare()


def accepts(fast: Any, text: str) -> bool:
    try:
        return bool(fast.is_valid(text))
    except UnicodeEncodeError:
        return False


def judged(check: Callable[[str], bool], text: str) -> bool:
    try:
        return check(text)
    except ValueError:
        return False


@pytest.mark.parametrize(
    "value", [(), ("a",), b"a", {1}, Colour.RED, float("nan"), float("inf"), 2**70, "\ud800", {7: 1}, {None: 1}, object()]
)
def test_a_value_that_no_reader_makes_is_judged_by_the_reference(value: Any) -> None:
    document = copy.deepcopy(next(sample for sample in SAMPLES if sample["kind"] == "Host"))
    for changed in (value, [value], {"a": value}, [{"a": [value]}]):
        document["spec"]["vars"] = {"x": changed}
        assert not accepted("Host", document)


@pytest.mark.parametrize("document", SAMPLES, ids=lambda document: f"{document['kind']}-{document['metadata']['name']}")
def test_valid_documents_do_not_need_the_reference(document: Any) -> None:
    assert accepted(document["kind"], document)


def test_checking_valid_documents_does_not_import_the_reference() -> None:
    program = """
import json, sys
from reconciler.desired.check import Checker
for document in json.load(sys.stdin):
    assert Checker()(document["kind"], document) == []
assert "jsonschema" not in sys.modules and "jsonschema_rs" in sys.modules
document["spec"]["bogus"] = 1
assert Checker()(document["kind"], document)
assert "jsonschema" in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], input=json.dumps(SAMPLES), text=True, check=True, cwd=ROOT)
