"""`octofleet --server URL plan|apply|status|logs|...`: what these commands do on the installation's machine, asked of a server over its API.

Exit codes as theirs; `--json` prints the API's documents. These are what pages show, so nothing of another tenant is in them.
"""

import functools
from collections.abc import Callable, Iterable
from importlib import import_module
from typing import Any

import click
import msgspec

from reconciler.cli.facts import LISTED, asking, check_question, say_host, say_hosts, say_over
from reconciler.cli.installs import check_word, host_lines, list_lines, named
from reconciler.cli.inventory import inventory_options, show_inventory
from reconciler.cli.main import COMMANDS
from reconciler.cli.options import cancel_options, cancelled_text, reason_option, show
from reconciler.cli.remote_client import Remote, remote
from reconciler.cli.remote_showing import follow, show_line, show_lines, show_plan, show_run, show_runs, show_status
from reconciler.cli.tasks import show_slowest, show_tasks, tasks_options
from reconciler.errors import Refused
from reconciler.reading.facts import FactHosts, FactsDocument, HostKnown
from reconciler.reading.gates import GatesDocument, PauseDocument
from reconciler.reading.installs import HostInstalls, Installs
from reconciler.reading.plan_page import PlanPage
from reconciler.reading.plan_words import ApprovalDocument, BegunDocument
from reconciler.reading.run_log import Log
from reconciler.reading.run_page import RunPage
from reconciler.reading.runs import RunDocument, Runs
from reconciler.reading.status import Status
from reconciler.reading.tasks import Slowest, Tasks
from reconciler.report.parts import LinePart
from reconciler.report.text import Line, printable
from reconciler.report.view import counted
from reconciler.store.followed import APPROVAL, BEHIND, FAILING, REFUSED, REPORTED
from reconciler.types.duration import utc

MOST_LINES = 500
"""Of a log, for one question."""


class Made(msgspec.Struct, frozen=True, kw_only=True):
    """A plan that was asked for, by its id; or as long as it is being made, how to ask for it again."""

    plan: str = ""
    request: str = ""


class RemoteCommand(click.Command):
    """Says of an option that only the command without a server has that this is so."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """As click does. Raises `Refused` for such an option."""
        try:
            return super().parse_args(ctx, args)
        except click.NoSuchOption as error:
            name = str(self.name)
            here = getattr(import_module(f"reconciler.cli.{COMMANDS[name][0]}"), name)
            if any(error.option_name in option.opts for option in here.params):
                raise here_only(f"{name} {error.option_name}") from None
            raise


def here_only(what: str) -> Refused:
    """What is answered for a command or an option that no server has."""
    hint = "leave out --server (and OCTOFLEET_SERVER) on that machine; a server's pages show more"
    return Refused(f"octofleet {what} works on the installation's machine alone", hint=hint, code="usage")


remote_command = click.command(cls=RemoteCommand)


def over_the_api(command: Callable[..., Any]) -> Callable[..., Any]:
    """`--json`; the command gets the `server`, and `as_json`."""

    @click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
    @click.option("--debug", is_flag=True, help="Show tracebacks.")
    @functools.wraps(command)
    def wrapped(debug: bool, **given: Any) -> Any:
        del debug  # `main` minds it
        return command(server=remote(click.get_current_context().find_root().params["server"]), **given)

    return wrapped


def _print(document: object) -> None:
    click.echo(msgspec.json.format(msgspec.json.encode(document), indent=2).decode())


@remote_command
@click.option("--repo", default="", help="The repository, as the server follows it; it need not be said if there is one.")
@click.option("--rev", default="", help="Branch, tag or commit; default: the followed branch.")
@click.option("--base", default="", help="Tell causes against this commit; default: the one applied last.")
@click.option("--scope", default="", help="Only these: host/TENANT/NAME, tenant/NAME or driver/kind/tenant/name, with * and ?.")
@over_the_api
def plan(server: Remote, as_json: bool, repo: str, rev: str, base: str, scope: str) -> int:
    """Show what would change, and why; the server plans."""
    try:
        made = server.post(Made, "plans", repository=repo, rev=rev, base=base, scope=scope)
        while not made.plan:  # the server waits for some seconds each time
            made = server.post(Made, "plans", request=made.request)
    except Refused as error:
        if error.code != "nothing-seen":
            raise
        _told({"changes": {}}, "nothing changes of what you may see", as_json=as_json)
        return 0
    found = server.get(PlanPage, "plans", made.plan)
    if as_json:
        _print(found)
    else:
        show_plan(found, server.url)
    if any(problem.severity == "error" for problem in found.problems):
        return 1
    waits = found.deferred or found.missing or any(guard.refuses for guard in found.guards)
    return 3 if waits else 2 if found.changes else 0


@remote_command
@click.argument("plan_id", metavar="PLAN")
@click.option("--approve", is_flag=True, help="Apply destructive changes too: you have seen the plan.")
@click.option("--detach", is_flag=True, help="Begin it, and leave it to the server.")
@reason_option("Why; recorded with the run.", required=False)
@over_the_api
def apply(server: Remote, as_json: bool, plan_id: str, approve: bool, detach: bool, reason: str) -> int:
    """Apply a stored plan; the server's workers do it, whatever becomes of this command."""
    begun = server.post(BegunDocument, "plans", plan_id, "apply", approve=approve, reason=reason)
    if detach and as_json:
        _print(begun)
    else:
        click.echo(f"run {begun.run} has begun", err=not detach)
    if detach:
        return 0
    ended = _followed(server, begun.run, quiet=as_json)
    complete = ended is not None and server.get(PlanPage, "plans", begun.plan).complete
    return _ended(server, begun.run, ended, complete=complete, as_json=as_json)


