"""The built-in driver of what is Octofleet's own: the Fleet, tenants, rules for people, and the register of hosts.

Its world is the record itself, so observing is reading the record and applying is writing it. Rules that are in force (guards, windows, policies)
are the recorded ones: a commit that loosens a rule takes effect for the plans after it was applied.
"""

import time
from collections.abc import Iterator, Mapping, Sequence

from reconciler.drivers.driver import Context, DriverInfo, Inputs, Listed, Results, Step, Target
from reconciler.types.canonical import digest
from reconciler.types.change import Action, Risk
from reconciler.types.host import FleetScope, ResolvedHost
from reconciler.types.kind import Kind
from reconciler.types.observation import Absent, Observation, Present
from reconciler.types.outcome import Outcome, Status
from reconciler.types.resource import Dependency, Resource, Rules, address
from reconciler.types.rule import RULES

FLEET_FIELDS = ("guards", "reportOnly", "approvals", "approvalExpiry", "boot", "drift")
ROLLOUT_FIELDS = ("labels", "rollout")
HOST_FIELDS = ("labels", "profile", "roles", "os", "interfaces", "install")
ORDER = 0
RISKS = {"RoleMapping": {"": Risk.ACCESS}}


class FleetDriver:
    """See the module."""

    info = DriverInfo(
        name="fleet",
        version=1,
        kinds=(
            Kind(name="fleet", order=ORDER, destroys=False),
            Kind(name="tenant", order=ORDER),
            *(Kind(name=kind.lower(), order=ORDER, destroys=False, risks=RISKS.get(kind, {})) for kind in RULES),
            Kind(name="host", order=ORDER, copies=True, renews=("/install/generation",), risks={"/install/generation": Risk.REINSTALL}),
            Kind(name="rollout", order=ORDER, copies=True, destroys=False),
        ),
        batch=1000,
    )

    def resources(self, scope: FleetScope, inputs: Inputs) -> Iterator[Resource | str]:
        """The Fleet, its tenants, its rules and its hosts."""
        del inputs
        if scope.whole and scope.fleet:
            yield Resource(
                address=address("fleet", "fleet", "", scope.fleet),
                spec={"guards": {}} | {name: scope.fleet_spec[name] for name in FLEET_FIELDS if name in scope.fleet_spec},
                rules=Rules(tenant="", order=ORDER),
                group=f"fleet/{scope.fleet}",
                origin=scope.fleet_origin,
            )
        for tenant in scope.tenants:
            yield Resource(
                address=address("fleet", "tenant", "", tenant.name),
                spec={"displayName": tenant.spec.get("displayName", tenant.name)},
                rules=Rules(tenant=tenant.name, order=ORDER, protect=tenant.protect, on_delete=tenant.on_delete),
                group=f"tenant/{tenant.name}",
                origin=tenant.origin,
            )
        for rule in scope.rules:
            needs = (Dependency(address=address("fleet", "tenant", "", rule.tenant)),) if rule.tenant else ()
            yield Resource(
                address=address("fleet", rule.kind.lower(), rule.tenant, rule.name),
                spec=rule.spec,
                rules=Rules(tenant=rule.tenant, order=ORDER, on_delete=rule.on_delete, depends_on=needs),
                group=rule.group,
                origin=rule.origin,
            )
        same = scope.changed is not None and scope.changed.isdisjoint(HOST_FIELDS)
        same_rollout = scope.changed is not None and scope.changed.isdisjoint(ROLLOUT_FIELDS)
        for host in scope.hosts:
            yield address("fleet", "host", host.tenant, host.name) if same else _host(host)
            if host.values.get("rollout"):
                yield address("fleet", "rollout", host.tenant, host.name) if same_rollout else _rollout(host)

    def observe(self, targets: Sequence[Target], context: Context) -> Mapping[str, Observation]:
        """What is recorded."""
        del context
        now = time.time()
        return {target.address: _seen(target, now) for target in targets}

    def apply(self, step: Step, context: Context) -> Results:
        """The record is written with the outcome; there is nothing else to do."""
        del context
        now = time.time()
        results: dict[str, Outcome] = {}
        for work in step.work:
            desired = work.target.desired
            gone = desired is None or work.action is Action.DELETE
            seen: Observation = Absent(at=now) if gone or desired is None else Present(spec=desired.spec, digest=desired.digest, at=now)
            results[work.target.address] = Outcome(status=Status.DONE, observation=seen)
        return results

    def poll(self, operation: str, context: Context) -> Results:
        """Nothing here takes time."""
        del operation, context
        return {}

    def list(self, context: Context) -> Iterator[Listed]:
        """There is nothing to import."""
        del context
        return iter(())

    def diff(self, target: Target, context: Context) -> str:
        """The fields say it all."""
        del target, context
        return ""


def _host(host: ResolvedHost) -> Resource:
    return Resource(
        address=address("fleet", "host", host.tenant, host.name),
        spec={name: host.values[name] for name in HOST_FIELDS if name in host.values},
        rules=Rules(
            tenant=host.tenant,
            order=ORDER,
            protect=host.protect,
            on_delete=host.on_delete,
            depends_on=(Dependency(address=address("fleet", "tenant", "", host.tenant)),),
        ),
        group=host.group,
        origin=host.origin,
        moved_from=address("fleet", "host", *host.moved_from) if host.moved_from else None,
    )


def _rollout(host: ResolvedHost) -> Resource:
    """How changes to the host go out: a resource of its own, so that a fleet without rollouts pays nothing for them."""
    where = address("fleet", "host", host.tenant, host.name)
    return Resource(
        address=address("fleet", "rollout", host.tenant, host.name),
        spec={name: host.values[name] for name in ROLLOUT_FIELDS if name in host.values},
        rules=Rules(tenant=host.tenant, order=ORDER, on_delete=host.on_delete, depends_on=(Dependency(address=where),)),
        group=host.group,
        origin=host.origin,
        moved_from=address("fleet", "rollout", *host.moved_from) if host.moved_from else None,
    )


def _seen(target: Target, now: float) -> Observation:
    if target.recorded_spec is None:
        return Absent(at=now)
    return Present(spec=target.recorded_spec, digest=digest(target.recorded_spec), at=now)
