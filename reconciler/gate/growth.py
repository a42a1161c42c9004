"""Whether a compiled expression in CEL can make values that grow without bound. Pure.

Steps through lists are counted, and what one step makes is not: `[x + x].exists(y, [y + y].exists(z, ...))` doubles a text at each level in a handful of
steps. So what a macro goes over has to be there already (a variable, a part of one, a list of constants, a filtered one): then a value is at most as
often in another one as it stands in the text.

In: the library's own serial form (`cel.expr.CheckedExpr` as protocol buffers), of which only the tree is read.
"""

from collections.abc import Iterator, Sequence
from typing import TypeAlias

MOST_SUMS = 16
"""How often `+` may stand in an expression."""

_CHECKED, _EXPR = 2, 4
_CONST, _IDENT, _SELECT, _CALL, _LIST, _STRUCT, _LOOP = 3, 4, 5, 6, 7, 8, 9
_RANGE, _STEP = 2, 6

Message: TypeAlias = Sequence[tuple[int, bytes]]
"""The fields of a message that hold bytes, by number: texts and further messages."""


def grows(serial: bytes) -> str:
    """Why an expression could make values without bound; empty if it cannot."""
    tree = _one(_fields(_one(_fields(serial), _CHECKED)), _EXPR)
    sums = 0
    for kind, body in _nodes(tree):
        if kind == _LOOP:
            fields = _fields(body)
            if not _is_there(_one(fields, _RANGE)):
                return "a macro may only go over what is there: a variable, a part of one, a list of constants, or what filter() leaves of these"
            sums -= 1 if _appends(_one(fields, _STEP)) else 0
        elif kind == _CALL and _function(body) == "_+_":
            sums += 1
    return f"there are more than {MOST_SUMS} sums in it" if sums > MOST_SUMS else ""


def _fields(data: bytes) -> Message:
    found, place = [], 0
    while place < len(data):
        key, place = _number(data, place)
        if key & 7 == 0:
            _, place = _number(data, place)
        elif key & 7 == 2:
            size, place = _number(data, place)
            found.append((key >> 3, data[place : place + size]))
            place += size
        else:
            place += 8 if key & 7 == 1 else 4
    return found


def _number(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            return value, place


def _one(message: Message, number: int) -> bytes:
    return next((body for of, body in message if of == number), b"")


def _kind(expression: bytes) -> tuple[int, bytes]:
    return next(((of, body) for of, body in _fields(expression) if _CONST <= of <= _LOOP), (0, b""))


def _nodes(expression: bytes) -> Iterator[tuple[int, bytes]]:
    kind, body = _kind(expression)
    if kind:
        yield kind, body
        for child in _children(kind, body):
            yield from _nodes(child)


def _children(kind: int, body: bytes) -> list[bytes]:
    fields = _fields(body)
    match kind:
        case n if n == _SELECT:
            return [_one(fields, 1)]
        case n if n == _CALL:
            return [part for of, part in fields if of in (1, 3)]
        case n if n == _LIST:
            return [part for of, part in fields if of == 1]
        case n if n == _STRUCT:
            return [part for of, entry in fields if of == 2 for number, part in _fields(entry) if number in (3, 4)]
        case n if n == _LOOP:
            return [part for of, part in fields if of in (2, 4, 5, 6, 7)]
    return []


def _function(call: bytes) -> str:
    return _one(_fields(call), 2).decode()


def _is_there(expression: bytes) -> bool:
    kind, body = _kind(expression)
    if kind in (_LIST, _STRUCT):
        return all(of in (_CONST, _LIST, _STRUCT) for of, _ in _nodes(expression))
    if kind == _LOOP:
        return _filters(body) and _is_there(_one(_fields(body), _RANGE))
    return (kind != _CALL or _function(body) != "_+_") and all(map(_is_there, _children(kind, body)))


def _appends(step: bytes) -> bool:
    """Whether a macro's step adds to the list that it makes, as filter() and map() do."""
    return any(kind == _CALL and _function(body) == "_+_" and _is_result(_children(kind, body)[0]) for kind, body in _nodes(step))


def _filters(loop: bytes) -> bool:
    """Whether a macro gives the items that it goes over, as filter() does: its step is a condition with the item alone."""
    fields = _fields(loop)
    kind, body = _kind(_one(fields, _STEP))
    if kind != _CALL or _function(body) != "_?_:_":
        return False
    _, more, same = _children(kind, body)
    added = _children(*_kind(more))
    return (
        len(added) == 2 and _is_result(added[0]) and _is_result(same) and _kind(added[1]) == (_LIST, _one_item(_one(fields, 1), added[1]))
    )


def _one_item(variable: bytes, made: bytes) -> bytes:
    """The body of a list, if it has the variable alone; else nothing."""
    _, body = _kind(made)
    items = _children(_LIST, body)
    alone = len(items) == 1 and _kind(items[0])[0] == _IDENT and _one(_fields(_kind(items[0])[1]), 1) == variable
    return body if alone else b""


def _is_result(expression: bytes) -> bool:
    kind, body = _kind(expression)
    return kind == _IDENT and _one(_fields(body), 1) == b"@result"
