"""`octofleet init`."""

import json
import re
from pathlib import Path

import click
import pygit2

import schemas
from reconciler.errors import Refused
from reconciler.files import replace_file

EDITOR = ".octofleet"
"""The directory of what editors read; its schema shows, as examples, texts that look encrypted."""
MODELINE = f"# yaml-language-server: $schema={{up}}{EDITOR}/schema.json\n"

FILES = {
    "fleet.yaml": """apiVersion: octofleet/v1
kind: Fleet
metadata:
  name: {name}
spec:
  defaults:            # every host begins with these; see `octofleet explain host/first-01`
    timezone: UTC
    locale: en_US.UTF-8
    domain: example.net
  guards:
    maxDeletePercent: 10
""",
    "tenants/main.yaml": """apiVersion: octofleet/v1
kind: Tenant
metadata:
  name: main
spec:
  displayName: The first tenant
""",
    "networks/lan.yaml": """apiVersion: octofleet/v1
kind: Network
metadata:
  name: lan
spec:
  cidr: 192.0.2.0/24
  gateway: 192.0.2.1
  nameservers: [192.0.2.53]
""",
    "profiles/base.yaml": """apiVersion: octofleet/v1
kind: Profile
metadata:
  name: base
spec:
  os:
    distribution: debian
    version: "12"
  packages: [openssh-server]
  users:
    - name: ops
      groups: [sudo]
      shell: /bin/bash
      ssh_authorized_keys: []    # put the public keys of the people who operate this fleet here
""",
    "hosts/first-01.yaml": """apiVersion: octofleet/v1
kind: Host
metadata:
  name: first-01
  tenant: main
spec:
  profile: base
  interfaces:
    - name: eth0
      mac: "52:54:00:00:00:01"
      network: lan
      address: 192.0.2.11
""",
}


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, file_okay=False))
@click.option("--name", default="main", show_default=True, help="The Fleet's name.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.option("--debug", is_flag=True, help="Show tracebacks.")
def init(directory: Path, name: str, as_json: bool, debug: bool) -> int:
    """Make a small, valid repository to start from, with a schema for your editor."""
    del debug
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", name) or name in ("true", "false", "null"):
        hint = "lower-case letters, digits and -, at most 63, a letter first"
        raise Refused(f"{name!r} is not a name for a Fleet", hint=hint, code="usage")
    if directory.exists() and any(directory.iterdir()):
        raise Refused(f"{directory} is not empty", hint="give a new or an empty directory", code="not-empty")
    for path, text in FILES.items():
        modeline = MODELINE.format(up="../" * path.count("/") or "./")
        replace_file(directory / path, (modeline + text.replace("{name}", name)).encode())
    replace_file(directory / EDITOR / "schema.json", json.dumps(schemas.editor_schema(), indent=1).encode())
    commit = commit_all(directory, "A small fleet to start from")
    if as_json:
        click.echo(json.dumps({"directory": str(directory), "commit": commit, "files": sorted(FILES)}))
        return 0
    click.echo(
        f"made {directory} with {len(FILES)} manifests and one commit\nnext:\n  octofleet validate --repo {directory}\n  octofleet plan --repo {directory}"
    )
    return 0


def commit_all(directory: Path, message: str) -> str:
    """Commit everything in a directory, made a repository on `main` if it is none; gives the id."""
    there = (directory / ".git").exists()
    repository = pygit2.Repository(str(directory)) if there else pygit2.init_repository(str(directory), initial_head="main")
    repository.index.add_all()
    repository.index.write()
    try:
        who = repository.default_signature
    except KeyError:
        who = pygit2.Signature("octofleet", "octofleet@localhost")
    parents = [] if repository.head_is_unborn else [repository.head.target]
    return str(repository.create_commit("HEAD", who, who, message, repository.index.write_tree(), parents))
