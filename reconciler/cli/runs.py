"""`octofleet runs`, `logs` and `cancel`."""

import json
import time
from collections.abc import Sequence
from pathlib import Path

import click

from reconciler import applying, gating
from reconciler.cli.options import Duration, cancel_options, cancelled_text, common, reason_option
from reconciler.cli.permission import ask, breakable
from reconciler.errors import Refused
from reconciler.files import replace_file
from reconciler.identity.access import Action
from reconciler.permitting import to_pause, to_steer
from reconciler.report.text import printable
from reconciler.report.view import counted
from reconciler.store.archive import Line, load_log
from reconciler.store.installs_listed import open_of_run
from reconciler.store.phases import load_phases
from reconciler.store.plans import plan_head
from reconciler.store.runs import FORGET, JournalRun, find_runs, list_runs, load_steps, read_log, run_items, statuses
from reconciler.types.change import Action as Change
from reconciler.types.duration import utc
from reconciler.why_machines import machines
from reconciler.wiring import Installation

DAY_S = 86_400.0


def stamp(at: float) -> str:
    """Local time for people."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


@click.command()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 1000), help="How many.")
@common
def runs(installation: Installation, as_json: bool, limit: int) -> int:
    """List runs, newest first."""
    with installation.store.read() as connection:
        found = list_runs(connection, limit=limit)
    if as_json:
        click.echo(json.dumps({"runs": [_document(run) for run in found]}, indent=2))
    for run in () if as_json else found:
        took = f"{run.ended_at - run.started_at:.1f} s" if run.ended_at else "-"
        click.echo(f"{run.id}  {run.state:<10}  {stamp(run.started_at)}  {took:>8}  {run.source}  {printable(run.reason)}".rstrip())
    if not found and not as_json:
        click.echo("no runs yet")
    return 0


def _document(run: JournalRun) -> dict[str, object]:
    return {
        "run": run.id,
        "source": run.source,
        "state": run.state,
        "startedAt": run.started_at,
        "endedAt": run.ended_at,
        "reason": run.reason,
    }


def run_named(installation: Installation, prefix: str) -> JournalRun:
    """The run that a command names by its id, or by how that begins. Raises `Refused` if there is none, or several."""
    with installation.store.read() as connection:
        found = find_runs(connection, prefix) if prefix else []
    if len(found) != 1:
        text = f"there is no run {prefix or 'without an id'}" if not found else f"{prefix} is the beginning of {len(found)} runs"
        raise Refused(text, hint="octofleet runs lists them", code="no-run")
    return found[0]


def _forgotten(installation: Installation, *, as_json: bool) -> int:
    with installation.store.read() as connection:
        lines = read_log(connection, FORGET)
    if as_json:
        click.echo(json.dumps({"log": [{"at": at, "text": text} for _, at, text in lines]}, indent=2))
    for _, at, text in () if as_json else lines:
        click.echo(f"{stamp(at)}  {printable(text)}")
    return 0


@click.command()
@click.argument("run")
@click.option("--out", type=click.Path(path_type=Path), help="Also write the run, its changes and its log to a .html file.")
@common
def logs(installation: Installation, as_json: bool, run: str, out: Path | None) -> int:
    """Show what a run did: every change and how it ended. `octofleet logs forget` shows what was forgotten, and why."""
    if out is not None and (out.suffix != ".html" or run == FORGET):
        raise Refused(f"a run is not written to {out}", hint="name the file .html, and a run", code="usage")
    if run == FORGET:
        return _forgotten(installation, as_json=as_json)
    found = run_named(installation, run)
    with installation.store.read() as connection:
        steps = load_steps(connection, found.id)
        waited = list(machines(open_of_run(connection, found.id), connection.now()))
    lines, missing = load_log(installation.store, installation.blobs, found.id)
    if missing:
        text = f"warning: the log of this run was archived as {missing}, which is not in {installation.blobs.place}"
        click.echo(f"{text}\n  next: restore it from a backup made with --blobs, or correct [blobs] in the settings", err=True)
    if out is not None:
        _write(installation, found, lines, out)
    if as_json:
        items = [
            {"step": s.seq, "address": i.address, "action": i.action.value, "status": i.status and i.status.value, "error": i.error}
            for s in steps
            for i in s.items
        ]
        log = [{"step": line.step, "at": line.at, "text": line.text} for line in lines]
        waits = [{"what": one.what[0], "text": one.text, "since": one.since, "deadline": one.deadline} for one in waited]
        click.echo(json.dumps(_document(found) | {"changes": items, "log": log, "machines": waits}, indent=2))
        return 0
    for line in lines:
        click.echo(f"{stamp(line.at)}  step {line.step:<4} {printable(line.text)}")
    for one in waited:
        click.echo(f"waits for {printable(one.what[0])}: {one.text}")
    still = sum(item.status is None and item.action is not Change.CHECK for step in steps for item in step.items)
    click.echo(f"run {found.id}: {found.state}" + (f", {counted(still, 'change')} to go" if still else ""))
    return 0


def _write(installation: Installation, run: JournalRun, lines: Sequence[Line], out: Path) -> None:
    """A run as a file for a browser."""
    from reconciler.reading.run_changes import item_part  # noqa: PLC0415 - only for this option
    from reconciler.reading.run_log import line_part  # noqa: PLC0415 - only for this option
    from reconciler.reading.run_page import phase_part  # noqa: PLC0415 - only for this option
    from reconciler.report.as_html import RunFile, run_html  # noqa: PLC0415 - Jinja2 takes long to import

    with installation.store.read() as connection:
        head = plan_head(connection, run.plan)
        made = RunFile(
            run=run.id,
            source=run.source,
            state=run.state,
            plan=head.id,
            commit=head.commit,
            started_at=run.started_at,
            ended_at=run.ended_at,
            reason=printable(run.reason),
            changes=statuses(connection, run.id),
            phases=[phase_part(phase) for phase in load_phases(connection, run.id) if phase.track],
            items=[item_part(*found) for found in run_items(connection, run.id, [], None)],
            lines=[line_part(line) for line in lines],
        )
    replace_file(out, run_html(made))


@click.command()
@click.argument("run")
@reason_option()
@cancel_options
@breakable
@common
def cancel(installation: Installation, as_json: bool, run: str, reason: str, stop: bool, give_up: bool, break_glass: str) -> int:
    """Begin nothing more of a run. What it left undone shows in the next plan."""
    found = run_named(installation, run)
    ask(installation, found.source, to_steer(installation, Action.CANCEL, found.plan), break_glass)
    state = applying.cancel(installation, found.id, reason, stop=stop, give_up=give_up)
    text = cancelled_text(state, stop=stop)
    click.echo(json.dumps({"run": found.id, "state": state}) if as_json else f"run {found.id} {text}")
    return 0


@click.command()
@click.argument("what")
@click.option("--for", "for_s", type=Duration(), help="With a scope: for how long.  [default: 1d]")
@reason_option()
@breakable
@common
def pause(installation: Installation, as_json: bool, what: str, for_s: float | None, reason: str, break_glass: str) -> int:
    """Begin nothing more of a run until it is resumed; or nothing in a scope for a while. WHAT is a run, `fleet`, tenant/NAME, host/TENANT/NAME or
    driver/kind/tenant/name, with * and ?."""
    if what == "fleet" or "/" in what:
        gating.check_scope(what)
        ask(installation, "", to_pause(Action.PAUSE, what), break_glass)
        made = gating.pause(installation, what, DAY_S if for_s is None else for_s, reason)
        said = {"pause": made.id, "scope": made.scope, "until": made.until}
        click.echo(json.dumps(said) if as_json else f"{what} is paused until {utc(made.until)}; octofleet resume {made.id} goes on")
        return 0
    if for_s is not None:
        raise click.UsageError("a run is paused until it is resumed: --for is for scopes")
    found = run_named(installation, what)
    ask(installation, found.source, to_steer(installation, Action.PAUSE, found.plan), break_glass)
    applying.pause(installation, found.id, reason)
    how = "was paused already, and has a new reason now" if found.state == "paused" else "is paused"
    click.echo(
        json.dumps({"run": found.id, "state": "paused"}) if as_json else f"run {found.id} {how}; octofleet resume {found.id} goes on"
    )
    return 0
