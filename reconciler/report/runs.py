"""A run for people and programs."""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from reconciler.report.text import Line, brief
from reconciler.report.view import counted
from reconciler.types.change import Change
from reconciler.types.outcome import Status
from reconciler.types.plan import Plan


def ended_line(change: Change, status: Status, error: str) -> Line:
    """One change that did not end well."""
    return Line(f"  {status}: {change.action} {change.address}: {brief(error)}", "bad" if status is not Status.CANCELLED else "warn")


def run_lines(run: str, plan: Plan, statuses: Mapping[str, Status], *, complete: bool) -> Iterator[Line]:
    """How a run ended, in a line or two."""
    numbers = Counter(statuses.values())
    said = ", ".join(f"{numbers[status]} {status}" for status in Status if numbers[status]) or "nothing to do"
    good = set(numbers) <= {Status.DONE}
    style = "bad" if not good else "good" if complete else "warn"
    yield Line("")
    yield Line(f"Run {run}: {said} of {counted(len(plan.changes), 'change')}", style)
    if not complete:
        yield Line(
            f"  not over: octofleet status --why says what it waits for; octofleet resume {run} goes on, octofleet cancel {run} --reason WHY ends it",
            "warn",
        )
    elif not good:
        yield Line(f"  octofleet logs {run} tells what happened; a new plan shows what is left", "warn")


def run_document(run: str, plan: Plan, statuses: Mapping[str, Status], *, complete: bool) -> dict[str, Any]:
    """The document for `octofleet apply --json`."""
    numbers = Counter(statuses.values())
    return {
        "run": run,
        "plan": plan.id,
        "commit": plan.commit,
        "complete": complete,
        "summary": {status.value: numbers[status] for status in Status if numbers[status]},
        "changes": [{"address": a, "status": statuses[a].value} for a in sorted(statuses)],
    }
