"""A parsed file as bytes for the index, without its path: the same content at another path is the same bytes.

In: `Parsed`. Out: one byte that says what is in it, then MessagePack, read back with types: anything else than what was written is `Damaged`.
"""

import msgspec

from reconciler.desired.manifest import Manifest, Parsed
from reconciler.index.file import Damaged
from reconciler.types.origin import Origin
from reconciler.types.problem import Problem, Severity
from reconciler.types.resource import OnDelete

ONLY_HOSTS = 1
"""The first byte of a file that holds Hosts and no problem: all that is needed of it before its hosts are resolved."""
MIXED = 2


class _Manifest(msgspec.Struct, array_like=True, frozen=True):
    kind: str
    tenant: str
    name: str
    spec: dict[str, object]
    index: int
    line: int
    labels: dict[str, str]
    on_delete: str
    moved_from: tuple[str, str] | None
    secrets: bool


class _Problem(msgspec.Struct, array_like=True, frozen=True):
    line: int
    column: int
    code: str
    message: str
    hint: str
    severity: str


class _Parsed(msgspec.Struct, array_like=True, frozen=True):
    manifests: list[_Manifest]
    problems: list[_Problem]
    unknown: list[tuple[str, str, str]]
    broken: bool
    mentioned: list[str]


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Parsed).decode


def pack_parsed(parsed: Parsed) -> bytes:
    """The bytes that `unpack_parsed` takes."""
    only_hosts = not (parsed.problems or parsed.unknown or parsed.broken) and all(m.kind == "Host" for m in parsed.manifests)
    body = [
        [
            [m.kind, m.tenant, m.name, m.spec, m.index, m.line, m.labels, m.on_delete.value, m.moved_from, m.secrets]
            for m in parsed.manifests
        ],
        [[p.origin.line, p.origin.column, p.code, p.message, p.hint, p.severity.value] for p in parsed.problems],
        parsed.unknown,
        parsed.broken,
        sorted(parsed.mentioned),
    ]
    return bytes((ONLY_HOSTS if only_hosts else MIXED,)) + _encode(body)


def unpack_parsed(path: str, data: bytes) -> Parsed:
    """The file as it was parsed, at this path. Raises `Damaged`."""
    try:
        found = _decode(memoryview(data)[1:])
        return Parsed(
            manifests=tuple(_manifest(path, item) for item in found.manifests),
            problems=tuple(_problem(path, item) for item in found.problems),
            unknown=tuple(found.unknown),
            broken=found.broken,
            mentioned=frozenset(found.mentioned),
        )
    except (msgspec.DecodeError, ValueError) as error:
        raise Damaged(str(error)) from error


def _manifest(path: str, item: _Manifest) -> Manifest:
    return Manifest(
        kind=item.kind,
        tenant=item.tenant,
        name=item.name,
        spec=item.spec,
        own=(("/spec", item.spec),),
        path=path,
        index=item.index,
        line=item.line,
        labels=item.labels,
        on_delete=OnDelete(item.on_delete),
        moved_from=item.moved_from,
        secrets=item.secrets,
    )


def _problem(path: str, item: _Problem) -> Problem:
    origin = Origin(path=path, line=item.line, column=item.column)
    return Problem(origin=origin, code=item.code, message=item.message, hint=item.hint, severity=Severity(item.severity))
