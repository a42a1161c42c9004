"""Plans in the database: immutable once saved. Functions on a connection; the caller owns the transaction."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import msgspec

from reconciler.errors import OctofleetError
from reconciler.store.engine import Connection, insert
from reconciler.store.outlines import Columns, columns_of, load_outline, save_outline
from reconciler.store.sql import BEGINS, beginning
from reconciler.types.canonical import pack, unpack
from reconciler.types.change import MISSING, Action, Cause, Change, FieldChange, Risk
from reconciler.types.origin import Origin
from reconciler.types.plan import Deferred, GuardVerdict, Phase, Plan
from reconciler.types.problem import Problem, Severity
from reconciler.types.resource import Rules

PLAN = ("id", "source", "commit", "created_at", "expires_at", "applyable", "location", "body")
CHANGE = ("plan", "seq", "address", "digest", "body")
VALUES = ("recorded", "before", "after")


def save_plan(connection: Connection, made: Plan, location: str) -> int:
    """Store a plan, the repository that it was made from, and its changes; gives the row. The specifications of its changes are stored apart, by digest."""
    values = (made.id, made.source, made.commit, made.created_at, made.expires_at, made.applyable, location, pack(_head(made)))
    row = int(connection.scalar(f'{insert("plan", PLAN)} RETURNING "row"', values))
    seal = hashlib.sha256()

    def packed(item: Change) -> bytes:
        body = pack(_change(item))
        seal.update(body)
        return body

    rows = ((row, seq, item.address, item.digest, packed(item)) for seq, item in enumerate(made.changes))
    connection.run_many(insert("change", CHANGE), rows)
    save_outline(connection, row, made.changes, seal.digest())
    return row


def same_plan(connection: Connection, made: Plan) -> int | None:
    """The row of a plan that is stored already: of the same commit, saying the same, and to live for half its time yet."""
    until = made.created_at + (made.expires_at - made.created_at) / 2
    query = 'SELECT max("row") FROM plan WHERE id = ? AND "commit" = ? AND expires_at > ?'
    found: int | None = connection.scalar(query, (made.id, made.commit, until))
    return found


def find_plan(connection: Connection, prefix: str) -> list[tuple[int, str]]:
    """Row and id of every plan whose id begins so, newest first."""
    rows = connection.rows(f'SELECT "row", id FROM plan WHERE id {BEGINS} ORDER BY "row" DESC', (beginning(prefix),))  # noqa: S608 - fixed text
    return [(row, found) for row, found in rows]


def newest_plan(connection: Connection, plan_id: str, location: str) -> int | None:
    """The row of the newest plan with this id that was made from a repository."""
    query = 'SELECT "row" FROM plan WHERE id = ? AND location = ? ORDER BY "row" DESC LIMIT 1'
    found: int | None = connection.scalar(query, (plan_id, location))
    return found


def newest_deferred(connection: Connection, source: str, commit: str) -> tuple[Deferred, ...]:
    """What the newest plan of a commit puts off, scoped plans left aside."""
    query = 'SELECT "row", body FROM plan WHERE source = ? AND "commit" = ? AND "row" < ? ORDER BY "row" DESC LIMIT 1'
    before = 2**62
    while found := connection.row(query, (source, commit, before)):
        before, head = found[0], unpack(found[1])
        if not head["scope"]:
            return tuple(Deferred(**item) for item in head["deferred"])
    return ()


class PlanRow(NamedTuple):
    """What is read of a plan to tell it from others."""

    row: int
    id: str
    source: str
    commit: str
    created_at: float
    expires_at: float
    applyable: bool
    location: str


def _plan_row(*columns: Any) -> PlanRow:
    found = PlanRow(*columns)
    return found._replace(applyable=bool(found.applyable))


PLANS = 'SELECT "row", id, source, "commit", created_at, expires_at, applyable, location FROM plan'
PART = 200
"""Plans that are read at once."""


def plan_rows(connection: Connection, prefix: str) -> list[PlanRow]:
    """The plans whose id begins so, newest first."""
    return [_plan_row(*row) for row in connection.rows(f'{PLANS} WHERE id {BEGINS} ORDER BY "row" DESC', (beginning(prefix),))]


def plan_row(connection: Connection, row: int) -> PlanRow:
    """The plan in this row. Raises `OctofleetError` if it is not there."""
    found = connection.row(f'{PLANS} WHERE "row" = ?', (row,))
    if found is None:
        raise _damaged(row)
    return _plan_row(*found)


def plans_before(connection: Connection, row: int | None) -> Iterator[PlanRow]:
    """Plans, newest first, some at a time; with the row of one, those before it."""
    while True:
        before, params = ('WHERE "row" < ? ', (row,)) if row is not None else ("", ())
        found = [_plan_row(*one) for one in connection.rows(f'{PLANS} {before}ORDER BY "row" DESC LIMIT ?', (*params, PART))]
        yield from found
        if len(found) < PART:
            return
        row = found[-1].row


def plan_body(connection: Connection, row: int) -> bytes:
    """A stored plan as it was packed, without its changes."""
    found = connection.row('SELECT body FROM plan WHERE "row" = ?', (row,))
    if found is None:
        raise _damaged(row)
    return bytes(found[0])


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanHead:
    """A stored plan without its changes. `location`: the path or URL of the repository that it was made from."""

    id: str
    source: str
    scope: str
    commit: str
    location: str


def plan_head(connection: Connection, row: int) -> PlanHead:
    """What stands in this row. Raises `OctofleetError` if the plan is not there."""
    found = connection.row('SELECT id, source, "commit", location, body FROM plan WHERE "row" = ?', (row,))
    if found is None:
        raise _damaged(row)
    plan_id, source, commit, location, body = found
    return PlanHead(id=plan_id, source=source, scope=unpack(body)["scope"], commit=commit, location=location)


def load_changes(connection: Connection, row: int, numbers: Sequence[int]) -> dict[int, Change]:
    """Some changes of the plan in this row, by their place in it. Raises `OctofleetError` if one is not the one that was saved: its digest tells."""
    query = "SELECT seq, digest, body FROM change WHERE plan = ? AND seq IN (...)"
    found: dict[int, Change] = {}
    for seq, saved, body in connection.rows_in(query, sorted(set(numbers)), (row,)):
        try:
            found[seq] = _revived(unpack(body))
        except (msgspec.DecodeError, KeyError, ValueError, TypeError) as error:
            raise _damaged(row) from error
        if found[seq].digest != saved:
            raise _damaged(row)
    if len(found) != len(set(numbers)):
        raise _damaged(row)
    return found


def load_plan(connection: Connection, row: int) -> Plan:
    """The plan in this row, with its changes in order. Raises `OctofleetError` if it is not the one that was saved: its id tells."""
    saved = connection.row('SELECT id, body FROM plan WHERE "row" = ?', (row,))
    if saved is None:
        raise _damaged(row)
    bodies = [body for (body,) in connection.rows("SELECT body FROM change WHERE plan = ? ORDER BY seq", (row,))]
    try:
        found = _loaded(unpack(saved[1]), bodies)
        intact = found.id == saved[0]
    except (msgspec.DecodeError, KeyError, ValueError, TypeError) as error:
        raise _damaged(row) from error
    if not intact:
        raise _damaged(row)
    return found


def plan_columns(connection: Connection, row: int) -> Columns:
    """All changes of the plan in this row in outline. Raises `OctofleetError` if it is damaged."""
    try:
        found = load_outline(connection, row)
    except msgspec.DecodeError as error:
        raise _damaged(row) from error
    return found if found is not None else columns_of(load_plan(connection, row).changes)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlined:
    """A stored plan in outline. `head` is the plan without its changes, `digests` those of all of them, in its order."""

    id: str
    location: str
    head: Plan
    columns: Columns
    digests: Sequence[str]


def load_outlined(connection: Connection, row: int) -> Outlined:
    """The plan in this row, in outline. Raises `OctofleetError` if its changes are not those that were saved: its id tells by their digests."""
    found = connection.row('SELECT id, location, body FROM plan WHERE "row" = ?', (row,))
    if found is None:
        raise _damaged(row)
    plan_id, location, body = found
    try:
        head = head_of(body)
    except (msgspec.DecodeError, KeyError, ValueError, TypeError) as error:
        raise _damaged(row) from error
    columns = plan_columns(connection, row)
    made = Outlined(id=plan_id, location=location, head=head, columns=columns, digests=columns.digest_of())
    if head.id_with(made.digests) != plan_id:
        raise _damaged(row)
    return made


class _Bare(msgspec.Struct, rename="camel"):
    """What is read of a stored change besides its fields."""

    address: str
    action: Action
    before: str
    after: str
    desired: str
    rules: dict[str, Any]
    group: str
    origin: tuple[str, int, int]
    causes: frozenset[Cause]
    risk: frozenset[Risk]
    moved_from: str | None
    wave: int
    depends_on: tuple[str, ...]
    blind_spots: tuple[str, ...]
    basis: str


_bare = msgspec.json.Decoder(_Bare).decode


def load_bare(connection: Connection, row: int) -> Plan:
    """The plan in this row, its changes without their fields, which are most of it; each has the digest that it was saved with. Raises `OctofleetError` if
    they are not those that were saved: the plan's id tells by their digests, and the outline by its seal. Who applies a change makes its digest anew."""
    saved = connection.row('SELECT id, body FROM plan WHERE "row" = ?', (row,))
    sealed = plan_columns(connection, row).seal
    if saved is None or not sealed:
        return load_plan(connection, row)
    seal = hashlib.sha256()

    def bare(digest: str, body: bytes | str) -> Change:
        read = body.encode() if isinstance(body, str) else bytes(body)
        seal.update(read)
        return _bare_change(digest, _bare(read))

    query = "SELECT digest, body FROM change WHERE plan = ? ORDER BY seq"
    try:
        changes = tuple(bare(digest, body) for digest, body in connection.rows(query, (row,)))
        found = replace(head_of(saved[1]), changes=changes)
        intact = found.id == saved[0] and seal.digest() == sealed
    except (msgspec.DecodeError, KeyError, ValueError, TypeError) as error:
        raise _damaged(row) from error
    if not intact:
        raise _damaged(row)
    return found


