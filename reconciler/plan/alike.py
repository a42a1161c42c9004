"""Many resources that differ in the same way: decided once, told for each. Pure.

In: resources whose record has another specification and nothing else, which were last seen as recorded, and which the base wanted as recorded: so
all that differs is the commit's wish, and all of it is an update. Out: the change that `decide` would give, made from fields that all resources
with the same difference share. What it cannot say is left to `decide`.
"""

from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec

from reconciler.plan.decide import risks_of, touches
from reconciler.plan.fields import Versions, field_changes
from reconciler.types.canonical import digest, pack, unpack
from reconciler.types.change import Action, Change, FieldChange, Risk
from reconciler.types.kind import Kind
from reconciler.types.origin import Origin
from reconciler.types.resource import Resource, Rules, basis_of, parts
from reconciler.types.values import RESERVED_PREFIX

_MARK = RESERVED_PREFIX.encode()
_split = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode

Difference = tuple[tuple[str, bytes, bytes], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shared:
    """What changes with the same difference have in common."""

    fields: tuple[FieldChange, ...]
    risk: frozenset[Risk]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pattern:
    """How a resource of one host differs from its former self. `begins`: the address of such a resource without the host's name."""

    begins: str
    difference: Difference
    shared: _Shared

    def address(self, group: str) -> str:
        """The address of another host's resource of this kind."""
        return self.begins + group.rpartition("/")[2]


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

    def pattern(self, kind: Kind, before: Resource, after: Resource, changed: frozenset[str]) -> Pattern | None:
        """How one resource differs from its former self, to be found again in others; None if that is not all in copied values, or no update."""
        found = difference(pack(before.spec), pack(after.spec))
        if "template" in after.spec or after.has_leaves or any(path.rpartition("/")[2] not in changed for path, _, _ in found):
            return None
        key = kind.name, found
        if key not in self.known:
            self.known[key] = _decided(after, kind, pack(before.spec)) if found else None
        shared = self.known[key]
        driver, name, tenant, _ = parts(after.address)
        return None if shared is None else Pattern(begins=f"{driver}/{name}/{tenant}/", difference=found, shared=shared)

    def like(self, pattern: "Pattern", address: str, digest_: str, body: bytes, rules: bytes, place: "Standing") -> Change | None:
        """The update of another resource, by its record (digest, packed specification and rules), if it was as the pattern's was."""
        spec = patched_text(body, pattern.difference)
        if spec is None:
            return None
        after = digest(spec)
        return Change(
            address=address,
            action=Action.UPDATE,
            fields=pattern.shared.fields,
            before_digest=digest_,
            after_digest=after,
            desired_digest=after,
            rules=Rules.revived(msgspec.json.decode(rules)),
            group=place.ref,
            origin=Origin(path=place.path, line=place.line, column=1),
            causes=_causes(pattern.shared.fields),
            risk=pattern.shared.risk,
            basis=basis_of(self.source, digest_, rules),
        )


class Standing(Protocol):
    """Where a host is declared."""

    @property
    def ref(self) -> str:
        """Its group."""

    @property
    def path(self) -> str:
        """The file."""

    @property
    def line(self) -> int:
        """The line, from 1."""


def patched_text(body: bytes, changes: Difference) -> Any:
    """A packed specification with parts replaced, as a tree of texts that `digest` takes; None if it does not have what is to be replaced."""
    if _MARK in body:
        return None
    top: dict[str, Any] = dict(_split(body))
    inner: dict[str, dict[str, msgspec.Raw]] = {}
    for path, old, new in changes:
        key, _, name = path.partition("/")
        if name and key not in inner:
            if key not in top:
                return None
            top[key] = inner[key] = _split(top[key])
        at = inner[key] if name else top
        if bytes(at.get(name or key, b"")) != old:
            return None
        if new:
            at[name or key] = msgspec.Raw(new)
        else:
            del at[name or key]
    return top


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
