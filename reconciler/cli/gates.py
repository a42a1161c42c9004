"""`octofleet gates`, `override`, `approve`, `reject`, `promote` and `rollback`."""

import json

import click

from reconciler import applying, gating
from reconciler.approving import authors_of, waits
from reconciler.beginning import find
from reconciler.cli.options import Duration, common, reason_option
from reconciler.cli.permission import ask, breakable
from reconciler.cli.runs import run_named
from reconciler.gate.windows import Closed, Window, opens
from reconciler.identity.access import Action, Resource
from reconciler.permitting import to_steer
from reconciler.report.text import printable
from reconciler.report.view import counted, duration
from reconciler.rollback import roll_back
from reconciler.store.plans import load_plan, plan_head
from reconciler.store.runs import open_runs
from reconciler.types.duration import utc
from reconciler.wiring import Installation


@click.command()
@common
def gates(installation: Installation, as_json: bool) -> int:
    """Show what keeps changes from beginning: windows, freezes, pauses, overrides."""
    found = gating.standing(installation)
    paused = found.gates.paused(found.now)
    overridden = {which: until for which, until in found.gates.overridden.items() if found.now < until}
    rows = [
        (source, window, opens(window, found.now), overridden.get((source, window.address)))
        for source, windows in sorted(found.gates.windows.items())
        for window in windows
    ]
    if as_json:
        pauses = [{"id": p.id, "scope": p.scope, "by": p.identity, "at": p.at, "until": p.until, "reason": p.reason} for p in paused]
        click.echo(json.dumps({"windows": [_document(*row) for row in rows], "pauses": pauses}, indent=2))
        return 0
    names = [*(window.name for _, window, _, _ in rows), *(pause.scope for pause in paused)]
    width = max(map(len, names), default=0)
    for _, window, closed, until in rows:
        click.echo(f"{'freeze' if window.freeze else 'window'}  {window.name:<{width}}  {_state(window, closed, until)}")
    for item in paused:
        said = f"until {utc(item.until)}, by {item.identity}: {printable(item.reason)}; octofleet resume {item.id} ends it"
        click.echo(f"pause   {item.scope:<{width}}  {said}")
    if not names:
        click.echo("there is no window, no freeze and no pause")
    return 0


def _document(source: str, window: Window, closed: Closed | None, overridden: float | None) -> dict[str, object]:
    state: dict[str, object] = {"open": closed is None, "until": closed.until if closed else None, "overriddenUntil": overridden}
    return state | {"source": source, "address": window.address, "name": window.name, "mode": "freeze" if window.freeze else "open"}


def _state(window: Window, closed: Closed | None, overridden: float | None) -> str:
    if closed is None:
        return "not on" if window.freeze else "open"
    state = f"{'on' if window.freeze else 'closed'} until {utc(closed.until)}"
    return f"{state}, but does not count until {utc(overridden)}" if overridden else state


def _tell_idle(installation: Installation) -> None:
    """What may go on now goes on by itself only where a worker lives."""
    if applying.living(installation):
        return
    with installation.store.read() as connection:
        idle = [run.id for run in open_runs(connection) if run.state == "running"]
    for run in idle:
        click.echo(f"  next: octofleet resume {run}, as no worker lives to go on with it")


@click.command()
@click.argument("window")
@click.option("--for", "for_s", type=Duration(), help="For how long the window does not count: 30m, 2h.")
@click.option("--end", is_flag=True, help="It counts again.")
@reason_option()
@breakable
@common
def override(installation: Installation, as_json: bool, window: str, for_s: float | None, end: bool, reason: str, break_glass: str) -> int:
    """Have a maintenance window or a freeze not count for a while."""
    if (for_s is None) != end:
        raise click.UsageError("give --for, or --end")
    for source, of in gating.windows_named(installation, window):
        ask(installation, source, [(Action.OVERRIDE_WINDOW, Resource(source=source, tenant=of.tenant))], break_glass)
    found = gating.override(installation, window, for_s or 0.0, reason)
    names = [of.name for _, of in found]
    if as_json:
        click.echo(json.dumps({"windows": [of.address for _, of in found], "seconds": for_s or 0.0}))
    else:
        click.echo(f"{', '.join(names)} " + ("counts again" if end else f"does not count for {duration(for_s or 0.0)}"))
        _tell_idle(installation)
    return 0


