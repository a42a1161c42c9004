"""One self-contained schema from several files: every reference local, every composed object flat.

In: parsed schema documents. Out: new documents; the input is never changed. It reads no file.

The files compose objects (`$ref` to an open block, further `properties`, `unevaluatedProperties: false`). That is pleasant to read but
slow to validate and unknown to many editors, so the bundle merges such a block into the object that uses it. An object that is closed and
flat says `additionalProperties: false`: the same meaning, without bookkeeping of what was evaluated, and with clearer errors.
"""

from collections.abc import Mapping
from typing import Any

COMMON = "common.json"
LOCAL = "#/$defs/"
ANNOTATIONS = frozenset({"$comment", "title", "description", "examples", "default"})
CLOSED = "unevaluatedProperties"
NAMED = frozenset({"properties", "patternProperties", "dependentSchemas", "$defs"})
"""Keywords whose value maps names to schemas: a name there is never a keyword, though a field may be called `examples`."""


def bundle(document: Mapping[str, Any], common: Mapping[str, Any]) -> dict[str, Any]:
    """The document with all that it needs of the shared definitions below its own `$defs`."""
    shared: Mapping[str, Any] = common["$defs"]
    used: dict[str, Any] = {}
    result = {key: _convert(value, shared) for key, value in _flat(document, shared).items()}
    waiting = sorted(_references(result))
    while waiting:
        name = waiting.pop()
        if name not in used:
            used[name] = _convert(shared[name], shared)
            waiting.extend(_references(used[name]))
    return {**result, "$defs": dict(sorted(used.items()))}


def referred(schema: Mapping[str, Any], shared: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema that `$ref` names, or an empty one without `$ref`. Raises KeyError where there is none."""
    if "$ref" not in schema:
        return {}
    found: Any = shared
    for part in str(schema["$ref"]).removeprefix(COMMON).removeprefix(LOCAL).split("/"):
        found = found[part]
    return dict(found)


def _flat(schema: Mapping[str, Any], shared: Mapping[str, Any]) -> dict[str, Any]:
    """A closed object with its open blocks merged in; any other schema as it is."""
    block = referred(schema, shared)
    if CLOSED not in schema:
        return dict(schema)
    own = {key: value for key, value in schema.items() if key not in {"$ref", "$comment", CLOSED}}
    if block:
        own = _merged(_flat({**block, CLOSED: False}, shared), own)
    return {**{key: value for key, value in own.items() if key != CLOSED}, "additionalProperties": False}


def _merged(block: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    """Both keyword sets in one. Raises ValueError where that would change the meaning."""
    result = dict(block)
    for key, value in own.items():
        if key == "properties" and not value.keys() & block.get(key, {}).keys():
            result[key] = {**block.get(key, {}), **value}
        elif key == "required":
            result[key] = [*block.get(key, ()), *value]
        elif key in ANNOTATIONS or key not in block or block[key] == value:
            result[key] = value
        else:
            raise ValueError(f"{key} stands in both a shared block and the object that uses it")
    return result


def _convert(value: Any, shared: Mapping[str, Any]) -> Any:
    if isinstance(value, list):
        return [_convert(item, shared) for item in value]
    if not isinstance(value, Mapping):
        return value
    result: dict[str, Any] = {}
    for key, item in _flat(value, shared).items():
        if key in NAMED:
            result[key] = {name: _convert(child, shared) for name, child in item.items()}
        elif key in {"examples", "default", "const", "enum"}:
            result[key] = item
        elif key == "$ref" and isinstance(item, str):
            result[key] = item.removeprefix(COMMON)
        else:
            result[key] = _convert(item, shared)
    return result


def _references(value: Any) -> set[str]:
    """The names of all definitions that a converted schema refers to."""
    if isinstance(value, list):
        return {name for item in value for name in _references(item)}
    if not isinstance(value, Mapping):
        return set()
    inner = (child for key in value.keys() & NAMED for child in value[key].values())
    others = (item for key, item in value.items() if key not in NAMED and key != "examples")
    names = {name for item in (*inner, *others) for name in _references(item)}
    reference = value.get("$ref")
    if isinstance(reference, str):
        names.add(reference.removeprefix(LOCAL).split("/", 1)[0])
    return names
