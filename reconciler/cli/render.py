"""`octofleet render`."""

import json
from pathlib import Path

import click

from reconciler.cli.explain import host_group
from reconciler.cli.options import common, repository_options
from reconciler.errors import InputError, Refused
from reconciler.files import replace_file
from reconciler.planning import compiled
from reconciler.rendering import render_host
from reconciler.wiring import Installation


@click.command()
@click.argument("host")
@repository_options
@click.option("--out", type=click.Path(path_type=Path), help="Write the files into this directory.")
@common
def render(installation: Installation, as_json: bool, host: str, repo: str, rev: str | None, out: Path | None) -> int:
    """Render a host's boot files, as they would be published. HOST is [host/][tenant/]name."""
    repository = installation.repository(repo)
    commit = repository.commit(rev)
    desired = compiled(installation, repository, commit)
    group = host_group(desired, host if host.startswith("host/") else f"host/{host}")
    resolved = desired.host(group)
    if resolved is None:
        raise InputError(desired.problems)
    files = {}
    for name, data in render_host(installation, repository, commit, resolved):
        if isinstance(data, str):
            raise Refused(f"{group}: {name} cannot be rendered: {data}", hint="octofleet validate shows where to mend it", code="render")
        files[name] = data
    if out is not None:
        for name, data in files.items():
            replace_file(out / name, data)
    if as_json:
        click.echo(json.dumps({"ref": group, "files": {name: data.decode(errors="replace") for name, data in files.items()}}, indent=2))
        return 0
    for name, data in files.items():
        click.echo(f"wrote {out / name}" if out else click.style(f"==> {name}", bold=True))
        if out is None:
            click.echo(data.decode(errors="replace"))
    if not files:
        click.echo(f"{group} has no boot files")
    return 0
