"""One plan as far as the caller sees it: what is lost first, changes folded over hosts with the same ones, whose word is missing."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from reconciler.permitting import granted
from reconciler.reading.call import Call
from reconciler.reading.kept import Kept
from reconciler.reading.outline import Row, folds_of
from reconciler.reading.paging import after, cursor_of
from reconciler.reading.plan_seen import PlanDocument, Seen, found
from reconciler.reading.plan_words import ApprovalDocument, spoken
from reconciler.reading.plans import ChangesAsk, asked, matching
from reconciler.report.parts import (
    MOST_CHANGES,
    ChangePart,
    DeferredPart,
    FoldPart,
    GuardPart,
    LossPart,
    MissingPart,
    PhasePart,
    ProblemPart,
    change_part,
    deferred_part,
    guard_part,
    loss_part,
    phase_part,
    problem_part,
    size,
)
from reconciler.report.text import MOST_NAMES, printable
from reconciler.report.view import verdict
from reconciler.store.engine import Connection
from reconciler.store.plans import load_changes
from reconciler.store.records import load_specs
from reconciler.types.change import Action, Cause, Change, Risk
from reconciler.types.problem import Severity

MOST_LOSSES, MOST_LINES, MOST_FOLD_BYTES, MOST_BYTES = 200, 50, 30_000, 80_000
"""Of a page: destructive changes, lines of other lists, and what folds of changes may take as JSON, one and all."""
LOST = frozenset({Risk.DESTRUCTIVE, Risk.REINSTALL, Risk.REBOOT})


class PlanPage(PlanDocument, frozen=True, kw_only=True):
    """One plan. `items`: changes folded over manifests with the same ones, those that were asked for; `matching`: how many changes these are of.
    `destructive`: what is lost, reinstalled or reboots, `losses` of them. `access`: who gains and loses what. `missing`: whose word is missing; `approvals`:
    what was said. `hosts`: how many the commit wants, for who sees all of the Fleet. `tenants` and `drivers`: those of the changes; `runs` that applied it."""

    verdict: str
    complete: bool
    causes: dict[str, int]
    risks: dict[str, int]
    hosts: int | None
    hosts_changed: int
    observed_from: float | None
    guards: list[GuardPart]
    losses: int
    destructive: list[LossPart]
    access: list[str]
    matching: int
    items: list[FoldPart]
    next: str
    put_off: list[DeferredPart]
    phases: list[PhasePart]
    missing: list[MissingPart]
    approvals: list[ApprovalDocument]
    problems: list[ProblemPart]
    tenants: list[str]
    drivers: list[str]
    runs: list[str]
    asked: dict[str, str]


def plan(call: Call, ask: ChangesAsk) -> PlanPage:
    """One plan."""
    with call.installation.store.read() as connection:
        seen = found(connection, call)
        page = _Page(connection=connection, seen=seen, ask=ask)
        items, further = page.folds()
        head = seen.outline.head
    waits, said = spoken(call, seen) if seen.plan.applyable else ([], [])
    counts = Counter(row.action for row in seen.rows)
    refused = any(guard.refuses for guard in head.guards)
    complete = not seen.deferred and not (seen.of_fleet and any(item.severity is Severity.ERROR for item in head.problems))
    with call.installation.store.read() as connection:
        now = connection.now()
        return PlanPage(
            plan=seen.plan.id,
            source=seen.plan.source,
            scope=head.scope if seen.whole else "",
            commit=head.commit,
            base=head.base,
            created_at=head.created_at,
            expires_at=head.expires_at,
            applyable=seen.plan.applyable,
            whole=seen.whole,
            changes={action.value: counts[action] for action in Action if counts[action]},
            deferred=len(seen.deferred),
            verdict=verdict(
                refused=refused,
                changes=bool(seen.rows),
                deferred=bool(seen.deferred),
                complete=complete,
                waits=bool(waits),
                age=now - head.observed_from if head.observed_from is not None else 0.0,
            ),
            complete=complete,
            causes=_counted(Cause, (cause for row in seen.rows for cause in row.causes)),
            risks=_counted(Risk, (risk for row in seen.rows for risk in row.risk)),
            hosts=head.hosts if seen.of_fleet else None,
            hosts_changed=len({row.group for row in seen.rows if row.group.startswith("host/")}),
            observed_from=head.observed_from,
            guards=[guard_part(guard, whole=seen.whole) for guard in head.guards],
            losses=sum(1 for row in seen.rows if row.risk & LOST),
            destructive=page.destructive(),
            access=_access(connection, seen),
            matching=len(page.rows),
            items=items,
            next=further,
            put_off=_put_off(seen),
            phases=[phase_part(phase) for phase in head.phases if not phase.check and seen.tenant(phase.tenant)][:MOST_LINES],
            missing=waits,
            approvals=said,
            problems=[problem_part(item) for item in head.problems[:MOST_LINES]] if seen.of_fleet else [],
            tenants=sorted({row.tenant for row in seen.rows}),
            drivers=sorted({row.driver for row in seen.rows}),
            runs=_runs(connection, seen.plan.row),
            asked=asked(ask),
        )


Folds = tuple[tuple[tuple[str, ...], tuple[Row, ...]], ...]
_folds: Kept[Folds] = Kept(300_000, lambda folds: sum(len(names) * len(rows) for names, rows in folds))
"""By the changes that they are of, which weigh as much."""


@dataclass(frozen=True, kw_only=True)
class _Page:
    """The changes that were asked for, in parts."""

    connection: Connection
    seen: Seen
    ask: ChangesAsk

    @cached_property
    def rows(self) -> Sequence[Row]:
        return matching(self.seen.rows, self.ask)

    def _all(self) -> Folds:
        """Their folds; kept, as the next page is of the same."""
        if self.seen.whole and not asked(self.ask):
            return self.seen.outline.folds
        return _folds.get((self.seen.plan, tuple(row.seq for row in self.rows)), lambda: folds_of(self.rows))

    def folds(self) -> tuple[list[FoldPart], str]:
        """A page of folds, and the cursor of the next one."""
        key = after(self.ask.cursor, str)
        rest = [fold for fold in self._all() if key is None or fold[0][0] > key[0]]
        page = rest[: self.ask.limit]
        loaded = load_changes(self.connection, self.seen.plan.row, [row.seq for _, rows in page for row in rows[:MOST_CHANGES]])
        made: list[FoldPart] = []
        used = 0
        for names, rows in page:
            part = self._fold(names, [loaded[row.seq] for row in rows[:MOST_CHANGES]], len(rows))
            used += size(part)
            if made and used > MOST_BYTES:
                break
            made.append(part)
        return made, cursor_of(page[len(made) - 1][0][0]) if len(made) < len(rest) else ""

    def _fold(self, names: Sequence[str], changes: Sequence[Change], number: int) -> FoldPart:
        made: list[ChangePart] = []
        used = 0
        for change in changes:
            part = change_part(change, sees=self.seen.address)
            used += size(part)
            if made and used > MOST_FOLD_BYTES:
                break
            made.append(part)
        return FoldPart(groups=list(names[:MOST_NAMES]), number=len(names), changes=made, more=number - len(made))

    def destructive(self) -> list[LossPart]:
        """What is lost, whatever was asked for."""
        lost = (row for row in self.seen.rows if row.risk & LOST)
        return [loss_part(row.address, row.action.value, row.risk) for row in islice(lost, MOST_LOSSES)]


def _counted(kinds: type[Cause] | type[Risk], items: Iterator[Cause | Risk]) -> dict[str, int]:
    numbers = Counter(items)
    return {kind.value: numbers[kind] for kind in kinds if numbers[kind]}


def _put_off(seen: Seen) -> list[DeferredPart]:
    """What is put off, by reason; the reason in words is for who sees all of the plan."""
    same: dict[tuple[str, str], list[str]] = {}
    for item in seen.deferred:
        same.setdefault((item.code, item.reason if seen.whole else ""), []).append(item.address)
    most = max(1, MOST_LINES // max(1, min(len(same), MOST_LINES)))
    return [deferred_part(code, reason, addresses, most) for (code, reason), addresses in list(same.items())[:MOST_LINES]]


def _access(connection: Connection, seen: Seen) -> list[str]:
    """Who gains and loses what by changes of RoleMappings."""
    rows = [row for row in seen.rows if Risk.ACCESS in row.risk][:MOST_LINES]
    if not rows:
        return []
    loaded = load_changes(connection, seen.plan.row, [row.seq for row in rows])
    specs = load_specs(connection, {digest for change in loaded.values() for digest in (change.before_digest, change.desired_digest)})
    lines = (
        line
        for row in rows
        for line in granted(row.address, specs.get(loaded[row.seq].before_digest), specs.get(loaded[row.seq].desired_digest))
    )
    return [printable(line) for line in lines][:MOST_LOSSES]


def _runs(connection: Connection, row: int) -> list[str]:
    """The runs of a plan, newest first."""
    rows = connection.rows("SELECT id FROM run WHERE plan = ? ORDER BY started_at DESC, id LIMIT 10", (row,))
    return [found for (found,) in rows]
