"""`octofleet status`."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click
import msgspec

from reconciler import applying
from reconciler.cli.options import common, show
from reconciler.cli.standing import document, other_lines, repository_lines, run_lines, source_lines
from reconciler.reading.status import standing
from reconciler.report.text import Line, printable
from reconciler.report.view import counted, duration
from reconciler.store.followed import APPROVAL, BEHIND, FAILING, REFUSED, REPORTED
from reconciler.store.runs import JournalRun
from reconciler.types.observation import Observation
from reconciler.types.plan import Deferred
from reconciler.why import Whys, whys
from reconciler.why_repository import RepositoryWhy, unserved
from reconciler.wiring import Installation

DAY_S = 86_400.0


@click.command()
@click.option("--why", is_flag=True, help="Say for all that waits, is put off or has failed why, and what to do.")
@common
def status(installation: Installation, as_json: bool, why: bool) -> int:
    """How each Fleet stands: what is recorded, what was last seen otherwise, the runs that are open, and the repositories that are followed.

    Exit codes: 1 if a followed repository cannot be looked at or planned; 3 if a run is open, something is put off, or a plan waits for approval or is
    refused; 2 if something differs or is only reported.
    """
    living = applying.living(installation)
    with installation.store.read() as connection:
        stands = standing(connection, living)
        nobody = unserved(connection, living)
        now = connection.now()
        drivers = lambda: installation.drivers  # noqa: E731 - made only if a run is open
        found = whys(connection, settings=installation.settings.apply, living=living, drivers=drivers) if why else None
    known, differing, waiting, running = stands.known, stands.differing, stands.waiting, stands.running
    code = _code(differing, waiting, running, _of_repositories(stands.repositories, now))
    if as_json:
        said = msgspec.to_builtins(stands.document())
        click.echo(json.dumps(said | ({"why": document(found)} if found is not None else {}), indent=2))
        return code
    for item in known:
        show(_source(item, differing[str(item["name"])], waiting[str(item["name"])], found))
        if checks := stands.checks[str(item["name"])]:
            click.echo(f"  {checks}")
    if found is None:
        show(_run(run, interrupted=not living) for run in running)
    else:
        show(line for run in found.runs for line in run_lines(run, found.now))
        show(other_lines(found))
    show(repository_lines(stands.repositories, nobody))
    show(
        Line(f"alerts: {line} was not told {counted(n, 'time')} in a row: {error} (octofleet doctor checks it)", "bad")
        for line, (n, error) in stands.dead.items()
    )
    if not known and not running and not stands.repositories:
        click.echo("nothing has been applied yet; octofleet plan --repo DIR shows what would be")
    return code


def _of_repositories(repositories: Sequence[RepositoryWhy], now: float) -> set[int]:
    """What followed repositories mean for the exit code. One that nobody has looked at for a day says nothing of today."""
    codes = {FAILING: 1, APPROVAL: 3, REFUSED: 3, BEHIND: 3, REPORTED: 2}
    return {codes[one.why.code] for one in repositories if one.why is not None and one.followed.due_at > now - DAY_S}


def _source(
    item: Mapping[str, Any], differing: Mapping[str, Observation], waiting: tuple[Deferred, ...], found: Whys | None
) -> Iterator[Line]:
    age = duration(time.time() - item["at"])
    place = printable(item["location"])
    yield Line(f"Fleet {item['name']}: {item['resources']} resources, commit {item['commit'][:10]} applied {age} ago from {place}", "title")
    if not differing:
        yield Line("  all were last seen as recorded")
    if found is not None:
        for source in found.sources:
            if source.name == item["name"]:
                yield from source_lines(source, found.now)
        return
    if differing:
        yield Line(f"  {len(differing)} were last seen otherwise (--why names them)")
    if waiting:
        yield Line(f"  the newest plan puts off {counted(len(waiting), 'resource')} (--why names them)")


def _run(run: JournalRun, *, interrupted: bool) -> Line:
    text = f"nobody works on it; octofleet resume {run.id} goes on" if interrupted else "a process works on it"
    if run.state == "paused":
        text = f"paused; octofleet resume {run.id} goes on"
    return Line(f"run {run.id} of {run.source}: {text} (--why says more)")


def _code(
    differing: Mapping[str, Mapping[str, Observation]],
    waiting: Mapping[str, tuple[Deferred, ...]],
    running: Sequence[JournalRun],
    followed: set[int],
) -> int:
    """The highest of 1 (a repository that fails), 3 (an open run, what is put off, what waits for a person), 2 (what differs), 0."""
    if 1 in followed:
        return 1
    if running or any(waiting.values()) or 3 in followed:
        return 3
    return 2 if any(differing.values()) or 2 in followed else 0
