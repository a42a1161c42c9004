"""What a machine is told to boot, and why. Pure: who it is and how its installation stands go in, an action with its reason comes out."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from reconciler.boot.asked import Asked
from reconciler.types.installation import Installation

Rivals = Mapping[str, Sequence[tuple[str, str]]]
NOBODYS: Rivals = {}


class Boot(StrEnum):
    """What to boot."""

    INSTALL = "install"
    LOCAL = "local"
    MENU = "menu"
    DISCOVER = "discover"


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What is recorded of a host that may boot: `netboot/machine`. `addresses`: the fixed ones that its manifest gives it;
    `default`: the entry of the menu that it gets where nothing is to be installed."""

    tenant: str
    host: str
    source: str
    addresses: tuple[str, ...] = ()
    distribution: str = ""
    secure_boot: bool = False
    default: str = ""

    @property
    def place(self) -> tuple[str, str]:
        """Tenant and name."""
        return self.tenant, self.host


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """`why` is for the log and the host's page. `machine`: whose it is; `installation`: with INSTALL."""

    boot: Boot
    why: str
    machine: Machine | None = None
    installation: Installation | None = None


def known_by(asked: Asked, machines: Mapping[str, Machine], rivals: Rivals = NOBODYS) -> tuple[Machine | None, str]:
    """The one that all keys which anybody knows speak of, or None and why."""
    for key in asked.keys:
        if key in rivals:
            whose = " and ".join("/".join(place) for place in rivals[key])
            return None, f"it says what two hosts would: {key} is in the manifests of {whose}; correct one of them"
    found = {machines[key].place: (key, machines[key]) for key in reversed(asked.keys) if key in machines}
    if len(found) > 1:
        whose = " and ".join(f"{key} is {tenant}/{name}'s" for (tenant, name), (key, _) in sorted(found.items()))
        return None, f"it says what two hosts would: {whose}; correct one of the manifests"
    if not found:
        return None, "no manifest that was applied knows it" if asked.keys else "it says nothing that it could be known by"
    key, machine = next(iter(found.values()))
    return machine, f"known by {key}"


def decide(
    asked: Asked,
    address: str,
    machines: Mapping[str, Machine],
    installations: Mapping[tuple[str, str], Installation],
    unknown: Boot,
    now: float,
    rivals: Rivals = NOBODYS,
) -> Decision:
    """`address`: the asker's; `installations`: those that go on, by tenant and name; `unknown`: what a machine gets that nobody knows; `rivals`: the hosts
    whose manifests have the same key."""
    machine, why = known_by(asked, machines, rivals)
    if machine is None:
        return _unknown(asked, why, unknown)
    going_on = installations.get(machine.place)
    if going_on is None and machine.default:
        text = f"{why}; nothing is to be installed on it, and its manifest has it boot {machine.default}"
        return Decision(boot=Boot.MENU, why=text, machine=machine)
    if going_on is None:
        return Decision(boot=Boot.LOCAL, why=f"{why}; nothing is to be installed on it", machine=machine)
    what = f"generation {going_on.generation}, attempt {going_on.attempt} of {going_on.attempts}"
    if going_on.expires_at <= now:
        return Decision(boot=Boot.LOCAL, why=f"{why}; the time for {what} is over", machine=machine)
    if not may_have(going_on, machine, address):
        text = (
            f"{why}; {what} was handed out to {going_on.claimed_by}, and this is {address}: "
            f"octofleet installs host/{machine.tenant}/{machine.host} --again --reason WHY lets it begin anew"
        )
        return Decision(boot=Boot.LOCAL, why=text, machine=machine)
    return Decision(boot=Boot.INSTALL, why=f"{why}; it is armed: {what}", machine=machine, installation=going_on)


def _unknown(asked: Asked, why: str, unknown: Boot) -> Decision:
    if not asked.keys or "two hosts" in why:
        return Decision(boot=Boot.LOCAL, why=why)
    if asked.discover and unknown is Boot.MENU:
        return Decision(boot=Boot.DISCOVER, why=f"{why}; somebody chose in its menu that it be proposed")
    return Decision(boot=unknown, why=why)


def may_have(installation: Installation, machine: Machine | None, address: str) -> bool:
    """Whether an address may have the files of an installation: the one that was given the boot script, the one that was handed the first answer file, and
    what the manifest says. Before an answer file was handed out the machine may come back from another one."""
    declared = machine is not None and address in machine.addresses
    return declared or installation.released_at is None or address in (installation.claimed_by, installation.released_to)
