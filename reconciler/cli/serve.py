"""`octofleet serve`, `octofleet worker`, `octofleet reconcile`."""

import json
import os
import signal
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from threading import Event

import click

from reconciler.accounts import LINK, first_link
from reconciler.applying import living
from reconciler.cli.address import begins, noted
from reconciler.cli.doctor_http import listens
from reconciler.cli.finding import WARNING
from reconciler.cli.options import common
from reconciler.cli.permission import ask as ask_leave
from reconciler.cli.permission import breakable
from reconciler.errors import OctofleetError, Refused
from reconciler.identity.access import Action, Resource
from reconciler.identity.local import whoami
from reconciler.logs import choose
from reconciler.server import systemd
from reconciler.server.health import unhealthy
from reconciler.server.process import Process
from reconciler.serving import Serving, serving
from reconciler.settings import Followed
from reconciler.store.audit import record
from reconciler.store.followed import ask, followed
from reconciler.store.records import locations
from reconciler.types.audit import Entry
from reconciler.wiring import Installation, same_place, where


@click.command()
@click.option(
    "--repo", "repos", multiple=True, metavar="R", help="Follow this repository too, as the settings' [[repositories]] would by default."
)
@common
def serve(installation: Installation, as_json: bool, repos: tuple[str, ...]) -> int:
    """Follow repositories, apply what is merged, and heal drift, until told to stop."""
    rules = [*installation.settings.repositories, *(Followed(location=location) for location in repos)]
    for rule in rules:
        if sum(same_place(other.location) == same_place(rule.location) for other in rules) > 1:
            hint = "leave out --repo for what the settings follow; a repository is followed once, at one branch"
            raise Refused(f"the repository {where(rule.location)} is named twice", hint=hint, code="usage")
    if not rules:
        hint = "name one with --repo, or in the settings: [[repositories]] location = ..."
        raise Refused("there is no repository to follow", hint=hint, code="usage")
    return _run(installation, "serve", rules, as_json=as_json)


@click.command()
@common
def worker(installation: Installation, as_json: bool) -> int:
    """Work on runs that others begin, until told to stop."""
    return _run(installation, "worker", (), as_json=as_json)


def _run(installation: Installation, role: str, rules: Sequence[Followed], *, as_json: bool) -> int:
    _check_listen(installation.settings.listen)
    choose(level="info")
    with told_to_stop() as stop:
        with serving(installation, role, rules, stop.is_set) as parts, _answering(parts, stop) as address, _booting(parts) as boots:
            _begun(parts, rules, address, boots, as_json=as_json)
            systemd.notify("READY=1")
            while not stop.wait(0.5) and parts.worker.trouble is None:
                if not any(unhealthy(Process(parts=parts, stop=stop))):
                    systemd.notify("WATCHDOG=1")
            systemd.notify("STOPPING=1")
            trouble, left = parts.worker.trouble, len(parts.worker.running)
            if left:
                click.echo(f"stopping: waiting for {left} steps that have begun", err=True)
        still = len(parts.worker.running)
    if trouble is not None and not still:
        raise trouble
    if trouble is not None:
        click.echo(f"error: {trouble.message}\n  next: {trouble.hint}", err=True)
        os._exit(1)
    click.echo("stopped" + (f"; {still} steps are left for others to finish" if still else ""), err=True)
    if still:
        sys.stdout.flush()
        os._exit(0)  # threads in calls that do not end would keep the process
    return 0


@contextmanager
def _booting(parts: Serving) -> Iterator[list[str]]:
    """Serve machines that boot from the network, where the settings say so; gives the addresses."""
    if parts.loop is None or not parts.installation.settings.boot.served:
        yield []
        return
    from reconciler.boot.serving import booting  # noqa: PLC0415 - slow to import, and not always asked for

    with booting(parts.installation) as where:
        yield where


@contextmanager
def _answering(parts: Serving, stop: Event) -> Iterator[str]:
    """Answer over HTTP, where the setting `listen` says or at the socket that systemd hands over; gives the address."""
    settings, handed = parts.installation.settings, systemd.inherited()
    host, _, port = settings.listen.rpartition(":")
    if not host and handed is None:
        yield ""
        return
    from reconciler.server.app import listening, terms_of  # noqa: PLC0415 - slow to import, and not always asked for
    from reconciler.server.opening import opened  # noqa: PLC0415

    if handed is not None:
        host, port = handed.getsockname()[0], "0"
        host = f"[{host}]" if ":" in host else host
    terms = terms_of(settings.http, handed)
    with opened(parts, stop) as app, listening(app, host.strip("[]"), int(port), terms) as real:
        address = f"{'https' if terms.certificate else 'http'}://{host}:{real}"
        with noted(parts.installation.data_dir, address) if parts.loop else nullcontext():
            yield address


