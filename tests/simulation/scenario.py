"""What a history begins with: fleets, records and a world that a seed draws, and the real plans that follow from them."""

from dataclasses import dataclass, replace
from random import Random

from reconciler.drivers.driver import Target
from reconciler.plan.build import Frame, build
from reconciler.plan.decide import Case
from reconciler.plan.guard import GuardRules
from reconciler.types.observation import Observation
from reconciler.types.origin import Origin
from reconciler.types.plan import Plan
from reconciler.types.resource import Dependency, OnDelete, Recorded, Resource, Rules, address, parts
from reconciler.types.values import Spec
from tests.simulation.world import KINDS, World, look

KIND_OF = (("metal", "machine"), ("cloud", "volume"), ("conf", "config"), ("play", "role"))
SITUATIONS = ("new", "new", "new", "update", "update", "replace", "adopt", "record", "drift", "same")
LEAVING = ("delete", "forget")


@dataclass(kw_only=True)
class Fleet:
    """One source: what it wants, what it has recorded, and which specifications there are."""

    name: str
    desired: dict[str, Resource]
    recorded: dict[str, Recorded]
    specs: list[Spec]


def draw_fleet(rng: Random, world: World, name: str, tenants: list[str], hosts: int) -> Fleet:
    """A fleet whose hosts are new, changed, moved or on their way out; puts what there is already into the world."""
    fleet = Fleet(name=name, desired={}, recorded={}, specs=[])
    for number in range(hosts):
        host = f"{name}{number}"
        fate = rng.choices(("stays", "leaves", "moves"), (7, 2, 1))[0]
        tenant = rng.choice(tenants)
        for driver, kind in rng.sample(KIND_OF, rng.randint(1, 4)):
            _draw(rng, world, fleet, (driver, kind, tenant, host), fate)
    _link(rng, world, fleet)
    return fleet


def _draw(rng: Random, world: World, fleet: Fleet, of: tuple[str, str, str, str], fate: str) -> None:
    driver, kind, tenant, host = of
    where, old = address(*of), address(driver, kind, tenant, f"old-{host}")
    how = rng.choice(LEAVING) if fate == "leaves" else fate if fate == "moves" else rng.choice(SITUATIONS)
    wanted: Spec = {"size": 1, "v": 2, "name": host}
    before: Spec = wanted | ({"size": 0} if how == "replace" else {"v": 1})
    rules = Rules(
        tenant=tenant,
        provider=rng.choice(("", "a", "b")) if driver == "conf" else "",
        order=KINDS[driver, kind].order,
        on_delete=OnDelete.FORGET if how == "forget" and rng.random() < 0.5 else OnDelete.DELETE,
    )
    resource = Resource(address=where, spec=wanted, rules=rules, group=f"host/{tenant}/{host}", origin=Origin(path="f.yaml"))
    if how not in LEAVING:
        fleet.desired[where] = replace(resource, moved_from=old if how == "moves" else None)
    fleet.specs += [wanted, before]
    recorded = {"update": before, "replace": before, "record": before, "drift": wanted, "same": wanted, "moves": before}
    there = {
        "update": before,
        "replace": before,
        "record": wanted,
        "drift": {"v": 9, **before},
        "same": wanted,
        "moves": before,
        "adopt": wanted,
    }
    at = old if how == "moves" else where
    if how in LEAVING or how in recorded:
        spec = recorded.get(how, before)
        known = replace(resource, spec=spec)
        fleet.recorded[at] = Recorded(
            address=at, source=fleet.name, digest=known.digest, rules=rules, group=resource.group, external_id="", observed_digest=known.digest, commit="c0"
        )  # fmt: skip
    if how in there or (how == "delete" or (how == "forget" and rules.on_delete is OnDelete.FORGET)):
        world.things[at] = there.get(how, before)


def _link(rng: Random, world: World, fleet: Fleet) -> None:
    """What runs on a machine of the same host lives on it; some need what another tenant has."""
    order = {where: KINDS[parts(where)[:2]].order for where in fleet.desired}
    for where, resource in fleet.desired.items():
        driver, _, tenant, host = parts(where)
        needs = []
        machine = address("metal", "machine", tenant, host)
        if driver in ("conf", "play") and machine in fleet.desired:
            needs.append(Dependency(address=machine, lifetime=True))
            world.lives_on.setdefault(machine, []).append(where)
        lower = [other for other in fleet.desired if order[other] < order[where] and other != machine]
        if lower and rng.random() < 0.4:
            needs.append(Dependency(address=rng.choice(lower)))
        fleet.desired[where] = replace(resource, rules=replace(resource.rules, depends_on=tuple(sorted(needs))))


def plan_of(world: World, fleet: Fleet, addresses: list[str], commit: str, now: float) -> Plan:
    """The real plan for these of a fleet's addresses, from what there is."""
    cases = []
    for where in addresses:
        desired = fleet.desired.get(where)
        moved = desired.moved_from if desired and desired.moved_from in fleet.recorded else None
        recorded = fleet.recorded.get(moved or where)
        target = Target(address=moved or where, desired=desired, recorded=recorded)
        seen: Observation = look(world, target, now)
        spec = next((spec for spec in fleet.specs if recorded and digest_of(spec) == recorded.digest), None)
        cases.append(
            Case(address=where, kind=KINDS[parts(where)[:2]], observation=seen, desired=desired, recorded=recorded, recorded_spec=spec)
        )
    frame = Frame(
        source=fleet.name, scope="", commit=commit, base=None, created_at=now, expires_at=now + 3600, kinds=KINDS,
        rules=GuardRules(max_delete_percent=100, allow_empty=True, allow_tenant_delete=True), counts={}, hosts=1,
    )  # fmt: skip
    return build(frame, cases)


def digest_of(spec: Spec) -> str:
    """As a resource would have it."""
    return Resource(address="a/b/c/d", spec=spec, rules=Rules(tenant="c"), group="", origin=Origin(path="")).digest


def addresses_of(fleet: Fleet) -> list[str]:
    """Where the fleet wants something, or had it."""
    moved = {resource.moved_from for resource in fleet.desired.values()}
    return sorted({*fleet.desired, *(where for where in fleet.recorded if where not in moved)})
