"""Which machines are being installed over the network and how that goes, and what people say about it."""

import base64
import binascii
import hashlib
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec

from reconciler import installing
from reconciler.errors import Refused
from reconciler.identity.access import Action
from reconciler.reading.call import Call
from reconciler.reading.paging import Ask, Document, Paged, Reason, after, cursor_of, one_of
from reconciler.reading.wanted import no_host
from reconciler.reading.whose import told_in_sight
from reconciler.report.text import printable
from reconciler.store import installs as stored
from reconciler.store.engine import Connection
from reconciler.store.installs_listed import GOING_ON, LABELS, key_of, listed
from reconciler.types.installation import Installation, Power

HISTORY = 10
POWERED = {
    Power.NONE: "",
    Power.LATER: "it is about to be told to boot from the network",
    Power.STARTED: "it was told to boot from the network",
    Power.REFUSED: "it could not be told to boot from the network: somebody has to switch it on",
}
StateWord = Annotated[str, one_of(LABELS)]


class InstallsAsk(Paged, frozen=True, kw_only=True):
    """`state`: only those that stand so; without it those that go on."""

    state: StateWord = ""


class InstallDocument(Document, frozen=True, kw_only=True):
    """An installation of a host. `state`: armed, booting (it has fetched its boot script), installing, installed, failed, expired or cancelled.
    `stage`: what its installer said last; `power`: what is done to have the machine boot, in words."""

    source: str
    tenant: str
    host: str
    state: str
    generation: int
    attempt: int
    attempts: int
    run: str
    armed_at: float
    expires_at: float
    claimed_at: float | None
    claimed_by: str
    released_at: float | None
    released_to: str
    stage: str
    stage_at: float | None
    ended_at: float | None
    power: str


class Installs(Document, frozen=True, kw_only=True):
    """Those that go on the oldest first; those that have ended the newest."""

    items: list[InstallDocument]
    next: str = ""


class BootSeen(Document, frozen=True, kw_only=True):
    """What a machine was told to boot last, and why."""

    at: float
    address: str
    firmware: str
    decision: str
    why: str


class LedgerDocument(Document, frozen=True, kw_only=True):
    """The highest generation that a host was installed with. Not `sure` after a restore. `keys`: kind and fingerprint of the SSH host keys that its
    installer told."""

    generation: int
    at: float
    sure: bool
    keys: list[str]
    why: str


class HostInstalls(Document, frozen=True, kw_only=True):
    """`installs`: the newest first; `log` and `facts`: what the installer of the newest one has told, as it came from the machine."""

    ref: str
    source: str
    tenant: str
    host: str
    installs: list[InstallDocument]
    installed: LedgerDocument | None
    boot: BootSeen | None
    log: str
    facts: dict[str, Any]

    @property
    def known(self) -> bool:
        """Whether there is anything to tell."""
        return bool(self.installs or self.installed or self.boot)

    @property
    def going_on(self) -> InstallDocument | None:
        """The one that goes on."""
        return next((one for one in self.installs if one.state in GOING_ON), None)


class SaidAsk(Ask, frozen=True, kw_only=True):
    """A word about the installation of the host that the path names."""

    reason: Reason


def installs(call: Call, ask: InstallsAsk) -> Installs:
    """A page of those that the caller sees."""
    sight = call.sight
    found: list[Installation] = []
    with call.installation.store.read() as connection:
        key, rows = after(ask.cursor, float, str), True
        while rows and len(found) <= ask.limit:
            part = listed(connection, ask.state, key, max(ask.limit + 1, 500))
            found += [one for one in part if sight.sees(one.source, one.tenant, f"host/{one.tenant}/{one.host}")]
            rows = bool(part)
            key = key_of(part[-1]) if part else None
    page = found[: ask.limit]
    return Installs(items=[document(one) for one in page], next=cursor_of(*key_of(page[-1])) if len(found) > ask.limit else "")


def of_host(call: Call, ask: Ask) -> HostInstalls:
    """How the host that the path names is installed."""
    del ask
    place = _place(call)
    with call.installation.store.read() as connection:
        return host_installs(connection, place)


def again(call: Call, ask: SaidAsk) -> HostInstalls:
    """Have its installation begin anew."""
    place = _place(call)
    call.permit(place.source, [place.asked(Action.INSTALL)])
    installing.begin_anew(call.installation, place, ask.reason, identity=call.identity)
    return of_host(call, ask)


def adopt(call: Call, ask: SaidAsk) -> HostInstalls:
    """Its machine has the generation already that the newest commit wants."""
    seen = _place(call)
    call.permit(seen.source, [seen.asked(Action.ADOPT)])
    with told_in_sight(call.sight, seen.source, "the newest commit cannot be read"):
        place, generation = installing.wanting(call.installation, seen.tenant, seen.host, seen.location)
    call.permit(place.source, [place.asked(Action.ADOPT)])
    installing.adopt(call.installation, place, generation, ask.reason, identity=call.identity)
    return of_host(call, ask)


def sure(call: Call, ask: SaidAsk) -> HostInstalls:
    """After a restore: what is on record is all that it was installed with."""
    place = _place(call)
    call.permit(place.source, [place.asked(Action.APPROVE)])
    installing.be_sure(call.installation, place, ask.reason, identity=call.identity)
    return of_host(call, ask)


def _place(call: Call) -> installing.Place:
    """The host that the path names, if the caller sees it."""
    tenant, host = call.path["tenant"], call.path["name"]
    sight = call.sight
    try:
        place = installing.place_of(call.installation, tenant, host)
    except Refused:
        raise no_host(call, f"host/{tenant}/{host}") from None
    if not sight.sees(place.source, place.tenant, place.group):
        raise no_host(call, place.group)
    return place


def host_installs(connection: Connection, place: installing.Place) -> HostInstalls:
    """The same for whoever may see it."""
    newest = stored.installations_of(connection, place.tenant, place.host, HISTORY)
    found = [one for one in newest if one.source == place.source]
    seen = stored.seen_of(connection, place.tenant, place.host)
    known = stored.ledger(connection, [(place.tenant, place.host)]).get((place.tenant, place.host))
    return HostInstalls(
        ref=place.group,
        source=place.source,
        tenant=place.tenant,
        host=place.host,
        installs=[document(one) for one in found],
        installed=LedgerDocument(
            generation=known.generation, at=known.at, sure=known.sure, keys=list(fingerprints(known.keys)), why=printable(known.why)
        )
        if known
        else None,
        boot=_boot(*seen) if seen else None,
        log=_lines(found[0].log) if found else "",
        facts=msgspec.json.decode(found[0].facts) if found and found[0].facts else {},
    )


def _boot(at: float, address: str, firmware: str, decision: str, why: str) -> BootSeen:
    return BootSeen(at=at, address=address, firmware=firmware, decision=decision, why=printable(why))


def document(item: Installation) -> InstallDocument:
    """An installation as it is told."""
    same = {name: getattr(item, name) for name in InstallDocument.__struct_fields__ if name not in ("state", "power")}
    return InstallDocument(**same, state=item.label, power=POWERED[item.power])


def fingerprints(keys: str) -> Iterator[str]:
    """Kind and fingerprint of each line of SSH host keys, as `ssh-keygen -l` tells them (RFC 4648 without padding)."""
    for line in keys.splitlines():
        kind, _, rest = line.partition(" ")
        try:
            blob = base64.b64decode(rest.partition(" ")[0], validate=True)
        except binascii.Error:
            continue
        yield f"{kind} SHA256:{base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip('=')}"


def _lines(log: str) -> str:
    return "\n".join(printable(line) for line in log.splitlines())