@click.command()
@click.argument("plan_id", metavar="PLAN")
@reason_option()
@common
def approve(installation: Installation, as_json: bool, plan_id: str, reason: str) -> int:
    """Say yes to the changes of a plan, for one run. It holds for the same changes in later plans too."""
    return _word(installation, plan_id, reason, yes=True, as_json=as_json)


@click.command()
@click.argument("plan_id", metavar="PLAN")
@reason_option()
@common
def reject(installation: Installation, as_json: bool, plan_id: str, reason: str) -> int:
    """Say no to the changes of a plan. Nobody applies them until you approve them, or the word has expired."""
    return _word(installation, plan_id, reason, yes=False, as_json=as_json)


def _word(installation: Installation, plan_id: str, reason: str, *, yes: bool, as_json: bool) -> int:
    row = find(installation, plan_id)
    with installation.store.read() as connection:
        source = plan_head(connection, row).source
    ask(installation, source, to_steer(installation, Action.APPROVE if yes else Action.REJECT, row), "")
    made = gating.approve(installation, row, reason, yes=yes)
    if as_json:
        said = {"id": made.id, "by": made.identity, "approved": yes, "changes": len(made.changes), "expiresAt": made.expires_at}
        click.echo(json.dumps(said))
    else:
        what = "approved" if yes else "rejected"
        click.echo(f"{counted(len(made.changes), 'change')} {what} by {made.identity}; this stands until {utc(made.expires_at)}")
        if yes:
            _tell_missing(installation, row)
    return 0


def _tell_missing(installation: Installation, row: int) -> None:
    """Whether the plan can be applied now, and if not, whose word is missing."""
    with installation.store.read() as connection:
        plan, location = load_plan(connection, row), plan_head(connection, row).location
    authors = authors_of(installation, plan, location)
    with installation.store.read() as connection:
        found = waits(connection, plan, authors, connection.now())
    for item in found.missing:
        click.echo(f"  still missing: {printable(item.message)}")
    if not found.missing:
        click.echo(f"  next: octofleet apply {plan.id[:12]}; a server that follows the repository applies it now, by itself")


@click.command()
@click.argument("run")
@reason_option()
@click.option("--now", "soaked", is_flag=True, help="Without waiting for the rest of its soak.")
@click.option("--tenant", help="Only the rollouts of this tenant.")
@click.option("--track", help="Only this rollout.")
@breakable
@common
def promote(
    installation: Installation,
    as_json: bool,
    run: str,
    reason: str,
    soaked: bool,
    tenant: str | None,
    track: str | None,
    break_glass: str,
) -> int:
    """Have a rollout go on that waits for a person, or was stopped by failures."""
    found = run_named(installation, run)
    ask(installation, found.source, to_steer(installation, Action.PROMOTE, found.plan), break_glass)
    moved = gating.promoted(installation, found.id, reason, soaked=soaked, tenant=tenant, track=track)
    if as_json:
        click.echo(json.dumps({"run": found.id, "promoted": [{"tenant": p.tenant, "track": p.track, "phase": p.title} for p in moved]}))
    else:
        for phase in moved:
            click.echo(f"run {found.id}: {phase.title} of {phase.track} ({phase.tenant}) goes on")
        _tell_idle(installation)
    return 0


@click.command()
@click.argument("run")
@reason_option("Why; recorded, and in the commit.")
@click.option("--branch", default="", help="The name of the branch.  [default: octofleet/rollback-RUN]")
@breakable
@common
def rollback(installation: Installation, as_json: bool, run: str, reason: str, branch: str, break_glass: str) -> int:
    """Propose a branch that takes back what a run has applied, for a pull request. Nothing is applied, and no other branch is touched."""
    found = run_named(installation, run)
    ask(installation, found.source, to_steer(installation, Action.ROLLBACK, found.plan), break_glass)
    made, location = roll_back(installation, found.id, reason, branch)
    if as_json:
        click.echo(json.dumps({"run": found.id, "repository": location, "branch": made.branch, "commit": made.commit, "onto": made.onto}))
    else:
        click.echo(f"{location} has the branch {made.branch} ({made.commit[:10]}) now; open a pull request from it, or merge it")
    return 0
