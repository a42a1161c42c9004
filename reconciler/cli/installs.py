"""`octofleet installs` and `octofleet adopt`."""

import json
from collections.abc import Iterator

import click
import msgspec

from reconciler import installing
from reconciler.cli.options import common, reason_option, show
from reconciler.cli.permission import ask, breakable
from reconciler.cli.runs import stamp
from reconciler.errors import Refused
from reconciler.identity.access import Action
from reconciler.reading.installs import HostInstalls, InstallDocument, document, host_installs
from reconciler.report.text import Line, printable
from reconciler.store.installs_listed import listed
from reconciler.wiring import Installation

MOST = 1000
TONES = {"installed": "good", "failed": "bad", "expired": "bad", "cancelled": "dim"}


@click.command()
@click.argument("host", required=False, default="")
@click.option("--again", is_flag=True, help="With a host: it begins anew, with another token, for whichever of its machines asks next.")
@click.option("--sure", is_flag=True, help="With a host, after a restore: no higher generation is on it than is on record.")
@reason_option("With --again or --sure: why; recorded.", required=False)
@breakable
@common
def installs(installation: Installation, as_json: bool, host: str, again: bool, sure: bool, reason: str, break_glass: str) -> int:
    """Which machines are being installed over the network; of a HOST (host/TENANT/NAME) all that is known. `--sure` needs an approver's role, and no broken
    glass stands for it."""
    if again or sure:
        check_word(host, reason, both=again and sure)
        return _said(installation, host, reason, break_glass, as_json=as_json, sure=sure)
    if host:
        with installation.store.read() as connection:
            found = host_installs(connection, installing.place_of(installation, *named(host)))
        _tell(found, as_json=as_json)
        return 0
    with installation.store.read() as connection:
        items = [document(one) for one in listed(connection, "", None, MOST)]
    if as_json:
        click.echo(json.dumps({"installs": msgspec.to_builtins(items)}, indent=2))
    else:
        show(list_lines(items))
    return 0


def check_word(host: str, reason: str, *, both: bool) -> None:
    """A word about an installation is about one host, and has a reason. Raises click's usage error."""
    if both or not host:
        raise click.UsageError("say one of --again and --sure, of one host")
    if not reason:
        raise click.UsageError("say why with --reason: it is recorded")


def _said(installation: Installation, host: str, reason: str, break_glass: str, *, as_json: bool, sure: bool) -> int:
    place = installing.place_of(installation, *named(host))
    ask(installation, place.source, [place.asked(Action.APPROVE if sure else Action.INSTALL)], "" if sure else break_glass)
    if sure:
        installing.be_sure(installation, place, reason)
    else:
        installing.begin_anew(installation, place, reason)
    with installation.store.read() as connection:
        _tell(host_installs(connection, place), as_json=as_json)
    return 0


@click.command()
@click.argument("host")
@reason_option()
@breakable
@common
def adopt(installation: Installation, as_json: bool, host: str, reason: str, break_glass: str) -> int:
    """Say that the machine of a HOST (host/TENANT/NAME) is already what the generation says that the newest commit wants. Nothing is installed then: the next
    plan records it."""
    place, generation = installing.wanting(installation, *named(host))
    ask(installation, place.source, [place.asked(Action.ADOPT)], break_glass)
    made = installing.adopt(installation, place, generation, reason)
    if as_json:
        click.echo(json.dumps({"ref": place.group, "source": place.source, "generation": made.generation, "at": made.at}))
    else:
        click.echo(f"{place.group} has generation {made.generation}; a plan that wants no higher one records it, and installs nothing")
    return 0


def named(text: str) -> tuple[str, str]:
    """Tenant and name of `[host/]TENANT/NAME`. Raises `Refused`."""
    tenant, _, name = text.removeprefix("host/").partition("/")
    if not tenant or not name or "/" in name:
        raise Refused(f"{printable(text)} is no host", hint="write it as host/TENANT/NAME, for example host/shop/web-01", code="usage")
    return tenant, name


def _tell(found: HostInstalls, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(msgspec.to_builtins(found), indent=2))
    else:
        show(host_lines(found))


def list_lines(items: list[InstallDocument]) -> Iterator[Line]:
    """Those that go on."""
    if not items:
        yield Line("no machine is being installed; a commit that raises spec.install.generation of a host arms it")
        yield Line("octofleet installs HOST tells how the earlier ones of a host ended", "dim")
    for one in items:
        yield Line(f"{one.tenant}/{one.host}  {_one(one)}", "title" if one.stage else "plain")
        yield Line(f"  armed {stamp(one.armed_at)}, until {stamp(one.expires_at)}, run {one.run}", "dim")
        if one.power and not one.claimed_at:
            yield Line(f"  {one.power}", "warn" if "somebody" in one.power else "dim")


def _one(one: InstallDocument) -> str:
    said = f", said {one.stage} {stamp(one.stage_at)}" if one.stage_at else ""
    came = f", claimed by {one.claimed_by}" if one.claimed_by else ""
    return f"{one.state}  generation {one.generation}, attempt {one.attempt} of {one.attempts}{came}{said}"


def host_lines(found: HostInstalls) -> Iterator[Line]:
    """All that is known of a host."""
    yield Line(found.ref, "title")
    if (known := found.installed) is None:
        yield Line("  never installed, as far as is known")
    else:
        doubt = "" if known.sure else "; the database was restored since: it may be more"
        yield Line(
            f"  installed with generation {known.generation} {stamp(known.at)} ({known.why}){doubt}", "plain" if known.sure else "warn"
        )
        yield from (Line(f"  host key {key}", "dim") for key in known.keys)
    for one in found.installs:
        end = f"ended {stamp(one.ended_at)}" if one.ended_at else f"until {stamp(one.expires_at)}"
        yield Line(f"  {_one(one)}; armed {stamp(one.armed_at)}, {end}, run {one.run}", TONES.get(one.state, "plain"))
        if one.power and one.state == "armed":
            yield Line(f"    {one.power}", "warn" if "somebody" in one.power else "dim")
    if (boot := found.boot) is not None:
        yield Line(f"  last told to boot: {boot.decision}, {stamp(boot.at)} ({boot.firmware}, from {boot.address})")
        yield Line(f"    {printable(boot.why)}", "dim")
    if found.facts:
        yield Line(f"  facts: {printable(json.dumps(found.facts, ensure_ascii=False))[:2000]}", "dim")
    if found.log:
        yield Line("  its installer's log ends so:")
        yield from (Line(f"        {printable(line)}", "dim") for line in found.log.splitlines()[-20:])
