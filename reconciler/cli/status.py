"""`octofleet status`."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import click

from reconciler import applying
from reconciler.cli.options import common, show
from reconciler.cli.standing import document, other_lines, repository_lines, run_lines, source_lines
from reconciler.report.text import Line, printable
from reconciler.report.view import counted, duration
from reconciler.store.alerts import failing
from reconciler.store.followed import APPROVAL, BEHIND, FAILING, REFUSED, REPORTED, followed
from reconciler.store.observations import load_observations, open_addresses
from reconciler.store.plans import newest_deferred
from reconciler.store.records import sources
from reconciler.store.runs import JournalRun, open_runs
from reconciler.types.observation import Observation
from reconciler.types.plan import Deferred
from reconciler.why import Whys, whys
from reconciler.why_repository import RepositoryWhy, repository_why, unserved
from reconciler.why_source import in_words
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
        known = list(sources(connection))
        names = [str(item["name"]) for item in known]
        differing = {name: load_observations(connection, open_addresses(connection, name)) for name in names}
        waiting = {str(item["name"]): newest_deferred(connection, str(item["name"]), str(item["commit"])) for item in known}
        running = open_runs(connection)
        repositories = [repository_why(connection, found) for found in followed(connection)]
        nobody = unserved(connection, living)
        dead = failing(connection)
        now = connection.now()
        drivers = lambda: installation.drivers  # noqa: E731 - made only if a run is open
        found = whys(connection, settings=installation.settings.apply, living=living, drivers=drivers) if why else None
    code = _code(differing, waiting, running, _of_repositories(repositories, now))
    if as_json:
        stopped = set() if living else {run.id for run in running}
        said = _document(known, differing, waiting, running, stopped, found) | {
            "repositories": [_followed(one) for one in repositories],
            "served": nobody is None,
            "alertsFailing": {line: why for line, (_, why) in dead.items()},
        }
        click.echo(json.dumps(said, indent=2))
        return code
    for item in known:
        show(_source(item, differing[str(item["name"])], waiting[str(item["name"])], found))
    if found is None:
        show(_run(run, interrupted=not living) for run in running)
    else:
        show(line for run in found.runs for line in run_lines(run, found.now))
        show(other_lines(found))
    show(repository_lines(repositories, nobody))
    show(
        Line(f"alerts: {line} was not told {counted(n, 'time')} in a row: {error} (octofleet doctor checks it)", "bad")
        for line, (n, error) in dead.items()
    )
    if not known and not running and not repositories:
        click.echo("nothing has been applied yet; octofleet plan --repo DIR shows what would be")
    return code


def _followed(one: RepositoryWhy) -> dict[str, Any]:
    item = one.followed
    return {
        "location": item.location,
        "head": item.head,
        "planned": item.planned,
        "code": item.code,
        "note": one.text,
        "next": one.why.next if one.why is not None else "",
        "plan": item.about if item.code in (APPROVAL, REFUSED, REPORTED) else "",
        "run": one.run.id if one.run is not None else "",
        "failures": item.failures,
        "at": item.at,
    }


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


def _document(
    known: list[Mapping[str, object]],
    differing: Mapping[str, Mapping[str, Observation]],
    waiting: Mapping[str, tuple[Deferred, ...]],
    running: list[JournalRun],
    stopped: set[str],
    found: Whys | None,
) -> dict[str, Any]:
    return {
        "sources": [
            dict(item)
            | {
                "unsettled": {a: in_words(o) for a, o in differing[str(item["name"])].items()},
                "deferred": {d.address: d.reason for d in waiting[str(item["name"])]},
            }
            for item in known
        ],
        "runs": [{"run": run.id, "source": run.source, "state": run.state, "interrupted": run.id in stopped} for run in running],
    } | ({"why": document(found)} if found is not None else {})


def _code(
    differing: Mapping[str, Mapping[str, Observation]],
    waiting: Mapping[str, tuple[Deferred, ...]],
    running: list[JournalRun],
    followed: set[int],
) -> int:
    """The highest of 1 (a repository that fails), 3 (an open run, what is put off, what waits for a person), 2 (what differs), 0."""
    if 1 in followed:
        return 1
    if running or any(waiting.values()) or 3 in followed:
        return 3
    return 2 if any(differing.values()) or 2 in followed else 0