@remote_command
@over_the_api
def status(server: Remote, as_json: bool) -> int:
    """How the fleets stand that you may see."""
    found = server.get(Status, "status")
    if as_json:
        _print(found)
    else:
        show_status(found, server.url)
    codes = {FAILING: 1, APPROVAL: 3, REFUSED: 3, BEHIND: 3, REPORTED: 2}
    followed = {codes.get(one.code, 0) for one in found.repositories if one.next}
    if 1 in followed:
        return 1
    if 3 in followed or found.runs or any(one.deferred for one in found.sources):
        return 3
    return 2 if 2 in followed or any(one.unsettled for one in found.sources) else 0


@remote_command
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 500), help="How many.")
@over_the_api
def runs(server: Remote, as_json: bool, limit: int) -> int:
    """List runs, newest first."""
    found = server.get(Runs, "runs", limit=limit).items
    if as_json:
        _print({"runs": found})
    else:
        show_runs(found)
    return 0


@remote_command
@tasks_options
@over_the_api
def tasks(server: Remote, as_json: bool, run: str, host: str, status: str | None, search: str, slowest: bool, days: int, limit: int) -> int:
    """Show what tasks of playbooks did on hosts, newest first, of those that you may see."""
    if slowest:
        show_slowest(server.get(Slowest, "tasks", "slowest", run=run, days=days, limit=limit).items, as_json=as_json)
    else:
        found = server.get(Tasks, "tasks", run=run, host=host, status=status, search=search, days=days, limit=limit)
        show_tasks(found.items, as_json=as_json)
    return 0


@remote_command
@click.argument("run")
@click.option("--follow", "on", is_flag=True, help="Go on until it has ended.")
@over_the_api
def logs(server: Remote, as_json: bool, run: str, on: bool) -> int:
    """Show what a run did."""
    if on and as_json:
        raise click.UsageError("--follow prints lines as they come; leave out --json")
    if on:
        return _ended(server, run, _followed(server, run, quiet=False), complete=True, as_json=False)
    found, lines = server.get(RunPage, "runs", run), list(_lines(server, run, 0))
    if as_json:
        _print(msgspec.to_builtins(found) | {"log": lines})
    else:
        show_lines(lines)
        show_run(found)
    return 0


