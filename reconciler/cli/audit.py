"""`octofleet audit`."""

import json
import re
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO

import click

from reconciler.cli.options import Listing, common
from reconciler.cli.runs import stamp
from reconciler.errors import OctofleetError
from reconciler.files import new_file
from reconciler.report.text import printable
from reconciler.report.view import counted
from reconciler.store.audit import entries, every, newest, verify
from reconciler.store.audited import Shown, audited_run
from reconciler.types.audit import START, Head, Row, Unreadable, Verdict, follow, line_of
from reconciler.wiring import Installation
from reconciler.witness import FileKeeper, GitKeeper, Keeper, keep, parsed

MOST_ROWS = 2**53 - 1
DATES = ["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S", "%Y-%m-%d %H:%M:%S"]


@click.group(cls=Listing)
def audit() -> None:
    """Who said and did what, as a chain that shows if somebody tampers with it. Without a further word: list."""


@audit.command(name="list")
@click.option("--who", default="", metavar="IDENTITY", help="Only of this one, such as local:ada.")
@click.option("--action", default="", help="Only this, such as apply or pause.")
@click.option("--run", default="", help="Only of this run.")
@click.option("--since", type=click.DateTime(DATES), help="Only from then on, in local time.")
@click.option("--before", type=click.IntRange(1, MOST_ROWS), metavar="SEQ", help="Only rows before this one: the next page.")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 100_000), help="How many.")
@common
def list_(
    installation: Installation, as_json: bool, who: str, action: str, run: str, since: datetime | None, before: int | None, limit: int
) -> int:
    """List what was said and done, newest first."""
    try:
        at = since.timestamp() if since else None
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(f"there is no such time: {error}", param_hint="--since") from error
    with installation.store.read() as connection:
        found = entries(connection, who=who, action=action, run=run, since=at, before=before, limit=limit)
    if as_json:
        click.echo(json.dumps({"entries": [row.fields() for row in found]}, indent=2))
        return 0
    for row in found:
        click.echo(_line(row))
    if not found:
        click.echo("nothing of that kind is recorded")
    elif len(found) == limit:
        click.echo(f"older ones: --before {found[-1].seq}")
    return 0


def _line(row: Row) -> str:
    few = row.subjects[:2] + ([f"and {len(row.subjects) - 2} more"] if len(row.subjects) > 2 else [])
    about = [row.run and f"run {row.run}", row.plan and f"plan {row.plan[:12]}", row.commit and f"commit {row.commit[:10]}", *few]
    what = " ".join(filter(None, (row.action, row.details.get("state"))))
    text = f"{row.seq:>6}  {stamp(row.at)}  {row.identity}  {what}  {', '.join(part for part in about if part)}"
    return printable(text.rstrip() + (f"  ({row.reason})" if row.reason else ""))


@audit.command()
@click.argument("run")
@common
def show(installation: Installation, as_json: bool, run: str) -> int:
    """Who applied and approved exactly what in a run: its plan's id, the digest of each change, and everything that was said."""
    with installation.store.read() as connection:
        found = audited_run(connection, run)
    if as_json:
        click.echo(json.dumps(_shown(found), indent=2))
        return 1 if found.wrong else 0
    click.echo(f"run {found.run}, plan {found.plan}")
    for row in found.rows:
        click.echo(_line(row))
    for change in found.changes or ():
        by = f", approved by {', '.join(change.approved_by)}" if change.approved_by else ""
        click.echo(printable(f"  {change.digest}  {change.action} {change.address}: {change.status or 'open'}{by}"))
    if found.wrong:
        click.echo(click.style("wrong: ", fg="red") + found.wrong, err=True)
        return 1
    if found.changes is None:
        click.echo("  the run and its plan were pruned: the plan's id stands for what changed")
    else:
        click.echo(f"the plan's id is the hash over {counted(len(found.changes), 'change')}; octofleet audit verify holds the rows")
    return 0


def _shown(found: Shown) -> dict[str, Any]:
    changes = None
    if found.changes is not None:
        changes = [
            {"address": c.address, "action": c.action, "digest": c.digest, "status": c.status or None, "approvedBy": list(c.approved_by)}
            for c in found.changes
        ]
    rows = [row.fields() for row in found.rows]
    return {"run": found.run, "plan": found.plan, "entries": rows, "changes": changes, "wrong": found.wrong or None}


