"""`octofleet inventory`."""

import sys
from pathlib import Path
from typing import Any

import click
import msgspec

from reconciler.cli.options import common, repository_options
from reconciler.drivers.ansible.collection import built
from reconciler.errors import InputError
from reconciler.files import replace_file
from reconciler.planning import compiled
from reconciler.reading.inventory import Part, check_scope, hosts_of, inventory_of
from reconciler.report.text import printable
from reconciler.report.view import counted
from reconciler.wiring import VERSION, Installation


def inventory_options(command: Any) -> Any:
    """`--list`, `--host` and `--scope`; the command gets `host` and `scope`."""
    command = click.option("--scope", default="", help="Only these: host/TENANT/NAME or tenant/NAME, with * and ?.")(command)
    command = click.option("--host", default="", metavar="NAME", help="The variables of one host, by its name in the inventory.")(command)
    return click.option(
        "--list", "listed", is_flag=True, expose_value=False, help="All hosts, as inventory scripts are asked; the default."
    )(command)


@click.command()
@repository_options
@inventory_options
@click.option("--collection", type=click.Path(path_type=Path), metavar="DIR", help="Write the collection octofleet.fleet there instead.")
@common
def inventory(installation: Installation, as_json: bool, repo: str, rev: str | None, host: str, scope: str, collection: Path | None) -> int:
    """The hosts, groups and variables of a commit as an inventory for Ansible. Secrets are not in it. With --collection: an Ansible collection whose
    inventory plugin reads the same."""
    if collection is not None:
        name, data = built(VERSION)
        replace_file(collection / name, data)
        click.echo(msgspec.json.encode({"collection": str(collection / name)}).decode() if as_json else f"wrote {collection / name}")
        return 0
    check_scope(scope)
    repository = installation.repository(repo)
    commit = repository.commit(rev)
    desired = compiled(installation, repository, commit)
    if desired.fleet is None:
        raise InputError(desired.problems)
    part = Part(
        source=desired.fleet.name, commit=commit.id, desired=desired, groups=list(hosts_of(desired)), why=desired.blocked.__getitem__
    )
    show_inventory(inventory_of([part], installation.settings.ansible, scope, host), host)
    return 0


def show_inventory(document: dict[str, Any], host: str) -> None:
    """Print the document, or the variables of one host; on stderr the hosts that are left out."""
    unknown: dict[str, str] = document["_meta"]["octofleet"]["unknown"]
    shown = document["_meta"]["hostvars"][host] if host else document
    text = msgspec.json.encode(shown)
    click.echo(msgspec.json.format(text, indent=2) if sys.stdout.isatty() else text)
    if unknown:
        click.echo(f"{counted(len(unknown), 'host')} left out, of which it is not known what is wanted:", err=True)
    for name, why in unknown.items():
        click.echo(f"  {name}: {printable(why)}", err=True)
