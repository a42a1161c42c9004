"""From cases to a plan: lifetime dependencies, decisions, order, guards. Pure.

In: one `Case` for every resource that may differ (the caller leaves out what is equal by digest), and what is known of the source as a whole.
Out: an immutable `Plan`. The order of the cases never matters.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from reconciler.gate.policy import Policies
from reconciler.plan.decide import Case, decide, voids
from reconciler.plan.guard import GuardRules, judge
from reconciler.plan.order import ordered
from reconciler.types.change import MISSING, REMOVALS, Cause, Change
from reconciler.types.kind import Kind
from reconciler.types.plan import Deferred, GuardVerdict, Plan
from reconciler.types.problem import Problem
from reconciler.types.resource import parts


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """What is true of the whole plan. `counts`: recorded resources of the source by driver and kind; `hosts`: hosts desired in the whole source.
    `causes`: only changes with one of these, or None for all.
    `verdicts`: of guards that are not about changes. `left_alone`: code and reason for addresses that are not to be changed by this plan.
    `reported`: what has only causes of these is not changed either. `policies`: those in force."""

    source: str
    scope: str
    commit: str
    base: str | None
    created_at: float
    expires_at: float
    kinds: Mapping[tuple[str, str], Kind]
    rules: GuardRules
    counts: Mapping[tuple[str, str], int]
    hosts: int
    problems: tuple[Problem, ...] = ()
    observed_from: float | None = None
    deferred: tuple[Deferred, ...] = ()
    causes: frozenset[Cause] | None = None
    verdicts: tuple[GuardVerdict, ...] = ()
    left_alone: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    reported: frozenset[Cause] = frozenset()
    policies: Policies | None = None


def build(frame: Frame, cases: Iterable[Case], decided: Sequence[Change] = ()) -> Plan:
    """The plan. `decided`: changes that need no case (see `alike`), on which nothing depends for its lifetime. Raises `Refused` when resources depend on
    each other in a circle.
    """
    known = {case.address: case for case in sorted(cases, key=lambda case: case.address)}
    decisions: dict[str, Change | Deferred | None] = {address: decide(case) for address, case in known.items()}
    decisions.update((change.address, change) for change in decided)
    _void(known, decisions, frame.kinds)
    _leave_alone(frame, decisions)
    _narrow(frame, decisions)
    _wait_for_deferred(known, decisions)
    changes = ordered([item for item in decisions.values() if isinstance(item, Change)])
    recorded = {address: case.recorded for address, case in known.items() if case.recorded is not None}
    return Plan(
        source=frame.source,
        scope=frame.scope,
        commit=frame.commit,
        base=frame.base,
        created_at=frame.created_at,
        expires_at=frame.expires_at,
        changes=changes,
        deferred=tuple(sorted([*frame.deferred, *(item for item in decisions.values() if isinstance(item, Deferred))])),
        problems=tuple(sorted(frame.problems)),
        guards=frame.verdicts
        + judge(frame.rules, changes, recorded, frame.counts, frame.hosts, frame.kinds)
        + (frame.policies.judge(changes, lambda change: _sides(known.get(change.address))) if frame.policies else ()),
        hosts=frame.hosts,
        observed_from=frame.observed_from,
    )


def _sides(case: Case | None) -> tuple[object, object]:
    """The specification as recorded and as desired; of what needed no case, its fields tell."""
    recorded = case.recorded_spec if case is not None else None
    desired = case.desired if case is not None else None
    return MISSING if recorded is None else recorded, MISSING if desired is None else desired.spec


def _leave_alone(frame: Frame, decisions: dict[str, Change | Deferred | None]) -> None:
    """Put off what is for people, or for later."""
    names = " and ".join(sorted(frame.reported))
    only = ("report-only", f"it differs because of {names}, which the server only reports: octofleet apply puts it right")
    for address in frame.left_alone if not frame.reported else list(decisions):
        item = decisions.get(address)
        found = frame.left_alone.get(address) or (only if isinstance(item, Change) and item.causes <= frame.reported else None)
        if isinstance(item, Change) and found is not None:
            decisions[address] = Deferred(address=address, code=found[0], reason=found[1], group=item.group)


def _narrow(frame: Frame, decisions: dict[str, Change | Deferred | None]) -> None:
    """Keep what has only the causes asked for; what has others as well is put off, as it cannot be done by halves."""
    if frame.causes is None:
        return
    for address, item in decisions.items():
        if not isinstance(item, Change) or item.causes <= frame.causes:
            continue
        wanted, others = (", ".join(sorted(found)) for found in (frame.causes, item.causes - frame.causes))
        reason = f"it differs because of {others} as well as {wanted}; octofleet apply brings it to a commit"
        mixed = Deferred(address=address, code="other-causes", reason=reason, group=item.group)
        decisions[address] = None if item.causes.isdisjoint(frame.causes) else mixed


def _void(cases: dict[str, Case], decisions: dict[str, Change | Deferred | None], kinds: Mapping[tuple[str, str], Kind]) -> None:
    """Decide again, without their record, for lifetime dependents of what is replaced or reinstalled; until nothing more is void."""
    dependents: dict[str, list[str]] = {}
    for address, case in cases.items():
        for item in case.desired.rules.depends_on if case.desired else ():
            if item.lifetime:
                dependents.setdefault(item.address, []).append(address)
    queue = list(cases)
    while queue:
        target = queue.pop()
        decision = decisions[target]
        driver, kind, *_ = parts(target)
        if not isinstance(decision, Change) or not (cases[target].void or voids(decision, kinds[driver, kind])):
            continue
        for address in dependents.get(target, ()):
            if not cases[address].void:
                cases[address] = replace(cases[address], void=decision.causes, anew=kinds[driver, kind].begins or cases[target].anew)
                decisions[address] = decide(cases[address])
                queue.append(address)


def _wait_for_deferred(cases: Mapping[str, Case], decisions: dict[str, Change | Deferred | None]) -> None:
    """A change whose dependency is put off is put off too; so is a removal of what something that is put off still stands on."""
    queue = sorted(address for address, item in decisions.items() if isinstance(item, Deferred))
    if not queue:
        return
    dependents: dict[str, list[Change]] = {}
    for item in decisions.values():
        if isinstance(item, Change) and item.action not in REMOVALS:
            for needed in item.rules.depends_on:
                dependents.setdefault(needed.address, []).append(item)
    while queue:
        address = queue.pop(0)
        waiting = [(change, f"it needs {address}, which is put off") for change in dependents.get(address, ())]
        record = cases[address].recorded if address in cases else None
        for needed in record.rules.depends_on if record else ():
            below = decisions.get(needed.address)
            if isinstance(below, Change) and below.action in REMOVALS:
                waiting.append((below, f"{address} stands on it, and is put off"))
        for change, reason in waiting:
            if isinstance(decisions[change.address], Change):
                decisions[change.address] = Deferred(address=change.address, code="dependency-deferred", reason=reason, group=change.group)
                queue.append(change.address)