def _bare_change(digest: str, body: _Bare) -> Change:
    path, line, column = body.origin
    made = Change(
        address=body.address,
        action=body.action,
        fields=(),
        before_digest=body.before,
        after_digest=body.after,
        desired_digest=body.desired,
        rules=Rules.revived(body.rules),
        group=body.group,
        origin=Origin(path=path, line=line, column=column),
        causes=body.causes,
        risk=body.risk,
        moved_from=body.moved_from,
        wave=body.wave,
        depends_on=body.depends_on,
        blind_spots=body.blind_spots,
        basis=body.basis,
    )
    made.__dict__["digest"] = digest  # as the cached property would, of a change with its fields
    return made


def head_of(body: bytes) -> Plan:
    """A stored plan without its changes: what else its head says. Its id is not that of the plan."""
    return _loaded(unpack(body), ())


def _damaged(row: int) -> OctofleetError:
    return OctofleetError(f"the stored plan {row} was changed or damaged", hint="make a new one with octofleet plan", code="damaged-plan")


def _loaded(head: Mapping[str, Any], bodies: Sequence[bytes]) -> Plan:
    return Plan(
        source=head["source"],
        scope=head["scope"],
        commit=head["commit"],
        base=head["base"],
        created_at=head["createdAt"],
        expires_at=head["expiresAt"],
        changes=tuple(_revived(unpack(body)) for body in bodies),
        deferred=tuple(Deferred(**item) for item in head["deferred"]),
        problems=tuple(_problem(item) for item in head["problems"]),
        guards=tuple(GuardVerdict(**(item | {"addresses": tuple(item["addresses"])})) for item in head["guards"]),
        hosts=head["hosts"],
        observed_from=head["observedFrom"],
        phases=tuple(Phase(**(item | {"groups": tuple(item["groups"])})) for item in head.get("phases", ())),
    )


