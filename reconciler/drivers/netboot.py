"""Machines that are installed over the network: who they are, and which generation they run. There only where the settings serve boot.

`netboot/machine` is what the boot server knows a host by; its world is the record. `netboot/install` is the generation that a host was installed with: its
world is the ledger, which survives the host. Raising the generation arms an installation, which is a person's machine being wiped: the step waits in the world,
without a worker, until the installer has called back, has failed as often as the host allows, or the time is over. Nothing else arms.
"""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from reconciler.drivers.driver import Context, DriverInfo, Inputs, Listed, Results, Step, Target, Work
from reconciler.errors import Permanent
from reconciler.types.canonical import digest
from reconciler.types.change import Action, Risk
from reconciler.types.duration import seconds_of
from reconciler.types.host import FleetScope, ResolvedHost
from reconciler.types.installation import Installation, Installed, State
from reconciler.types.kind import Kind
from reconciler.types.observation import Absent, Observation, Present, Unknown
from reconciler.types.outcome import Outcome, Pending, Status
from reconciler.types.resource import Dependency, Resource, Rules, address, parts
from reconciler.types.values import Spec
from renderers.inputs import has_installer
from renderers.registry import serving

ORDER_MACHINE = 10
ORDER_INSTALL = 40
POLL_S = 15.0
CARD = ("mac", "primary", "address", "prefix")
INSTALLING = "installing"
"""The code of what cannot be told before an installation has ended."""
DOUBTED = "generation-doubted"
MACHINE_FIELDS = frozenset({"interfaces", "hardware", "install", "os", "bmc", "boot"})
Host = tuple[str, str]
"""Tenant and name."""


class Installs(Protocol):
    """What is known of installations, and what begins and ends them. Each call is a transaction of its own."""

    def ledger(self, hosts: Sequence[Host]) -> Mapping[Host, Installed]:
        """What hosts were installed with."""

    def going_on(self, hosts: Sequence[Host]) -> Mapping[Host, Installation]:
        """Installations that have not ended."""

    def armed_by(self, operation: str) -> Sequence[Installation]:
        """Those of a step, the newest attempt of each host last; those whose time is over have ended. One whose run was cancelled before its machine came
        has ended too."""

    def arm(self, operation: str, host: Host, generation: int, attempt: int = 1) -> None:
        """Begin an installation."""

    def start(self, operation: str) -> Sequence[str]:
        """Have the machines of a step boot from the network, where that can be told them; what there is to say."""

    def moved(self, old: Host, new: Host) -> None:
        """A host has another name."""


