"""`octofleet forget`."""

import json
import time

import click

from reconciler.cli.options import common, reason_option
from reconciler.cli.permission import ask, breakable
from reconciler.errors import Refused
from reconciler.identity.local import whoami
from reconciler.permitting import to_forget
from reconciler.report.text import printable
from reconciler.store.audit import record
from reconciler.store.observations import drop_observations
from reconciler.store.records import drop_records, load_records, records_of_group
from reconciler.store.runs import FORGET, refuse_held, write_log
from reconciler.types.audit import Entry
from reconciler.wiring import Installation


@click.command()
@click.argument("what")
@reason_option()
@breakable
@common
def forget(installation: Installation, as_json: bool, what: str, reason: str, break_glass: str) -> int:
    """Drop records and leave the world alone. WHAT is an address (driver/kind/tenant/name) or a manifest (host/tenant/name)."""
    with installation.store.read() as connection:
        records = load_records(connection, [what]) or load_records(connection, records_of_group(connection, what))
    for known in records.values():
        ask(installation, known.source, [to_forget(known)], break_glass)
    with installation.store.write() as connection:
        found = list(load_records(connection, list(records)))
        if not found:
            raise Refused(
                f"nothing is recorded for {what}", hint="give an address as a plan shows it, or host/TENANT/NAME", code="no-record"
            )
        refuse_held(connection, found)
        drop_records(connection, found)
        drop_observations(connection, found)
        write_log(connection, FORGET, [(0, time.time(), f"{address}: {printable(reason)}") for address in found])
        record(connection, Entry(identity=whoami(), action="forget", subjects=tuple(found), reason=reason, details={"said": what}))
    click.echo(
        json.dumps({"forgotten": found})
        if as_json
        else f"forgot {len(found)} record{'s' if len(found) != 1 else ''}; the world is as it was"
    )
    return 0
