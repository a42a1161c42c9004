"""`octofleet run` and `octofleet operations`."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import click

from reconciler.cli.apply import apply_planned
from reconciler.cli.options import common, progress, reason_option
from reconciler.cli.permission import breakable
from reconciler.cli.plan import exit_code
from reconciler.cli.showing import print_plan
from reconciler.drivers.ansible.operation import Said
from reconciler.errors import Refused
from reconciler.operating import Operation, applied, named, operation_of, plan_operation
from reconciler.planning import compiled
from reconciler.scheduling import standing
from reconciler.scope import is_scope
from reconciler.source.repository import Commit, Repository
from reconciler.stages import stage
from reconciler.store.records import locations
from reconciler.types.change import Risk
from reconciler.types.duration import utc
from reconciler.viewing import viewing
from reconciler.wiring import Installation, place

OPERATION = "operation/"
LABEL = re.compile(r"(?P<key>[A-Za-z0-9][A-Za-z0-9._/-]{0,127})=(?P<value>[A-Za-z0-9._-]{0,63})")
GENERAL = frozenset({"site", "main", "playbook", "play"})
"""What a playbook's file may be called that says nothing of what it does: its directory's name does."""


@click.command()
@click.argument("playbook")
@click.option(
    "--on",
    "selection",
    multiple=True,
    metavar="SELECTION",
    help="Hosts: host/TENANT/NAME, tenant/NAME, with * and ?; or KEY=VALUE of their labels.",
)
@click.option("--repo", default=".", show_default="the working directory", help="Path or URL of the repository.")
@click.option("--rev", help="Branch, tag or commit; default: the commit applied last.")
@click.option("--project", help="The directory whose content the playbook uses; default: the playbook's own.")
@click.option("--tag", "tags", multiple=True, help="Only tasks with one of these tags.")
@click.option("--become", is_flag=True, help="Run tasks as root.")
@click.option(
    "--var",
    "variables",
    multiple=True,
    metavar="NAME=VALUE",
    help="A variable for the playbook: JSON, or else a text. No secrets: it is shown.",
)
@click.option("--risk", "risks", multiple=True, type=click.Choice([risk.value for risk in Risk]), help="What it may do to people.")
@click.option("--serial", metavar="NUMBER", help="So many hosts at once, or a share such as 20%; the next ones only if none failed.")
@click.option("--no-check", is_flag=True, help="Do not look at it in check mode before.")
@click.option("--name", help="What it is called; default: by its file.")
@click.option("--dry-run", is_flag=True, help="Show the plan and store it; octofleet apply ID runs it.")
@click.option("--approve", is_flag=True, help="Run without asking: you have seen the plan.")
@reason_option("Why; recorded with the run.", required=False)
@breakable
@common
def run(
    installation: Installation,
    as_json: bool,
    playbook: str,
    selection: tuple[str, ...],
    repo: str,
    rev: str | None,
    no_check: bool,
    serial: str | None,
    dry_run: bool,
    approve: bool,
    reason: str,
    break_glass: str,
    **said: Any,
) -> int:
    """Run a PLAYBOOK of the repository once, or an Operation: operation/NAME, operation/TENANT/NAME."""
    repository = installation.repository(repo)
    commit = repository.commit(rev) if rev is not None else applied(installation, repository, _source(installation, repository))
    wanted = _wanted(installation, repository, commit, playbook, said)
    scopes, labels = _selected(selection)
    if not playbook.startswith(OPERATION) and not selection:
        raise click.UsageError("say on which hosts: --on host/shop/web-*, --on site=ams1, or --on 'host/*/*' for all")
    wanted = replace(wanted, only=scopes, labels={**wanted.labels, **labels}, check=wanted.check and not no_check)
    if serial is not None:
        wanted = replace(wanted, rollout={"serial": _serial(serial)})
    with stage("plan"), progress(quiet=as_json) as bar:
        planned = plan_operation(installation, repository, commit, wanted, told=bar.told)
    with viewing(installation, repository, planned) as view:
        if dry_run or not as_json or not planned.plan.applyable:
            print_plan(view, as_json=as_json, out=None)
    if dry_run:
        if not as_json and view.next:
            click.echo(f"\n{view.next}")
        return exit_code(view)
    return apply_planned(installation, planned, approve=approve, reason=reason, break_glass=break_glass, as_json=as_json)


def _source(installation: Installation, repository: Repository) -> str:
    """The Fleet that was applied from a repository. Raises `Refused` if there is none."""
    with installation.store.read() as connection:
        found = [name for name, location in locations(connection).items() if location == place(repository)]
    if not found:
        hint = "octofleet apply it first, or name a commit with --rev"
        raise Refused(f"nothing was applied from {repository.location} yet", hint=hint, code="not-applied")
    return found[-1]


def _wanted(installation: Installation, repository: Repository, commit: Commit, playbook: str, said: Mapping[str, Any]) -> Operation:
    if not playbook.startswith(OPERATION):
        given = Said(
            playbook=playbook,
            project=said["project"],
            tags=said["tags"],
            become=said["become"],
            variables=dict(map(_variable, said["variables"])),
        )
        return Operation(name=_name(said["name"] or _called(playbook)), said=given, risks=frozenset(map(Risk, said["risks"])))
    desired = compiled(installation, repository, commit)
    found = named(desired.catalog, playbook.removeprefix(OPERATION))
    if found is None:
        name = playbook.removeprefix(OPERATION)
        hint = desired.catalog.near("Operation", name.rpartition("/")[0], name.rpartition("/")[2])
        raise Refused(f"there is no Operation {name} at commit {commit.id[:12]}", hint=hint, code="no-operation")
    made = operation_of(found.name, found.tenant, found.spec, found.origin)
    also = {**made.said.variables, **dict(map(_variable, said["variables"]))}
    return replace(made, said=replace(made.said, variables=also), risks=made.risks | set(map(Risk, said["risks"])))


def _called(playbook: str) -> str:
    path = PurePosixPath(playbook)
    return path.parent.name or path.stem if path.stem in GENERAL else path.stem


def _name(text: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")[:63]
    if not name:
        raise click.UsageError(f"{text!r} gives no name: name it with --name")
    return name


def _variable(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise click.UsageError(f"--var {text!r}: write NAME=VALUE")
    try:
        return name, json.loads(value)
    except ValueError:
        return name, value


def _selected(selection: Sequence[str]) -> tuple[tuple[str, ...], dict[str, str]]:
    """Scopes and labels."""
    scopes, labels = [], {}
    for text in selection:
        label = LABEL.fullmatch(text)
        if label is not None:
            labels[label["key"]] = label["value"]
        elif is_scope(text) and text.startswith(("host/", "tenant/", "*")):
            scopes.append(text)
        else:
            raise click.UsageError(f"--on {text!r}: write host/TENANT/NAME or tenant/NAME, with * and ?, or KEY=VALUE of a label")
    return tuple(scopes), labels


def _serial(text: str) -> int | str:
    if re.fullmatch(r"[1-9][0-9]{0,5}", text):
        return int(text)
    if re.fullmatch(r"([1-9][0-9]?|100)%", text):
        return text
    raise click.UsageError(f"--serial {text!r}: write a number of hosts, or a share such as 20%")


@click.command()
@common
def operations(installation: Installation, as_json: bool) -> int:
    """Operations in force: when each is due next, and how it went last."""
    with installation.store.read() as connection:
        found = standing(connection)
    if as_json:
        click.echo(json.dumps({"operations": [item.document() for item in found]}, indent=2))
        return 0
    if not found:
        click.echo("no Operation is in force; octofleet run PLAYBOOK --on SELECTION runs a playbook once")
    for item in found:
        last, due = item.last, "by hand alone" if item.next_at is None else f"due {utc(item.next_at)}"
        click.echo(f"{item.tenant + '/' if item.tenant else ''}{item.name}: {item.playbook}, {due}")
        if last is not None:
            run = f": octofleet logs {last.run}" if last.run else f": {last.note}" if last.note else ""
            click.echo(f"  due {utc(last.due_at)} {last.state}{run}")
    return 0
