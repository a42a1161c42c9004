"""`octofleet doctor`."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import click

from reconciler.cli.options import common
from reconciler.errors import OctofleetError
from reconciler.files import remove_file, replace_file
from reconciler.wiring import Installation


class Finding(NamedTuple):
    """One thing that was checked: `ok`, what was found, and how to mend it."""

    name: str
    ok: bool
    found: str
    hint: str = ""
    needed: bool = True


@click.command()
@common
def doctor(installation: Installation, as_json: bool) -> int:
    """Check the data directory, the database, every configured peer and program; say how to fix what fails."""
    findings = list(_findings(installation))
    if as_json:
        click.echo(json.dumps({"findings": [finding._asdict() for finding in findings]}, indent=2))
    for finding in () if as_json else findings:
        mark = click.style("ok  ", fg="green") if finding.ok else click.style("FAIL", fg="red") if finding.needed else "none"
        click.echo(f"{mark} {finding.name}: {finding.found}")
        if not finding.ok and finding.hint:
            click.echo(f"       next: {finding.hint}")
    return 0 if all(finding.ok or not finding.needed for finding in findings) else 1


def _findings(installation: Installation) -> Iterator[Finding]:
    yield Finding("python", sys.version_info >= (3, 11), sys.version.split()[0], "use Python 3.11 or newer")
    yield _tried("data directory", lambda: _writable(installation.data_dir))
    yield _tried("database", lambda: installation.store.name)
    yield _tried("boot directory", lambda: _writable(installation.boot_dir))
    yield _tried("plugins and drivers", lambda: ", ".join(sorted(installation.drivers)))
    yield _program("git", "only needed for remote repositories: apt-get install git")
    yield _program("ansible-playbook", "only needed for Roles with ansible: pip install 'octofleet[ansible]'")
    yield _program("ssh", "only needed for Roles with ansible: apt-get install openssh-client")
    settings = installation.settings.ansible
    for name in ("private_key_file", "known_hosts_file"):
        if path := getattr(settings, name):
            yield _tried(f"ansible.{name}", lambda path=path: _readable(Path(path)))  # type: ignore[misc]
    yield _tried("secret stores", lambda: ", ".join(installation.secrets.names()) or "none configured")


def _tried(name: str, check: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, check())
    except OctofleetError as error:
        return Finding(name, False, error.message, error.hint)


def _writable(directory: Path) -> str:
    probe = directory / f".octofleet-doctor-{os.getpid()}"
    replace_file(probe, b"")
    remove_file(probe, directory)
    return str(directory)


def _readable(path: Path) -> str:
    try:
        path.open("rb").close()
    except OSError as error:
        raise OctofleetError(
            f"cannot read {path}: {error.strerror}", hint="correct the path in octofleet.toml or the file's mode"
        ) from error
    return str(path)


def _program(name: str, hint: str) -> Finding:
    beside = str(Path(sys.executable).parent)
    path = shutil.which(name, path=f"{beside}:{os.environ.get('PATH', '')}")
    if path is None:
        return Finding(name, False, "not found", hint, needed=False)
    flag = "-V" if name == "ssh" else "--version"
    answer = subprocess.run([path, flag], capture_output=True, text=True, check=False, timeout=30)  # noqa: S603 - the program is the one found
    return Finding(name, answer.returncode == 0, ((answer.stdout or answer.stderr).splitlines() or [path])[0].strip(), hint)
