"""A HostSet as the Hosts that it stands for. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from ipaddress import ip_address
from typing import Any

from reconciler.desired.manifest import Manifest
from reconciler.desired.merge import Rules, merge
from reconciler.types.pointer import escape
from reconciler.types.values import Spec


class TooMany(Exception):
    """The addresses that a HostSet counts through run out. `pointer` says which."""

    def __init__(self, pointer: str, message: str) -> None:
        super().__init__(message)
        self.pointer, self.message = pointer, message


def expand(hosts: Manifest, rules: Rules) -> Iterator[Manifest]:
    """Each Host of the set. Raises `TooMany` when a generated address or MAC leaves its range."""
    template = hosts.spec["template"]
    for pointer, name, member in _members(hosts.spec):
        base, own = template.get("spec", {}), member.get("spec", {})
        yield replace(
            hosts,
            kind="Host",
            name=name,
            spec=merge(base, own, rules),
            labels={**hosts.labels, **template.get("labels", {}), **member.get("labels", {})},
            own=(("/spec/template/spec", base), (pointer, own)),
            places=_places(template, pointer, member),
            moved_from=None,
        )


def _places(template: Spec, pointer: str, member: Mapping[str, Any]) -> dict[str, str]:
    """Where the name and labels of a member stand."""
    here = pointer.removesuffix("/spec")
    found = {f"/labels/{escape(key)}": f"/spec/template/labels/{escape(key)}" for key in template.get("labels", {})}
    found |= {f"/labels/{escape(key)}": f"{here}/labels/{escape(key)}" for key in member.get("labels", {})}
    return found | {"/name": f"{here}/name" if "name" in member else f"{here}/names"}


def _members(spec: Spec) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    for index, member in enumerate(spec.get("members", ())):
        yield f"/spec/members/{index}/spec", member["name"], member
    if "generate" in spec:
        generate = spec["generate"]
        start = generate.get("start", 1)
        for number in range(generate["count"]):
            name = generate["names"] % (start + number)
            yield (
                "/spec/generate",
                name,
                {"spec": {"interfaces": [_interface(generate["interface"], number)]} if "interface" in generate else {}},
            )


def _interface(pattern: Mapping[str, Any], number: int) -> dict[str, Any]:
    result = {key: pattern[key] for key in ("name", "network") if key in pattern}
    if "firstAddress" in pattern:
        try:
            result["address"] = str(ip_address(pattern["firstAddress"]) + number)
        except ValueError as error:
            raise TooMany("/spec/generate/interface/firstAddress", f"there is no address {number} after it") from error
    if "firstMac" in pattern:
        value = int(pattern["firstMac"].replace(":", ""), 16) + number
        if value >= 1 << 48:
            raise TooMany("/spec/generate/interface/firstMac", f"there is no MAC {number} after it")
        digits = f"{value:012x}"
        result["mac"] = ":".join(digits[i : i + 2] for i in range(0, 12, 2))
    return result
