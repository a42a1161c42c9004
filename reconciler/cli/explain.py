"""`octofleet explain`."""

import json
from collections.abc import Sequence

import click
import msgspec

from reconciler.cli.options import common, repository_options
from reconciler.desired.desired import Desired
from reconciler.desired.explain import Setting, leaves
from reconciler.errors import InputError, Refused
from reconciler.planning import compiled
from reconciler.reading.explain import explained, said_of
from reconciler.report.text import printable
from reconciler.report.view import shown
from reconciler.types.values import redacted
from reconciler.wiring import Installation


@click.command()
@click.argument("ref")
@click.argument("field", required=False, default="")
@repository_options
@common
def explain(installation: Installation, as_json: bool, ref: str, field: str, repo: str, rev: str | None) -> int:
    """Which file and line set a value. REF is host/[tenant/]name; FIELD such as spec.disk or spec.interfaces.eth0.gateway; without it: every value."""
    repository = installation.repository(repo)
    commit = repository.commit(rev)
    desired = compiled(installation, repository, commit)
    group = host_group(desired, ref)
    if group in desired.blocked:
        raise InputError(desired.problems)
    found = said_of(desired, group, field, repository, commit)
    if as_json:
        document = msgspec.to_builtins(explained(group, found, lambda value: redacted(_hidden(value))))
        click.echo(json.dumps(document, indent=2, ensure_ascii=False))
        return 0
    values = dict(leaves(dict(desired.resolver.resolve(desired.hosts[group]).values)))
    for one in found:
        if one.roles:
            click.echo(f"in the runs of {', '.join(one.roles)}:")
        if one.settings:
            _print(one.pointer, one.settings, None if one.roles else values.get(one.pointer), whole=bool(field))
        for path, why in one.unread.items():
            click.echo(f"    not read, and it may say something: {printable(path)}: {printable(why)}")
    return 0


def _print(where: str, said: Sequence[Setting], value: object, *, whole: bool) -> None:
    """`value`: what the host has, where that is one value or a list; lists may be joined, and then no layer has it all."""
    last = said[-1]
    name = f"spec{where.replace('/', '.')}"
    joined = isinstance(value, list) and value != last.value
    if not whole:
        places = ", ".join(f"{item.layer}  {item.origin}" for item in (said if joined else [last]))
        click.echo(f"{name} = {shown(_hidden(value if joined else last.value))}  {places}")
        return
    click.echo(f"{name} is joined from, lowest first:" if joined else f"{name} comes from, lowest first:")
    for item in said:
        mark = "=>" if item is last and not joined else "  "
        click.echo(f" {mark} {printable(shown(_hidden(item.value), 100))}\n      {printable(item.layer)}  {printable(str(item.origin))}")
    if joined:
        click.echo(f" => {printable(shown(_hidden(value), 100))}")


def _hidden(value: object) -> object:
    """Layers hold vault values as text: show that there is one, not its ciphertext."""
    if isinstance(value, dict):
        if len(value) == 1 and next(iter(value)).startswith("$octofleet."):
            return "(vault value)"
        return {key: _hidden(item) for key, item in value.items()}
    return [_hidden(item) for item in value] if isinstance(value, list) else value


def host_group(desired: Desired, ref: str) -> str:
    """The group of `host/[tenant/]name`. Raises `Refused` if there is no such host, or several."""
    ref = ref if "/" in ref else f"host/{ref}"
    parts = ref.split("/")
    if parts[0] != "host" or len(parts) not in (2, 3):
        raise Refused(f"{ref} is not host/[tenant/]name", hint="for example host/web-01 or host/shop/web-01", code="usage")
    known = {*desired.hosts, *desired.blocked}
    found = sorted(group for group in known if group.split("/")[2] == parts[-1] and (len(parts) == 2 or group == ref))
    if len(found) == 1:
        return found[0]
    if found:
        raise Refused(f"there are several hosts {parts[-1]}", hint=f"say which: {', '.join(found)}", code="ambiguous-ref")
    near = desired.catalog.near("Host", parts[1] if len(parts) == 3 else "", parts[-1])
    raise Refused(f"there is no {ref}", hint=near, code="no-ref")
