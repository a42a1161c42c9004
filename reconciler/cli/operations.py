"""`octofleet run` and `octofleet operations`."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import click

from reconciler.cli.apply import apply_planned
from reconciler.cli.options import common, progress, reason_option
from reconciler.cli.permission import ask, breakable
from reconciler.cli.plan import exit_code
from reconciler.cli.showing import print_plan
from reconciler.drivers.ansible.resources import Said
from reconciler.errors import Refused
from reconciler.operating import Operation, applied, asked, found_by, plan_operation, selected
from reconciler.permitting import to_run
from reconciler.planning import compiled
from reconciler.scheduling import sources_at, standing
from reconciler.source.repository import Commit, Repository
from reconciler.stages import stage
from reconciler.types.change import Risk
from reconciler.types.duration import utc
from reconciler.viewing import viewing
from reconciler.wiring import Installation, place

OPERATION = "operation/"


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
    if not playbook.startswith(OPERATION) and not selection:
        raise click.UsageError("say on which hosts: --on host/shop/web-*, --on site=ams1, or --on 'host/*/*' for all")
    wanted = selected(replace(wanted, check=wanted.check and not no_check), selection)

    def permit(source: str, groups: Sequence[str]) -> None:
        ask(installation, source, to_run(source, groups), break_glass)

    with stage("plan"), progress(quiet=as_json) as bar:
        planned = plan_operation(installation, repository, commit, wanted, permit=permit, told=bar.told)
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
        found = sources_at(connection, place(repository))
    if not found:
        hint = "octofleet apply it first, or name a commit with --rev"
        raise Refused(f"nothing was applied from {repository.location} yet", hint=hint, code="not-applied")
    return found[-1]


def _wanted(installation: Installation, repository: Repository, commit: Commit, playbook: str, said: Mapping[str, Any]) -> Operation:
    variables = dict(map(_variable, said["variables"]))
    if not playbook.startswith(OPERATION):
        given = {"playbook": playbook, "project": said["project"], "tags": list(said["tags"]), "become": said["become"]}
        once = Said(ansible={name: value for name, value in given.items() if value}, variables=variables)
        return asked(once, said["name"] or "", said["risks"], said["serial"] or "")
    found = found_by(compiled(installation, repository, commit), playbook.removeprefix(OPERATION))
    also = replace(found.said, variables={**found.said.variables, **variables})
    return replace(found, said=also, risks=found.risks | set(map(Risk, said["risks"])))


def _variable(text: str) -> tuple[str, Any]:
    name, equals, value = text.partition("=")
    if not equals or not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise click.UsageError(f"--var {text!r}: write NAME=VALUE")
    try:
        made = json.loads(value)
    except ValueError:
        return name, value
    if '"secretRef"' in value or '"__ansible_' in value:
        raise click.UsageError(
            f"--var {name}: no secrets and no marks of Ansible here; put the secret into vars of the hosts, or of an Operation"
        )
    return name, made


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
        last = item.last
        click.echo(f"{item.tenant + '/' if item.tenant else ''}{item.name}: {item.playbook}, {item.next}")
        if last is not None:
            run = f": octofleet logs {last.run}" if last.run else f": {last.note}" if last.note else ""
            click.echo(f"  due {utc(last.due_at)} {last.state}{run}")
    return 0
