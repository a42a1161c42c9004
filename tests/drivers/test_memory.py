"""The simulated world keeps the contract, at once and with long operations, and fails in every way on demand."""

import time
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reconciler.drivers.driver import Driver, Step, Target, Work
from reconciler.drivers.memory import Fault, MemoryDriver, World
from reconciler.drivers.wrap import Wrapped
from reconciler.errors import RetryLater
from reconciler.observe import observe
from reconciler.types.change import Action
from reconciler.types.observation import Absent, Unknown
from reconciler.types.outcome import Pending, Status
from reconciler.types.resource import Resource, parts
from tests.drivers.contract import Contract, host


class TestMemory(Contract):
    changed: ClassVar[dict[str, Any]] = {"timezone": "Europe/Rome", "firmware": "uefi", "vars": {"port": 81}}
    operation_s = 0.0

    def driver(self, tmp_path: Path) -> Driver:
        return MemoryDriver(world=World(str(tmp_path / "memory.db")), operation_s=self.operation_s)

    def unreachable(self, driver: Driver) -> None:
        assert isinstance(driver, MemoryDriver)
        driver.world.fail("*", Fault.UNKNOWN)

    def lists(self, resource: Resource) -> bool:
        return parts(resource.address)[1] != "role"

    def effects(self, driver: Driver) -> object:
        assert isinstance(driver, MemoryDriver)
        return sorted((action, where) for _, action, where in driver.world.effects())

    def effects_of_one_apply(self, driver: Driver, resources: list[Resource]) -> object:
        return sorted((work.action.value, work.target.address) for work in self.works(driver, resources))


class TestMemoryWithOperations(TestMemory):
    operation_s = 0.05

    def test_beginning_again_finds_the_operation_under_way(self, tmp_path: Path) -> None:
        resources = [r for r in self.made(self.driver(tmp_path)) if "/machine/" in r.address]
        for _ in range(2):
            driver = self.driver(tmp_path)
            results = driver.apply(Step(id="run.3", work=tuple(self.works(driver, resources))), self.context(tmp_path))
            assert all(isinstance(item, Pending) for item in results.values())
        time.sleep(0.06)
        (operation,) = {item.operation for item in results.values() if isinstance(item, Pending)}
        for _ in range(2):
            assert all(item.status is Status.DONE for item in self.driver(tmp_path).poll(operation, self.context(tmp_path)).values())  # type: ignore[union-attr]
        assert len(World(str(tmp_path / "memory.db")).effects()) == len(resources)


class TestFaults(TestMemory):
    """On top of the contract: how each fault shows."""

    def machine(self, tmp_path: Path) -> tuple[MemoryDriver, Resource, Work]:
        driver = self.driver(tmp_path)
        assert isinstance(driver, MemoryDriver)
        resource = self.made(driver, host("web-01"))[0]
        return driver, resource, self.works(driver, [resource])[0]

    def test_lying_says_done_and_does_nothing(self, tmp_path: Path) -> None:
        driver, resource, work = self.machine(tmp_path)
        driver.world.fail("*machine*", Fault.LYING)
        assert self.run(driver, [work], tmp_path)[resource.address].status is Status.DONE
        assert isinstance(self.look(driver, [work.target], tmp_path)[resource.address], Absent)
        driver.world.heal()
        self.run(driver, [work], tmp_path)
        assert resource.address in driver.world.things()

    def test_partial_leaves_something_else(self, tmp_path: Path) -> None:
        driver, resource, work = self.machine(tmp_path)
        driver.world.fail("*machine*", Fault.PARTIAL)
        outcome = self.run(driver, [work], tmp_path)[resource.address]
        assert outcome.status is Status.PARTIAL and outcome.error
        assert not self.converged(self.look(driver, [work.target], tmp_path)[resource.address], resource)

    def test_flaky_works_after_so_many_calls_and_wrapping_retries(self, tmp_path: Path) -> None:
        driver, resource, work = self.machine(tmp_path)
        driver.world.fail("*", Fault.FLAKY, 1)
        with pytest.raises(RetryLater):
            driver.apply(Step(id="s", work=(work,)), self.context(tmp_path))
        driver.world.heal()
        driver.world.fail("*", Fault.FLAKY, 2)
        done = Wrapped(driver=driver).apply(Step(id="s", work=(work,)), self.context(tmp_path))
        assert done[resource.address].status is Status.DONE  # type: ignore[union-attr]
        driver.world.fail("*", Fault.FLAKY, 100)
        found = observe({"memory": Wrapped(driver=driver)}, [work.target], lambda: self.context(tmp_path))
        assert isinstance(found[resource.address], Unknown)

    def test_slow_is_slow(self, tmp_path: Path) -> None:
        driver, _, work = self.machine(tmp_path)
        driver.world.fail("*machine*", Fault.SLOW, 0.05)
        before = time.monotonic()
        self.run(driver, [work], tmp_path)
        assert time.monotonic() - before >= 0.05

    def test_what_runs_on_a_machine_goes_with_it(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        assert isinstance(driver, MemoryDriver)
        resources = self.made(driver, host("web-01"), host("web-011"))
        self.run(driver, self.works(driver, resources), tmp_path)
        self.run(driver, [Work(action=Action.DELETE, target=Target(address="memory/machine/shop/web-01"))], tmp_path, step="d")
        assert sorted(driver.world.things()) == [
            f"memory/{kind}" for kind in ("config/shop/web-011", "machine/shop/web-011", "role/shop/web-011.web")
        ]
