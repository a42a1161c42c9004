"""A bundle stands alone and means what the files mean; the editor's schema picks by kind."""

from typing import Any

import pytest
from jsonschema import Draft202012Validator

import schemas
from schemas.bundle import bundle
from tests.schemas.documents import by_bundle, by_file, samples


def references(node: Any) -> list[str]:
    if isinstance(node, list):
        return [reference for item in node for reference in references(item)]
    if not isinstance(node, dict):
        return []
    own = [node["$ref"]] if isinstance(node.get("$ref"), str) else []
    return own + [reference for key, item in node.items() if key != "examples" or isinstance(item, dict) for reference in references(item)]


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_all_references_are_local_and_lead_somewhere(kind: str) -> None:
    document = schemas.bundled(kind)
    for reference in references(document):
        node: Any = document
        assert reference.startswith("#/$defs/")
        for part in reference.removeprefix("#/").split("/"):
            node = node[part]
        assert isinstance(node, dict)


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_a_bundle_needs_no_bookkeeping_of_evaluated_properties(kind: str) -> None:
    assert "unevaluatedProperties" not in repr(schemas.bundled(kind))


@pytest.mark.parametrize("kind", schemas.KINDS)
def test_a_bundle_carries_no_definition_that_it_does_not_use(kind: str) -> None:
    document = schemas.bundled(kind)
    assert set(document["$defs"]) == {reference.split("/")[2] for reference in references(document)}


def test_bundling_changes_neither_the_schema_nor_the_shared_definitions() -> None:
    before = repr((schemas.schema("Host"), schemas.common()))
    bundle(schemas.schema("Host"), schemas.common())
    assert repr((schemas.schema("Host"), schemas.common())) == before


def test_a_field_that_would_silently_replace_a_shared_one_is_refused() -> None:
    common = {"$defs": {"block": {"type": "object", "properties": {"name": {"type": "string"}}}}}
    for own in ({"properties": {"name": {"type": "integer"}}}, {"type": "array"}):
        with pytest.raises(ValueError, match="stands in both"):
            bundle({"$ref": "common.json#/$defs/block", "unevaluatedProperties": False, **own}, common)


@pytest.mark.parametrize("document", samples(), ids=lambda document: f"{document['kind']}-{document['metadata']['name']}")
def test_files_and_bundles_and_the_editor_schema_accept_every_sample(document: Any) -> None:
    assert by_file(document["kind"]).is_valid(document)
    assert by_bundle(document["kind"]).is_valid(document)
    assert Draft202012Validator(schemas.editor_schema()).is_valid(document)


@pytest.mark.parametrize("document", samples(), ids=lambda document: f"{document['kind']}-{document['metadata']['name']}")
def test_the_editor_schema_reports_the_kinds_own_errors_only(document: Any) -> None:
    broken = {**document, "spec": {**document["spec"], "bogus": 1}}
    errors = list(Draft202012Validator(schemas.editor_schema()).iter_errors(broken))
    assert [list(error.absolute_path) for error in errors] == [["spec"]]
    assert "bogus" in errors[0].message


@pytest.mark.parametrize("kind", [*schemas.PLANNED, "host", "", 7])
def test_the_editor_schema_refuses_other_kinds_at_the_kind(kind: Any) -> None:
    errors = list(Draft202012Validator(schemas.editor_schema()).iter_errors({"apiVersion": "octofleet/v1", "kind": kind}))
    assert [list(error.absolute_path) for error in errors] == [["kind"]]