@dataclass(frozen=True, kw_only=True)
class NetbootDriver:
    """See the module. `most_s`: how long an installation may take at most."""

    installs: Installs
    most_s: float

    @property
    def info(self) -> DriverInfo:
        """What is installed is not undone by taking a host out of the repository."""
        kinds = (
            Kind(name="machine", order=ORDER_MACHINE, destroys=False),
            Kind(
                name="install",
                order=ORDER_INSTALL,
                deletable=False,
                destroys=False,
                renews=("/generation",),
                begins=True,
                risks={"/generation": Risk.REINSTALL},
                create_risks=frozenset({Risk.REINSTALL, Risk.DESTRUCTIVE}),
            ),
        )
        return DriverInfo(name="netboot", version=1, kinds=kinds, batch=100, concurrency=4, deadline_s=self.most_s)

    def resources(self, scope: FleetScope, inputs: Inputs) -> Iterator[Resource | str]:
        """Each host that can be known by something, and the generation of each that has one."""
        del inputs
        same = scope.changed is not None and scope.changed.isdisjoint(MACHINE_FIELDS)
        for host in scope.hosts:
            spec = machine_spec(host.values)
            if not spec["keys"]:
                continue
            where = address("netboot", "machine", host.tenant, host.name)
            yield where if same else _resource(host, "machine", ORDER_MACHINE, spec)
            generation = generation_of(host.values)
            if generation:
                where = address("netboot", "install", host.tenant, host.name)
                yield where if same else _resource(host, "install", ORDER_INSTALL, {"generation": generation})

    def observe(self, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        """Machines are as recorded; generations are as the ledger has them."""
        del context
        now = time.time()
        hosts = [host_of(target.address) for target in targets if parts(target.address)[1] == "install"]
        known, going_on = self.installs.ledger(hosts), self.installs.going_on(hosts)
        found: dict[str, Observation] = {}
        for target in targets:
            host = host_of(target.address)
            if parts(target.address)[1] == "machine":
                found[target.address] = _as_recorded(target, now)
            else:
                found[target.address] = _generation(target, known.get(host), going_on.get(host), now)
        return found

    def apply(self, step: Step, context: Context) -> Results:
        """Arm. The step's id is the operation, journaled first: whoever goes on after a crash asks about it, and arms what is not armed."""
        now = time.time()
        results: dict[str, Outcome | Pending] = {}
        if any(parts(work.target.address)[1] == "install" for work in step.work):
            context.checkpoint(step.id)
        for work in step.work:
            results[work.target.address] = self._one(step.id, work, context, now)
        if any(isinstance(result, Pending) for result in results.values()):
            self._start(step.id, context)
        return results

    def _start(self, operation: str, context: Context) -> None:
        for line in self.installs.start(operation):
            context.log(line)

    def _one(self, operation: str, work: Work, context: Context, now: float) -> Outcome | Pending:
        target = work.target
        if target.desired is None or work.action is Action.DELETE:
            return Outcome(status=Status.DONE, observation=Absent(at=now))
        seen = Present(spec=target.desired.spec, digest=target.desired.digest, at=now)
        if parts(target.address)[1] == "machine":
            return Outcome(status=Status.DONE, observation=seen)
        host = host_of(target.address)
        if work.moved_from is not None:
            self.installs.moved(host_of(work.moved_from.address), host)
        known = self.installs.ledger([host]).get(host)
        if known is not None and known.generation >= target.desired.spec["generation"]:
            return Outcome(status=Status.DONE, observation=seen)
        said = f"it installs generation {target.desired.spec['generation']} when it boots from the network"
        return self._armed(operation, host, target.desired.spec["generation"], 1, f"is armed: {said}", context)

    def _armed(self, operation: str, host: Host, generation: int, attempt: int, said: str, context: Context) -> Outcome | Pending:
        """One that cannot be armed fails alone."""
        try:
            self.installs.arm(operation, host, generation, attempt)
        except Permanent as error:
            return Outcome(status=Status.FAILED, error=f"{error.message}; {error.hint}")
        context.log(f"{host[0]}/{host[1]} {said}")
        return Pending(operation=operation, poll_after_s=POLL_S)

    def poll(self, operation: str, context: Context) -> Results:
        """How the newest attempt of each host stands."""
        latest = {(item.tenant, item.host): item for item in self.installs.armed_by(operation)}
        results: dict[str, Outcome | Pending] = {}
        for host, item in latest.items():
            where = address("netboot", "install", *host)
            if item.state is State.FAILED and item.attempt < item.attempts:
                said = f"is armed again: attempt {item.attempt} of {item.attempts} failed"
                results[where] = self._armed(operation, host, item.generation, item.attempt + 1, said, context)
            else:
                results[where] = Pending(operation=operation, poll_after_s=POLL_S) if item.open else _ended(item)
        if any(isinstance(result, Pending) for result in results.values()):
            self._start(operation, context)
        return results

    def list(self, context: Context) -> Iterator[Listed]:
        """There is nothing to import."""
        del context
        return iter(())

    def diff(self, target: Target, context: Context) -> str:
        """The fields say it all."""
        del target, context
        return ""


def host_of(where: str) -> Host:
    """Tenant and name of the host that a resource belongs to."""
    _, _, tenant, name = parts(where)
    return tenant, name


def generation_of(values: Mapping[str, Any]) -> int:
    """The generation that a host asks for; 0 where no installer sets it up or it has nothing to be known by."""
    found = values.get("install") or {}
    bootable = has_installer(values) and (found.get("kernel") or serving(values))
    return int(found.get("generation") or 0) if bootable else 0


def machine_spec(values: Mapping[str, Any]) -> dict[str, Any]:
    """What the boot server has to know of a host: `keys` such as `mac:52:54:00:12:34:56`, `addresses` that it may have, how it is installed, and the
    `default` entry of its menu."""
    hardware, install = values.get("hardware") or {}, values.get("install") or {}
    macs = [item["mac"].lower().replace("-", ":") for item in values.get("interfaces") or () if item.get("mac")]
    keys = {f"mac:{mac}" for mac in macs} | {
        f"{key}:{str(hardware[name]).strip().lower()}"
        for key, name in (("uuid", "uuid"), ("serial", "serial"), ("asset", "assetTag"))
        if hardware.get(name)
    }
    spec: dict[str, Any] = {
        "keys": sorted(keys),
        "addresses": sorted({str(item["address"]) for item in values.get("interfaces") or () if item.get("address")}),
        "distribution": (values.get("os") or {}).get("distribution", ""),
        "secureBoot": bool(hardware.get("secureBoot")),
        "attempts": int(install.get("attempts") or 1),
    }
    if default := (values.get("boot") or {}).get("default"):
        spec["default"] = default
    if "within" in install:
        spec["withinS"] = seconds_of(install["within"])
    if values.get("bmc"):
        cards = [{key: item[key] for key in CARD if key in item} for item in values.get("interfaces") or ()]
        spec |= {"bmc": values["bmc"], "interfaces": cards}
    return spec


def _resource(host: ResolvedHost, kind: str, order: int, spec: Spec) -> Resource:
    needs = [Dependency(address=address("fleet", "host", host.tenant, host.name))]
    if kind == "install":
        needs.append(Dependency(address=address("netboot", "machine", host.tenant, host.name)))
        needs += [Dependency(address=address("boot", name, host.tenant, host.name)) for name in sorted(serving(host.values))]
    return Resource(
        address=address("netboot", kind, host.tenant, host.name),
        spec=spec,
        rules=Rules(tenant=host.tenant, order=order, protect=host.protect, on_delete=host.on_delete, depends_on=tuple(needs)),
        group=host.group,
        origin=host.origin,
        moved_from=address("netboot", kind, *host.moved_from) if host.moved_from else None,
    )


def _as_recorded(target: Target, now: float) -> Observation:
    if target.recorded_spec is None:
        return Absent(at=now)
    return Present(spec=target.recorded_spec, digest=digest(target.recorded_spec), at=now)


def _generation(target: Target, known: Installed | None, going_on: Installation | None, now: float) -> Observation:
    """Present at what is desired when the host was installed with that or a later one: a generation never goes back."""
    host = "/".join(("host", *host_of(target.address)))
    if going_on is not None:
        reason = f"generation {going_on.generation} is {going_on.label} (run {going_on.run}); octofleet installs {host} shows it"
        return Unknown(code=INSTALLING, reason=reason, at=now)
    if known is None:
        return Absent(at=now)
    wanted = target.desired.spec["generation"] if target.desired is not None else known.generation
    if wanted > known.generation and not known.sure:
        reason = (
            f"generation {known.generation} is on record, and the database was restored since: generation {wanted} may be on the machine already; "
            f"octofleet adopt {host} --reason WHY says that it is, octofleet installs {host} --sure --reason WHY that it is not"
        )
        return Unknown(code=DOUBTED, reason=reason, at=now)
    spec = {"generation": min(wanted, known.generation)}
    return Present(spec=spec, digest=digest(spec), at=now)


def _ended(item: Installation) -> Outcome:
    now = time.time()
    tail = "\n".join(item.log.splitlines()[-5:])
    match item.state:
        case State.INSTALLED:
            spec = {"generation": item.generation}
            return Outcome(status=Status.DONE, observation=Present(spec=spec, digest=digest(spec), at=now))
        case State.EXPIRED:
            came = (
                "its installer did not end" if item.stage else "its installer said nothing" if item.claimed_at else "the machine never came"
            )
            return Outcome(status=Status.EXPIRED, error=f"not installed in time: {came}")
        case State.CANCELLED:
            return Outcome(status=Status.CANCELLED, error="the installation was cancelled before it began")
        case _:
            return Outcome(
                status=Status.FAILED, error=f"the installer failed after {item.stage or 'its start'}{f': {tail}' if tail else ''}"
            )
