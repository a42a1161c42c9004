"""`octofleet prune`."""

import json
from dataclasses import asdict

import click

from reconciler.cli.options import common
from reconciler.cli.permission import ask, breakable
from reconciler.identity.access import Action, Resource
from reconciler.identity.local import whoami
from reconciler.store.retention import prune as let_go
from reconciler.wiring import Installation

TEXTS = {
    "logs": "logs of runs to the blob store",
    "runs": "runs",
    "plans": "plans",
    "specs": "specifications that nothing names",
    "forgets": "lines about forgotten records",
    "workers": "workers that ended",
    "deliveries": "ids of forges' deliveries",
    "pulls": "closed pull requests",
    "sign_ins": "sessions, one-time links, counted tries and tokens that ended",
    "installs": "installations that ended",
    "blobs": "blobs that expired",
}


@click.command()
@click.option("--dry-run", is_flag=True, help="Only say what would go.")
@breakable
@common
def prune(installation: Installation, as_json: bool, dry_run: bool, break_glass: str) -> int:
    """Let go of runs, plans and specifications that are older than the settings keep them, and move old logs to the blob store."""
    if not dry_run:
        ask(installation, "", [(Action.PRUNE, Resource())], break_glass)
    store = installation.store
    with store.read() as connection:
        now = connection.now()
    found = let_go(store, installation.blobs, installation.settings.retention, now, dry_run=dry_run, identity=whoami())
    numbers = asdict(found)
    if as_json:
        click.echo(json.dumps({"dryRun": dry_run, "pruned": numbers}, indent=2))
        return 0
    for kind, number in numbers.items():
        if number:
            click.echo(f"{TEXTS[kind]}: {number:,}" + (" would go" if dry_run else ""))
    if not any(numbers.values()):
        click.echo("nothing is old enough to go")
    return 0
