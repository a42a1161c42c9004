"""`octofleet drift`."""

import click

from reconciler.cli.apply import apply_planned
from reconciler.cli.options import common, progress, reason_option
from reconciler.cli.permission import breakable
from reconciler.cli.plan import exit_code
from reconciler.cli.showing import print_plan
from reconciler.errors import Refused
from reconciler.planning import make_plan
from reconciler.stages import stage
from reconciler.store.records import applied_commit, sources
from reconciler.types.change import Cause
from reconciler.types.request import Request
from reconciler.viewing import viewing
from reconciler.wiring import Installation


@click.command()
@click.option("--repo", help="Path or URL of the repository; default: the one applied last.")
@click.option("--source", help="The Fleet's name, where this installation has several.")
@click.option("--scope", default="", help="Only these: host/TENANT/NAME, tenant/NAME or driver/kind/tenant/name, with * and ?.")
@click.option("--heal", is_flag=True, help="Bring what has drifted back to the commit applied last.")
@click.option("--approve", is_flag=True, help="With --heal: without asking.")
@reason_option("Why; recorded with the run.", required=False)
@breakable
@common
def drift(
    installation: Installation,
    as_json: bool,
    repo: str | None,
    source: str | None,
    scope: str,
    heal: bool,
    approve: bool,
    reason: str,
    break_glass: str,
) -> int:
    """Look at everything that was applied and show what is no longer so. Nothing is changed without --heal."""
    location, commit = _applied(installation, source)
    repository = installation.repository(repo or location)
    request = Request(rev=commit, scope=scope, refresh=True, causes=frozenset({Cause.DRIFT}))
    with stage("plan"), progress(quiet=as_json) as bar:
        planned = make_plan(installation, repository, request, bar.told)
    healing = heal and planned.plan.applyable
    with viewing(installation, repository, planned, drift=True) as view:
        if not (healing and as_json):
            print_plan(view, as_json=as_json, out=None)
    if healing:
        why = reason or "drift healed"
        return apply_planned(installation, planned, approve=approve, reason=why, break_glass=break_glass, as_json=as_json)
    return exit_code(view)


def _applied(installation: Installation, source: str | None) -> tuple[str, str]:
    with installation.store.read() as connection:
        known = {str(item["name"]) for item in sources(connection)}
        if source is None and len(known) == 1:
            source = known.copy().pop()
        found = applied_commit(connection, source) if source else None
    if found is None:
        text = "nothing has been applied yet" if not known else f"say which Fleet with --source: {', '.join(sorted(known))}"
        raise Refused(text, hint="octofleet apply first" if not known else "octofleet status lists them", code="no-source")
    return found[1], found[0]