@remote_command
@click.argument("plan_id", metavar="PLAN")
@reason_option()
@over_the_api
def approve(server: Remote, as_json: bool, plan_id: str, reason: str) -> int:
    """Say yes to the changes of a plan, for one run. It holds for the same changes in later plans too."""
    return _word(server, plan_id, "approve", reason, as_json=as_json)


@remote_command
@click.argument("plan_id", metavar="PLAN")
@reason_option()
@over_the_api
def reject(server: Remote, as_json: bool, plan_id: str, reason: str) -> int:
    """Say no to the changes of a plan. Nobody applies them until you approve them, or the word has expired."""
    return _word(server, plan_id, "reject", reason, as_json=as_json)


def _word(server: Remote, plan_id: str, word: str, reason: str, *, as_json: bool) -> int:
    made = server.post(ApprovalDocument, "plans", plan_id, word, reason=reason)
    what = "approved" if made.approved else "rejected"
    said = f"{counted(made.changes, 'change')} {what} by {printable(made.by)}; this stands until {utc(made.expires_at)}"
    _told(made, said, as_json=as_json)
    return 0


@remote_command
@click.argument("what")
@click.option("--for", "duration", default="", metavar="DURATION", help="With a scope: for how long, such as 90m or 7d.  [default: 1d]")
@reason_option()
@over_the_api
def pause(server: Remote, as_json: bool, what: str, duration: str, reason: str) -> int:
    """Begin nothing more of a run until it is resumed; or nothing in a scope for a while. WHAT is a run, `fleet`, tenant/NAME, host/TENANT/NAME or
    driver/kind/tenant/name, with * and ?."""
    if what == "fleet" or "/" in what:
        more = {"duration": duration} if duration else {}
        made = server.post(PauseDocument, "pauses", scope=what, reason=reason, **more)
        _told(made, f"{what} is paused until {utc(made.until)}; octofleet resume {made.id} goes on", as_json=as_json)
        return 0
    if duration:
        raise click.UsageError("a run is paused until it is resumed: --for is for scopes")
    run = server.post(RunDocument, "runs", what, "pause", reason=reason)
    _told(run, f"run {run.run} is {run.state}; octofleet resume {run.run} goes on", as_json=as_json)
    return 0


@remote_command
@click.argument("what", metavar="RUN")
@click.option("--detach", is_flag=True, help="Leave it to the server.")
@over_the_api
def resume(server: Remote, as_json: bool, what: str, detach: bool) -> int:
    """Have the server's workers take a paused run to its end; or end a pause, by its id or its scope. RUN is one of these."""
    pauses = [one.id for one in server.get(GatesDocument, "gates").pauses if what in (one.id, one.scope)]
    if pauses:
        ended = [server.post(PauseDocument, "pauses", one, "end") for one in pauses]
        _told({"resumed": pauses}, f"{', '.join(one.scope for one in ended)} goes on", as_json=as_json)
        return 0
    run = server.post(RunDocument, "runs", what, "resume")
    if detach:
        _told(run, f"run {run.run} goes on", as_json=as_json)
        return 0
    return _ended(server, run.run, _followed(server, run.run, quiet=as_json), complete=True, as_json=as_json)


@remote_command
@click.argument("run")
@reason_option()
@cancel_options
@over_the_api
def cancel(server: Remote, as_json: bool, run: str, reason: str, stop: bool, give_up: bool) -> int:
    """Begin nothing more of a run. What it left undone shows in the next plan."""
    found = server.post(RunDocument, "runs", run, "cancel", reason=reason, stop=stop, giveUp=give_up)
    _told(found, f"run {found.run} {cancelled_text(found.state, stop=stop)}", as_json=as_json)
    return 0


