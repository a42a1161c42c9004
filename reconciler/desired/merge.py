"""The merge of machine settings, layer over layer, and the question which layer set a value.

Maps merge by key, scalars replace, lists replace; a list that the schema marks `union` keeps what is there and adds what is new, one marked `name` merges
items of the same name. A map with `secretRef` or a vault value is one value. Keys of `exclusive` groups displace each other: a layer that says
`disk.match` takes away the `disk.device` of the layers below. Nothing given is ever changed; unchanged parts are shared.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from reconciler.types.values import VAULT_KEY, Spec

Rules = Mapping[str, str]
"""From the pointer of a list to `union` or `name`."""

EXCLUSIVE: Mapping[str, tuple[str, ...]] = {"/disk": ("device", "match"), "/windows": ("domain", "workgroup")}


def merge(below: Spec, above: Spec, rules: Rules, path: str = "") -> dict[str, Any]:
    """`above` over `below`."""
    result = dict(below)
    for key in EXCLUSIVE.get(path, ()):
        if key in above:
            for other in EXCLUSIVE[path]:
                result.pop(other, None)
    for key, value in above.items():
        inner = isinstance(value, dict | list) and key in result
        result[key] = _merged(result[key], value, rules, f"{path}/{key}") if inner else value
    return result


def _merged(below: Any, above: Any, rules: Rules, path: str) -> Any:
    if is_map(below) and is_map(above):
        return merge(below, above, rules, path)
    if isinstance(below, list) and isinstance(above, list):
        rule = rules.get(path)
        if rule == "union":
            return [*below, *(item for item in above if item not in below)]
        if rule == "name":
            return _by_name(below, above, rules, path)
    return above


def _by_name(below: Sequence[Spec], above: Sequence[Spec], rules: Rules, path: str) -> list[Spec]:
    result = {item["name"]: item for item in below}
    for item in above:
        name = item["name"]
        result[name] = merge(result[name], item, rules, f"{path}/*") if name in result else item
    return list(result.values())


def is_map(value: Any) -> bool:
    """A map that merges by key: not a reference to a secret, not a vault value."""
    return isinstance(value, dict) and not is_secret(value)


def is_secret(value: Any) -> bool:
    """A map that stands for a secret."""
    return isinstance(value, dict) and len(value) == 1 and ("secretRef" in value or VAULT_KEY in value)