def _check_listen(text: str) -> None:
    host, _, port = text.rpartition(":")
    if text and not (host and port.isdigit() and int(port) < 65536):
        raise OctofleetError(f"the setting listen is {text!r}", hint="write it as HOST:PORT, such as 127.0.0.1:8080", code="settings")


def _begun(parts: Serving, rules: Sequence[Followed], address: str, boots: Sequence[str], *, as_json: bool) -> None:
    row, settings = parts.worker.row, parts.installation.settings
    heard = [forge for forge in settings.forges if parts.loop and (forge.secret_files or forge.secrets_env)]
    webhooks = {forge.name: f"{forge.public_url.rstrip('/') or address}/webhooks/{forge.name}" for forge in heard}
    if as_json:
        said = {"role": row.role, "worker": row.id, "repositories": [rule.location for rule in rules]}
        click.echo(json.dumps(said | {"address": address, "webhooks": webhooks, "boot": list(boots)}))
        sys.stdout.flush()
        return
    for rule in rules:
        click.echo(f"following {rule.location}{f' ({rule.branch})' if rule.branch else ''}", err=True)
    if address:
        click.echo(f"answering {'people, programs, ' if rules else ''}/healthz, /readyz and /metrics at {address}", err=True)
    elif rules:
        click.echo("no pages and no API: set listen, for example OCTOFLEET_LISTEN=127.0.0.1:8080, to have them", err=True)
    if settings.listen and rules and (found := listens(settings.listen, settings.http)).status == WARNING:
        click.echo(f"warning: {found.found}\n  next: {found.hint}", err=True)
    for place in boots:
        click.echo(f"machines boot from {place}", err=True)
    for name, url in webhooks.items():
        click.echo(f"webhooks of {name}: {url}", err=True)
    if address and rules and (secret := first_link(parts.installation)):
        place, remark = begins(settings, address)
        click.echo(f"nobody has an account yet: open {place}{LINK}{secret} once, within a day, to make the first one", err=True)
        if remark:
            click.echo(f"  {remark}", err=True)
    click.echo(f"{row.role} {row.name} is ready; Ctrl-C or SIGTERM stops it in order", err=True)


@contextmanager
def told_to_stop() -> Iterator[Event]:
    """While it is open, Ctrl-C and SIGTERM set the event; a second one ends the process at once."""
    stop = Event()

    def hear(number: int, frame: object) -> None:
        if stop.is_set():
            os._exit(1)
        stop.set()

    before = {number: signal.signal(number, hear) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@click.command()
@click.argument("repositories", nargs=-1, metavar="[REPO]...")
@breakable
@common
def reconcile(installation: Installation, as_json: bool, repositories: tuple[str, ...], break_glass: str) -> int:
    """Have `octofleet serve` look at repositories now; without any, at all that it follows. Exit code 3: no server runs, and the request is kept."""
    served = any(worker.role == "serve" for worker in living(installation))
    with installation.store.read() as connection:
        known = [found.location for found in followed(connection)]
        wanted = [where(location) for location in repositories] or known
        names = {location: name for name, location in locations(connection).items()}
    for source in sorted({names.get(location, "") for location in wanted}):
        ask_leave(installation, source, [(Action.RECONCILE, Resource(source=source))], break_glass)
    with installation.store.write() as connection:
        for location in wanted:
            if not ask(connection, location):
                raise Refused(f"nobody follows {location}", hint="octofleet serve --repo follows it", code="not-followed")
        if wanted:
            record(connection, Entry(identity=whoami(), action="reconcile", subjects=tuple(wanted)))
    said = "\n".join(f"asked to look at {location}" for location in wanted)
    click.echo(json.dumps({"asked": wanted, "served": served}) if as_json else said or "nothing is followed yet")
    if served or not wanted:
        return 0
    if not as_json:
        click.echo("no server runs: the request is kept, and nobody acts on it until one does\n  next: octofleet serve", err=True)
    return 3
