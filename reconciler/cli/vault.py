"""`octofleet vault`: values encrypted for Git, and those in a working copy encrypted anew. A plaintext is never printed."""

import json
import re
import sys
from pathlib import Path

import click

from reconciler.cli.init import EDITOR
from reconciler.cli.options import common
from reconciler.errors import OctofleetError, Refused
from reconciler.files import replace_files
from reconciler.report.text import printable
from reconciler.secrets import ansible_vault
from reconciler.secrets.rekey import Key, Rekeyed, rekeyed
from reconciler.secrets.settings import VaultId
from reconciler.secrets.stores import password_of
from reconciler.source.working_copy import files
from reconciler.wiring import Installation

MAX_BYTES = 1024 * 1024
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")


@click.group()
def vault() -> None:
    """Values encrypted in Git, by the vault ids of the settings (secrets.vault_ids.NAME)."""


@vault.command()
@click.option("--id", "name", required=True, metavar="NAME", help="The vault id.")
@click.option("--password-file", type=click.Path(path_type=Path), help="Its password, where the settings do not have the id.")
@common
def encrypt(installation: Installation, as_json: bool, name: str, password_file: Path | None) -> int:
    """Encrypt one value, typed or from standard input (less one line break at its end), to be pasted behind `key: ` in YAML."""
    key = _key(installation, name, password_file, "--password-file")
    text = ansible_vault.encrypt(_value(), key.password, key.name)
    click.echo(json.dumps({"vault": text}) if as_json else "\n".join(["!vault |", *(f"  {line}" for line in text.splitlines())]))
    return 0


@vault.command()
@click.option("--from", "old", required=True, metavar="OLD", help="The vault id whose values are re-keyed.")
@click.option("--to", "new", required=True, metavar="NEW", help="The vault id that they get.")
@click.option("--old-password-file", type=click.Path(path_type=Path), help="The password of OLD, where the settings do not have it.")
@click.option("--new-password-file", type=click.Path(path_type=Path), help="The password of NEW, where the settings do not have it.")
@click.option("--repo", default=".", show_default="the working directory", help="The working copy.")
@click.option("--check", is_flag=True, help="Say what would change, and change nothing.")
@click.argument("paths", nargs=-1, type=click.Path(path_type=Path))
@common
def rekey(
    installation: Installation,
    as_json: bool,
    old: str,
    new: str,
    old_password_file: Path | None,
    new_password_file: Path | None,
    repo: str,
    check: bool,
    paths: tuple[Path, ...],
) -> int:
    """Encrypt every value of one vault id anew for another: in manifests, in Ansible's files and whole files. All or nothing.

    PATHS: only what is at or below them. What git ignores is left alone. Exit code of --check: 2 if anything would change.
    """
    if old == new and old_password_file == new_password_file:
        raise Refused(f"{old} is to be re-keyed to itself", hint="name another id, or two password files", code="usage")
    keys = (
        _key(installation, old, old_password_file, "--old-password-file"),
        _key(installation, new, new_password_file, "--new-password-file"),
    )
    found: dict[Path, tuple[bytes, Rekeyed]] = {}
    for path in _chosen(repo, paths):
        data = _read(path)
        found[path] = data, rekeyed(printable(str(path)), data, *keys)
    changed = {path: (data, made.data) for path, (data, made) in found.items() if made.lines}
    if not check:
        replace_files(changed)
    _tell({path: found[path][1] for path in changed}, sum(made.left for _, made in found.values()), new, check=check, as_json=as_json)
    return 2 if check and changed else 0


def _tell(changed: dict[Path, Rekeyed], left: int, new: str, *, check: bool, as_json: bool) -> None:
    if as_json:
        told = [{"path": str(path), "lines": list(made.lines)} for path, made in changed.items()]
        click.echo(json.dumps({"files": told, "left": left, "changed": not check}, indent=2))
        return
    for path, made in changed.items():
        click.echo(f"{printable(str(path))}:{', '.join(map(str, made.lines))}")
    count = sum(len(made.lines) for made in changed.values())
    verb = "would be re-keyed" if check else "re-keyed"
    click.echo(f"{count} value{'s' if count != 1 else ''} {verb} to {new}" + (f"; {left} of other vault ids left alone" if left else ""))


def _chosen(repo: str, paths: tuple[Path, ...]) -> list[Path]:
    """The files of the working copy at or below some paths, or all of them; without those of editors (`octofleet init`)."""
    known = [path for path in files(repo) if path.parent.name != EDITOR]
    wanted = [path.absolute().resolve() for path in paths]
    found = [path for path in known if not wanted or any(path.resolve().is_relative_to(place) for place in wanted)]
    for path, place in zip(paths, wanted, strict=True):
        if not any(file.resolve().is_relative_to(place) for file in found):
            hint = "name files or directories that git knows or would add; links are left alone"
            raise Refused(f"{path} has no file of the working copy {repo}", hint=hint, code="usage")
    return found


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise OctofleetError(f"cannot read {path}: {error.strerror}", hint="nothing was changed", code="file") from error


def _key(installation: Installation, name: str, file: Path | None, option: str) -> Key:
    said = installation.settings.secrets.vault_ids
    if not _NAME.fullmatch(name):
        raise Refused(f"{name} is no name of a vault id", hint="it has letters, digits, _, - and .", code="usage")
    if file is None and name not in said:
        known = f"known: {', '.join(sorted(said))}" if said else "there are none"
        hint = f"add secrets.vault_ids.{name} to the settings ({known}), or give {option}"
        raise Refused(f"the settings have no vault id {name}", hint=hint, code="vault-id-unknown")
    item = VaultId(name=name, tenants=(), password_file=file or Path(said[name].password_file))
    return Key(name=name, password=password_of(item, option if file else ""))


def _value() -> bytes:
    if sys.stdin.isatty():
        data = str(click.prompt("Value", hide_input=True, confirmation_prompt=True, err=True)).encode()
    else:
        data = sys.stdin.buffer.read(MAX_BYTES + 1)
        data = data.removesuffix(b"\n").removesuffix(b"\r") if data.endswith(b"\n") else data
    if not data or len(data) > MAX_BYTES:
        raise Refused("there is nothing to encrypt" if not data else "a value has at most 1 MiB", hint="give a text", code="usage")
    try:
        data.decode()
    except UnicodeDecodeError:
        raise Refused("the value is not UTF-8", hint="manifests hold text: encode it, for instance as base64", code="usage") from None
    return data
