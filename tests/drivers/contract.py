"""The contract that every driver keeps, as one suite. A driver's test file subclasses `Contract` and says how to make its driver and hosts.

    class TestMine(Contract):
        kinds = ("mine/thing",)
        def driver(self, tmp_path): return MyDriver(...)

Third-party drivers use it just so. What a driver cannot do (be read only while it applies, be deleted) follows from its `Kind`s.
"""

import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reconciler.drivers.driver import Context, Driver, Step, Target, Work
from reconciler.errors import OctofleetError
from reconciler.observe import observe
from reconciler.types.canonical import canonical
from reconciler.types.change import Action
from reconciler.types.host import FleetScope, ResolvedHost, ResolvedTenant, RoleUse
from reconciler.types.kind import Kind
from reconciler.types.observation import Absent, Observation, Present, Proposed, Unknown
from reconciler.types.origin import Origin
from reconciler.types.outcome import Outcome, Pending, Status
from reconciler.types.resource import Recorded, Resource, parts
from reconciler.types.values import SecretRef, SecretValue

PLAIN = "s3cr3t-of-the-contract"
VALUES: dict[str, Any] = {
    "tenant": "shop", "labels": {}, "roles": ["web"], "os": {"distribution": "debian", "version": "12", "architecture": "x86_64"}, "firmware": "bios",
    "timezone": "UTC", "packages": ["vim"], "interfaces": [{"name": "eth0", "mac": "52:54:00:00:00:01", "dhcp4": True}], "vars": {"port": 80},
}  # fmt: skip


class NoInputs:
    """A commit without files."""

    def content(self, path: str) -> str | None:
        return None


def host(name: str, **values: Any) -> ResolvedHost:
    """A host as `desired` resolves it."""
    known = VALUES | {"name": name, "fqdn": f"{name}.example.net"} | values
    return ResolvedHost(
        name=name, tenant="shop", values=known, roles=(RoleUse(name="web", tenant=""),), origin=Origin(path="f.yaml", line=1)
    )


