"""`octofleet facts`."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import click
import msgspec

from reconciler.cli.options import common, show
from reconciler.errors import Refused
from reconciler.reading.facts import (
    DAY_S,
    FactHosts,
    FactHostsAsk,
    FactsAsk,
    FactsDocument,
    HostKnown,
    found_by,
    host_known,
    over_hosts,
)
from reconciler.report.text import Line, printable
from reconciler.report.view import counted
from reconciler.store.engine import Connection
from reconciler.store.host_counts import Among
from reconciler.store.hosts import COUNTED, hosts_named, shown
from reconciler.types.duration import seconds_of, utc
from reconciler.wiring import Installation

ALL = Among(everything=True)
LISTED = 500


class Since(click.ParamType):  # type: ignore[type-arg]
    """Days, as manifests write durations."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Whole days, at least one."""
        if isinstance(value, int):
            return value
        try:
            return min(3650, max(1, round(seconds_of(value) / DAY_S)))
        except ValueError as error:
            self.fail(str(error), param, ctx)


def asking(command: Callable[..., Any]) -> Callable[..., Any]:
    """What is asked, here and of a server."""
    found = (
        click.argument("host", required=False),
        click.argument("path", default="", required=False),
        click.option("--changes", is_flag=True, help="What changed, the same on many hosts said once."),
        click.option("--since", type=Since(), default="7d", show_default=True, help="With --changes: how far back, in days."),
        click.option("--where", default="", metavar="FACT=PATTERN", help="The hosts of which a fact is so: kernel=6.1*"),
        click.option("--count", "fact", type=click.Choice(COUNTED), metavar="FACT", help="How many hosts have which value of a fact."),
    )
    for option in reversed(found):
        command = option(command)
    return command


@click.command()
@asking
@common
def facts(
    installation: Installation, as_json: bool, host: str | None, path: str, changes: bool, since: int, where: str, fact: str | None
) -> int:
    """What hosts said of themselves: one HOST (NAME or TENANT/NAME), with a PATH such as interfaces.eth0; or over all hosts.

    Facts come with the runs and checks of playbooks that gather them, and with the checks of a drift schedule.
    """
    check_question(host, changes=changes, where=where, fact=fact)
    with installation.store.read() as connection:
        if host:
            say_host(host_known(connection, *_named(connection, host), path), path, as_json=as_json)
        elif where:
            say_hosts(found_by(connection, ALL, FactHostsAsk(where=where, limit=LISTED)), as_json=as_json)
        else:
            say_over(over_hosts(connection, ALL, FactsAsk(fact=fact or "", since=since)), changes=changes, as_json=as_json)
    return 0


def check_question(host: str | None, *, changes: bool, where: str, fact: str | None) -> None:
    """Raises `Refused` unless one thing is asked."""
    if sum((bool(host), bool(where), changes or fact is not None)) != 1:
        raise Refused("say one of: a HOST, --changes, --count FACT, --where FACT=PATTERN", hint="octofleet facts --help", code="usage")


def _named(connection: Connection, host: str) -> tuple[str, str]:
    """Tenant and name of the host that is meant. Raises `Refused`."""
    tenant, _, name = host.removeprefix("host/").rpartition("/")
    found = [(of, name) for of in hosts_named(connection, name) if tenant in ("", of)]
    if len(found) == 1:
        return found[0]
    if found:
        hint = f"say which: {', '.join(f'{of}/{name}' for of, _ in found)}"
        raise Refused(f"there are {len(found)} hosts of the name {name}", hint=hint, code="usage")
    raise Refused(f"nothing is known of a host {host}", hint="octofleet status; facts come with the first run or check", code="no-host")


def say_host(found: HostKnown, path: str, *, as_json: bool) -> None:
    """What is known of a host."""
    _say(found, as_json=as_json, lines=_host(found, path))


def say_over(found: FactsDocument, *, changes: bool, as_json: bool) -> None:
    """What is known over hosts."""
    _say(found, as_json=as_json, lines=_changes(found) if changes else _values(found))


def say_hosts(found: FactHosts, *, as_json: bool) -> None:
    """The hosts that were found."""
    _say(found, as_json=as_json, lines=_hosts(found))


def _say(found: msgspec.Struct, *, as_json: bool, lines: Iterator[Line]) -> None:
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found), indent=2))
    else:
        show(Line(printable(line.text), line.style) for line in lines)


def _host(found: HostKnown, path: str) -> Iterator[Line]:
    yield Line(f"{found.tenant}/{found.name}", "title")
    if not path:
        times = {"last asked": found.checked_at, "last answered": found.seen_at, "last as wanted": found.converged_at}
        yield from (Line(f"  {text}: {utc(at) if at is not None else 'never'}") for text, at in times.items())
        if found.next_check_at is not None:
            yield Line(f"  next check: {utc(found.next_check_at)}")
        if found.why:
            yield Line(f"  it did not answer: {found.why}", "bad")
    yield from (Line(f"  {fact}: {shown(value)}") for fact, value in found.facts.items())
    if not found.facts:
        yield Line("  it has told no such fact" if path else "  it has told no facts", "warn")
    yield from (Line(f"  {utc(one.at)}  {one.path}: {one.before or '-'} -> {one.after or '-'}", "change") for one in found.changes)


def _changes(found: FactsDocument) -> Iterator[Line]:
    for one in found.changes:
        yield Line(
            f"{one.path} changed on {counted(one.hosts, 'host')}: {one.before or '-'} -> {one.after or '-'} (last {utc(one.last_at)})"
        )
    if not found.changes:
        yield Line(f"no fact has changed in {counted(found.asked.since, 'day')}")


def _values(found: FactsDocument) -> Iterator[Line]:
    yield from (Line(f"{one.hosts:>8,}  {one.value}") for one in found.values)
    if not found.values:
        yield Line(f"no host has told {found.counted}")


def _hosts(found: FactHosts) -> Iterator[Line]:
    yield from (Line(f"{one.tenant}/{one.name}  {one.value}") for one in found.items)
    if found.next:
        yield Line("and more: narrow the pattern, or ask the API for the next page", "dim")
    if not found.items:
        yield Line("no host has told that")
