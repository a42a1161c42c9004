"""Whatever the reader is given: it never raises, gives back what dumpers wrote, and its positions are ruamel's."""

import io
import json

from hypothesis import given, settings
from hypothesis import strategies as st
from ruamel.yaml import YAML

from reconciler.desired.reader import locate, positions, read

TEXT = st.text(
    st.characters(
        exclude_categories=["Cs", "Cc"],
        exclude_characters="\u2028\u2029\ufeff\ufffe\uffff\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069",
    )
)
KEYS = TEXT.filter(lambda text: not text.startswith("$octofleet."))
LEAVES = st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False) | TEXT
TREES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20)
YAMLISH = st.text(
    st.sampled_from(list("ab:- \n\t[]{},&*!|>'\"#%@?~<0.1\\\r\0é\u2028\ufeff"))
    | st.sampled_from(["---\n", "...\n", "<<: ", "!vault ", "%YAML 1.2\n"]).map(lambda s: s[0]),
    max_size=60,
)


@settings(max_examples=600, deadline=None)
@given(
    st.binary(max_size=60)
    | YAMLISH.map(lambda text: text.encode())
    | st.text(max_size=60).map(lambda text: text.encode("utf-8", "surrogatepass"))
)
def test_nothing_makes_it_raise(data):
    reading = read("f", data)
    for problem in reading.problems:
        assert problem.message
        assert problem.hint
        assert locate("f", data, 0, "/a/0").path == "f"
    assert reading.broken == bool(reading.problems)


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_json_is_yaml(tree):
    same(tree, json.dumps(tree, ensure_ascii=False).encode())


@settings(max_examples=300, deadline=None)
@given(TREES)
def test_what_ruamel_dumps_is_read_back(tree):
    same(tree, dumped(tree))


def dumped(tree):
    """In block style: in flow style ruamel writes `[a:b]` plain, which YAML 1.2 allows and libyaml refuses."""
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = False
    yaml.representer.ignore_aliases = lambda data: True
    stream = io.BytesIO()
    yaml.dump(tree, stream)
    return stream.getvalue()


def same(tree, data):
    reading = read("f", data)
    assert reading.problems == ()
    found = reading.documents[0].value if reading.documents else None
    assert found == tree
    assert json.dumps(found, sort_keys=True) == json.dumps(tree, sort_keys=True)  # true is not 1, 1.0 is not 1


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS.filter(bool), TREES, min_size=1, max_size=4))
def test_positions_are_those_of_ruamel(tree):
    data = dumped(tree)
    found = positions("f", data)

    def walk(node, pointer):
        for key in node if isinstance(node, dict) else range(len(node)):
            line, column = node.lc.key(key) if isinstance(node, dict) else node.lc.item(key)
            inner = f"{pointer}/{str(key).replace('~', '~0').replace('/', '~1')}"
            origin = found.origin(0, inner)
            assert (origin.line, origin.column) == (line + 1, column + 1)
            if isinstance(node[key], dict | list):
                walk(node[key], inner)

    walk(YAML(typ="rt").load(data), "")


def test_missing_pointers_lead_to_the_deepest_ancestor():
    data = b"a:\n  b: [1, {c: 2}]\n---\nd/e~f: 1\n"
    places = {
        (0, "/a/b/1/c"): "f:2:11",
        (0, "/a/b/9/x"): "f:2:3",
        (0, "/a/z"): "f:1:1",
        (0, "/q"): "f:1:1",
        (1, "/d~1e~0f"): "f:4:1",
        (7, "/a"): "f",
    }
    assert {place: str(locate("f", data, *place)) for place in places} == places


def test_positions_in_a_broken_file_reach_to_the_error():
    assert str(locate("f", b"a: 1\nb:\n  c: 2\nd: [", 0, "/b/c")) == "f:3:3"
    assert str(locate("f", b"a: 1\na: 2\n", 0, "/a")) == "f:1:1"
    assert str(locate("f", b"\xff\xfea", 0, "/a")) == "f"
    assert str(locate("f", b"[" * 100_000, 0, "/0/0")) == "f:1:3"
