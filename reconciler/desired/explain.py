"""Which file and line set a value of a host: recomputed from the layers when somebody asks, never stored. Pure but for reading the files again."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.desired.desired import Desired
from reconciler.desired.layers import Layer, follow, own_layers, shared_layers
from reconciler.desired.manifest import Manifest, show
from reconciler.desired.resolve import FROM_NETWORK
from reconciler.types.origin import Origin
from reconciler.types.pointer import escape, tokens

_NONE = object()


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """One layer's say: which manifest, where, what."""

    layer: str
    origin: Origin
    value: Any


def settings(desired: Desired, group: str, pointer: str) -> list[Setting]:
    """Every layer that says something at or below a pointer of the host's values, lowest first: the last one wins or adds."""
    host = desired.hosts[group]
    path = _named(tokens(pointer), desired.resolver.resolve(host).values)
    found = [setting for layer in (*shared_layers(desired.catalog, host), *own_layers(host)) if (setting := _say(desired, layer, path))]
    if not found:
        found = list(_derived(desired, host, path))
    return found


def _named(path: list[str], values: Mapping[str, Any]) -> list[str]:
    """The path with numbers in lists of named items replaced by the names: positions differ from layer to layer, names do not."""
    result: list[str] = []
    node: Any = values
    for token in path:
        if isinstance(node, list):
            node = node[int(token)] if token.isdigit() and int(token) < len(node) else _item(node, token)
            result.append(str(node["name"]) if isinstance(node, dict) and "name" in node else token)
        else:
            node = node.get(token, _NONE) if isinstance(node, Mapping) else _NONE
            result.append(token)
    return result


def _item(items: list[Any], name: str) -> Any:
    return next((item for item in items if isinstance(item, dict) and item.get("name") == name), _NONE)


def _say(desired: Desired, layer: Layer, path: list[str]) -> Setting | None:
    node: Any = layer.settings
    pointer = layer.pointer
    for token in path:
        if isinstance(node, list):
            index = next((i for i, item in enumerate(node) if isinstance(item, dict) and item.get("name") == token), None)
            index = int(token) if index is None and token.isdigit() and int(token) < len(node) else index
            if index is None:
                return None
            node, pointer = node[index], f"{pointer}/{index}"
        elif isinstance(node, dict) and token in node:
            node, pointer = node[token], f"{pointer}/{escape(token)}"
        else:
            return None
    return Setting(layer=str(layer), origin=desired.origin(layer.manifest, pointer), value=node)


def _derived(desired: Desired, host: Manifest, path: list[str]) -> Iterator[Setting]:
    """Values that no layer sets: those of an interface's network, and the host's identity."""
    values: Any = desired.resolver.resolve(host).values
    for token in path:
        values = _item(values, token) if isinstance(values, list) else values.get(token, _NONE) if isinstance(values, Mapping) else _NONE
    if values is _NONE:
        return
    if path[0] == "interfaces" and len(path) > 2 and path[2] in (*FROM_NETWORK, "prefix"):
        interface = _item(desired.resolver.resolve(host).values["interfaces"], path[1])
        network = follow(desired.catalog, host, "Network", interface["network"], "")
        key = "cidr" if path[2] == "prefix" else path[2]
        yield Setting(layer=show(network.ref), origin=desired.origin(network, f"/spec/{key}"), value=values)
    elif path[0] in ("profile", "roles"):
        yield Setting(layer=show(host.ref), origin=desired.origin(host, host.pointer(path[0])), value=values)
    elif path[0] in ("name", "tenant", "labels", "fqdn"):
        said = "/name" if path[0] == "fqdn" else "".join(f"/{escape(token)}" for token in path)
        pointer = host.places.get(said, f"/metadata{said}")
        yield Setting(layer=show(host.ref), origin=desired.origin(host, pointer), value=values)


def leaves(value: Any, pointer: str = "") -> Iterator[tuple[str, Any]]:
    """Every leaf of a tree with its pointer; lists of plain values are leaves."""
    if isinstance(value, Mapping) and value:
        for key in sorted(value):
            yield from leaves(value[key], f"{pointer}/{escape(key)}")
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value):
            yield from leaves(item, f"{pointer}/{index}")
    else:
        yield pointer, value
