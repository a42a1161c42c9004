"""`octofleet --server URL plan|apply|status|logs|...`: what these commands do on the installation's machine, asked of a server over its API.

Exit codes as theirs. What is printed comes from the documents that pages show, so nothing of another tenant is in it.
"""

import functools
import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click

from reconciler.cli.options import Reason, interruptible, reason_option, show
from reconciler.cli.remote_client import Remote, remote
from reconciler.errors import Refused
from reconciler.report.text import Line
from reconciler.report.view import counted

AGAIN_S = 1.0
"""How often a run is asked about."""
ENDED = frozenset({"done", "failed", "cancelled"})
LOSSES, FOLDS = 20, 50


def over_the_api(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`; the command gets the `server`, and `as_json`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @functools.wraps(command)
    def wrapped(debug: bool, **given: Any) -> Any:
        del debug  # `main` minds it
        return command(server=remote(click.get_current_context().find_root().params["server"]), **given)

    return wrapped


@click.command()
@click.option("--repo", default="", help="The repository, as the server follows it; it need not be said if there is one.")
@click.option("--rev", default="", help="Branch, tag or commit; default: the followed branch.")
@click.option("--base", default="", help="Tell causes against this commit.")
@click.option("--scope", default="", help="Only these: host/TENANT/NAME, tenant/NAME or driver/kind/tenant/name, with * and ?.")
@over_the_api
def plan(server: Remote, as_json: bool, repo: str, rev: str, base: str, scope: str) -> int:
    """Show what would change, and why; the server plans."""
    made = server.post("plans", repository=repo, rev=rev, base=base, scope=scope)
    return _planned(server, made["plan"], as_json=as_json)


@click.command()
@click.argument("plan_id", metavar="PLAN")
@click.option("--approve", is_flag=True, help="Answer for what is lost, too: you have seen the plan.")
@click.option("--detach", is_flag=True, help="Begin it, and leave it to the server.")
@reason_option("Why; recorded with the run.", required=False)
@over_the_api
def apply(server: Remote, as_json: bool, plan_id: str, approve: bool, detach: bool, reason: str) -> int:
    """Apply a stored plan; the server's workers do it."""
    begun = server.post("plans", plan_id, "apply", approve=approve, reason=reason)
    if detach:
        click.echo(json.dumps(begun) if as_json else f"run {begun['run']} has begun")
        return 0
    with interruptible() as cancelled:
        return _followed(server, begun["run"], cancelled, as_json=as_json)


@click.command()
@over_the_api
def status(server: Remote, as_json: bool) -> int:
    """How the fleets stand that you may see."""
    found = server.get("status")
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        show(_status_lines(found))
    failing = any(one["code"] == "failing" for one in found["repositories"])
    waits = found["runs"] or any(one["deferred"] for one in found["sources"])
    return 1 if failing else 3 if waits else 2 if any(one["unsettled"] for one in found["sources"]) else 0


@click.command()
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 500), help="How many.")
@over_the_api
def runs(server: Remote, as_json: bool, limit: int) -> int:
    """List runs, newest first."""
    found = server.get("runs", limit=limit)["items"]
    if as_json:
        click.echo(json.dumps({"runs": found}, indent=2))
    for run in () if as_json else found:
        click.echo(f"{run['run']}  {run['state']:<10}  {_stamp(run['startedAt'])}  {run['source']}  {run['reason']}".rstrip())
    if not found and not as_json:
        click.echo("no runs yet")
    return 0


@click.command()
@click.argument("run")
@click.option("--follow", is_flag=True, help="Go on until it has ended.")
@over_the_api
def logs(server: Remote, as_json: bool, run: str, follow: bool) -> int:
    """Show what a run did."""
    if follow and as_json:
        raise click.UsageError("--follow prints lines as they come; leave out --json")
    if follow:
        with interruptible() as cancelled:
            return _followed(server, run, cancelled, as_json=False)
    found, lines = server.get("runs", run), list(_lines_after(server, run, 0))
    if as_json:
        click.echo(json.dumps(found | {"log": lines}, indent=2))
        return 0
    _show_lines(lines)
    click.echo(f"run {found['run']}: {found['state']}")
    return 0


def _word(name: str, means: str, *what: str) -> click.Command:
    """A word about a run or a plan (`what`: the list that it is in) which has a reason."""

    @click.command(name, help=means)
    @click.argument("which", metavar=what[0].upper())
    @click.option("--reason", type=Reason(), required=name != "resume", default="" if name == "resume" else None, help="Why; recorded.")
    @over_the_api
    def word(server: Remote, as_json: bool, which: str, reason: str) -> int:
        said = server.post(what[1], which, name, **({"reason": reason} if reason else {}))
        click.echo(json.dumps(said) if as_json else f"{which}: {name}, as you say")
        return 0

    return word


approve = _word("approve", "Say yes to the changes of a plan.", "plan", "plans")
reject = _word("reject", "Say no to the changes of a plan.", "plan", "plans")
pause = _word("pause", "Begin nothing more of a run.", "run", "runs")
resume = _word("resume", "Go on with a run that was paused.", "run", "runs")
cancel = _word("cancel", "Begin nothing more of a run, and end it.", "run", "runs")


def _planned(server: Remote, which: str, *, as_json: bool) -> int:
    found = server.get("plans", which)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        show(_plan_lines(found, server.url))
    refuses = any(guard["refuses"] for guard in found["guards"])
    if any(problem["severity"] == "error" for problem in found["problems"]):
        return 1
    return 3 if refuses or found["putOff"] or found["missing"] else 2 if found["changes"] else 0


def _plan_lines(found: Mapping[str, Any], url: str) -> Iterator[Line]:
    """A plan in lines: what is lost first, then what changes, the same for many said once."""
    yield Line(f"Plan {found['plan'][:12]} of {found['source']}, commit {found['commit'][:10]}: {found['verdict']}", "title")
    for problem in found["problems"]:
        yield Line(f"  {problem['place']}: {problem['message']}", "bad")
    for guard in found["guards"]:
        yield Line(f"  guard {guard['guard']}: {guard['message']}", "bad" if guard["refuses"] else "warn")
    for item in found["destructive"][:LOSSES]:
        yield Line(f"  ! {item['action']} {item['address']} ({', '.join(item['risk'])})", "remove")
    if found["losses"] > LOSSES:
        yield Line(f"  ! and {found['losses'] - LOSSES:,} more that are lost, reinstalled or reboot", "remove")
    yield from (Line(f"  access: {line}", "warn") for line in found["access"])
    for fold in found["items"][:FOLDS]:
        more = f" and {fold['number'] - 1:,} more" if fold["number"] > 1 else ""
        yield Line(f"  {fold['groups'][0]}{more}", "title")
        for change in fold["changes"]:
            yield Line(f"    {change['sign']} {change['action']} {change['address']} ({', '.join(change['causes'])})", "change")
            for item in change["fields"]:
                yield Line(
                    f"        {item['path']}: {item['before']} -> {item['after']}" + (f"  {item['origin']}" if item["origin"] else "")
                )
    if found["next"] or len(found["items"]) > FOLDS:
        yield Line("  and more: the plan's page shows all of it", "dim")
    for item in found["putOff"]:
        yield Line(f"  put off ({item['number']:,}): {item['reason']}", "warn")
    for item in found["missing"]:
        yield Line(f"  waits for a word: {item['message']}", "warn")
    yield Line(f"{url}/plans/{found['plan'][:12]}", "dim")
    if found["applyable"] and found["changes"]:
        yield Line(f"Apply exactly this: octofleet --server {url} apply {found['plan'][:12]}")


def _status_lines(found: Mapping[str, Any]) -> Iterator[Line]:
    for one in found["sources"]:
        yield Line(f"Fleet {one['name']}: {one['resources']} resources, commit {one['commit'][:10]}", "title")
        if one["unsettled"]:
            yield Line(f"  {counted(len(one['unsettled']), 'resource')} last seen otherwise than recorded", "warn")
        if one["deferred"]:
            yield Line(f"  the newest plan puts off {counted(len(one['deferred']), 'resource')}", "warn")
    for run in found["runs"]:
        yield Line(f"run {run['run']} of {run['source']}: {run['state']}")
    for one in found["repositories"]:
        yield Line(f"repository {one['location']}: {one['note']}", "warn" if one["next"] else "plain")
        if one["next"]:
            yield Line(f"  next: {one['next']}", "change")
    if not found["sources"] and not found["runs"] and not found["repositories"]:
        yield Line("there is nothing that you may see")


def _followed(server: Remote, run: str, cancelled: Callable[[], bool], *, as_json: bool) -> int:
    """Show a run's log until it has ended."""
    after = 0
    while True:
        found = server.get("runs", run)
        for line in _lines_after(server, run, after):
            after = line["id"]
            if not as_json:
                _show_lines([line])
        if found["state"] in ENDED or cancelled():
            break
        time.sleep(AGAIN_S)
    if as_json:
        click.echo(json.dumps(found, indent=2))
    else:
        said = ", ".join(f"{number:,} {status}" for status, number in found["changes"].items())
        click.echo(f"run {found['run']}: {found['state']}; {said}")
    if found["state"] not in ENDED:
        return 3
    return 0 if found["state"] == "done" else 1


def _lines_after(server: Remote, run: str, after: int) -> Iterator[dict[str, Any]]:
    while True:
        found = server.get("runs", run, "log", after=after, limit=500)
        yield from found["lines"]
        after = found["after"]
        if not found["more"]:
            return


def _show_lines(lines: list[dict[str, Any]]) -> None:
    for line in lines:
        click.echo(f"{_stamp(line['at'])}  step {line['step']:<4} {line['text']}")


def _stamp(at: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def here_only(name: str) -> Refused:
    """What a command is answered with that no server does."""
    hint = "leave out --server (and OCTOFLEET_SERVER) on that machine"
    return Refused(f"octofleet {name} works on the installation's machine alone", hint=hint, code="usage")