@remote_command
@click.argument("host", required=False, default="")
@click.option("--again", is_flag=True, help="With a host: it begins anew, with another token, for whichever of its machines asks next.")
@click.option("--sure", is_flag=True, help="With a host, after a restore: no higher generation is on it than is on record.")
@reason_option("With --again or --sure: why; recorded.", required=False)
@over_the_api
def installs(server: Remote, as_json: bool, host: str, again: bool, sure: bool, reason: str) -> int:
    """Which machines are being installed over the network; of a HOST (host/TENANT/NAME) all that is known."""
    if again or sure:
        check_word(host, reason, both=again and sure)
    if not host:
        listed = server.get(Installs, "installs", limit=MOST_LINES)
        _shown(listed, list_lines(listed.items), as_json=as_json)
        return 0
    place = "hosts", *named(host), "installs"
    found = (
        server.post(HostInstalls, *place, "again" if again else "sure", reason=reason)
        if again or sure
        else server.get(HostInstalls, *place)
    )
    _shown(found, host_lines(found), as_json=as_json)
    return 0


@remote_command
@asking
@over_the_api
def facts(server: Remote, as_json: bool, host: str | None, path: str, changes: bool, since: int, where: str, fact: str | None) -> int:
    """What hosts said of themselves: one HOST (TENANT/NAME), with a PATH such as interfaces.eth0; or over all hosts."""
    check_question(host, changes=changes, where=where, fact=fact)
    if host:
        say_host(server.get(HostKnown, "hosts", *named(f"host/{host.removeprefix('host/')}"), "facts", path=path), path, as_json=as_json)
    elif where:
        say_hosts(server.get(FactHosts, "facts", "hosts", where=where, limit=LISTED), as_json=as_json)
    else:
        say_over(server.get(FactsDocument, "facts", fact=fact, since=since), changes=changes, as_json=as_json)
    return 0


@remote_command
@click.argument("host")
@reason_option()
@over_the_api
def adopt(server: Remote, as_json: bool, host: str, reason: str) -> int:
    """Say that the machine of a HOST (host/TENANT/NAME) is already what the generation says that the newest commit wants."""
    found = server.post(HostInstalls, "hosts", *named(host), "installs", "adopt", reason=reason)
    _shown(found, host_lines(found), as_json=as_json)
    return 0


@remote_command
@click.option("--source", default="", help="The hosts of this Fleet alone.")
@click.option("--rev", default="", help="Branch, tag or commit; default: the commit applied last.")
@inventory_options
@over_the_api
def inventory(server: Remote, as_json: bool, source: str, rev: str, host: str, scope: str) -> int:
    """The hosts that you may see, with groups and variables, as an inventory for Ansible. Secrets are not in it."""
    del as_json  # it is JSON anyway
    show_inventory(server.get(dict[str, Any], "inventory", source=source, rev=rev, scope=scope, host=host), host)
    return 0


def _shown(document: object, lines: Iterable[Line], *, as_json: bool) -> None:
    if as_json:
        _print(document)
    else:
        show(lines)


def _told(document: object, text: str, *, as_json: bool) -> None:
    if as_json:
        _print(document)
    else:
        show_line(text)


def _followed(server: Remote, run: str, *, quiet: bool) -> RunDocument | None:
    """Show a run's log until it has ended; None if whoever looks does not wait for that."""
    ask = functools.partial(server.get, RunPage, "runs", run)
    try:
        return follow(ask, functools.partial(_lines, server, run), show=not quiet)
    except KeyboardInterrupt:
        return None


def _ended(server: Remote, which: str, run: RunDocument | None, *, complete: bool, as_json: bool) -> int:
    """What became of a run. `complete`: nothing was put off."""
    if run is None:
        click.echo(f"\nthe run goes on at the server; octofleet --server {server.url} logs {which} --follow", err=True)
        return 3
    if as_json:
        _print(run)
    else:
        show_run(run)
    if run.state != "done":
        return 1
    return 0 if complete else 3


def _lines(server: Remote, run: str, after: int) -> Iterable[LinePart]:
    """The lines of a run's log after one."""
    more = True
    while more:
        found = server.get(Log, "runs", run, "log", after=after, limit=MOST_LINES)
        yield from found.lines
        after, more = found.after, found.more
