"""Documents drawn from the bundled schemas themselves: every kind, every field, values at and beyond each limit."""

import re
from collections.abc import Iterator
from functools import cache
from random import Random
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import schemas

DEPTH = 9
ODD_TEXTS = [
    "",
    "-",
    "web-01\n",
    "web\x00",
    "a" * 64,
    "a" * 300,
    "../x",
    "/",
    "٣",
    "ſ",
    "\u2028",
    "\x85",
    "\U0001f600",
    "\ud800",
    "%d%d",
    "1e5",
    "10.0.0.300",
    "10.0.0.1\n",
    "::1",
    "52:54:00:AA:bb:cc",
    "20GB",
    "http://example.com/\n",
    "http://example.com/%zz",
    "http://exa mple/",
    "HTTP://EXAMPLE.COM",
    "xn--a.example",
    "xn--zz--zz.example",
    f"{'a.' * 127}a",
    f"{'a' * 63}.example",
    "a..b",
    "a.",
    "{{ x }}",
]
ODD_NUMBERS = [-1, 0, 1, -0.0, 1.0, 1.5, 65535, 65536, 2**31, 2**53 - 1, 2**53, -(2**53), 2**53 + 1, 2**63, 2**64, 2**70, 10**400, 2.0**53]
ODD_NUMBERS += [2.0**70, 1e308, 5e-324, float("inf"), float("-inf"), float("nan")]
ODD_KEYS = [
    "",
    "secretRef",
    "$octofleet.vault",
    "$octofleet.vault\n",
    "$octofleet.secret",
    "$octofleet.",
    "x\n",
    "name",
    "spec",
    "\ud800",
]
ODD_LEAVES: list[Any] = [None, True, False, *ODD_NUMBERS, *ODD_TEXTS, b"a", (), ("a",), {1}]
POOL = 40


def blocks(node: Any) -> Iterator[dict[str, Any]]:
    """Every subschema, and some maps besides."""
    if isinstance(node, dict):
        yield node
    for child in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from blocks(child)


def patterns() -> list[str]:
    """Every pattern of every kind, keys included."""
    found = {block["pattern"] for kind in schemas.KINDS for block in blocks(schemas.bundled(kind)) if isinstance(block.get("pattern"), str)}
    return sorted(
        found | {key for kind in schemas.KINDS for block in blocks(schemas.bundled(kind)) for key in block.get("patternProperties", ())}
    )


def formats() -> set[str]:
    """Every format of every kind."""
    return {block["format"] for kind in schemas.KINDS for block in blocks(schemas.bundled(kind)) if isinstance(block.get("format"), str)}


def matching(pattern: str) -> st.SearchStrategy[str]:
    """Texts that a pattern is about: that match, or that begin like one that does."""
    inside = st.from_regex(re.compile(pattern.removesuffix("(?!\\n)").removesuffix("$")), fullmatch=True)
    return st.one_of(inside, inside, inside.map(lambda text: f"{text}\n"), st.tuples(inside, st.sampled_from(ODD_TEXTS)).map("".join))


@cache
def pool(pattern: str) -> tuple[list[str], list[str]]:
    """Some texts that match and some that do not."""
    found: set[str] = set()

    @given(matching(pattern))
    @settings(max_examples=POOL, deadline=None, database=None, derandomize=True, suppress_health_check=list(HealthCheck))
    def gather(text: str) -> None:
        found.add(text)

    gather()
    right = {text for text in found if re.search(pattern, text)}
    return sorted(right), sorted(found - right)


def document(kind: str, seed: int, *, odd: float) -> Any:
    """A document of a kind. `odd`: how likely each value, key or length is not what the schema wants."""
    root = schemas.bundled(kind)
    return _Drawing(Random(seed), root, odd).value(root, 0)


class _Drawing:
    def __init__(self, random: Random, root: dict[str, Any], odd: float) -> None:
        self.random, self.root, self.odd = random, root, odd

    def value(self, schema: Any, depth: int) -> Any:
        if schema is True or self._strays():
            return self._anything(2)
        schema = self._reached(schema)
        if "const" in schema:
            return schema["const"]
        if "enum" in schema:
            return self.random.choice(schema["enum"])
        kinds = schema.get("type", ["object", "array", "string", "integer", "number", "boolean", "null"])
        kind = kinds if isinstance(kinds, str) else self.random.choice(kinds)
        return getattr(self, f"_{kind}")(schema, depth + 1)

    def _object(self, schema: dict[str, Any], depth: int) -> dict[Any, Any]:
        known = schema.get("properties", {})
        needed = set(schema.get("required", ()))
        optional = [key for key in known if key not in needed]
        wanted = self.random.sample(optional, min(len(optional), self.random.randint(0, 4))) if depth < DEPTH else []
        keys = [key for key in schema.get("required", ()) if not self._strays()] + wanted
        found: dict[Any, Any] = {key: self.value(known.get(key, True), depth) for key in keys}
        if isinstance(other := schema.get("additionalProperties"), dict) and depth < DEPTH:
            names = self._reached(schema.get("propertyNames", {}))
            for _ in range(self.random.randint(0, 2)):
                found[self._string(names, depth)] = self.value(other, depth)
        if self._strays():
            found[self.random.choice(ODD_KEYS)] = self._anything(2)
        return found

    def _array(self, schema: dict[str, Any], depth: int) -> list[Any]:
        least = schema.get("minItems", 0)
        found = [self.value(schema.get("items", True), depth) for _ in range(self.random.randint(least, least + 2 * (depth < DEPTH)))]
        return found + found[:1] if self._strays() else found

    def _string(self, schema: dict[str, Any], depth: int) -> str:
        if "examples" in schema and self.random.choice([True, False]):
            return str(self.random.choice(schema["examples"]))
        if "pattern" not in schema:
            return self.random.choice(ODD_TEXTS[: -1 if self.odd else 1])
        right, wrong = pool(schema["pattern"])
        text = self.random.choice(wrong if wrong and self._strays() else right)
        return text * schema.get("maxLength", 1) if self._strays() else text

    def _integer(self, schema: dict[str, Any], depth: int) -> int | float:
        limits = [schema.get("minimum", 0), schema.get("maximum", 100)]
        if self._strays():
            return self.random.choice([limits[0] - 1, limits[1] + 1, float(limits[0]), limits[1] + 0.5])
        return self.random.randint(*limits)

    def _number(self, schema: dict[str, Any], depth: int) -> float:
        return self.random.uniform(schema.get("minimum", -1e9), schema.get("maximum", 1e9))

    def _boolean(self, schema: dict[str, Any], depth: int) -> bool:
        return self.random.choice([True, False])

    def _null(self, schema: dict[str, Any], depth: int) -> None:
        return None

    def _anything(self, depth: int) -> Any:
        match self.random.choice(["leaf", "list", "map"] if depth else ["leaf"]):
            case "list":
                return [self._anything(depth - 1) for _ in range(self.random.randint(0, 2))]
            case "map":
                return {self.random.choice(ODD_KEYS): self._anything(depth - 1) for _ in range(self.random.randint(0, 2))}
            case _:
                return self.random.choice(ODD_LEAVES)

    def _strays(self) -> bool:
        return self.random.random() < self.odd

    def _reached(self, schema: dict[str, Any]) -> dict[str, Any]:
        """The schema with what its `$ref` stands for."""
        if "$ref" not in schema:
            return schema
        return {**self.root["$defs"][schema["$ref"].rpartition("/")[2]], **{key: item for key, item in schema.items() if key != "$ref"}}
