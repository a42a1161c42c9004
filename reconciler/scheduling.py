"""Scheduled operations: which are due, that each time is begun once, and how they stand.

An Operation is in force as it was last applied, and runs the commit that was applied last. A time that it is due is one row
(`store/occurrences.py`), written before its plan is begun; that it was begun is written with its run, in one transaction, and each writes only over what it
has read. So whoever finds it after a crash goes on with it, and of several servers one begins it, once. It waits for approvals and other runs as long as its
duration lasts; then it was missed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from reconciler.beginning import begin
from reconciler.drivers.ansible.project import title
from reconciler.errors import OctofleetError, Refused
from reconciler.events import happened
from reconciler.gate.windows import Time, next_begin, spans_on, times_of
from reconciler.operating import applied, operation_of, plan_operation
from reconciler.report.text import brief
from reconciler.source.repository import Repository
from reconciler.store.engine import Connection, Unavailable
from reconciler.store.occurrences import (
    BEGUN,
    MISSED,
    REPORTED,
    WAITING,
    Occurrence,
    latest,
    note,
    of_operation,
    open_occurrences,
    run_of_plan,
)
from reconciler.store.plans import find_plan
from reconciler.store.records import in_force, locations
from reconciler.types.audit import LOOP
from reconciler.types.duration import utc
from reconciler.types.resource import parts, tenant_of
from reconciler.types.values import Spec
from reconciler.wiring import Installation

KIND = "operation"
STANDS = frozenset({"approval", "held"})
"""Why a plan cannot be begun now that somebody or time may mend: it need not be made again."""
AGAIN_S = 120.0
"""After how long what could not be planned is tried again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """An Operation in force. `scheduled`: whether it has times; `next_at`: when it is due next, or since when it is and has not begun; None for not
    within a year; `last`: the last time that it was."""

    source: str
    tenant: str
    name: str
    playbook: str
    scheduled: bool
    next_at: float | None
    last: Occurrence | None

    @property
    def next(self) -> str:
        """When it is due, for people."""
        if self.next_at is not None:
            return f"due {utc(self.next_at)}"
        return "not due within a year" if self.scheduled else "by hand alone"

    def document(self) -> dict[str, object]:
        """As JSON."""
        last = self.last
        return {
            "source": self.source,
            "tenant": self.tenant,
            "name": self.name,
            "playbook": self.playbook,
            "scheduled": self.scheduled,
            "nextAt": self.next_at,
            "last": None if last is None else {"dueAt": last.due_at, "state": last.state, "run": last.run, "note": last.note},
        }


def standing(connection: Connection) -> list[Standing]:
    """Every Operation in force, by source, tenant and name."""
    now = connection.now()
    found = []
    for source in locations(connection):
        for where, spec in sorted(in_force(connection, source, KIND).items()):
            tenant, name = tenant_of(where), parts(where)[3]
            last = latest(connection, source, f"{tenant}/{name}")
            times = times_of(spec)
            found.append(
                Standing(
                    source=source,
                    tenant=tenant,
                    name=name,
                    playbook=title(spec["ansible"]),
                    scheduled=bool(times),
                    next_at=_open(times, last, now) or next_begin(times, now),
                    last=last,
                )
            )
    return found


def _open(times: Sequence[Time], last: Occurrence | None, now: float) -> float | None:
    """The time that is on and has not begun."""
    on = spans_on(times, now)[-1:]
    return next((begin for begin, _ in on if last is None or last.due_at < begin or (last.due_at == begin and last.state == WAITING)), None)


def begin_due(installation: Installation, location: str, sources: Sequence[str], *, apply: bool) -> list[str]:
    """Begin what is due of the operations of some Fleets, all applied from the repository at this location; gives the runs. Whatever is in
    the way of one is noted with it.
    `apply`: whether plans are applied here; if not, they are made and shown."""
    begun = []
    for source in sources:
        with installation.store.read() as connection:
            rules = in_force(connection, source, KIND)
            now = connection.now()
            waiting = open_occurrences(connection, source)
        on = {_key(where): spans_on(times_of(spec), now) for where, spec in rules.items()}
        _miss(installation, [late for late in waiting if late.due_at not in {begin for begin, _ in on.get(late.operation, ())}], now)
        for where, spec in sorted(rules.items()):
            for found in _due(installation, source, _key(where), on[_key(where)], now):
                run = _go(installation, installation.repository(location, fetch=False), found, spec, now, apply=apply)
                begun += [run] if run else []
    return begun


