"""`octofleet doctor`: what an installation needs, looked at one by one."""

import json
import os
import secrets as random
import stat
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path

import click

from reconciler import standard_webhook
from reconciler.alert.channel import Channel, Webhook
from reconciler.alerting import keys_of
from reconciler.blobs.blob_store import BlobStore
from reconciler.cli.doctor_ansible import ansible_findings
from reconciler.cli.doctor_awx import awx_findings
from reconciler.cli.doctor_boot import boot_findings
from reconciler.cli.doctor_database import NAME, database_findings
from reconciler.cli.doctor_http import accounts_found, http_findings
from reconciler.cli.finding import FAILED, OK, WARNING, Finding, program, tried
from reconciler.cli.options import common
from reconciler.errors import OctofleetError
from reconciler.files import private_directory, remove_file, replace_file
from reconciler.plugins import load_checks
from reconciler.report.text import printable
from reconciler.sending import check, place_of
from reconciler.settings import Followed
from reconciler.store.alerts import channels_in_force, failing
from reconciler.store.audit import head_at, newest, verify
from reconciler.types.values import SecretRef
from reconciler.wiring import Installation
from reconciler.witness import checked, keepers

COLOURS = {OK: "green", WARNING: "yellow", FAILED: "red"}
HOUR_S = 3600.0
KEY_BYTES = 32
NEWEST_ROWS = 1000


@click.command()
@common
def doctor(installation: Installation, as_json: bool) -> int:
    """Check the data directory, the database, the blob store, and every configured peer and program; say how to fix what fails."""
    findings = list(_findings(installation))
    if as_json:
        said = [asdict(finding) | ({"ok": True, "hint": ""} if finding.status == OK else {"ok": False}) for finding in findings]
        click.echo(json.dumps({"findings": said}, indent=2))
    for finding in () if as_json else findings:
        click.echo(f"{click.style(f'{finding.status:<7}', fg=COLOURS[finding.status])} {finding.name}: {printable(finding.found)}")
        if finding.status != OK and finding.hint:
            click.echo(f"          next: {finding.hint}")
    return 1 if any(finding.status == FAILED for finding in findings) else 0


def _findings(installation: Installation) -> Iterator[Finding]:
    python = sys.version.split()[0]
    yield Finding("python", OK if sys.version_info >= (3, 11) else FAILED, python, "use Python 3.11 or newer")
    yield tried("data directory", lambda: _private(installation.data_dir))
    yield tried("key", lambda: _key(installation))
    yield tried("index directory", lambda: _writable(private_directory(installation.data_dir / "index")))
    opened = tried(NAME, lambda: installation.store.name)
    yield from database_findings(installation.store) if opened.status == OK else [opened]
    if opened.status == OK:
        yield from _audit(installation)
        if installation.settings.listen:
            yield tried("accounts", lambda: accounts_found(installation.store))
    yield tried("blob store", lambda: _blobs(installation.blobs))
    yield tried("boot directory", lambda: _writable(installation.boot_dir))
    yield tried("plugins and drivers", lambda: ", ".join(sorted(installation.drivers)))
    yield from _repositories(installation)
    yield from (tried(check.name, check.look) for check in load_checks(installation))
    yield program("git", "needed for remote repositories: apt-get install git")
    yield from ansible_findings(installation)
    yield from awx_findings(installation.settings.ansible)
    yield from http_findings(installation.settings)
    yield from boot_findings(installation.settings.boot)
    yield tried("secret stores", lambda: ", ".join(installation.secrets.names()) or "none configured")
    if opened.status == OK:
        yield from _channels(installation)


