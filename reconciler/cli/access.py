"""`octofleet access`."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

import click

from reconciler.cli.options import common
from reconciler.errors import InputError
from reconciler.granting import FIRST, are_first, written
from reconciler.identity.access import (
    KINDS,
    NEEDS,
    OPEN_TO,
    Access,
    Action,
    Binding,
    Identity,
    Resource,
    canonical,
)
from reconciler.identity.local import me, whoami
from reconciler.permitting import access_in_force
from reconciler.planning import compiled
from reconciler.reading.mappings import placed
from reconciler.report.text import printable
from reconciler.store.records import applied_commit
from reconciler.types.origin import Origin
from reconciler.wiring import Installation

ACROSS = "(across tenants)"


@click.command()
@click.argument("who", required=False)
@click.option("--action", type=click.Choice([action.value for action in Action]), help="Say who may do this, tenant by tenant.")
@click.option("--tenant", help="Only what holds in this tenant.")
@click.option("--repo", help="Also say what a commit of this repository would change.")
@click.option("--rev", help="With --repo: branch, tag or commit; default: the default branch.")
@common
def access(
    installation: Installation, as_json: bool, who: str | None, action: str | None, tenant: str | None, repo: str | None, rev: str | None
) -> int:
    """Who may do what here, by the RoleMappings in force, and which line of which file says so. WHO such as local:ada; `me` is who asks."""
    if rev is not None and repo is None:
        raise click.UsageError("--rev is for a commit of --repo")
    name = whoami() if who == "me" else who
    if name is not None and name.partition(":")[0] not in KINDS:
        raise click.UsageError(
            f"WHO is {name!r}: write local:{name} for a user of this machine, or begin with {', '.join(f'{kind}:' for kind in KINDS[1:])}"
        )
    with installation.store.read() as connection:
        recorded = access_in_force(connection)
        applied = {source: found for source in recorded.fleets if (found := applied_commit(connection, source))}
    known = Access(
        fleets={source: placed(installation, said, applied.get(source)) for source, said in recorded.fleets.items()},
    )
    document: dict[str, Any] = {"me": whoami(), "fleets": [_fleet(known, source, name, tenant) for source in sorted(known.fleets)]}
    if action is not None:
        document["decisions"] = list(_decisions(known, Action(action), name, tenant))
    if repo is not None:
        document["changes"] = _changes(installation, known, repo, rev, name, tenant)
    if as_json:
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
    else:
        _print(document)
    return 0


def _fleet(known: Access, source: str, name: str | None, tenant: str | None) -> dict[str, Any]:
    bindings = [item for item in known.bindings(source) if _asked_for(item, name, tenant)]
    people = [{"name": who, "identities": sorted(ids)} for said in known.fleets[source] for who, ids in said.people]
    shown = [person for person in people if name is None or canonical(name) in person["identities"]]
    return {
        "source": source,
        "inForce": bool(known.fleets[source]),
        "bindings": [_binding(item) for item in sorted(bindings)],
        "people": shown,
    }


def _asked_for(binding: Binding, name: str | None, tenant: str | None) -> bool:
    return (name is None or binding.subject == canonical(name)) and (tenant is None or binding.reaches(tenant))


def _binding(item: Binding) -> dict[str, Any]:
    return {
        "subject": item.subject,
        "role": item.role.value,
        "tenant": item.tenant,
        "scopes": list(item.scopes),
        "mapping": item.mapping,
        "origin": _origin(item.origin),
        "text": str(item),
    }


def _origin(origin: Origin | None) -> Mapping[str, Any] | None:
    return {"path": origin.path, "line": origin.line, "column": origin.column} if origin else None


def _decisions(known: Access, action: Action, name: str | None, tenant: str | None) -> Iterable[dict[str, Any]]:
    """Of everybody who is asked about, or is bound at all, in each tenant that anything is said about, and across them."""
    mine = me()
    for source in sorted(known.fleets):
        bindings = list(known.bindings(source))
        names = [name] if name else sorted({item.subject for item in bindings} | {mine.name})
        for who in names:
            identity = Identity.named(who)
            for where in [tenant] if tenant is not None else sorted({"", *(item.tenant for item in bindings)}):
                decision = known.decide(identity, action, Resource(source=source, tenant=where))
                partly = [] if decision.allowed or NEEDS[action].role is None else known.held(identity, action, source, where)
                yield {
                    "source": source,
                    "identity": who,
                    "action": action.value,
                    "tenant": where,
                    "allowed": decision.allowed,
                    "scopes": sorted({scope for item in partly for scope in item.scopes}),
                    "reason": decision.reason,
                    "origin": _origin(decision.origin),
                }


def _changes(installation: Installation, known: Access, repo: str, rev: str | None, name: str | None, tenant: str | None) -> dict[str, Any]:
    """Who would gain and lose what, once this commit is applied."""
    repository = installation.repository(repo)
    commit = repository.commit(rev)
    desired = compiled(installation, repository, commit)
    if desired.fleet is None:
        raise InputError(desired.problems)
    before = {item for item in known.bindings(desired.fleet.name) if _asked_for(item, name, tenant)}
    after = {item for said in written(desired) for item in said.bindings if _asked_for(item, name, tenant)}
    gained, lost = (map(_binding, sorted(found)) for found in (after - before, before - after))
    first = are_first(known, desired)
    return {"source": desired.fleet.name, "commit": commit.id, "gained": list(gained), "lost": list(lost), "first": first}


def _print(document: Mapping[str, Any]) -> None:
    click.echo(f"you are {document['me']}")
    for fleet in document["fleets"]:
        none = f"no RoleMapping is in force: {OPEN_TO}"
        click.echo(f"\nfleet {fleet['source']}" + ("" if fleet["inForce"] else f": {none}"))
        _lines("  ", fleet["bindings"])
        for person in fleet["people"]:
            click.echo(f"  {printable(person['name'])} is {', '.join(person['identities'])}")
        if fleet["inForce"] and not fleet["bindings"]:
            click.echo("  no binding says anything about this")
    if not document["fleets"]:
        click.echo(f"nothing has been applied yet: {OPEN_TO}")
    for item in document.get("decisions", ()):
        sign = "yes" if item["allowed"] else "in part" if item["scopes"] else "no"
        where = item["tenant"] or ACROSS
        click.echo(f"\n{item['identity']}  {item['action']}  {item['source']}  {where}: {sign}\n  {printable(item['reason'])}")
    if changes := document.get("changes"):
        nothing = "" if changes["gained"] or changes["lost"] else " nothing"
        click.echo(f"\ncommit {changes['commit'][:10]} of fleet {changes['source']} would change{nothing}")
        _lines("  + ", changes["gained"])
        _lines("  - ", changes["lost"])
        if changes["gained"] and changes["first"]:
            click.echo(FIRST)


def _lines(sign: str, bindings: Iterable[Mapping[str, Any]]) -> None:
    for item in bindings:
        origin = item["origin"]
        place = f"{origin['path']}:{origin['line']}:{origin['column']}" if origin else "its line is not known here"
        click.echo(f"{sign}{item['text']}\n{' ' * len(sign)}  {item['mapping']}  {place}")
