"""`octofleet status`."""

import json
import time

import click

from reconciler import applying
from reconciler.cli.options import common
from reconciler.report.text import brief, printable
from reconciler.report.view import counted, duration
from reconciler.store.observations import load_observations, open_addresses
from reconciler.store.plans import newest_deferred
from reconciler.store.records import sources
from reconciler.store.runs import JournalRun, open_runs
from reconciler.types.observation import Absent, Observation, Proposed, Unknown
from reconciler.types.plan import Deferred
from reconciler.wiring import Installation


@click.command()
@click.option("--why", is_flag=True, help="Name every resource that is not as recorded, with the reason.")
@common
def status(installation: Installation, as_json: bool, why: bool) -> int:
    """How each Fleet stands: what is recorded, what was last seen otherwise, and the runs that are open."""
    with installation.store.read() as connection:
        known = list(sources(connection))
        differing = {str(item["name"]): load_observations(connection, open_addresses(connection, str(item["name"]))) for item in known}
        waiting = {str(item["name"]): newest_deferred(connection, str(item["name"]), str(item["commit"])) for item in known}
        running = open_runs(connection)
    stopped = set() if applying.living(installation) else {run.id for run in running}
    if as_json:
        document = {
            "sources": [
                dict(item)
                | {
                    "unsettled": {a: reason(o) for a, o in differing[str(item["name"])].items()},
                    "deferred": {d.address: d.reason for d in waiting[str(item["name"])]},
                }
                for item in known
            ],
            "runs": [{"run": run.id, "source": run.source, "interrupted": run.id in stopped} for run in running],
        }
        click.echo(json.dumps(document, indent=2))
        return _code(differing, waiting, running)
    for item in known:
        name = str(item["name"])
        age = duration(time.time() - float(str(item["at"])))
        click.echo(
            f"Fleet {name}: {item['resources']} resources, commit {str(item['commit'])[:10]} applied {age} ago from {item['location']}"
        )
        found = differing[name]
        click.echo(
            "  all were last seen as recorded"
            if not found
            else f"  {len(found)} were last seen otherwise" + ("" if why else " (--why names them)")
        )
        for where in sorted(found) if why else ():
            click.echo(f"    {where}: {printable(reason(found[where]))}")
        put_off = waiting[name]
        if put_off:
            click.echo(f"  the newest plan puts off {counted(len(put_off), 'resource')}" + ("" if why else " (--why names them)"))
        for one in put_off if why else ():
            click.echo(f"    {one.address}: {brief(one.reason)}")
    for run in running:
        text = f"interrupted; octofleet apply --resume {run.id} goes on" if run.id in stopped else "a process works on it"
        click.echo(f"run {run.id} of {run.source}: {text}")
    if not known:
        click.echo("nothing has been applied yet; octofleet plan --repo DIR shows what would be")
    return _code(differing, waiting, running)


def _code(differing: dict[str, dict[str, Observation]], waiting: dict[str, tuple[Deferred, ...]], running: list[JournalRun]) -> int:
    if running or any(waiting.values()):
        return 3
    return 2 if any(differing.values()) else 0


def reason(seen: Observation) -> str:
    """Why a resource is not settled, for people."""
    match seen:
        case Unknown():
            return f"unknown ({seen.code}): {seen.reason}"
        case Absent():
            return "it is gone"
        case Proposed():
            return f"its engine would change {len(seen.fields)} thing{'s' if len(seen.fields) != 1 else ''}"
        case _:
            return "it is not as recorded"
