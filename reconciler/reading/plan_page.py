"""One plan as far as the caller sees it: what is lost first, changes folded over hosts with the same ones, whose word is missing."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar

from reconciler.permitting import granted
from reconciler.reading.call import Call
from reconciler.reading.outline import Choice, Fold
from reconciler.reading.paging import after, cursor_of
from reconciler.reading.plan_seen import PlanDocument, Seen, found
from reconciler.reading.plan_words import ApprovalDocument, spoken
from reconciler.reading.plans import ChangesAsk, asked, chosen
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
from reconciler.store.outlines import Row
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
    tenants, counted = {kind.tenant for kind, _ in seen.counted}, seen.counted
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
            changes=_counted(Action, ((kind.action, number) for kind, number in counted)),
            deferred=len(seen.deferred),
            verdict=verdict(
                refused=refused,
                changes=bool(counted),
                deferred=bool(seen.deferred),
                complete=complete,
                waits=bool(waits),
                age=now - head.observed_from if head.observed_from is not None else 0.0,
            ),
            complete=complete,
            causes=_counted(Cause, ((cause, number) for kind, number in counted for cause in kind.causes)),
            risks=_counted(Risk, ((risk, number) for kind, number in counted for risk in kind.risk)),
            hosts=head.hosts if seen.of_fleet else None,
            hosts_changed=sum(len(fold.groups) for fold in seen.folds if seen.outline.columns.groups[fold.groups[0]].startswith("host/")),
            observed_from=head.observed_from,
            guards=[guard_part(guard, whole=seen.whole) for guard in head.guards],
            losses=sum(number for kind, number in counted if kind.risk & LOST),
            destructive=page.destructive(),
            access=_access(connection, seen),
            matching=page.matching(),
            items=items,
            next=further,
            put_off=_put_off(seen),
            phases=[phase_part(phase) for phase in head.phases if not phase.check and seen.tenant(phase.tenant)][:MOST_LINES],
            missing=waits,
            approvals=said,
            problems=[problem_part(item) for item in head.problems[:MOST_LINES]] if seen.of_fleet else [],
            tenants=sorted(tenants),
            drivers=sorted({kind.driver for kind, _ in counted}),
            runs=_runs(connection, seen.plan.row),
            asked=asked(ask),
        )


@dataclass(frozen=True, kw_only=True)
class _Page:
    """The changes that were asked for, in parts."""

    connection: Connection
    seen: Seen
    ask: ChangesAsk

    @cached_property
    def choice(self) -> Choice:
        return chosen(self.seen, self.ask)

    @cached_property
    def all(self) -> list[Fold]:
        """Their folds."""
        return self.seen.outline.folds(self.choice) if asked(self.ask) else self.seen.folds

    def matching(self) -> int:
        """How many changes these are."""
        return sum(len(fold.groups) * len(fold.kinds) for fold in self.all)

    def folds(self) -> tuple[list[FoldPart], str]:
        """A page of folds, and the cursor of the next one."""
        key, outline = after(self.ask.cursor, str), self.seen.outline
        names = outline.columns.groups
        rest = [fold for fold in self.all if key is None or names[fold.groups[0]] > key[0]]
        page = rest[: self.ask.limit]
        numbers = outline.changes_of({fold.groups[0] for fold in page}, self.choice)
        loaded = load_changes(self.connection, self.seen.plan.row, [seq for found in numbers.values() for seq in found[:MOST_CHANGES]])
        made: list[FoldPart] = []
        used = 0
        for groups, _ in page:
            mine = numbers[groups[0]]
            part = self._fold(
                [names[group] for group in groups[:MOST_NAMES]], len(groups), [loaded[seq] for seq in mine[:MOST_CHANGES]], len(mine)
            )
            used += size(part)
            if made and used > MOST_BYTES:
                break
            made.append(part)
        return made, cursor_of(names[page[len(made) - 1].groups[0]]) if len(made) < len(rest) else ""

    def _fold(self, names: list[str], number: int, changes: Sequence[Change], more: int) -> FoldPart:
        made: list[ChangePart] = []
        used = 0
        for change in changes:
            part = change_part(change, sees=self.seen.address)
            used += size(part)
            if made and used > MOST_FOLD_BYTES:
                break
            made.append(part)
        return FoldPart(groups=names, number=number, changes=made, more=more - len(made))

    def destructive(self) -> list[LossPart]:
        """What is lost, whatever was asked for."""
        return [loss_part(row.address, row.action.value, row.risk) for row in _at_risk(self.seen, LOST, MOST_LOSSES)]


Names = TypeVar("Names", Action, Cause, Risk)


def _counted(kinds: type[Names], items: Iterable[tuple[Names, int]]) -> dict[str, int]:
    numbers = Counter[Names]()
    for item, number in items:
        numbers[item] += number
    return {kind.value: numbers[kind] for kind in kinds if numbers[kind]}


def _at_risk(seen: Seen, risks: frozenset[Risk], most: int) -> list[Row]:
    """The first changes that have one of these risks."""
    columns = seen.outline.columns
    wanted = seen.choice.narrowed((not risks.isdisjoint(kind.risk) for kind in columns.kinds), None)
    return [columns.row(seq) for seq in seen.outline.numbers(wanted)[:most]] if any(wanted.kinds) else []


def _put_off(seen: Seen) -> list[DeferredPart]:
    """What is put off, by reason; the reason in words is for who sees all of the plan."""
    same: dict[tuple[str, str], list[str]] = {}
    for item in seen.deferred:
        same.setdefault((item.code, item.reason if seen.whole else ""), []).append(item.address)
    most = max(1, MOST_LINES // max(1, min(len(same), MOST_LINES)))
    return [deferred_part(code, reason, addresses, most) for (code, reason), addresses in list(same.items())[:MOST_LINES]]


def _access(connection: Connection, seen: Seen) -> list[str]:
    """Who gains and loses what by changes of RoleMappings."""
    rows = _at_risk(seen, frozenset({Risk.ACCESS}), MOST_LINES)
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
