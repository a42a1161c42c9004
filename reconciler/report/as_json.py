"""A plan as one JSON document: `id`, `commit`, `base`, `applyable`, `complete`, `summary`, `changes`, `deferred`, `guards`, `problems`.

docs/reference/json.md describes it. Secrets show as what they refer to.
"""

from typing import Any

from reconciler.gate.approvals import Missing
from reconciler.report.view import View, hides
from reconciler.types.change import MISSING, Change, FieldChange
from reconciler.types.plan import Phase
from reconciler.types.problem import Problem
from reconciler.types.values import redacted


def plan_document(view: View) -> dict[str, Any]:
    """The document for `octofleet plan --json`."""
    plan = view.plan
    return {
        "id": plan.id,
        "source": plan.source,
        "scope": plan.scope,
        "commit": plan.commit,
        "base": plan.base,
        "createdAt": plan.created_at,
        "expiresAt": plan.expires_at,
        "applyable": plan.applyable,
        "complete": plan.complete,
        "verdict": view.verdict,
        "summary": {"hosts": plan.hosts, "hostsChanged": len(view.hosts), "byAction": view.by_action, "byCause": view.by_cause},
        "access": list(view.access),
        "changes": [change_document(change) for change in plan.changes],
        "deferred": [{"address": item.address, "code": item.code, "reason": item.reason} for item in plan.deferred],
        "guards": [
            {"guard": item.guard, "refuses": item.refuses, "message": item.message, "hint": item.hint, "addresses": list(item.addresses)}
            for item in plan.guards
        ],
        "phases": [_phase(item) for item in plan.phases],
        "approvals": [_approval(item) for item in view.approvals],
        "problems": [problem_document(item) for item in plan.problems],
    }


def _approval(item: Missing) -> dict[str, Any]:
    return {
        "rule": item.rule.name,
        "message": item.message,
        "changes": item.number,
        "people": list(item.rule.people),
        "count": item.rule.count,
        "given": list(item.have),
        "rejected": bool(item.rejected),
    }


def _phase(phase: Phase) -> dict[str, Any]:
    return {
        "tenant": phase.tenant,
        "track": phase.track,
        "number": phase.number,
        "title": phase.title,
        "hosts": list(phase.groups),
        "soakSeconds": phase.soak_s,
        "promote": phase.promote,
        "check": phase.check,
        "maxFailures": phase.max_failures,
        "onStop": phase.on_stop,
        "waitSeconds": phase.wait_s,
    }


def problem_document(problem: Problem) -> dict[str, Any]:
    """One problem."""
    return {
        "code": problem.code,
        "severity": problem.severity.value,
        "message": problem.message,
        "hint": problem.hint,
        "path": problem.origin.path,
        "line": problem.origin.line,
        "column": problem.origin.column,
    }


def change_document(change: Change) -> dict[str, Any]:
    """One change."""
    return {
        "address": change.address,
        "digest": change.digest,
        "action": change.action.value,
        "group": change.group,
        "movedFrom": change.moved_from,
        "causes": sorted(change.causes),
        "risk": sorted(change.risk),
        "wave": change.wave,
        "dependsOn": list(change.depends_on),
        "fields": [_field(item) for item in change.fields],
        "blindSpots": list(change.blind_spots),
        "origin": {"path": change.origin.path, "line": change.origin.line, "column": change.origin.column},
    }


def _field(item: FieldChange) -> dict[str, Any]:
    values = {"recorded": item.recorded, "before": item.before, "after": item.after}
    hidden = {name for name in ("recorded", "before") if hides(values[name], item.after)}
    said = {name: redacted(value) for name, value in values.items() if value is not MISSING and name not in hidden}
    return {"path": item.path, "causes": sorted(item.causes)} | said | ({"diff": item.diff} if item.diff else {})
