"""Many resources that differ in the same way: decided once, told for each. Pure.

In: resources whose record has another specification and nothing else, which were last seen as recorded, and which the base wanted as recorded: so
all that differs is the commit's wish, and all of it is an update. Out: the change that `decide` would give, made from fields that all resources
with the same difference share. What it cannot say is left to `decide`.
"""

from dataclasses import dataclass, field
from typing import Any

import msgspec

from reconciler.plan.decide import risks_of, touches
from reconciler.plan.fields import Versions, field_changes
from reconciler.types.canonical import pack, unpack
from reconciler.types.change import Action, Change, FieldChange, Risk
from reconciler.types.kind import Kind
from reconciler.types.resource import Resource, basis_of

_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

Difference = tuple[tuple[str, bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What changes with the same difference have in common."""

    fields: tuple[FieldChange, ...]
    risk: frozenset[Risk]


@dataclass(frozen=True, kw_only=True)
class Alike:
    """`source`: the Fleet. Remembers every difference that it has met."""

    source: str
    known: dict[tuple[str, Difference], _Shared | None] = field(default_factory=dict)

    def change(self, resource: Resource, kind: Kind, recorded_digest: str, recorded_body: bytes, rules: bytes) -> Change | None:
        """The update, or None if it is more than one. `recorded_body` is the packed specification, `rules` the packed rules of record and resource."""
        wanted = pack(resource.spec)
        key = kind.name, difference(recorded_body, wanted)
        if key not in self.known:
            self.known[key] = _decided(resource, kind, recorded_body)
        shared = self.known[key]
        if shared is None:
            return None
        return Change(
            address=resource.address,
            action=Action.UPDATE,
            fields=shared.fields,
            before_digest=recorded_digest,
            after_digest=resource.digest,
            desired_digest=resource.digest,
            rules=resource.rules,
            group=resource.group,
            origin=resource.origin,
            causes=_causes(shared.fields),
            risk=shared.risk,
            basis=basis_of(self.source, recorded_digest, rules),
        )


def _causes(fields: tuple[FieldChange, ...]) -> Any:
    return fields[0].causes if len(fields) == 1 else frozenset().union(*(item.causes for item in fields))


def difference(before: bytes, after: bytes) -> Difference:
    """The parts of two packed specifications that differ, two levels deep: where, and the text on either side (empty: nothing)."""
    old, new = _split(before), _split(after)
    found: list[tuple[str, bytes, bytes]] = []
    for key in old.keys() | new.keys():
        one, other = bytes(old.get(key, b"")), bytes(new.get(key, b""))
        if one == other:
            continue
        if one[:1] == b"{" and other[:1] == b"{":
            inner, outer = _split(one), _split(other)
            for name in inner.keys() | outer.keys():
                left, right = bytes(inner.get(name, b"")), bytes(outer.get(name, b""))
                if left != right:
                    found.append((f"{key}/{name}", left, right))
        else:
            found.append((key, one, other))
    found.sort()
    return tuple(found)


def _decided(resource: Resource, kind: Kind, recorded_body: bytes) -> _Shared | None:
    """The fields and risks of one of them; None if an update is not all that there is to it."""
    recorded = unpack(recorded_body)
    fields = field_changes(Versions(desired=resource.spec, base=recorded, recorded=recorded, observed=recorded))
    if not fields or kind.engine or resource.has_leaves or touches(fields, kind.replace_on) or touches(fields, kind.renews):
        return None
    return _Shared(fields=fields, risk=risks_of(kind, Action.UPDATE, fields))