class Contract:
    """Subclass it; pytest runs what begins with `test_`."""

    changed: ClassVar[dict[str, Any]] = {"timezone": "Europe/Rome"}
    """Values that change every resource of a host as an update in place, or of some of them."""

    def driver(self, tmp_path: Path) -> Driver:
        """A driver object. Called again with the same path it is another process's object for the same world."""
        raise NotImplementedError

    def unreachable(self, driver: Driver) -> None:
        """Make the world unobservable."""
        pytest.skip("the world of this driver cannot be made unreachable")

    def lists(self, resource: Resource) -> bool:
        """Whether `list` should show this resource once it is applied."""
        return True

    def inputs(self) -> Any:
        """What enters besides manifests."""
        return NoInputs()

    # -- what the tests are made of

    def scope(self, *hosts: ResolvedHost) -> FleetScope:
        tenant = ResolvedTenant(name="shop", spec={}, origin=Origin(path="t.yaml"))
        return FleetScope(fleet="test", tenants=(tenant,), hosts=list(hosts))

    def context(self, tmp_path: Path, operations: list[str] | None = None) -> Context:
        scratch = tmp_path / f"scratch-{time.monotonic_ns()}"
        scratch.mkdir()
        return Context(
            deadline=time.monotonic() + 60, scratch=scratch, secret=lambda ref, tenant: SecretValue(PLAIN), export=lambda blob, into: None,
            content=lambda blob: b"", checkpoint=(operations if operations is not None else []).append, log=self.logged.append,
        )  # fmt: skip

    @pytest.fixture(autouse=True)
    def _logged(self) -> Iterable[None]:
        self.logged: list[str] = []
        yield
        assert PLAIN not in "\n".join(self.logged)

    def made(self, driver: Driver, *hosts: ResolvedHost) -> list[Resource]:
        return list(driver.resources(self.scope(*(hosts or (host("web-01"), host("web-02")))), self.inputs()))

    def kind(self, driver: Driver, resource: Resource) -> Kind:
        return next(kind for kind in driver.info.kinds if kind.name == parts(resource.address)[1])

    def look(self, driver: Driver, targets: Iterable[Target], tmp_path: Path) -> dict[str, Observation]:
        return dict(driver.observe(list(targets), self.context(tmp_path)))

    def run(
        self, driver: Driver, work: list[Work], tmp_path: Path, step: str = "run.0", poller: Callable[[], Driver] | None = None
    ) -> dict[str, Outcome]:
        """Apply and poll to the end; `poller` makes another driver object to poll with."""
        operations: list[str] = []
        results = dict(driver.apply(Step(id=step, work=tuple(work)), self.context(tmp_path, operations)))
        assert set(results) == {item.target.address for item in work}, "one result for every change"
        end = time.monotonic() + 30
        while pending := {item.operation for item in results.values() if isinstance(item, Pending)}:
            assert pending <= set(operations), "checkpoint comes before any waiting"
            assert time.monotonic() < end
            time.sleep(0.01)
            for operation in pending:
                results |= (poller() if poller else driver).poll(operation, self.context(tmp_path))
        outcomes = {where: item for where, item in results.items() if isinstance(item, Outcome)}
        assert PLAIN not in repr(outcomes)
        return outcomes

    def works(self, driver: Driver, resources: list[Resource], action: Action | None = None, **more: Any) -> list[Work]:
        return [
            Work(
                action=action or (Action.RUN if self.kind(driver, r).engine else Action.CREATE),
                target=Target(address=r.address, desired=r),
                **more,
            )
            for r in resources
        ]

    def recorded(self, resource: Resource, outcome: Outcome, seen: Observation) -> Target:
        """The target as it is once it was applied."""
        external = outcome.external_id or getattr(seen, "external_id", "")
        record = Recorded(
            address=resource.address, source="test", digest=resource.digest, rules=resource.rules, group=resource.group,
            external_id=external, observed_digest=resource.digest, commit="c",
        )  # fmt: skip
        return Target(address=resource.address, desired=resource, recorded=record, recorded_spec=resource.spec)

    def converged(self, found: Observation, resource: Resource) -> bool:
        return (isinstance(found, Present) and found.digest == resource.digest) or (isinstance(found, Proposed) and not found.fields)

    # -- the contract

    def test_a_hint_of_what_changed_leaves_out_only_what_is_the_same(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        before = {resource.address: resource.digest for resource in self.made(driver, host("web-01"))}
        others = {"packages": ["more"], "kernel_args": ["quiet"], "users": [{"name": "x"}], "os": {"distribution": "rocky", "version": "9"}}
        others |= {"install": {}, "labels": {"a": "b"}, "templates": {"ipxe": "t.j2"}, "domain": "example.org"}
        for name, value in (self.changed | others).items():
            after = host("web-01", **{name: value})
            whole = {resource.address: resource for resource in self.made(driver, after)}
            scope = replace(self.scope(after), changed=frozenset({name}))
            for item in (hinted := list(driver.resources(scope, self.inputs()))):
                if isinstance(item, str):
                    assert whole[item].digest == before[item], f"{item} depends on {name}"
                else:
                    assert whole[item.address].digest == item.digest
            assert {item if isinstance(item, str) else item.address for item in hinted} == whole.keys()

    def test_declares_what_it_is(self, tmp_path: Path) -> None:
        info = self.driver(tmp_path).info
        assert info.name and info.version >= 1 and info.batch >= 1 and info.concurrency >= 1 and info.settle_s >= 0
        assert len({kind.name for kind in info.kinds}) == len(info.kinds) > 0

    def test_resources_are_pure_and_deterministic(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        hosts = [host("web-01"), host("web-02")]
        before = canonical([dict(item.values) for item in hosts])
        first, second = self.made(driver, *hosts), self.made(self.driver(tmp_path), *hosts)
        assert first and first == second and [r.digest for r in first] == [r.digest for r in second]
        assert canonical([dict(item.values) for item in hosts]) == before
        assert len({r.address for r in first}) == len(first)
        backwards = {r.address: r.digest for r in self.made(driver, *reversed(hosts))}
        assert backwards == {r.address: r.digest for r in first}
        for resource in first:
            name, kind, tenant, _ = parts(resource.address)
            assert name == driver.info.name and self.kind(driver, resource).name == kind
            assert tenant == "-" or resource.group.split("/")[1] == tenant == resource.rules.tenant

    def test_yields_for_the_scopes_hosts_only(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        some = replace(self.scope(host("web-02")), whole=False, tenants=())
        assert {r.group for r in driver.resources(some, self.inputs())} == {"host/shop/web-02"}

    def test_every_target_is_observed_and_nothing_is_there_at_first(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        resources = self.made(driver)
        found = self.look(driver, [Target(address=r.address, desired=r) for r in resources], tmp_path)
        assert set(found) == {r.address for r in resources}
        for resource in resources:
            seen = found[resource.address]
            assert isinstance(seen, Absent) or (self.kind(driver, resource).engine and isinstance(seen, Proposed) and seen.fields)
            assert abs(seen.at - time.time()) < 60

    def test_apply_then_observe_converges_and_apply_again_changes_nothing(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        resources = self.made(driver)
        outcomes = self.run(driver, self.works(driver, resources), tmp_path)
        assert {item.status for item in outcomes.values()} == {Status.DONE}
        seen = self.look(driver, [Target(address=r.address, desired=r) for r in resources], tmp_path)
        seen = {r.address: outcomes[r.address].observation or seen[r.address] for r in resources}
        targets = [self.recorded(r, outcomes[r.address], seen[r.address]) for r in resources]
        after = self.look(driver, targets, tmp_path)
        assert all(self.converged(after[r.address], r) for r in resources), after
        again = self.run(driver, [Work(action=Action.UPDATE, target=t) for t in targets], tmp_path, step="run.1")
        assert {item.status for item in again.values()} == {Status.DONE}
        same = self.run(driver, self.works(driver, resources), tmp_path)
        assert {item.status for item in same.values()} == {Status.DONE}
        assert self.effects(driver) == self.effects_of_one_apply(driver, resources)
        assert {a: getattr(o, "digest", "") for a, o in self.look(driver, targets, tmp_path).items()} == {
            a: getattr(o, "digest", "") for a, o in after.items()
        }

    def effects(self, driver: Driver) -> object:
        """Something that counts what was done to the world, where there is such a count."""
        return None

    def effects_of_one_apply(self, driver: Driver, resources: list[Resource]) -> object:
        """What `effects` is after each resource was made once."""
        return None

    def test_a_changed_value_differs_and_converges(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        before, after = self.made(driver, host("web-01")), self.made(driver, host("web-01", **self.changed))
        outcomes = self.run(driver, self.works(driver, before), tmp_path)
        differing = [(old, new) for old, new in zip(before, after, strict=True) if old.digest != new.digest]
        assert differing, "`changed` should change something"
        for old, new in differing:
            target = replace(self.recorded(old, outcomes[old.address], outcomes[old.address].observation or Absent(at=0)), desired=new)
            assert not self.converged(self.look(driver, [target], tmp_path)[new.address], new)
            done = self.run(driver, [Work(action=Action.UPDATE, target=target)], tmp_path, step=f"u.{new.address}")
            seen = (
                done[new.address].observation
                or self.look(driver, [replace(target, recorded=None, recorded_spec=None)], tmp_path)[new.address]
            )
            assert self.converged(seen, new)

    def test_what_is_deleted_is_absent_and_deleting_again_is_fine(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        resources = [r for r in self.made(driver) if self.kind(driver, r).deletable]
        if not resources:
            pytest.skip("nothing of this driver can be deleted")
        self.run(driver, self.works(driver, resources), tmp_path)
        for step in ("d.0", "d.1"):
            gone = [Work(action=Action.DELETE, target=Target(address=r.address)) for r in resources]
            outcomes = self.run(driver, gone, tmp_path, step=step)
            assert {item.status for item in outcomes.values()} == {Status.DONE}
            found = self.look(driver, [Target(address=r.address) for r in resources], tmp_path)
            assert all(isinstance(item, Absent) for item in found.values())

    def test_an_unreachable_world_is_unknown_never_absent(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        resources = self.made(driver)
        self.run(driver, self.works(driver, resources), tmp_path)
        self.unreachable(driver)
        targets = [Target(address=r.address, desired=r) for r in resources]
        found = observe({driver.info.name: driver}, targets, lambda: self.context(tmp_path))
        assert set(found) == {r.address for r in resources}
        assert all(isinstance(item, Unknown) and item.code and item.reason for item in found.values()), found

    def test_an_operation_outlives_the_driver_object(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        resources = self.made(driver)
        outcomes = self.run(driver, self.works(driver, resources), tmp_path, poller=lambda: self.driver(tmp_path))
        assert {item.status for item in outcomes.values()} == {Status.DONE}

    def test_an_operation_that_is_not_known_gives_no_outcome_of_success(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        try:
            results = driver.poll('{"step": "nobody.7"}', self.context(tmp_path))
        except OctofleetError:
            return
        assert not [item for item in results.values() if isinstance(item, Outcome) and item.status is Status.DONE]

    def test_list_shows_what_was_applied(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        resources = self.made(driver)
        self.run(driver, self.works(driver, resources), tmp_path)
        listed = {(item.kind, item.tenant, item.name) for item in driver.list(self.context(tmp_path))}
        expected = {parts(r.address)[1:] for r in resources if self.lists(r)}
        assert listed == expected

    def test_a_diff_is_text(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        for resource in self.made(driver):
            text = driver.diff(Target(address=resource.address, desired=resource), self.context(tmp_path))
            assert isinstance(text, str) and PLAIN not in text

    def test_secrets_come_by_reference(self) -> None:
        assert "***" in repr(SecretValue(PLAIN)) and SecretRef(store="s", key="k")