def _head(made: Plan) -> dict[str, Any]:
    return {
        "source": made.source,
        "scope": made.scope,
        "commit": made.commit,
        "base": made.base,
        "createdAt": made.created_at,
        "expiresAt": made.expires_at,
        "deferred": [msgspec.to_builtins(item) for item in made.deferred],
        "problems": [msgspec.to_builtins(item) for item in made.problems],
        "guards": [msgspec.to_builtins(item) for item in made.guards],
        "hosts": made.hosts,
        "observedFrom": made.observed_from,
        "phases": [msgspec.to_builtins(item) for item in made.phases],
        "counts": [[*what, number] for what, number in sorted(Counter((i.rules.tenant, i.action.value) for i in made.changes).items())],
    }


def _problem(item: Mapping[str, Any]) -> Problem:
    return Problem(**(dict(item) | {"origin": Origin(**item["origin"]), "severity": Severity(item["severity"])}))


def _change(item: Change) -> dict[str, Any]:
    return {
        "address": item.address,
        "action": item.action.value,
        "fields": _fields(item.fields),
        "before": item.before_digest,
        "after": item.after_digest,
        "desired": item.desired_digest,
        "rules": item.rules.stated(),
        "group": item.group,
        "origin": [item.origin.path, item.origin.line, item.origin.column],
        "causes": sorted(item.causes),
        "risk": sorted(item.risk),
        "movedFrom": item.moved_from,
        "wave": item.wave,
        "dependsOn": list(item.depends_on),
        "blindSpots": list(item.blind_spots),
        "basis": item.basis,
    }