def _key(where: str) -> str:
    return f"{tenant_of(where)}/{parts(where)[3]}"


def _miss(installation: Installation, late: Sequence[Occurrence], now: float) -> None:
    """What waits and is over, or of an Operation that is no more or has other times now, was missed."""
    for one in late:
        why = one.note or "nothing looked after it in time"
        with installation.store.write(alone=False) as connection:
            missed = note(connection, replace(one, state=MISSED, at=now, note=why))
        if missed:
            happened("operation-missed", source=one.source, operation=one.operation, due=utc(one.due_at), why=why)


def _due(installation: Installation, source: str, key: str, on: Sequence[tuple[float, float]], now: float) -> Iterator[Occurrence]:
    """The newest of the times that are on, if it was not begun."""
    with installation.store.read() as connection:
        known = {found.due_at: found for found in of_operation(connection, source, key, [begin for begin, _ in on])}
    for due, _ in on[-1:]:
        found = known.get(due) or Occurrence(source=source, operation=key, due_at=due, state=WAITING, at=now)
        if found.state == WAITING:
            yield found


def _go(installation: Installation, repository: Repository, due: Occurrence, spec: Spec, now: float, *, apply: bool) -> str:
    """Plan and begin one; gives the run, or nothing. A plan that waits is begun as it is, as long as it can be; what could not be planned is tried again
    after a while."""
    with installation.store.read() as connection:
        run = run_of_plan(connection, due.source, due.plan) if due.plan else ""
        rows = find_plan(connection, due.plan) if due.plan and not run else []
    if run:
        began = replace(due, state=BEGUN, run=run, note="")
        return _told(began) if _noted(installation, began) else ""
    try:
        if rows and (run := _begin(installation, due, rows[0][0])):
            return run
    except Refused as error:
        if error.code in STANDS:
            return _put_off(installation, due, error)
    if due.note and now < due.at + AGAIN_S:
        return ""
    try:
        wanted = replace(operation_of(*_split(due.operation), spec), due_at=due.due_at)
        planned = plan_operation(installation, repository, applied(installation, repository, due.source), wanted, unattended=True)
        if not planned.plan.changes:
            why = planned.plan.deferred[0].reason if planned.plan.deferred else "nothing is to be done"
            raise Refused(f"no host can be done: {why}", code="no-host")
        was, due = due.plan, replace(due, plan=planned.plan.id)
        if not apply:
            _noted(installation, replace(due, state=REPORTED, note=f"octofleet apply {planned.plan.id[:12]} runs it"), was)
            return ""
        if not _noted(installation, due, was):
            return ""
        return _begin(installation, due, planned.row)
    except Unavailable:
        raise
    except OctofleetError as error:
        return _put_off(installation, due, error)


def _split(operation: str) -> tuple[str, str]:
    """Name and tenant."""
    tenant, _, name = operation.partition("/")
    return name, tenant


def _begin(installation: Installation, due: Occurrence, row: int) -> str:
    name, _ = _split(due.operation)

    def once(connection: Connection, run: str) -> None:
        began = replace(due, state=BEGUN, run=run, at=connection.now(), note="")
        if run_of_plan(connection, due.source, due.plan) or not note(connection, began):
            raise Refused("somebody else has begun it meanwhile", hint="octofleet operations tells which run it is", code="held")

    run = begin(installation, row, approved=False, reason=f"{name}, due {utc(due.due_at)}", identity=LOOP, along=once)
    return _told(replace(due, run=run))


def _told(due: Occurrence) -> str:
    happened("operation-begun", source=due.source, operation=due.operation, due=utc(due.due_at), run=due.run)
    return due.run


def _put_off(installation: Installation, due: Occurrence, error: OctofleetError) -> str:
    why = brief(f"{error.message}{f'; {error.hint}' if error.hint else ''}")
    if _noted(installation, replace(due, note=why)) and why != due.note:
        happened("operation-waits", source=due.source, operation=due.operation, due=utc(due.due_at), why=error.message, next=error.hint)
    return ""


def _noted(installation: Installation, found: Occurrence, was: str | None = None) -> bool:
    with installation.store.write(alone=False) as connection:
        return note(connection, replace(found, at=connection.now()), was)


def sources_at(connection: Connection, location: str) -> list[str]:
    """The Fleets that were applied from a repository."""
    return [name for name, known in locations(connection).items() if known == location]