def _audit(installation: Installation) -> Iterator[Finding]:
    """The newest part of the audit trail, and the heads that are kept outside."""

    def look() -> str | Finding:
        with installation.store.read() as connection:
            end = newest(connection).seq
            found = verify(connection, after=head_at(connection, end - NEWEST_ROWS))
        if found.wrong is None:
            return f"{end:,} rows, the newest {found.rows:,} as they were recorded"
        return Finding("audit trail", FAILED, found.wrong.text, "octofleet audit verify looks at all of it; compare with a backup")

    yield tried("audit trail", look)
    try:
        for keeper in keepers(installation.settings.audit):
            yield tried("audit head", lambda keeper=keeper: checked(installation.store, keeper))  # type: ignore[misc]
    except OctofleetError as error:
        yield Finding("audit head", FAILED, error.message, error.hint)


def _private(directory: Path) -> str | Finding:
    """It can be written, and nobody else may look into it."""
    found = _writable(directory)
    if directory.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        text = f"{directory} can be entered by others, and holds the installation's key"
        return Finding("data directory", WARNING, text, f"chmod 700 {directory}")
    return found


def _key(installation: Installation) -> str | Finding:
    path = installation.key_file
    if not path.exists():
        return "made when the first secret is used"
    size = len(installation.key)
    if size != KEY_BYTES:
        text = f"{path} has {size} bytes, and a key has {KEY_BYTES}"
        return Finding("key", FAILED, text, "restore it from a backup; if there is none, remove it: every secret counts as changed then")
    if path.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        return Finding("key", WARNING, f"{path} can be read by others", f"chmod 600 {path}")
    return str(path)


def _writable(directory: Path) -> str:
    probe = directory / f".octofleet-doctor-{os.getpid()}"
    replace_file(probe, b"")
    remove_file(probe, directory)
    return str(directory)


def _blobs(blobs: BlobStore) -> str | Finding:
    """A blob goes in, comes back and goes; whatever happens, it expires."""
    name, body = f"doctor/{random.token_hex(8)}", random.token_bytes(64)
    blobs.put(name, body, time.time() + HOUR_S)
    found = blobs.get(name)
    blobs.delete(name)
    if found != body or blobs.get(name) is not None:
        text = f"{blobs.place} does not give back what was put there, or keeps what was deleted"
        return Finding("blob store", FAILED, text, "use a store that is consistent: check the server, or choose another blobs.store")
    return blobs.place


def _repositories(installation: Installation) -> Iterator[Finding]:
    """Every repository that the settings follow."""
    for number, rules in enumerate(installation.settings.repositories, 1):
        yield tried(f"repository {number}", partial(_reached, installation, rules))


def _reached(installation: Installation, rules: Followed) -> str:
    """The newest commit of its branch, as far as this machine sees; a mirror is brought up to date, and the commit can be read."""
    repository = installation.repository(rules.location)
    commit = repository.tip(rules.branch)
    repository.entries(commit.tree)
    return f"{repository.location} at {commit.id[:12]}" + (f" of {rules.branch}" if rules.branch else "")


def _channels(installation: Installation) -> Iterator[Finding]:
    """Every receiver of every AlertChannel in force: whether its URL can be read and is understood, and whether it took the last message. Nothing is
    sent."""
    with installation.store.read() as connection:
        channels, dead = channels_in_force(connection), failing(connection)
    for channel in channels:
        for number, (key, to) in enumerate(channel.receivers.items(), 1):
            name = f"alerts {channel.name} {number}"

            def look(
                channel: Channel = channel, to: SecretRef | Webhook = to, last: str = f"{channel.address}#{key}", name: str = name
            ) -> str | Finding:
                place = _understood(installation, channel, to)
                if last in dead:
                    hint = f"octofleet alerts test {channel.name} tries it now"
                    return Finding(name, FAILED, f"not told {dead[last][0]} times in a row: {dead[last][1]}", hint)
                return place

            yield tried(name, look)


def _understood(installation: Installation, channel: Channel, to: SecretRef | Webhook) -> str:
    """A receiver as it may be shown. Raises `OctofleetError` if nothing can be sent to it."""
    if isinstance(to, Webhook):
        keys_of(installation, channel, to)
        return standard_webhook.place_of(to.url)
    url = installation.secrets.value(to, channel.tenant).reveal()
    check(url)
    return place_of(url)
