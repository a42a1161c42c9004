"""Documents against their kind's JSON Schema, with every problem in words that name the field and the next step. Pure.

jsonschema is the reference validator: it alone finds what is wrong and where. jsonschema-rs, which is a hundred times faster, only says
that nothing is; what it refuses or cannot take goes to the reference, so it may be stricter and must never be laxer. Messages come from the
keyword that failed, from the schema's own `errorMessage` and `patternErrorMessage`, never from the text of the library's errors.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from math import isfinite
from types import MappingProxyType
from typing import Any

import schemas
from reconciler.types.pointer import escape

TYPES = {
    "object": "a map",
    "array": "a list",
    "string": "text",
    "integer": "a whole number",
    "number": "a number",
    "boolean": "true or false",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Checker:
    """Callable: a kind and a document to pointer and message of everything that is wrong, sorted. `read`: documents are the reader's own, so that
    there is nothing in them but what it makes.
    """

    read: bool = False

    def __call__(self, kind: str, document: Any) -> list[tuple[str, str]]:
        """All findings; the pointer leads to the key or item at fault, for a missing field to the map that lacks it."""
        return [] if accepted(kind, document, read=self.read) else findings(kind, document)


def accepted(kind: str, document: Any, *, read: bool = False) -> bool:
    """Whether the fast validator says that nothing is wrong. False says nothing: ask the reference."""
    try:
        return (read or _plain(document)) and bool(_fast(kind).is_valid(document))
    except Exception:  # noqa: BLE001 - a value that it cannot take (half a surrogate pair, ...) is for the reference to judge
        return False


def findings(kind: str, document: Any) -> list[tuple[str, str]]:
    """What the reference finds."""
    return sorted(set(_found(kind, document)))


def _plain(value: Any) -> bool:
    """Whether a value is made of what the reader makes. The two differ on others: tuples, enumerations, infinity, integers beyond 2**53."""
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return True
    if kind is dict:
        return all(map(_plain, value.values())) and all(type(key) is str for key in value)
    if kind is list:
        return all(map(_plain, value))
    return -_EXACT <= value <= _EXACT if kind is int else kind is float and isfinite(value)


_EXACT = 2**53


def _hostname(text: str) -> bool:
    from fqdn import FQDN  # noqa: PLC0415 - both only for documents with such a field

    return bool(FQDN(text, min_labels=1).is_valid)


def _uri(text: str) -> bool:
    from rfc3986_validator import validate_rfc3986  # type: ignore[import-untyped]  # noqa: PLC0415

    return bool(validate_rfc3986(text, rule="URI"))


FORMATS: Mapping[str, Callable[[str], bool]] = MappingProxyType({"hostname": _hostname, "uri": _uri})
"""The formats that the schemas use, checked by what the reference checks them with (`jsonschema[format-nongpl]` brings both): those of the
fast validator are implementations of their own."""


@cache
def _fast(kind: str) -> Any:
    import jsonschema_rs  # noqa: PLC0415 - only for commands that read manifests

    return jsonschema_rs.Draft202012Validator(schemas.bundled(kind), formats=dict(FORMATS), validate_formats=True)


@cache
def _validator(kind: str) -> Any:
    from jsonschema import Draft202012Validator  # noqa: PLC0415 - takes long to import

    return Draft202012Validator(schemas.bundled(kind), format_checker=Draft202012Validator.FORMAT_CHECKER)


def _found(kind: str, document: Any) -> Iterator[tuple[str, str]]:
    schema = schemas.bundled(kind)
    for error in _leaves(_validator(kind).iter_errors(document)):
        at = "".join(f"/{escape(str(part))}" for part in error.absolute_path)
        yield from _tell(at, error, schema)


def _leaves(errors: Any) -> Iterator[Any]:
    for error in errors:
        if error.context:
            yield from _leaves(error.context)
        else:
            yield error


def _tell(at: str, error: Any, root: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    keyword, wanted, instance = error.validator, error.validator_value, error.instance
    name = at.rpartition("/")[2] or "the manifest"
    if keyword in ("unevaluatedProperties", "additionalProperties") and isinstance(instance, dict):
        known = _properties(error.schema, root)
        for key in sorted(instance.keys() - known):
            yield f"{at}/{escape(key)}", f"there is no field {key} here{_near(key, known)}"
    elif keyword == "required":
        for key in sorted(set(wanted) - instance.keys()):
            yield at, f"{name} lacks the field {key}"
    elif keyword == "propertyNames" or "propertyNames" in error.absolute_schema_path:
        yield f"{at}/{escape(str(instance))}", f"{instance!r} {error.schema.get('patternErrorMessage', 'is not a valid key here')}"
    else:
        yield at, _sentence(name, keyword, wanted, instance, error.schema)


def _sentence(name: str, keyword: str, wanted: Any, instance: Any, schema: Mapping[str, Any]) -> str:
    if keyword == "pattern" and "patternErrorMessage" in schema:
        return f"{name} {schema['patternErrorMessage']}, not {_shown(instance)}"
    if "errorMessage" in schema:
        return f"{name}: {schema['errorMessage']}"
    match keyword:
        case "type":
            kinds = [wanted] if isinstance(wanted, str) else wanted
            return f"{name} must be {' or '.join(TYPES.get(kind, kind) for kind in kinds)}, not {_shown(instance)}"
        case "enum":
            near = _near(instance, map(str, wanted)) if isinstance(instance, str) else ""
            return f"{name} must be one of {', '.join(map(str, wanted))}, not {_shown(instance)}{near}"
        case "const":
            return f"{name} must be {wanted}, not {_shown(instance)}"
        case "format":
            return f"{name} must be {_article(wanted)} {wanted}, not {_shown(instance)}"
        case "minimum" | "exclusiveMinimum" | "maximum" | "exclusiveMaximum":
            return f"{name} must be {'at least' if 'inimum' in keyword else 'at most'} {wanted}, not {instance}"
        case "minLength" | "minItems" | "minProperties":
            return f"{name} must have at least {wanted} {_units(keyword)}"
        case "maxLength" | "maxItems" | "maxProperties":
            return f"{name} must have at most {wanted} {_units(keyword)}"
        case "uniqueItems":
            return f"{name} has the same item twice"
        case "dependentRequired":
            missing = sorted({key for key, needed in wanted.items() if key in instance for key in needed if key not in instance})
            return f"{name} lacks the field {', '.join(missing)}"
        case _:
            return f"{name} is not as the schema wants it ({keyword})"


def _units(keyword: str) -> str:
    return {"Length": "characters", "Items": "items", "Properties": "fields"}[keyword[3:]]


def _article(noun: str) -> str:
    return "an" if noun[0] in "aeiou" else "a"


def _shown(value: Any) -> str:
    """A value in a message: short, and never the inside of a map or list."""
    if isinstance(value, dict | list):
        return TYPES["object" if isinstance(value, dict) else "array"]
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "nothing"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."


def _near(key: str, known: Any) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 - only on a mistake

    close = get_close_matches(key, list(known), n=1)
    return f"; did you mean {close[0]}?" if close else ""


def _properties(schema: Mapping[str, Any], root: Mapping[str, Any]) -> set[str]:
    """Every field that a schema and all that it refers to know."""
    found = set(schema.get("properties", ()))
    if "$ref" in schema:
        found |= _properties(_resolved(schema["$ref"], root), root)
    for part in schema.get("allOf", ()):
        found |= _properties(part, root)
    return found


def _resolved(ref: str, root: Mapping[str, Any]) -> Mapping[str, Any]:
    node: Any = root
    for part in ref.removeprefix("#/").split("/"):
        node = node[part]
    return dict(node)
