"""The audit trail as a chain: each row holds the hash of the one before. Pure: rows in, the first wrong one out.

A row's hash is the SHA-256 of the canonical form of everything else in it. Who changes a row has to change every later one too, and then the last
hash is another one than whoever wrote it down elsewhere has.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any

import msgspec

from reconciler.types.canonical import canonical, digest

LOOP, WORKER, ROLLBACK, SIGN_IN = "system:loop", "system:worker", "system:rollback", "system:sign-in"
"""Who acts where no person does: `octofleet serve` by itself, whoever works on a run, what takes one back when its rollout has stopped,
and what refuses those who sign in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What somebody said, or what followed. `identity`: who; `action`: one word for it; `subjects` and `tenants`: what it is about; `plan`: a plan's id.
    `details` are JSON values, and nothing in an entry is a secret."""

    identity: str
    action: str
    subjects: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    source: str = ""
    plan: str = ""
    commit: str = ""
    run: str = ""
    reason: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)


class Row(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An entry in the chain. `seq` counts from 1; `at` is in seconds since the epoch, by the database's clock."""

    seq: int
    at: float
    identity: str
    action: str
    subjects: list[str]
    tenants: list[str]
    source: str
    plan: str
    commit: str
    run: str
    reason: str
    details: dict[str, Any]
    previous: str
    hash: str

    def fields(self) -> dict[str, Any]:
        """All of it by name."""
        return msgspec.structs.asdict(self)

    def line(self) -> bytes:
        """The row as one line of canonical JSON."""
        return canonical(self.fields())


class Head(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The end of a chain: number and hash of its last row. `seq` is 0 where only the hash is known, or there is no row yet."""

    seq: Annotated[int, msgspec.Meta(ge=0, le=2**53 - 1)]
    hash: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]

    def __str__(self) -> str:
        return f"{self.seq} {self.hash}"


START = Head(0, "0" * 64)
"""What the first row follows on."""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """Stands for a row that is none."""

    seq: int
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Wrong:
    """The first row that is not as it was recorded. `what`: `unreadable`, `missing`, `order`, `edited`, `not-after`, or `head` (the end is not the one that was
    known); `text` says it to a person."""

    seq: int
    what: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What came of following a chain: how many rows are right, the last of them, and what is wrong then."""

    rows: int
    head: Head
    wrong: Wrong | None = None


def chained(entry: Entry, at: float, last: Head) -> Row:
    """The row of an entry that follows on another one."""
    fields: dict[str, Any] = {
        "seq": last.seq + 1,
        "at": at,
        "identity": _storable(entry.identity),
        "action": entry.action,
        "subjects": [_storable(subject) for subject in entry.subjects],
        "tenants": [_storable(tenant) for tenant in entry.tenants],
        "source": _storable(entry.source),
        "plan": entry.plan,
        "commit": entry.commit,
        "run": entry.run,
        "reason": _storable(entry.reason),
        "details": dict(entry.details),
        "previous": last.hash,
    }
    return Row(**fields, hash=digest(fields))


def _storable(text: str) -> str:
    """Without what a database or JSON cannot hold: NUL, and halves of characters."""
    return text.replace("\0", "\ufffd").encode("utf-8", "replace").decode()


def row_of(fields: object) -> Row:
    """A row of its fields by name. Raises ValueError if it is none: a name is missing or unknown, or a value has another type."""
    return msgspec.convert(fields, Row)


def line_of(line: bytes, number: int) -> Row | Unreadable:
    """A row from a line of an export; `number`: which line it is."""
    try:
        row = row_of(msgspec.json.decode(line))
        return row if row.line() == line else Unreadable(number, "its line is not written as it was exported")
    except (ValueError, TypeError, RecursionError) as error:
        return Unreadable(number, str(error))


def follow(rows: Iterable[Row | Unreadable], after: Head = START, known: Head | None = None) -> Verdict:
    """Follow the rows after a head that is relied on. `known`: a head from outside, whose row has to be among them."""
    last, number = after, 0
    met = known is None or _is(known, after)
    for row in rows:
        if isinstance(row, Unreadable):
            unreadable = Wrong(seq=row.seq, what="unreadable", text=f"row {row.seq} cannot be read: {row.why}")
            return Verdict(rows=number, head=last, wrong=unreadable)
        wrong = _wrong(row, last, known)
        if wrong is not None:
            return Verdict(rows=number, head=last, wrong=wrong)
        last, number = Head(row.seq, row.hash), number + 1
        met = met or (known is not None and _is(known, last))
    if known is None or met:
        return Verdict(rows=number, head=last)
    if known.seq:
        text = f"the chain ends at row {last.seq}, and had {known.seq} rows when its head was written down: the newest were removed"
    else:
        text = "no row has the hash that was written down: the newest rows were removed, or the chain was written anew"
    return Verdict(rows=number, head=last, wrong=Wrong(seq=last.seq + 1, what="head", text=text))


def _is(known: Head, found: Head) -> bool:
    return known.hash == found.hash and known.seq in (0, found.seq)


def _wrong(row: Row, last: Head, known: Head | None) -> Wrong | None:
    due = last.seq + 1
    if row.seq > due:
        return Wrong(seq=due, what="missing", text=f"row {due} is missing: row {row.seq} comes after row {last.seq}")
    if row.seq < due:
        return Wrong(seq=row.seq, what="order", text=f"row {row.seq} stands after row {last.seq}, where row {due} should be")
    fields = row.fields()
    del fields["hash"]
    if digest(fields) != row.hash:
        text = f"row {row.seq} does not have the hash of what is in it: it was edited, or moved here from another place"
        return Wrong(seq=row.seq, what="edited", text=text)
    if row.previous != last.hash:
        text = f"row {row.seq} was not written after this row {last.seq}: one of the two was put here, moved or written anew"
        return Wrong(seq=row.seq, what="not-after", text=text)
    if known is not None and known.seq == row.seq and known.hash != row.hash:
        text = f"row {row.seq} is not the one that was the head: it, or one before it, was written anew"
        return Wrong(seq=row.seq, what="head", text=text)
    return None
