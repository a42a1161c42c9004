"""A machine made to boot from the network once, and switched, by the Redfish service of its BMC (DMTF DSP0266 and DSP0268, ComputerSystem).

The machine is switched off, told to boot from the network at its next start and no other, and switched on. Each step is done only where the BMC does not
show it as done, so a call that is made again goes on where the former one stopped. The boot mode (UEFI or legacy) stays.
"""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from reconciler.errors import RetryLater
from reconciler.power.bmc import Bmc, PowerState
from reconciler.power.redfish_client import CHANGED, ROOT, Answer, Client

POLL_S = 1.0
CLOCK_S = 1.0
"""How exact times are that are told in whole seconds."""
MOST_SYSTEMS = 64
NETWORK = ("Pxe", "UefiHttp")
ON = ("On", "ForceOn")
OFF = ("ForceOff", "GracefulShutdown")
RESTART = ("ForceRestart", "PowerCycle", "GracefulRestart")
"""Values of Target and ResetType, the best first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class System:
    """A ComputerSystem as it was read."""

    path: str
    answer: Answer

    @property
    def power(self) -> PowerState:
        """On, off, or neither."""
        states = {"On": PowerState.ON, "Off": PowerState.OFF}
        return states.get(str(self.answer.body.get("PowerState")), PowerState.UNKNOWN)

    @property
    def boot(self) -> Mapping[str, Any]:
        """How the next start is overridden."""
        return _table(self.answer.body.get("Boot"))

    @property
    def from_network(self) -> bool:
        """Whether the next start is from the network."""
        return self.boot.get("BootSourceOverrideTarget") in NETWORK and self.boot.get("BootSourceOverrideEnabled") in ("Once", "Continuous")

    def begun(self, asked_at: float | None) -> bool:
        """Whether it runs since a start after `asked_at`: by the time of its last reset, on the BMC's own clock; where the BMC does not tell, it is on
        with the override for one start still to be used up.
        """
        if asked_at is None or self.answer.body.get("PowerState") not in ("On", "PoweringOn"):
            return False
        reset_at, now = _time(self.answer.body.get("LastResetTime")), self.answer.date
        if reset_at is not None and now is not None and now - reset_at >= -CLOCK_S:
            return now - reset_at <= time.time() - asked_at + CLOCK_S
        return self.from_network and self.boot.get("BootSourceOverrideEnabled") == "Once"


@dataclass(frozen=True, kw_only=True)
class Machine:
    """One system of a BMC, for one conversation."""

    client: Client
    path: str
    resets: Sequence[str]
    reset_path: str
    cancelled: Callable[[], bool] = field(default=lambda: False)
    log: Callable[[str], None] = field(default=lambda line: None)

    async def read(self) -> System:
        """As it is now."""
        return System(path=self.path, answer=await self.client.get(self.path))

    async def network_boot(self, asked_at: float | None) -> None:
        """See `boot_from_network_once`."""
        system = await self.read()
        if system.begun(asked_at):
            self.log("it has been started for this already: nothing to do")
            return
        off = self._first(OFF)
        if off and system.power is not PowerState.OFF:
            await self._reset(off)
            system = await self._until(lambda seen: seen.power is PowerState.OFF, "is not off")
        await self._override(system)
        restart = "" if off or system.power is PowerState.OFF else self._first(RESTART)
        await self._reset(restart or self._first(ON))
        await self._until(lambda seen: seen.power is PowerState.ON, "is not on")

    def lacks(self, system: System) -> str:
        """What it would need to be booted from the network; "" if nothing."""
        if not _target(system):
            return "does not offer to boot from the network"
        if not self._first(ON) or not (self._first(OFF) or self._first(RESTART)):
            return f"offers no reset that switches the machine on and off, only {', '.join(self.resets)[:200]}"
        return ""

    async def _override(self, system: System) -> None:
        """The next start from the network. A change in between, as by the machine itself, is looked at and the override sent once more."""
        boot = {"BootSourceOverrideTarget": _target(system), "BootSourceOverrideEnabled": "Once"}
        if system.boot.get("BootSourceOverrideMode") in ("UEFI", "Legacy"):
            boot["BootSourceOverrideMode"] = system.boot["BootSourceOverrideMode"]
        etag = system.answer.etag
        try:
            await self.client.patch(self.path, {"Boot": boot}, etag)
        except RetryLater as error:
            if error.code != CHANGED:
                raise
            again = (await self.read()).answer.etag
            await self.client.patch(self.path, {"Boot": boot}, again if again != etag else again.removeprefix("W/"))
        await self._until(lambda seen: seen.from_network, "does not take the boot from the network")
        self.log(f"its next start is from the network ({boot['BootSourceOverrideTarget']})")

    async def _reset(self, kind: str) -> None:
        await self.client.post(self.reset_path, {"ResetType": kind})
        self.log(f"asked it for {kind}")

    async def _until(self, reached: Callable[[System], bool], what: str) -> System:
        """Wait for a state, for as long as there is time. That the BMC does not answer for a while is common while a machine starts."""
        while True:
            try:
                system = await self.read()
                if reached(system):
                    return system
            except RetryLater:
                pass
            if self.cancelled() or self.client.deadline - time.monotonic() <= POLL_S:
                raise self.client.later(f"shows that its machine {what} yet", "it goes on from there when it is tried again", after_s=5.0)
            await asyncio.sleep(POLL_S)

    def _first(self, wanted: Sequence[str]) -> str:
        return next((kind for kind in wanted if kind in self.resets), "")


def boot_from_network_once(
    bmc: Bmc,
    *,
    deadline: float,
    asked_at: float | None = None,
    cancelled: Callable[[], bool] = lambda: False,
    log: Callable[[str], None] = lambda line: None,
) -> None:
    """Start the machine from the network, whatever it does now; the start after that is as before. Returns when it is on.

    `deadline` is in `time.monotonic()` seconds. `asked_at`: the Unix time at which the caller first wanted this; with it, a machine that was started since
    is left alone, so the same call may be made again. Raises `RetryLater` (unreachable, busy, not there yet) and `Permanent` (refused, untrusted, unknown).
    """

    async def go() -> None:
        async with Client(bmc, deadline) as client:
            machine = await _machine(client, cancelled, log)
            wrong = machine.lacks(await machine.read())
            if wrong:
                raise client.permanent(wrong, "switch the machine by hand, and remove `bmc.url`")
            await machine.network_boot(asked_at)

    asyncio.run(go())


def power(bmc: Bmc, *, deadline: float) -> PowerState:
    """Whether the machine is on. Raises as `boot_from_network_once`."""

    async def go() -> PowerState:
        async with Client(bmc, deadline) as client:
            return (await (await _machine(client)).read()).power

    return asyncio.run(go())


def lacking(bmc: Bmc, *, deadline: float) -> str:
    """What the BMC would need to boot its machine from the network; "" if nothing. Changes nothing. Raises as `boot_from_network_once`."""

    async def go() -> str:
        async with Client(bmc, deadline) as client:
            machine = await _machine(client)
            return machine.lacks(await machine.read())

    return asyncio.run(go())


async def _machine(
    client: Client, cancelled: Callable[[], bool] = lambda: False, log: Callable[[str], None] = lambda line: None
) -> Machine:
    system = await _chosen(client)
    action = _table(_table(system.answer.body.get("Actions")).get("#ComputerSystem.Reset"))
    kinds = action.get("ResetType@Redfish.AllowableValues")
    if kinds is None and "@Redfish.ActionInfo" in action:
        parameters = (await client.get(client.link(action["@Redfish.ActionInfo"]))).body.get("Parameters")
        tables = [_table(one) for one in parameters] if isinstance(parameters, list) else []
        kinds = next((one.get("AllowableValues") for one in tables if one.get("Name") == "ResetType"), None)
    return Machine(
        client=client,
        path=system.path,
        resets=[str(kind) for kind in kinds] if isinstance(kinds, list) else [ON[0], OFF[0]],
        reset_path=client.link(action.get("target", f"{system.path}/Actions/ComputerSystem.Reset")),
        cancelled=cancelled,
        log=log,
    )


async def _chosen(client: Client) -> System:
    """The system that is meant: by UUID, serial number, asset tag or id, or the only one."""
    wanted, seen = client.bmc.system.lower(), []
    for path in await _systems(client):
        system = System(path=path, answer=await client.get(path))
        names = [str(system.answer.body.get(name, "")) for name in ("UUID", "SerialNumber", "AssetTag", "Id")]
        if wanted and wanted in (name.lower() for name in names):
            return system
        seen.append((system, names[0] or names[-1]))
    if not wanted and len(seen) == 1:
        return seen[0][0]
    known = ", ".join(name if name.isprintable() else "?" for _, name in seen)[:400] or "none"
    what = f"has no system {client.bmc.system}" if wanted else f"has {len(seen)} systems"
    raise client.permanent(what, f"set `bmc.system` to one that it has: {known}", "bmc-system")


async def _systems(client: Client) -> list[str]:
    path, found = client.link((await client.get(ROOT)).body.get("Systems")), list[str]()
    while path and len(found) < MOST_SYSTEMS:
        page = (await client.get(path)).body
        members = page.get("Members")
        found += [client.link(one) for one in members] if isinstance(members, list) else []
        path = client.link(page["Members@odata.nextLink"]) if members and "Members@odata.nextLink" in page else ""
    return found[:MOST_SYSTEMS]


def _target(system: System) -> str:
    """From the network by PXE, else by UEFI's HTTP boot."""
    offered = system.boot.get("BootSourceOverrideTarget@Redfish.AllowableValues", NETWORK[:1])
    return next((target for target in NETWORK if isinstance(offered, Sequence) and target in offered), "")


def _table(found: object) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _time(text: object) -> float | None:
    """ISO 8601 with an offset, as DSP0266 has it; a time without one could be anywhere."""
    try:
        found = datetime.fromisoformat(str(text))
    except ValueError:
        return None
    return found.timestamp() if found.tzinfo else None
