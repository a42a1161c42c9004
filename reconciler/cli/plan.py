"""`octofleet plan`."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from reconciler.cli.options import Progress, common, problems_code, progress, repository_options
from reconciler.cli.showing import check_format, print_plan, viewing
from reconciler.planning import Planned, Request, make_plan
from reconciler.source.repository import Commit, Repository
from reconciler.types.plan import Plan
from reconciler.wiring import Installation


def planning_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What narrows or widens a plan."""
    for option in (
        click.option("--scope", default="", help="Only these: host/TENANT/NAME, tenant/NAME or driver/kind/tenant/name, with * and ?."),
        click.option("--refresh", is_flag=True, help="Look at everything in scope again, not only at what differs."),
        click.option("--accept-history", is_flag=True, help="Go on although the branch does not contain the commit applied last."),
    ):
        command = option(command)
    return command


@click.command()
@repository_options
@click.option("--base", help="Tell causes against this commit; default: the one applied last.")
@planning_options
@click.option("--out", type=click.Path(path_type=Path), help="Also write the plan to a .json, .md or .txt file.")
@click.option("--watch", is_flag=True, help="Plan the working copy, again after every change to it.")
@common
def plan(
    installation: Installation,
    as_json: bool,
    repo: str,
    rev: str | None,
    base: str | None,
    scope: str,
    refresh: bool,
    accept_history: bool,
    out: Path | None,
    watch: bool,
) -> int:
    """Show what would change, and why. Nothing is changed; the plan is stored, and `octofleet apply ID` applies exactly it."""
    request = Request(rev=rev, base=base, scope=scope, refresh=refresh, accept_history=accept_history)
    if out is not None:
        check_format(out)
    if watch and as_json:
        raise click.UsageError("--watch prints for people; leave out --json")
    if watch:
        return _watch(installation, repo, request, out)
    repository = installation.repository(repo)
    with progress(quiet=as_json) as bar:
        planned = make_plan(installation, repository, request, bar.told)
    return _shown(installation, repository, planned, as_json=as_json, out=out)


def _shown(installation: Installation, repository: Repository, planned: Planned, *, as_json: bool, out: Path | None) -> int:
    with viewing(installation, repository, planned) as view:
        print_plan(view, as_json=as_json, out=out)
    if not as_json and planned.plan.applyable:
        click.echo(f"\nApply exactly this: octofleet apply {planned.plan.id[:12]}")
    return exit_code(planned.plan)


def exit_code(made: Plan) -> int:
    """The highest of 1 (problems), 3 (refused or put off), 2 (changes), 0."""
    if problems_code(made.problems):
        return 1
    if made.deferred or any(verdict.refuses for verdict in made.guards):
        return 3
    return 2 if made.changes else 0


def _watch(installation: Installation, repo: str, request: Request, out: Path | None) -> int:
    from reconciler.source.working_copy import WorkingCopy, watch  # noqa: PLC0415 - only in this mode

    copy = WorkingCopy(repo, installation.data_dir / "working-copies")
    shown = copy.commit()
    code = _once(installation, copy.repository, shown, request, out)
    try:
        for _ in watch(copy.root, at_once=True):
            commit = copy.commit()
            if commit.tree != shown.tree:
                click.clear()
                shown, code = commit, _once(installation, copy.repository, commit, request, out)
    except KeyboardInterrupt:
        pass
    return code


def _once(installation: Installation, repository: Repository, commit: Commit, request: Request, out: Path | None) -> int:
    from reconciler.errors import OctofleetError  # noqa: PLC0415 - only in this mode

    try:
        planned = make_plan(installation, repository, request, Progress(quiet=True).told, commit=commit)
    except OctofleetError as error:
        click.echo(str(error), err=True)
        return 1
    return _shown(installation, repository, planned, as_json=False, out=out)
