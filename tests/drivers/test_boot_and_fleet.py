"""The boot and fleet drivers keep the contract; files are whole, confined and never hold a secret."""

import stat
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pytest

from reconciler.drivers.boot import BootDriver
from reconciler.drivers.driver import Driver, Target, Work
from reconciler.drivers.fleet import FleetDriver
from reconciler.types.change import Action
from reconciler.types.observation import Present, Unknown
from reconciler.types.outcome import Status
from reconciler.types.values import Secret, SecretRef
from renderers.contract import RenderError
from tests.drivers.contract import PLAIN, Contract, host


def no_template(source: str, name: str, values: object) -> bytes:
    return f"{source}{name}".encode()


class TestBoot(Contract):
    def driver(self, tmp_path: Path) -> Driver:
        (tmp_path / "boot").mkdir(exist_ok=True)
        return BootDriver(directory=tmp_path / "boot", template=no_template)

    def unreachable(self, driver: Driver) -> None:
        assert isinstance(driver, BootDriver)
        for path in [path for path in driver.directory.rglob("*") if path.is_file()]:
            path.unlink()
            path.mkdir()

    def test_files_are_readable_whole_and_withdrawn_with_their_directories(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        resources = self.made(driver)
        self.run(driver, self.works(driver, resources), tmp_path)
        files = [path for path in (tmp_path / "boot").rglob("*") if path.is_file()]
        assert len(files) == len(resources) and all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in files)
        self.run(driver, self.works(driver, resources, Action.DELETE), tmp_path, step="d")
        assert not list((tmp_path / "boot").iterdir())

    def test_a_changed_file_is_seen_and_a_file_without_record_is_recognised(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        resource = self.made(driver, host("web-01"))[0]
        self.run(driver, self.works(driver, [resource]), tmp_path)
        target = Target(address=resource.address, desired=resource)
        assert self.converged(self.look(driver, [target], tmp_path)[resource.address], resource)
        (path,) = [path for path in (tmp_path / "boot").rglob("*") if path.is_file()]
        path.write_bytes(path.read_bytes() + b"# by hand\n")
        seen = self.look(driver, [target], tmp_path)[resource.address]
        assert isinstance(seen, Present) and seen.digest != resource.digest
        assert "-# by hand" in driver.diff(target, self.context(tmp_path))

    def test_a_file_with_a_secret_is_never_published(self, tmp_path: Path) -> None:
        driver = self.driver(tmp_path)
        user = {"name": "ops", "hashed_passwd": Secret(ref=SecretRef(store="s", key="k"), token="t")}
        resources = [r for r in self.made(driver, host("web-01", users=[user])) if "user-data" in r.address]
        assert resources
        seen = self.look(driver, [Target(address=r.address, desired=r) for r in resources], tmp_path)
        assert all(isinstance(item, Unknown) and item.code == "secret-in-file" for item in seen.values())
        assert PLAIN not in str(list((tmp_path / "boot").rglob("*")))

    def test_how_the_machine_is_switched_is_in_no_file(self, tmp_path: Path) -> None:
        driver, values = self.driver(tmp_path), {"templates": {"meta-data": "t.j2"}}
        bmc = {"url": "https://bmc.example.net", "password": Secret(ref=SecretRef(store="s", key="k"), token="t")}
        without, made = self.made(driver, host("web-01", **values)), self.made(driver, host("web-01", **values, bmc=bmc))
        assert any("template" in resource.spec for resource in made)
        assert [resource.digest for resource in made] == [resource.digest for resource in without]

    @pytest.mark.parametrize("wrong", [b"\xff\xfe", None], ids=["not UTF-8", "not a file"])
    def test_one_hosts_bad_template_is_its_own_trouble(self, tmp_path: Path, wrong: bytes | None) -> None:
        driver = self.driver(tmp_path)
        good, bad = (next(r for r in self.made(driver, host(name)) if "user-data" in r.address) for name in ("web-01", "web-02"))
        bad = replace(bad, spec=bad.spec | {"template": {"path": "t.j2", "content": "b" * 40 if wrong else None}})
        context = replace(self.context(tmp_path), content=lambda blob: wrong or b"")
        targets = [Target(address=r.address, desired=r) for r in (good, bad)]
        (tmp_path / "boot/shop/web-02/cloud-init").mkdir(parents=True)
        (tmp_path / "boot/shop/web-02/cloud-init/user-data").write_bytes(b"old")
        assert set(driver.observe(targets, context)) == {good.address, bad.address}
        from reconciler.drivers.driver import Step

        results: dict[str, Any] = dict(
            driver.apply(Step(id="s", work=tuple(Work(action=Action.CREATE, target=t) for t in targets)), context)
        )
        assert results[good.address].status is Status.DONE and results[bad.address].status is Status.FAILED
        assert "t.j2" in results[bad.address].error or "template" in results[bad.address].error
        assert (tmp_path / "boot/shop/web-02/cloud-init/user-data").read_bytes() == b"old"
        with pytest.raises(RenderError):
            driver.render(bad, context.content)  # type: ignore[attr-defined]


class TestFleet(Contract):
    changed: ClassVar[dict[str, Any]] = {"labels": {"site": "rome"}}

    def driver(self, tmp_path: Path) -> Driver:
        return FleetDriver()

    def lists(self, resource: object) -> bool:
        return False
