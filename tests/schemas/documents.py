"""What several tests of the schemas share: the example repository's documents and validators for the files and for the bundles."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from jsonschema import Draft202012Validator
from referencing import Registry, Resource
from ruamel.yaml import YAML

import schemas
from tests.conftest import ROOT

EXAMPLE = ROOT / "example-repo"


def manifests() -> Iterator[tuple[Path, Any]]:
    """Every manifest of the example repository with its file."""
    for path in sorted(EXAMPLE.rglob("*.yaml")):
        for document in YAML(typ="safe", pure=True).load_all(path.read_text()):
            yield path.relative_to(EXAMPLE), document


def samples() -> list[Any]:
    """Valid documents: the example repository's and the schemas' own examples."""
    return [document for _, document in manifests()] + [example for kind in schemas.KINDS for example in schemas.schema(kind)["examples"]]


@cache
def registry() -> Any:
    return Registry().with_resource(schemas.common()["$id"], Resource.from_contents(schemas.common()))


@cache
def by_file(kind: str) -> Draft202012Validator:
    """The reference validator on the schema as its file has it."""
    return Draft202012Validator(schemas.schema(kind), registry=registry())


@cache
def by_bundle(kind: str) -> Draft202012Validator:
    """The reference validator on the self-contained schema."""
    return Draft202012Validator(schemas.bundled(kind))


def pointers(kind: str, document: Any) -> set[str]:
    """Where the bundle finds something wrong, as JSON pointers."""
    return {"".join(f"/{part}" for part in error.absolute_path) for error in by_bundle(kind).iter_errors(document)}
