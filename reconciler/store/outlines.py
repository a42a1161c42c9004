"""A stored plan in outline, beside its changes: all of them without their fields, as columns, for whatever asks about every change of a large plan.

Functions on a connection; the caller owns the transaction.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec

from reconciler.store.engine import Connection, insert
from reconciler.types.change import Action, Cause, Change, Risk
from reconciler.types.reads import Read, Reads
from reconciler.types.resource import host_of, parts

PIECE = 64 * 1024
"""Bytes of an outline in one row."""
DIGEST = 32
"""Bytes of the digest of a change."""


class Row(NamedTuple):
    """A change of a plan without its fields. `seq`: its place in the plan; `path`: the file that it comes from."""

    seq: int
    address: str
    digest: str
    group: str
    tenant: str
    action: Action
    causes: frozenset[Cause]
    risk: frozenset[Risk]
    moved_from: str | None
    path: str

    @property
    def places(self) -> tuple[tuple[str, str], ...]:
        """As of a change: address and group of where it is, and was."""
        here = (self.address, self.group)
        return (here,) if self.moved_from is None else (here, (self.moved_from, host_of(self.moved_from)))


class Kind(msgspec.Struct, frozen=True, array_like=True):
    """What many changes share. `reads`: equal for those of manifests of one kind that read the same, whatever their tenant."""

    reads: int
    tenant: str
    driver: str
    action: Action
    causes: frozenset[Cause]
    risk: frozenset[Risk]


class Columns(msgspec.Struct, frozen=True, array_like=True):
    """The changes of a plan in its order: their addresses, and for each the number of its kind, manifest and file. `groups`: manifests in the order of their
    names, and for each the number of its shape, the kinds of its changes; `moved`: where a change moves from, by its place; `digests`: `DIGEST` bytes each.
    `seal`: the SHA-256 of the changes as they were stored; empty if that is not known."""

    kinds: list[Kind]
    shapes: list[tuple[int, ...]]
    groups: list[str]
    shape_of: list[int]
    paths: list[str]
    addresses: list[str]
    kind_of: list[int]
    group_of: list[int]
    path_of: list[int]
    moved: dict[int, str]
    digests: bytes
    seal: bytes

    def row(self, seq: int) -> Row:
        """One change."""
        kind = self.kinds[self.kind_of[seq]]
        return Row(
            seq=seq,
            address=self.addresses[seq],
            digest=self.digests[seq * DIGEST : (seq + 1) * DIGEST].hex(),
            group=self.groups[self.group_of[seq]],
            tenant=kind.tenant,
            action=kind.action,
            causes=kind.causes,
            risk=kind.risk,
            moved_from=self.moved.get(seq),
            path=self.paths[self.path_of[seq]],
        )

    def rows(self) -> Iterator[Row]:
        """All changes, one by one."""
        return map(self.row, range(len(self.addresses)))

    def digest_of(self) -> list[str]:
        """The digest of each change."""
        text, size = self.digests.hex(), 2 * DIGEST
        return [text[at : at + size] for at in range(0, len(text), size)]


def columns_of(changes: Sequence[Change], seal: bytes = b"") -> Columns:
    """The outline of changes."""
    reads, said = Reads(), dict[Read, int]()
    kinds, paths = dict[Kind, int](), dict[str, int]()
    groups = {group: number for number, group in enumerate(sorted({change.group for change in changes}))}
    kind_of, path_of = list[int](), list[int]()
    for change in changes:
        kind = Kind(
            reads=said.setdefault((change.group.partition("/")[0], *reads.change(change)), len(said)),
            tenant=change.rules.tenant,
            driver=parts(change.address)[0],
            action=change.action,
            causes=change.causes,
            risk=change.risk,
        )
        kind_of.append(kinds.setdefault(kind, len(kinds)))
        path_of.append(paths.setdefault(change.path, len(paths)))
    group_of = [groups[change.group] for change in changes]
    whole: list[list[int]] = [[] for _ in groups]
    for group, number in zip(group_of, kind_of, strict=True):
        whole[group].append(number)
    shapes = dict[tuple[int, ...], int]()
    shape_of = [shapes.setdefault(tuple(numbers), len(shapes)) for numbers in whole]
    return Columns(
        kinds=list(kinds),
        shapes=list(shapes),
        groups=list(groups),
        shape_of=shape_of,
        paths=list(paths),
        addresses=[change.address for change in changes],
        kind_of=kind_of,
        group_of=group_of,
        path_of=path_of,
        moved={seq: change.moved_from for seq, change in enumerate(changes) if change.moved_from is not None},
        digests=bytes.fromhex("".join(change.digest for change in changes)),
        seal=seal,
    )


def save_outline(connection: Connection, row: int, changes: Sequence[Change], seal: bytes) -> None:
    """Store the outline of the plan in this row, in pieces."""
    body = msgspec.msgpack.encode(columns_of(changes, seal))
    pieces = ((row, number, body[at : at + PIECE]) for number, at in enumerate(range(0, len(body), PIECE)))
    connection.run_many(insert("outline", ("plan", "piece", "body")), pieces)


def load_outline(connection: Connection, row: int) -> Columns | None:
    """The outline of the plan in this row; None of one that an earlier Octofleet stored. Raises `msgspec.DecodeError` if it is damaged."""
    pieces = [bytes(body) for (body,) in connection.rows("SELECT body FROM outline WHERE plan = ? ORDER BY piece", (row,))]
    return _decode(b"".join(pieces)) if pieces else None


_decode = msgspec.msgpack.Decoder(Columns).decode
