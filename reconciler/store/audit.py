"""The audit trail in the database: what is recorded, in the transaction that it is about, and whether it is still what was recorded.

The table is append-only by triggers. Whoever owns the database can drop those; the chain (`types.audit`) then tells. Functions on a connection; the
caller owns the transaction.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

import msgspec

from reconciler.errors import Permanent
from reconciler.source.errors import strip_credentials
from reconciler.store.engine import Connection, insert
from reconciler.types.audit import START, WORKER, Entry, Head, Row, Unreadable, Verdict, Wrong, chained, follow, row_of
from reconciler.types.canonical import canonical

AUDIT = tuple(field.name for field in msgspec.structs.fields(Row))
JSON = frozenset({"subjects", "tenants", "details"})
COLUMNS = ", ".join(f'"{name}"' for name in AUDIT)
PAGE = 500


def record(connection: Connection, entry: Entry) -> Row:
    """Append an entry. The last statement of a transaction that locks anything: from here until its end no other can append, as there is one chain.

    Raises ValueError for details that JSON does not give back, such as a number beyond 2**53."""
    connection.row("SELECT value FROM about WHERE key = 'audit' FOR UPDATE")
    row = chained(replace(entry, reason=strip_credentials(entry.reason)), connection.now(), newest(connection))
    fields = row.fields() | {name: canonical(getattr(row, name)) for name in JSON}
    values = tuple(fields[name] for name in AUDIT)
    back = _row(values)
    if isinstance(back, Unreadable):  # it would break the chain for good
        raise ValueError(f"the entry {entry.action} cannot be recorded: {back.why}")
    connection.run(insert("audit", AUDIT), values)
    return row


def run_ended(connection: Connection, run: str) -> None:
    """Append how a run has ended."""
    query = 'SELECT run.state, run.source, plan.id, plan."commit" FROM run JOIN plan ON plan."row" = run.plan WHERE run.id = ?'
    state, source, plan, commit = connection.row(query, (run,)) or ("", "", "", "")
    counts = dict(connection.rows("SELECT status, count(*) FROM item WHERE run = ? GROUP BY status", (run,)))
    details = {"state": state, "changes": counts}
    record(connection, Entry(identity=WORKER, action="run-ended", source=source, plan=plan, commit=commit, run=run, details=details))


def newest(connection: Connection) -> Head:
    """The end of the chain."""
    found = connection.row("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
    return Head(*found) if found else START


def head_at(connection: Connection, seq: int) -> Head:
    """What row `seq` is as a head; `START` if there is none."""
    found = connection.row("SELECT seq, hash FROM audit WHERE seq = ?", (seq,))
    return Head(*found) if found else START


def entries(
    connection: Connection,
    *,
    who: str = "",
    action: str = "",
    run: str = "",
    plan: str = "",
    since: float | None = None,
    before: int | None = None,
    limit: int = 50,
) -> list[Row]:
    """The newest rows first: of an identity, an action, a run, a plan, not older than `since` (seconds since the epoch), with numbers less than `before`.
    Raises `Permanent` if one cannot be read."""
    filters = {"identity = ?": who, "action = ?": action, "run = ?": run, "plan = ?": plan, "at >= ?": since, "seq < ?": before}
    used = {text: value for text, value in filters.items() if value not in ("", None)}
    where = f" WHERE {' AND '.join(used)}" if used else ""
    query = f"SELECT {COLUMNS} FROM audit{where} ORDER BY seq DESC LIMIT ?"  # noqa: S608 - names from above
    found = [_row(values) for values in connection.rows(query, (*used.values(), limit))]
    for row in found:
        if isinstance(row, Unreadable):
            text = f"row {row.seq} of the audit trail cannot be read: {row.why}"
            raise Permanent(text, hint="octofleet audit verify looks at all of it", code="audit")
    return [row for row in found if isinstance(row, Row)]


def every(connection: Connection, after: int = 0) -> Iterator[Row | Unreadable]:
    """All rows with greater numbers, in order."""
    last: Any = after or -(2**63)
    sign = ">" if after else ">="  # also what should not be there: numbers below 1
    while True:
        query = f"SELECT {COLUMNS} FROM audit WHERE seq {sign} ? ORDER BY seq LIMIT ?"  # noqa: S608 - names from above
        found = list(connection.rows(query, (last, PAGE)))
        yield from map(_row, found)
        if len(found) < PAGE:
            return
        last, sign = found[-1][0], ">"


def _row(values: tuple[Any, ...]) -> Row | Unreadable:
    fields: Mapping[str, Any] = dict(zip(AUDIT, values, strict=True))
    try:
        row = row_of(dict(fields) | {name: msgspec.json.decode(fields[name]) for name in JSON})
        strange = [name for name in JSON if canonical(getattr(row, name)) != fields[name]]
    except (ValueError, TypeError, RecursionError) as error:
        return Unreadable(fields["seq"], str(error))
    return Unreadable(row.seq, f"{min(strange)} is not written as it was recorded") if strange else row


def verify(connection: Connection, known: Head | None = None, *, after: Head = START) -> Verdict:
    """Whether the chain is whole. `known`: a head that was written down elsewhere; `after`: one that is relied on, so that only what follows is read."""
    if after != START and head_at(connection, after.seq) != after:
        there = newest(connection)
        text = f"row {after.seq} is not the one that was the head" if there.seq >= after.seq else f"it ends at row {there.seq}"
        text += f", and had row {after.seq} with the hash {after.hash[:12]}: rows were removed or written anew"
        return Verdict(rows=0, head=START, wrong=Wrong(seq=min(there.seq + 1, after.seq), what="head", text=text))
    return follow(every(connection, after.seq), after, known)
