"""The JSON Schemas (2020-12) of Octofleet's manifests: what a document must look like before anything else is asked of it.

One file per kind and `common.json` for what they share. In: nothing but the package's own files, read when first asked for. Out: parsed
schemas, which are shared and must not be changed. It validates nothing itself and knows nothing beyond one document: references between
manifests, clashes and limits across a list are the reader's to check.

A schema that refuses a value may say why in words for people, next to the keyword that failed: `patternErrorMessage` beside `pattern`,
`errorMessage` otherwise. Editors show them, and so should we.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any, Literal

from schemas.bundle import COMMON, bundle, referred

KINDS: tuple[str, ...] = (
    "Fleet",
    "Tenant",
    "Network",
    "Profile",
    "Role",
    "Host",
    "HostSet",
    "MaintenanceWindow",
    "Policy",
    "RoleMapping",
    "AlertChannel",
    "Operation",
)
"""The kinds that are accepted, in the order in which people meet them."""

PLANNED: Mapping[str, str] = MappingProxyType(
    {
        "Provider": "an account at a cloud, a hypervisor or another system",
        "Image": "an operating system image and where it comes from",
        "Stack": "a Terraform configuration",
        "DscConfiguration": "a PowerShell DSC configuration of Windows machines",
        "IdentityProvider": "a source of users and groups",
        "Report": "a report made on a schedule",
    }
)
"""The kinds that will come, each with what it will describe. Until something acts on one it is refused by name."""

MergeRule = Literal["union", "name"]
_RULES: Mapping[str, MergeRule] = MappingProxyType({"union": "union", "name": "name"})


@cache
def schema(kind: str) -> dict[str, Any]:
    """The schema of a kind as its file has it; its references go to `common.json`. Raises KeyError for a kind that is not in `KINDS`."""
    if kind not in KINDS:
        raise KeyError(kind)
    return _document(f"{kind.lower()}.json")


@cache
def common() -> dict[str, Any]:
    """The schema document that holds the shared `$defs`."""
    return _document(COMMON)


@cache
def bundled(kind: str) -> dict[str, Any]:
    """The schema of a kind in one self-contained document, for validators and editors. It accepts just what `schema(kind)` accepts."""
    return bundle(schema(kind), common())


@cache
def editor_schema() -> dict[str, Any]:
    """One schema for every kind, which picks by `kind` and then reports only that kind's errors. `octofleet init` writes it for editors."""
    definitions: dict[str, Any] = {}
    for kind in KINDS:
        document = bundled(kind)
        definitions |= document["$defs"]
        definitions[kind] = {key: value for key, value in document.items() if key not in {"$defs", "$id", "$schema"}}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://schemas.octofleet.example/v1/manifest.json",
        "title": "Octofleet manifest",
        "description": "One document of an Octofleet repository.",
        "type": "object",
        "properties": {"apiVersion": {"$ref": "#/$defs/apiVersion"}, "kind": {"description": "The kind of manifest.", "enum": list(KINDS)}},
        "required": ["apiVersion", "kind"],
        "allOf": [
            {"if": {"properties": {"kind": {"const": kind}}, "required": ["kind"]}, "then": {"$ref": f"#/$defs/{kind}"}} for kind in KINDS
        ],
        "$defs": definitions,
    }


@cache
def digest() -> str:
    """The SHA-256 over all schema files, 64 hexadecimal digits: it changes when what is accepted may have changed."""
    total = hashlib.sha256()
    for name in sorted([COMMON, *(f"{kind.lower()}.json" for kind in KINDS)]):
        data = files(__package__).joinpath(name).read_bytes()
        total.update(f"{name}\0{len(data)}\0".encode() + data)
    return total.hexdigest()


@cache
def merge_rules() -> Mapping[str, MergeRule]:
    """How lists of machine settings merge, by path (`/ntp/servers`), where it is not by replacing: `x-merge` of the schemas."""
    return MappingProxyType({path: _RULES[block["x-merge"]] for path, block in _settings() if "x-merge" in block})


@cache
def exclusive_rules() -> Mapping[str, tuple[str, ...]]:
    """Keys of a map (by its path, `/disk`) that are one choice: a nearer layer's replaces all of them. `x-exclusive` of the schemas."""
    return MappingProxyType({path: tuple(block["x-exclusive"]) for path, block in _settings() if "x-exclusive" in block})


def _settings() -> Iterator[tuple[str, Mapping[str, Any]]]:
    shared = common()["$defs"]
    yield from _walk("", shared["machineSettings"], shared)


def _walk(path: str, block: Mapping[str, Any], shared: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    whole = {**referred(block, shared), **block}
    yield path, whole
    for name, child in whole.get("properties", {}).items():
        if name != "secretRef":
            yield from _walk(f"{path}/{name}", child, shared)


def _document(name: str) -> dict[str, Any]:
    parsed: dict[str, Any] = json.loads(files(__package__).joinpath(name).read_text(encoding="utf-8"))
    return parsed
