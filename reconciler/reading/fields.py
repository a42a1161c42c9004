"""A resource as it is wanted, as it is recorded and as it was last seen, side by side: one row for each value. Pure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from reconciler.plan.fields import same
from reconciler.reading.paging import Document
from reconciler.types.change import MISSING
from reconciler.types.pointer import escape
from reconciler.types.values import holds_secret

MOST = 300
"""So many rows of one resource are shown; those that differ come first."""


class Row(Document, frozen=True, kw_only=True):
    """A value at a `path` (RFC 6901) on each side that has one. `differs`: the sides do not agree. `hidden`: sides that are not shown, as they may hold in
    the clear what another side has as a secret."""

    path: str
    sides: dict[str, Any]
    differs: bool
    hidden: list[str]


def rows(sides: Mapping[str, Any], shown: Callable[[object], Any]) -> list[Row]:
    """The rows of these sides, those that differ first; a side that is not known is not there, one that has no such thing is `MISSING`."""
    found = [_row(path, values, shown) for path, values in _walk("", sides)]
    return sorted(found, key=lambda row: (not row.differs, row.path))


def _walk(path: str, sides: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    keys = _keys([value for value in sides.values() if value is not MISSING])
    if keys is None:
        yield path, sides
        return
    for key in keys:
        yield from _walk(f"{path}/{escape(str(key))}", {side: _child(value, key) for side, value in sides.items()})


def _keys(values: Sequence[Any]) -> list[str] | list[int] | None:
    """What to descend into, or None at a leaf: what is a list of plain values is one."""
    if values and all(isinstance(value, Mapping) and value for value in values):
        return sorted(set().union(*values))
    lists = bool(values) and all(isinstance(value, list) and len(value) == len(values[0]) for value in values)
    if lists and any(isinstance(item, Mapping) for item in values[0]):
        return list(range(len(values[0])))
    return None


def _child(tree: Any, key: str | int) -> Any:
    if tree is MISSING:
        return MISSING
    return tree.get(key, MISSING) if isinstance(tree, Mapping) else tree[key]


def _row(path: str, sides: Mapping[str, Any], shown: Callable[[object], Any]) -> Row:
    there = {side: value for side, value in sides.items() if value is not MISSING}
    values = list(sides.values())
    secret = any(holds_secret(value) for value in there.values())
    hidden = [side for side, value in there.items() if secret and not holds_secret(value)]
    return Row(
        path=path,
        sides={side: shown(value) for side, value in there.items() if side not in hidden},
        differs=any(not same(values[0], other) for other in values[1:]),
        hidden=hidden,
    )
