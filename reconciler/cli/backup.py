"""`octofleet backup` and `octofleet restore`."""

import json
import os
import tempfile
from pathlib import Path

import click

from reconciler.cli.options import common
from reconciler.cli.permission import ask, breakable
from reconciler.files import private_directory
from reconciler.identity.access import Action, Resource
from reconciler.identity.local import whoami
from reconciler.report.view import counted
from reconciler.wiring import VERSION, Installation


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--blobs", is_flag=True, help="Archived logs and artifacts too.")
@breakable
@common
def backup(installation: Installation, as_json: bool, file: Path, blobs: bool, break_glass: str) -> int:
    """Write what the database knows and the installation's key to FILE. It is as secret as the data directory."""
    from reconciler.store.backup import write_backup  # noqa: PLC0415 - it imports SQLAlchemy

    ask(installation, "", [(Action.BACKUP, Resource())], break_glass)
    found = write_backup(file, installation.store, installation.key, VERSION, installation.blobs if blobs else None)
    if as_json:
        rows = {name: table.rows for name, table in found.tables.items()}
        click.echo(json.dumps({"file": str(file), "rows": rows, "blobs": len(found.blobs), "bytes": file.stat().st_size}, indent=2))
        return 0
    with_blobs = f", {counted(len(found.blobs), 'blob')}" if blobs else "; --blobs adds archived logs and artifacts"
    click.echo(f"wrote {file}: {counted(found.rows, 'row')} of {counted(len(found.tables), 'table')}{with_blobs}")
    click.echo("  it holds the installation's key: keep it as secret as the data directory")
    return 0


@click.command()
@click.argument("file", type=click.Path(path_type=Path))
@breakable
@common
def restore(installation: Installation, as_json: bool, file: Path, break_glass: str) -> int:
    """Fill an empty database from a backup, of SQLite or of PostgreSQL. Runs that were open are paused."""
    from reconciler.store.restore import restore as fill  # noqa: PLC0415 - it imports SQLAlchemy

    ask(installation, "", [(Action.RESTORE, Resource())], break_glass)
    scratch = private_directory(installation.data_dir / "scratch")
    with tempfile.TemporaryDirectory(dir=scratch, prefix=f"{os.getpid()}-") as directory:
        found = fill(file, installation.store, installation.blobs, installation.key_file, Path(directory), whoami())
    if as_json:
        document = {"file": str(file), "rows": found.manifest.rows, "blobs": len(found.manifest.blobs), "paused": list(found.paused)}
        click.echo(json.dumps(document, indent=2))
        return 0
    click.echo(f"restored {counted(found.manifest.rows, 'row')} and {counted(len(found.manifest.blobs), 'blob')} from {file}")
    for run in found.paused:
        click.echo(f"  run {run} was open and is paused; octofleet logs {run} tells how far it came")
    if not found.manifest.with_blobs:
        click.echo("  the backup was made without --blobs: archived logs are where they were, or nowhere")
    click.echo("  next: octofleet plan --refresh looks at what has changed in the world since")
    return 0