@audit.command(name="verify")
@click.option(
    "--head", metavar="FILE|HASH", help="A head from outside, which has to be in the chain: also finds that the newest rows are gone."
)
@click.option("--file", type=click.Path(path_type=Path), help="Verify an export instead of the database.")
@common
def verify_(installation: Installation, as_json: bool, head: str | None, file: Path | None) -> int:
    """Whether every row is as it was recorded: 0, or 1 and the first one that is not."""
    known = _head(head) if head is not None else None
    if file is not None:
        found = follow(_exported(file), known=known)
    else:
        with installation.store.read() as connection:
            found = verify(connection, known)
    if as_json:
        click.echo(json.dumps(_verdict(found), indent=2))
    elif found.wrong is not None:
        click.echo(click.style(f"wrong: {printable(found.wrong.text)}", fg="red"))
        click.echo(f"  {counted(found.rows, 'row')} before it as recorded" if found.rows else "  no row before it")
    else:
        click.echo(f"the audit trail is whole: {counted(found.rows, 'row')}, head {found.head}")
        if known is None and found.rows:
            click.echo("  only a head from outside (--head) shows whether the newest rows are missing or all were written anew")
    return 1 if found.wrong else 0


def _verdict(found: Verdict) -> dict[str, Any]:
    wrong = {"seq": found.wrong.seq, "what": found.wrong.what, "text": found.wrong.text} if found.wrong else None
    return {"whole": wrong is None, "rows": found.rows, "head": {"seq": found.head.seq, "hash": found.head.hash}, "wrong": wrong}


def _head(text: str) -> Head:
    """A hash as it is, or what a file holds."""
    if re.fullmatch(r"[0-9a-fA-F]{64}", text):
        return Head(0, text.lower())
    try:
        return parsed(Path(text).read_bytes(), text)
    except OSError as error:
        hint = "give a file that octofleet audit head --out wrote, or a hash of 64 hexadecimal digits"
        raise OctofleetError(f"cannot read the head {text}: {error.strerror}", hint=hint, code="audit") from error


def _exported(file: Path) -> Iterator[Row | Unreadable]:
    try:
        with file.open("rb") as lines:
            for number, line in enumerate(lines, 1):
                yield line_of(line.removesuffix(b"\n"), number)
    except OSError as error:
        raise OctofleetError(f"cannot read {file}: {error.strerror}", hint="octofleet audit export makes one", code="audit") from error


@audit.command()
@click.option("--out", type=click.Path(path_type=Path), help="Write to this file, where there is none yet; default: stdout.")
@common
def export(installation: Installation, as_json: bool, out: Path | None) -> int:
    """The whole trail as lines of JSON, which `octofleet audit verify --file FILE` verifies without a database."""
    number = 0
    with installation.store.read() as connection, _to(out) as file:
        for row in every(connection):
            if isinstance(row, Unreadable):
                text = f"row {row.seq} cannot be read: {row.why}"
                raise OctofleetError(text, hint="octofleet audit verify looks at all of it", code="audit")
            file.write(row.line() + b"\n")
            number += 1
        file.flush()  # what cannot be written is told here
    if out:
        click.echo(json.dumps({"file": str(out), "rows": number}) if as_json else f"wrote {out}: {counted(number, 'row')}")
    return 0


def _to(out: Path | None) -> AbstractContextManager[BinaryIO]:
    if out is not None:
        return new_file(out)
    if sys.stdout is None:
        raise OctofleetError("there is no standard output to write to", hint="name a file with --out", code="audit")
    return nullcontext(sys.stdout.buffer)


@audit.command()
@click.option("--out", type=click.Path(path_type=Path), help="Keep it in this file.")
@click.option("--git", type=click.Path(path_type=Path), metavar="DIR", help="Keep it on the branch octofleet-audit of this Git repository.")
@click.option("--accept-history", is_flag=True, help="Whatever was kept there before: an older backup was restored.")
@common
def head(installation: Installation, as_json: bool, out: Path | None, git: Path | None, accept_history: bool) -> int:
    """The end of the chain: number and hash of its last row. Kept outside the database, it shows if the trail is written anew or shortened."""
    kept: list[Keeper] = [*([FileKeeper(out)] if out else ()), *([GitKeeper(git)] if git else ())]
    for keeper in kept:
        keep(installation.store, keeper, accept_history=accept_history)
    with installation.store.read() as connection:
        found = newest(connection)
    said = {"seq": found.seq, "hash": found.hash, "keptIn": [keeper.place for keeper in kept]}
    if as_json:
        click.echo(json.dumps(said, indent=2))
        return 0
    click.echo(str(found) if found != START else "nothing is recorded yet")
    for keeper in kept:
        click.echo(f"  kept in {keeper.place}")
    return 0
