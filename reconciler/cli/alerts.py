"""`octofleet alerts`: what is so that people are told of, and whether those who are to be told can be."""

import json

import click

from reconciler import alerting
from reconciler.alert.channel import Channel
from reconciler.alert.condition import Condition
from reconciler.cli.options import Listing, common, show
from reconciler.cli.permission import ask, breakable
from reconciler.errors import OctofleetError, Refused
from reconciler.identity.access import Action, Resource
from reconciler.report.text import Line, printable
from reconciler.report.view import counted, duration
from reconciler.store.alerts import channels_in_force, failing, open_alerts
from reconciler.wiring import Installation


@click.group(cls=Listing)
def alerts() -> None:
    """What people are told of. Without a command: list what is open."""


@alerts.command(name="list")
@click.option("--tenant", "tenants", multiple=True, metavar="T", help="Only alerts of this tenant.")
@common
def list_alerts(installation: Installation, as_json: bool, tenants: tuple[str, ...]) -> int:
    """List what is so that people are told of, as the server saw it last.

    Exit codes: 2 if an alert is open; 1 if somebody cannot be told.
    """
    with installation.store.read() as connection:
        found, dead = open_alerts(connection, tenants), failing(connection)
        channels, now = channels_in_force(connection), connection.now()
    if as_json:
        click.echo(json.dumps(_document(found, channels, dead), indent=2))
    else:
        show(_line(item, now) for item in found)
        show(Line(f"{where} was not told {counted(n, 'time')} in a row: {why}", "bad") for where, (n, why) in dead.items())
        if not channels:
            click.echo("no AlertChannel is in force: nobody is told of anything")
        elif not found:
            click.echo("no alert is open")
    return 1 if dead else 2 if found else 0


@alerts.command()
@click.argument("channel")
@breakable
@common
def test(installation: Installation, as_json: bool, channel: str, break_glass: str) -> int:
    """Send a test message to every receiver of a channel (`shop/on-call`)."""
    with installation.store.read() as connection:
        known, now = channels_in_force(connection), connection.now()
    wanted = [one for one in known if channel in (one.name, one.address)]
    if not wanted:
        there = ", ".join(sorted({one.name for one in known})) or "none"
        raise Refused(
            f"no AlertChannel {channel} is in force",
            hint=f"there are: {there}; a merged one is in force once it was applied",
            code="no-channel",
        )
    for one in wanted:
        ask(installation, one.source, [(Action.TEST_ALERTS, Resource(source=one.source, tenant=one.tenant))], break_glass)
    results = [_tried(installation, one, number, receiver, now) for one in wanted for number, receiver in enumerate(one.receivers, 1)]
    if as_json:
        click.echo(json.dumps({"receivers": results}, indent=2))
    else:
        show(Line(f"{item['receiver']}: {item['error'] or 'told'}", "bad" if item["error"] else "good") for item in results)
        show(Line(f"  next: {item['next']}") for item in results if item["next"])
    return 1 if any(item["error"] for item in results) else 0


def _tried(installation: Installation, channel: Channel, number: int, receiver: str, now: float) -> dict[str, str]:
    said = {"channel": channel.name, "receiver": f"{channel.name} receiver {number}", "error": "", "next": ""}
    try:
        return said | {"receiver": f"{said['receiver']} ({alerting.try_out(installation, channel, receiver, now)})"}
    except OctofleetError as error:
        return said | {"error": error.message, "next": error.hint}


def _line(item: Condition, now: float) -> Line:
    age = duration(max(now - item.since, 0.0))
    return Line(
        printable(f"{item.event.words}: {item.subject}, for {age}: {item.text}")
        + (f"\n  next: {printable(item.next)}" if item.next else ""),
        "warn",
    )


def _document(found: list[Condition], channels: list[Channel], dead: dict[str, tuple[int, str]]) -> dict[str, object]:
    fields = ("source", "tenant", "subject", "text", "next", "since")
    return {
        "alerts": [{"key": item.key, "event": item.event.value} | {name: getattr(item, name) for name in fields} for item in found],
        "channels": [
            {
                "channel": one.name,
                "source": one.source,
                "on": sorted(one.on),
                "failing": {line: why for line, (_, why) in dead.items() if line.startswith(f"{one.address}#")},
            }
            for one in channels
        ],
    }
