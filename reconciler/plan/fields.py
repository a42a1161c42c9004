"""The differences between specifications, field by field.

Missing is not null, true is not 1 (1 and 1.0 are one number, as in RFC 8785). Paths are RFC 6901. Maps are compared key by key, lists item by
item when both have the same length and as one value when not.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from reconciler.types.canonical import canonical
from reconciler.types.change import MISSING, Cause, FieldChange
from reconciler.types.pointer import escape, tokens
from reconciler.types.values import Secret, Spec

RENDERER_PREFIX = "/renderer/"
"""Where a rendered resource's specification names the renderer's own version: a difference there comes with an upgrade."""


def same(a: object, b: object) -> bool:
    """Whether two values mean the same: equal canonical forms."""
    if a is b:
        return True
    if a is MISSING or b is MISSING:
        return False
    if isinstance(a, str) or isinstance(b, str):
        return type(a) is type(b) and a == b
    return canonical(a) == canonical(b)


@dataclass(frozen=True, slots=True, kw_only=True)
class Versions:
    """One value in the four places where it may stand; each may be `MISSING`. `base` is None where there is no base to compare with.

    `known`: the resource is recorded, so that what is observed otherwise has drifted.
    """

    desired: Any
    base: Any
    recorded: Any
    observed: Any
    known: bool = True

    def at(self, key: str | int) -> "Versions":
        """The versions one step further down."""
        return Versions(
            desired=_child(self.desired, key),
            base=None if self.base is None else _child(self.base, key),
            recorded=_child(self.recorded, key),
            observed=_child(self.observed, key),
            known=self.known,
        )


def _child(tree: Any, key: str | int) -> Any:
    if isinstance(key, str):
        return tree.get(key, MISSING) if isinstance(tree, Mapping) else MISSING
    return tree[key] if isinstance(tree, list) and key < len(tree) else MISSING


def field_changes(versions: Versions) -> tuple[FieldChange, ...]:
    """Every field where observed is not desired, sorted by path, with its causes."""
    return tuple(_walk("", versions, lambda item: not same(item.observed, item.desired)))


def spec_changes(versions: Versions) -> tuple[FieldChange, ...]:
    """Every field where recorded is not desired: what an engine's run is for when its preview cannot tell."""
    return tuple(_walk("", versions, lambda item: not same(item.recorded, item.desired)))


def _walk(path: str, versions: Versions, differs: Callable[[Versions], bool]) -> Iterator[FieldChange]:
    if not differs(versions):
        return
    keys = _keys(versions)
    if keys is None:
        yield FieldChange(
            path=path, recorded=versions.recorded, before=versions.observed, after=versions.desired, causes=causes(path, versions)
        )
        return
    for key in keys:
        yield from _walk(f"{path}/{escape(str(key))}", versions.at(key), differs)


def _keys(versions: Versions) -> list[str] | list[int] | None:
    """What to descend into, or None at a leaf. The sides that decide are desired and whatever it is compared with."""
    sides = [side for side in (versions.observed, versions.recorded) if side is not MISSING]
    desired = versions.desired
    if isinstance(desired, Mapping) and sides and all(isinstance(side, Mapping) for side in sides):
        return sorted(set(desired).union(*sides))
    if isinstance(desired, list) and sides and all(isinstance(side, list) and len(side) == len(desired) for side in sides):
        return list(range(len(desired)))
    return None


def patched(spec: Spec, fields: Iterable[FieldChange]) -> Spec:
    """The specification with fields brought to what is wanted. Parts that do not change are shared."""
    found: Any = spec
    for item in fields:
        found = _with(found, tokens(item.path), item.after)
    result: Spec = found
    return result


def _with(tree: Any, path: list[str], value: Any) -> Any:
    if not path:
        return value
    key, *rest = path
    if isinstance(tree, list):
        return [_with(item, rest, value) if number == int(key) else item for number, item in enumerate(tree)]
    inner = _with(tree.get(key, {}), rest, value)
    return {name: item for name, item in {**tree, key: inner}.items() if item is not MISSING}


def causes(path: str, versions: Versions) -> frozenset[Cause]:
    """Why this field differs. With no base, what was recorded stands for it: every wish that is not recorded counts as the commit's."""
    found: set[Cause] = set()
    base = versions.recorded if versions.base is None else versions.base
    wished = _wish(path, base, versions.desired, Cause.COMMIT), _wish(path, versions.recorded, base, Cause.PENDING)
    found.update(cause for cause in wished if cause is not None)
    if versions.known and not same(versions.observed, versions.recorded):
        found.add(Cause.DRIFT)
    return frozenset(found)


def _wish(path: str, before: Any, after: Any, cause: Cause) -> Cause | None:
    if same(before, after):
        return None
    if isinstance(before, Secret) and isinstance(after, Secret) and before.ref == after.ref:
        return Cause.INPUT
    if path.startswith(RENDERER_PREFIX) and before is not MISSING:
        return Cause.UPGRADE
    return cause
