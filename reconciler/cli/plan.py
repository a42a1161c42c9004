"""`octofleet plan`."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from reconciler.cli.options import Progress, common, problems_code, progress, repository_options
from reconciler.cli.showing import check_format, print_plan
from reconciler.planning import Planned, make_plan
from reconciler.report.view import View
from reconciler.source.repository import Commit, Repository
from reconciler.stages import lines, since_start_s, stage, timed
from reconciler.types.request import Request
from reconciler.viewing import viewing
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
@click.option("--out", type=click.Path(path_type=Path), help="Also write the plan to a .html, .json, .md or .txt file.")
@click.option("--watch", is_flag=True, help="Plan the working copy, again after every change to it.")
@click.option("--timings", is_flag=True, help="Also print where the time went, and how much work was done, to stderr.")
@click.option(
    "--metrics-out",
    type=click.Path(path_type=Path),
    help="Also write the seconds of each stage to a file for node_exporter's textfile collector.",
)
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
    timings: bool,
    metrics_out: Path | None,
) -> int:
    """Show what would change, and why. Nothing is changed; the plan is stored, and `octofleet apply ID` applies exactly it."""
    request = Request(rev=rev, base=base, scope=scope, refresh=refresh, accept_history=accept_history)
    if out is not None:
        check_format(out)
    if watch and as_json:
        raise click.UsageError("--watch prints for people; leave out --json")
    measure = Measure.asked(timings=timings, metrics_out=metrics_out)
    if watch:
        return _watch(installation, repo, request, out, measure)
    with measure.whole(since_start_s()):
        with stage("repository"):
            repository = installation.repository(repo)
        with progress(quiet=as_json) as bar:
            planned = make_plan(installation, repository, request, bar.told)
        return _shown(installation, repository, planned, as_json=as_json, out=out)


def _shown(installation: Installation, repository: Repository, planned: Planned, *, as_json: bool, out: Path | None) -> int:
    with stage("show"), viewing(installation, repository, planned) as view:
        print_plan(view, as_json=as_json, out=out)
        if not as_json and view.next:
            click.echo(f"\n{view.next}")
        return exit_code(view)


def exit_code(view: View) -> int:
    """The highest of 1 (problems), 3 (refused, put off, or waiting for approval), 2 (changes), 0."""
    made = view.plan
    if problems_code(made.problems):
        return 1
    if made.deferred or view.approvals or any(verdict.refuses for verdict in made.guards):
        return 3
    return 2 if made.changes else 0


@dataclass(frozen=True, kw_only=True)
class Measure:
    """How a plan is measured: `timings` go to stderr after it, `metrics` are written then."""

    timings: bool = False
    write_metrics: Callable[[], None] = lambda: None

    @classmethod
    def asked(cls, *, timings: bool, metrics_out: Path | None) -> "Measure":
        """As the options say."""
        if metrics_out is None:
            return cls(timings=timings)
        if not metrics_out.parent.is_dir():
            raise click.UsageError(f"--metrics-out: there is no directory {metrics_out.parent}")
        from reconciler import metrics  # noqa: PLC0415 - only for this option

        registry = metrics.enable()
        return cls(timings=timings, write_metrics=lambda: metrics.write(registry, metrics_out))

    @contextmanager
    def whole(self, imports_s: float = 0.0) -> Iterator[None]:
        """A whole plan, shown and all. `imports_s`: from the start of the process until now."""
        with timed(imports_s) if self.timings else nullcontext() as found, stage("plan"):
            yield
        self.write_metrics()
        if found is not None:
            click.echo("", err=True)
            for line in lines(found):
                click.echo(line, err=True)


def _watch(installation: Installation, repo: str, request: Request, out: Path | None, measure: Measure) -> int:
    from reconciler.source.working_copy import WorkingCopy, watch  # noqa: PLC0415 - only in this mode

    copy = WorkingCopy(repo, installation.data_dir / "working-copies")
    shown = copy.commit()
    code = _once(installation, copy.repository, shown, request, out, measure)
    try:
        for _ in watch(copy.root, at_once=True):
            commit = copy.commit()
            if commit.tree != shown.tree:
                click.clear()
                shown, code = commit, _once(installation, copy.repository, commit, request, out, measure)
    except KeyboardInterrupt:
        pass
    return code


def _once(installation: Installation, repository: Repository, commit: Commit, request: Request, out: Path | None, measure: Measure) -> int:
    from reconciler.errors import OctofleetError  # noqa: PLC0415 - only in this mode

    with measure.whole():
        try:
            planned = make_plan(installation, repository, request, Progress(quiet=True).told, commit=commit)
        except OctofleetError as error:
            click.echo(str(error), err=True)
            return 1
        return _shown(installation, repository, planned, as_json=False, out=out)
