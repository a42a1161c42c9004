"""The schema files themselves: valid, closed, explained, and what the package says of them."""

import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import schemas
from reconciler.desired.merge import EXCLUSIVE
from schemas.bundle import referred
from tests.conftest import ROOT
from tests.schemas.documents import registry

FILES = {"common": schemas.common(), **{kind: schemas.schema(kind) for kind in schemas.KINDS}}
DATA = {"examples", "default", "const", "enum", "required", "dependentRequired"}
BLOCKS = {"metadata", "tenantedMetadata", "machineSettings", "hostSpec", "secretable"}
FREE_FORM = {"labels", "annotations", "vars", "value"}


def subschemas(node: Any, pointer: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every schema inside a schema document, with its JSON pointer."""
    if not isinstance(node, dict):
        return
    yield pointer, node
    for key, value in node.items():
        if key in {"properties", "$defs", "patternProperties", "dependentSchemas"}:
            for name, child in value.items():
                yield from subschemas(child, f"{pointer}/{key}/{name}")
        elif isinstance(value, dict) and key not in DATA:
            yield from subschemas(value, f"{pointer}/{key}")


EVERY = [pytest.param(name, pointer, node, id=f"{name}{pointer}") for name, file in FILES.items() for pointer, node in subschemas(file)]
FIELDS = [
    param
    for param in EVERY
    if (pointer := str(param.values[1])).rpartition("/")[0].endswith("properties")
    and not {"dependentSchemas", "if", "then"} & set(pointer.split("/"))
]


@pytest.mark.parametrize("name", FILES)
def test_a_schema_is_valid_against_the_metaschema(name: str) -> None:
    Draft202012Validator.check_schema(FILES[name])


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_bundles_and_the_editor_schema_are_valid_against_the_metaschema(kind: str) -> None:
    Draft202012Validator.check_schema(schemas.bundled(kind))
    Draft202012Validator.check_schema(schemas.editor_schema())


@pytest.mark.parametrize(("name", "pointer", "node"), [param for param in EVERY if "examples" in param.values[2]])
def test_every_example_is_valid(name: str, pointer: str, node: dict[str, Any]) -> None:
    validator = Draft202012Validator(
        {"$ref": f"{FILES[name]['$id']}#{pointer}"}, registry=registry().with_contents([(FILES[name]["$id"], FILES[name])])
    )
    for example in node["examples"]:
        assert [error.message for error in validator.iter_errors(example)] == []


@pytest.mark.parametrize(("name", "pointer", "node"), FIELDS)
def test_every_field_is_described_and_has_an_example(name: str, pointer: str, node: dict[str, Any]) -> None:
    whole = node
    while "$ref" in node:
        node = dict(referred(node, schemas.common()["$defs"]))
        whole = {**node, **whole}
    assert whole.get("description"), "no description"
    assert whole.get("examples"), "no example"


@pytest.mark.parametrize(("name", "pointer", "node"), [param for param in EVERY if "properties" in param.values[2]])
def test_every_object_is_closed_unless_it_is_free_form_or_a_block(name: str, pointer: str, node: dict[str, Any]) -> None:
    steps = pointer.split("/")
    if steps[-1] in BLOCKS | FREE_FORM or {"dependentSchemas", "if", "then"} & set(steps):
        return
    assert node.get("unevaluatedProperties") is False


@pytest.mark.parametrize(("name", "pointer", "node"), EVERY)
def test_every_use_of_an_open_block_is_closed(name: str, pointer: str, node: dict[str, Any]) -> None:
    target = str(node.get("$ref", "")).rpartition("/")[2]
    if target in BLOCKS and pointer.rpartition("/")[2] not in BLOCKS:
        assert node.get("unevaluatedProperties") is False


@pytest.mark.parametrize(("name", "pointer", "node"), [param for param in EVERY if "pattern" in param.values[2]])
def test_every_pattern_is_anchored_and_explained(name: str, pointer: str, node: dict[str, Any]) -> None:
    assert node["patternErrorMessage"].startswith("must be ")
    assert node["pattern"].startswith("^")
    assert node["pattern"].endswith(("$(?!\\n)", "]*$", "\\r\\n]+$")), "a line end could follow unseen, or is meant and must be allowed"


@pytest.mark.parametrize(("name", "pointer", "node"), [param for param in EVERY if param.values[2].get("type") == "string"])
def test_every_text_has_a_pattern(name: str, pointer: str, node: dict[str, Any]) -> None:
    assert "pattern" in node, "control characters would pass"


def test_a_kind_without_a_schema_is_a_key_error() -> None:
    with pytest.raises(KeyError):
        schemas.schema("Provider")
    with pytest.raises(KeyError):
        schemas.schema("common")
    assert not set(schemas.KINDS) & schemas.PLANNED.keys()


def test_merge_rules_are_those_of_the_decision_record() -> None:
    union = dict.fromkeys(("/packages", "/ntp/servers", "/kernel_args"), "union")
    assert schemas.merge_rules() == union | dict.fromkeys(("/users", "/interfaces", "/windows/users"), "name")


def test_exclusive_rules_are_those_that_the_merge_follows() -> None:
    assert dict(schemas.exclusive_rules()) == dict(EXCLUSIVE)


def test_the_digest_changes_with_any_schema_file(tmp_path: Any) -> None:
    """A copy of the package has the same digest; one byte more in any file, or a byte moved to another file, changes it."""
    source, copy = ROOT / "schemas", tmp_path / "schemas"
    copy.mkdir()
    for path in source.iterdir():
        if path.suffix in {".py", ".json"}:
            (copy / path.name).write_bytes(path.read_bytes())

    def digest() -> str:
        code = "import sys; sys.path[:0] = [sys.argv[1]]; import schemas; print(schemas.digest())"
        return subprocess.run([sys.executable, "-I", "-c", code, str(tmp_path)], capture_output=True, text=True, check=True).stdout.strip()

    seen = {schemas.digest()}
    assert digest() in seen
    for path in sorted(copy.glob("*.json")):
        kept = path.read_bytes()
        path.write_bytes(kept + b"\n")
        seen.add(digest())
        path.write_bytes(kept)
    assert len(seen) == 1 + len(schemas.KINDS) + 1


def test_importing_the_package_reads_no_schema() -> None:
    hook = "lambda name, given: name == 'open' and str(given[0]).endswith('.json') and sys.exit(f'read {given[0]}')"
    code = f"import sys; sys.addaudithook({hook}); import schemas"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