_last: tuple[object, msgspec.Raw] = ((), msgspec.Raw(b"[]"))


def _fields(fields: tuple[FieldChange, ...]) -> msgspec.Raw:
    """The fields, packed. Changes that share theirs follow each other, so the last ones are remembered."""
    global _last  # noqa: PLW0603 - a memory of one, replaced as a whole
    last = _last
    if last[0] is not fields:
        last = _last = fields, msgspec.Raw(pack([_field(found) for found in fields]))
    return last[1]


def _field(item: FieldChange) -> dict[str, Any]:
    values = {name: getattr(item, name) for name in VALUES if getattr(item, name) is not MISSING}
    return {"path": item.path, "causes": sorted(item.causes), "diff": item.diff, "values": values}


def _revived(body: Mapping[str, Any]) -> Change:
    path, line, column = body["origin"]
    return Change(
        address=body["address"],
        action=Action(body["action"]),
        fields=tuple(_revived_field(item) for item in body["fields"]),
        before_digest=body["before"],
        after_digest=body["after"],
        desired_digest=body["desired"],
        rules=Rules.revived(body["rules"]),
        group=body["group"],
        origin=Origin(path=path, line=line, column=column),
        causes=frozenset(map(Cause, body["causes"])),
        risk=frozenset(map(Risk, body["risk"])),
        moved_from=body["movedFrom"],
        wave=body["wave"],
        depends_on=tuple(body["dependsOn"]),
        blind_spots=tuple(body["blindSpots"]),
        basis=body["basis"],
    )


def _revived_field(body: Mapping[str, Any]) -> FieldChange:
    return FieldChange(path=body["path"], causes=frozenset(map(Cause, body["causes"])), diff=body["diff"], **body["values"])
