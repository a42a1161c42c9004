"""A plan or a run as one HTML file: made of the same parts as the server's pages, with its style in it and nothing that needs a server."""

from datetime import UTC, datetime
from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from reconciler.gate.approvals import Missing
from reconciler.report.parts import (
    DeferredPart,
    FoldPart,
    GuardPart,
    ItemPart,
    LinePart,
    LossPart,
    MissingPart,
    Part,
    PhasePart,
    ProblemPart,
    change_part,
    deferred_part,
    diff_of,
    guard_part,
    loss_part,
    phase_part,
    problem_part,
)
from reconciler.report.text import MOST_NAMES, printable
from reconciler.report.view import Fold, View, counted, duration

TEMPLATES = PackageLoader("reconciler.report")
"""The parts that pages and files have in common."""


def stamp(at: float | None) -> str:
    """A time as pages show it, in UTC."""
    return "" if at is None else f"{datetime.fromtimestamp(at, UTC):%Y-%m-%d %H:%M:%S} UTC"


FILTERS = {"stamp": stamp, "counted": counted, "duration": duration, "short": lambda text: str(text)[:12]}


@cache
def _environment() -> Environment:
    made = Environment(loader=TEMPLATES, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= FILTERS
    return made


def html(template: str, **parts: Any) -> bytes:
    """A whole file."""
    return _environment().get_template(template).render(**parts).encode(errors="replace")


class PlanFile(Part, frozen=True, kw_only=True):
    """What the file of a plan shows; the names are those of the server's document."""

    id: str
    source: str
    scope: str
    commit: str
    base: str | None
    created_at: float
    expires_at: float
    verdict: str
    changes: dict[str, int]
    causes: dict[str, int]
    deferred: int
    hosts: int
    hosts_changed: int
    observed_from: float | None
    guards: list[GuardPart]
    losses: int
    destructive: list[LossPart]
    access: list[str]
    folds: list[FoldPart]
    put_off: list[DeferredPart]
    phases: list[PhasePart]
    missing: list[MissingPart]
    approvals: list[str]
    problems: list[ProblemPart]


class RunFile(Part, frozen=True, kw_only=True):
    """What the file of a run shows."""

    run: str
    source: str
    state: str
    plan: str
    commit: str
    started_at: float
    ended_at: float | None
    reason: str
    changes: dict[str, int]
    phases: list[PhasePart]
    items: list[ItemPart]
    lines: list[LinePart]


def plan_html(view: View) -> bytes:
    """A whole plan."""
    plan = view.plan
    doc = PlanFile(
        id=plan.id,
        source=plan.source,
        scope=plan.scope,
        commit=plan.commit,
        base=plan.base,
        created_at=plan.created_at,
        expires_at=plan.expires_at,
        verdict=view.verdict,
        changes=view.by_action,
        causes=view.by_cause,
        deferred=len(plan.deferred),
        hosts=plan.hosts,
        hosts_changed=len(view.hosts),
        observed_from=plan.observed_from,
        guards=[guard_part(guard) for guard in plan.guards],
        losses=len(view.destructive),
        destructive=[loss_part(change.address, change.action.value, change.risk) for change in view.destructive],
        access=[printable(line) for line in view.access],
        folds=[_fold(view, fold) for fold in view.folds],
        put_off=[deferred_part(fold.code, fold.reason, fold.addresses) for fold in view.deferred],
        phases=[phase_part(phase) for phase in plan.phases if not phase.check],
        missing=[_missing(item) for item in view.approvals],
        approvals=[],
        problems=[problem_part(problem) for problem in plan.problems],
    )
    return html("plan-file.html", doc=doc)


def _fold(view: View, fold: Fold) -> FoldPart:
    made = [change_part(change, view.where, diff_of(change, view.diff)) for change in fold.changes]
    return FoldPart(groups=list(fold.groups[:MOST_NAMES]), number=len(fold.groups), changes=made)


def _missing(item: Missing) -> MissingPart:
    return MissingPart(
        rule=item.rule.name,
        message=printable(item.message),
        changes=item.number,
        count=item.rule.count,
        who=list(item.rule.people),
        given=list(item.have),
        rejected=bool(item.rejected),
    )


def run_html(doc: RunFile) -> bytes:
    """A whole run."""
    return html("run-file.html", doc=doc)
