"""`octofleet tasks`: what playbooks did on hosts, and which of their tasks take longest."""

import json
import time
from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

import click
import msgspec

from reconciler.cli.options import common, show
from reconciler.cli.runs import run_named, stamp
from reconciler.reading.tasks import DAY_S, SlowDocument, TaskDocument, host_of, slow_document, task_document
from reconciler.report.text import Line, printable
from reconciler.report.view import counted
from reconciler.store.tasks import COUNTS, slow_tasks, tasks_before
from reconciler.wiring import Installation


def tasks_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What to list, here and over the API."""
    options = (
        click.option("--run", default="", help="Only of this run: its id, or the beginning of it."),
        click.option("--host", default="", metavar="TENANT/NAME", help="Only on this host."),
        click.option("--status", type=click.Choice(COUNTS), help="Only those that ended so."),
        click.option(
            "--search", default="", metavar="TEXT", help="Only with this text in the task's or the host's name, or in the message."
        ),
        click.option("--slowest", is_flag=True, help="The tasks that take longest, over all hosts and runs."),
        click.option("--days", default=30, show_default=True, type=click.IntRange(1, 366), help="How far back."),
        click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 500), help="How many."),
    )
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@tasks_options
@common
def tasks(
    installation: Installation, as_json: bool, run: str, host: str, status: str | None, search: str, slowest: bool, days: int, limit: int
) -> int:
    """Show what tasks of playbooks did on hosts, newest first. Kept is what changed or failed, unless the settings keep all."""
    of_run = run_named(installation, run).id if run else ""
    of_host = host_of(host) if host else None
    since = time.time() - days * DAY_S
    with installation.store.read() as connection:
        if slowest:
            slow = slow_tasks(connection, 0.0 if of_run else since, run=of_run)
            show_slowest([slow_document(source, row) for source, row in islice(slow, limit)], as_json=as_json)
        else:
            found = tasks_before(connection, None, run=of_run, of=of_host, status=status or "", text=search.strip(), since=since)
            show_tasks([task_document(source, row) for source, row in islice(found, limit)], as_json=as_json)
    return 0


def show_tasks(found: Iterable[TaskDocument], *, as_json: bool) -> None:
    """Results, for people or programs."""
    found = list(found)
    if as_json:
        click.echo(json.dumps({"tasks": msgspec.to_builtins(found)}, indent=2))
        return
    lines = [
        f"{stamp(one.at)}  {one.status:<11}  {one.seconds:>7.1f} s  {one.tenant}/{one.host}  {one.name} ({one.place})"
        + (f": {one.message}" if one.message else "")
        for one in found
    ]
    show(Line(printable(line), "plain") for line in lines or ["no such task was kept"])


def show_slowest(found: Iterable[SlowDocument], *, as_json: bool) -> None:
    """Tasks by the time that they take, for people or programs."""
    found = list(found)
    if as_json:
        click.echo(json.dumps({"tasks": msgspec.to_builtins(found)}, indent=2))
        return
    lines = [
        f"{one.seconds:>9.1f} s  longest {one.most_s:>7.1f} s  {counted(one.times, 'time'):>13} in {counted(one.runs, 'run'):<8}  "
        f"{one.tenant}  {one.name} ({one.place})"
        for one in found
    ]
    show(Line(printable(line), "plain") for line in lines or ["no playbook has run"])
