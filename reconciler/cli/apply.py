"""`octofleet apply`."""

import json
import sys
from collections.abc import Callable

import click

from reconciler import applying, gating
from reconciler.applying import Applied, apply_plan, living, unfinished
from reconciler.beginning import check_begin, find, note_applied
from reconciler.cli.options import common, interruptible, problems_code, progress, reason_option, repository_options, show
from reconciler.cli.permission import ask, breakable, may
from reconciler.cli.plan import planning_options
from reconciler.cli.runs import run_named
from reconciler.cli.showing import print_plan
from reconciler.errors import Refused
from reconciler.identity.access import Action, Resource
from reconciler.permitting import to_apply, to_apply_stored, to_pause, to_steer
from reconciler.planning import Planned, make_plan
from reconciler.report.runs import ended_line, run_document, run_lines
from reconciler.stages import stage
from reconciler.store.plans import plan_head
from reconciler.types.change import Change
from reconciler.types.outcome import Status
from reconciler.types.request import Request
from reconciler.viewing import viewing
from reconciler.wiring import Installation, place


@click.command()
@click.argument("plan_id", required=False)
@repository_options
@planning_options
@click.option("--approve", is_flag=True, help="Apply without asking, destructive changes too: you have seen the plan.")
@click.option("--resume", "resume_run", metavar="RUN", help="Take an interrupted run to its end, as octofleet resume does.")
@reason_option("Why; recorded with the run.", required=False)
@breakable
@common
def apply(
    installation: Installation,
    as_json: bool,
    plan_id: str | None,
    repo: str,
    rev: str | None,
    scope: str,
    refresh: bool,
    accept_history: bool,
    approve: bool,
    resume_run: str | None,
    reason: str,
    break_glass: str,
) -> int:
    """Apply a stored plan. Without an id: finish what was interrupted, plan, store, ask, apply."""
    if resume_run is not None and plan_id is not None:
        raise click.UsageError("a plan and --resume: give one of them")
    if resume_run is not None:
        return _finished(installation, _resumed(installation, resume_run, break_glass, as_json=as_json), as_json=as_json)
    if plan_id is not None:
        row = find(installation, plan_id)
        with installation.store.read() as connection:
            source = plan_head(connection, row).source
        ask(installation, source, to_apply_stored(installation, row, approve=approve), break_glass)
        return _finished(
            installation,
            _applied(installation, row, approved=approve, glass=break_glass, reason=reason, as_json=as_json),
            as_json=as_json,
        )
    repository = installation.repository(repo)
    for run in unfinished(installation, place(repository)):
        with installation.store.read() as connection:
            if run.state == "paused" or applying.of_operation(connection, run):
                continue
        how = "is under way" if living(installation) else "was interrupted"
        click.echo(f"run {run.id} {how}; finishing it first", err=True)
        if not _resumed(installation, run.id, break_glass, as_json=as_json).complete:
            return 3
    request = Request(rev=rev, scope=scope, refresh=refresh, accept_history=accept_history)
    with stage("plan"), progress(quiet=as_json) as bar:
        planned = make_plan(installation, repository, request, bar.told)
    with viewing(installation, repository, planned) as view:
        if as_json and not planned.plan.applyable:
            print_plan(view, as_json=True, out=None)
        elif not as_json:
            print_plan(view, as_json=False, out=None)
    return apply_planned(installation, planned, approve=approve, reason=reason, break_glass=break_glass, as_json=as_json)


@click.command()
@click.argument("run")
@breakable
@common
def resume(installation: Installation, as_json: bool, run: str, break_glass: str) -> int:
    """Take a paused or interrupted run to its end; or end a pause, by its id or its scope. RUN is one of these."""
    if found := gating.pauses_named(installation, run):
        ask(installation, "", to_pause(Action.RESUME, found[0].scope), break_glass)
        ended = gating.unpause(installation, run)
        ids = [pause.id for pause in ended]
        click.echo(json.dumps({"resumed": ids}) if as_json else f"{', '.join(pause.scope for pause in ended)} goes on")
        return 0
    return _finished(installation, _resumed(installation, run, break_glass, as_json=as_json), as_json=as_json)


def apply_planned(installation: Installation, planned: Planned, *, approve: bool, reason: str, break_glass: str, as_json: bool) -> int:
    """Ask if need be, and apply a plan that has just been shown."""
    plan = planned.plan
    rest = problems_code(plan.problems) or (3 if plan.deferred else 0)
    if any(verdict.refuses for verdict in plan.guards):
        return problems_code(plan.problems) or 3
    if not plan.changes:
        if may(installation, Action.APPLY, Resource(source=plan.source)):
            note_applied(installation, planned.row, plan)
        return rest
    if not approve and (as_json or not sys.stdin.isatty()):
        raise Refused("the plan waits for approval", hint=f"octofleet apply {plan.id[:12]} --approve", code="approval")
    ask(installation, plan.source, to_apply(plan, approve=True), break_glass)
    if not break_glass.strip():
        check_begin(installation, planned.row, plan, approving=True)
    if not approve:
        click.confirm("\nApply this plan?", abort=True)
    done = _applied(installation, planned.row, approved=True, glass=break_glass, reason=reason, as_json=as_json)
    code = _finished(installation, done, as_json=as_json)
    return 1 if 1 in (code, rest) else max(code, rest)


def _applied(installation: Installation, row: int, *, approved: bool, glass: str, reason: str, as_json: bool) -> Applied:
    with interruptible() as cancelled:
        return apply_plan(installation, row, approved=approved, glass=glass, reason=reason, told=_teller(as_json), cancelled=cancelled)


def _resumed(installation: Installation, run: str, break_glass: str, *, as_json: bool) -> Applied:
    found = run_named(installation, run)
    ask(installation, found.source, to_steer(installation, Action.RESUME, found.plan), break_glass)
    with interruptible() as cancelled:
        return applying.resume(installation, found.id, told=_teller(as_json), cancelled=cancelled)


def _teller(quiet: bool) -> Callable[[Change, Status, str], None]:
    """Tells what does not end well, as it ends."""

    def ended(change: Change, status: Status, error: str) -> None:
        if not quiet and status is not Status.DONE:
            show([ended_line(change, status, error)])

    return ended


def _finished(installation: Installation, done: Applied, *, as_json: bool) -> int:
    if as_json:
        click.echo(json.dumps(run_document(done.run, done.plan, done.statuses, complete=done.complete), indent=2))
    else:
        show(run_lines(done.run, done.plan, done.statuses, complete=done.complete))
    if done.complete and not done.done:
        return 1
    return 0 if done.done and done.plan.complete else 3
