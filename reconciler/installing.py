"""What people say of installations: one begins anew, a machine has its generation already, or it has not. Each is written in the audit trail."""

from dataclasses import dataclass

from reconciler.drivers.netboot import generation_of
from reconciler.errors import Refused
from reconciler.events import happened, held
from reconciler.identity.access import Action, Resource
from reconciler.identity.local import whoami
from reconciler.permitting import Asked
from reconciler.planning import compiled
from reconciler.store import installs
from reconciler.store.audit import record
from reconciler.store.engine import Connection
from reconciler.store.followed import followed
from reconciler.store.records import load_records, locations
from reconciler.types.audit import Entry
from reconciler.types.installation import Installation, Installed
from reconciler.types.resource import address
from reconciler.wiring import Installation as Wiring
from reconciler.wiring import where


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A host and its Fleet; `location`: of the repository that has it."""

    source: str
    tenant: str
    host: str
    location: str = ""

    @property
    def group(self) -> str:
        """As `host/TENANT/NAME`."""
        return f"host/{self.tenant}/{self.host}"

    def asked(self, action: Action) -> Asked:
        """What doing something to it takes."""
        return action, Resource(source=self.source, tenant=self.tenant, group=self.group)


def place_of(wiring: Wiring, tenant: str, host: str) -> Place:
    """Whose a host is, by what is recorded, or installed, of it. Raises `Refused`."""
    wanted = [address(driver, kind, tenant, host) for driver, kind in (("netboot", "machine"), ("fleet", "host"))]
    with wiring.store.read() as connection:
        sources = {known.source for known in load_records(connection, wanted).values()}
        sources |= {item.source for item in installs.installations_of(connection, tenant, host, most=1)} if not sources else set()
        places = locations(connection)
    if len(sources) != 1:
        hint = "write it as host/TENANT/NAME; octofleet status shows what is applied"
        raise Refused(f"nothing is known of host/{tenant}/{host}", hint=hint, code="no-host")
    source = sources.pop()
    return Place(source=source, tenant=tenant, host=host, location=places.get(source, ""))


def wanting(wiring: Wiring, tenant: str, host: str, only: str = "") -> tuple[Place, int]:
    """Whose a host is, and the generation that the newest commit of its Fleet wants of it, applied or not. `only`: the location of its repository,
    where that is known. Raises `OctofleetError`."""
    for location, branch in _branches(wiring).items():
        if only and location != only:
            continue
        repository = wiring.repository(location)
        desired = compiled(wiring, repository, repository.tip(branch))
        found = desired.host(f"host/{tenant}/{host}")
        if desired.fleet is not None and found is not None:
            return Place(source=desired.fleet.name, tenant=tenant, host=host, location=location), generation_of(found.values)
    raise Refused(
        f"no repository that was applied or is followed has host/{tenant}/{host}",
        hint="write it as host/TENANT/NAME; octofleet validate says whether its manifest can be read",
        code="no-host",
    )


def _branches(wiring: Wiring) -> dict[str, str]:
    """Where the newest commits are, whether a server has seen them or not: the branch that the settings have followed, else the default branch."""
    with wiring.store.read() as connection:
        known = [*locations(connection).values(), *(one.location for one in followed(connection))]
    return dict.fromkeys(known, "") | {where(rule.location): rule.branch for rule in wiring.settings.repositories}


def begin_anew(wiring: Wiring, place: Place, reason: str, *, identity: str = "") -> Installation:
    """Give the installation of a host that goes on another token, so that another address may claim it. Raises `Refused` if none goes on."""
    with held(), wiring.store.write() as connection:
        before = installs.open_installation_of(connection, place.tenant, place.host, lock=True)
        if before is None:
            hint = "raise spec.install.generation of the host in a commit to install it"
            raise Refused(f"{place.group} is not being installed", hint=hint, code="no-installation")
        made = wiring.arming.begin_anew(connection, before)
        details = {
            "generation": made.generation,
            "attempt": made.attempt,
            "installation": made.id,
            "before": before.id,
            "stood": before.label,
        }
        _record(connection, place, "install-again", reason, identity, details, run=made.run)
        happened("installation-armed", tenant=made.tenant, host=made.host, generation=made.generation, attempt=made.attempt, run=made.run)
    return made


def adopt(wiring: Wiring, place: Place, generation: int, reason: str, *, identity: str = "") -> Installed:
    """Note that a machine is what a generation says already; the next plan only records it. Raises `Refused` if there is nothing to say so of."""
    if not generation:
        hint = "set spec.install.generation, and give an interface its mac or the host its hardware.uuid"
        raise Refused(f"{place.group} wants no generation in the newest commit", hint=hint, code="no-generation")
    with wiring.store.write() as connection:
        if (going_on := installs.open_installation_of(connection, place.tenant, place.host)) is not None:
            text = f"{place.group} is being installed: generation {going_on.generation} is {going_on.label}"
            raise Refused(
                text, hint=f"octofleet cancel {going_on.run} --reason WHY ends that before its machine has come", code="installing"
            )
        made = Installed(
            tenant=place.tenant,
            host=place.host,
            generation=generation,
            at=connection.now(),
            why=f"{identity or whoami()} said so: {reason}",
        )
        installs.note_installed(connection, made)
        _record(connection, place, "adopt", reason, identity, {"generation": generation})
        return installs.ledger(connection, [(place.tenant, place.host)])[place.tenant, place.host]


def be_sure(wiring: Wiring, place: Place, reason: str, *, identity: str = "") -> Installed:
    """After a restore: what is on record of a host is all that it was installed with, so that a higher generation may be armed. Raises `Refused` if nobody
    doubts that."""
    with wiring.store.write() as connection:
        if not installs.be_sure(connection, place.tenant, place.host):
            hint = "only after a restore there is something to be sure of; octofleet installs HOST shows how it stands"
            raise Refused(f"nobody doubts what {place.group} was installed with", hint=hint, code="no-doubt")
        known = installs.ledger(connection, [(place.tenant, place.host)])[place.tenant, place.host]
        _record(connection, place, "install-sure", reason, identity, {"generation": known.generation})
        return known


def _record(
    connection: Connection, place: Place, action: str, reason: str, identity: str, details: dict[str, object], run: str = ""
) -> None:
    record(
        connection,
        Entry(
            identity=identity or whoami(),
            action=action,
            subjects=(place.group,),
            tenants=(place.tenant,),
            source=place.source,
            run=run,
            reason=reason,
            details=details,
        ),
    )
