"""Machines that install nothing: the Fleet's menu for unknown ones and for hosts whose manifest names an entry, and the disk where the menu is broken."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.drivers.boot import file_spec
from reconciler.tracking import CommitTree
from reconciler.types.host import ResolvedHost
from reconciler.types.origin import Origin
from renderers.registry import RENDERERS
from tests.boot.site import MAC, Site, ask, bootable, script
from tests.fleets import FLEET, octofleet
from tests.renderers.readers import check_grub
from tests.store.databases import KINDS, database

MENU = """\
  boot:
    menu:
      title: The test's fleet
      default: {default}
      timeout: 7
      entries:
        - {{name: local, label: The disk, boot: local}}
        - name: rescue
          label: {label}
          kernel: http://127.0.0.1:8069/media/rescue/vmlinuz
          initrd: http://127.0.0.1:8069/media/rescue/initrd
          args: [console=ttyS0]
        - {{name: memtest, boot: memtest}}
        - {{name: discover, boot: discover}}
"""
UNKNOWN = "52:54:00:99:00:01"


def menu(default: str = "local", label: str = "Rescue system") -> str:
    return FLEET + MENU.format(default=default, label=label)


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with database(request.param, tmp_path) as url:
        made = Site(tmp_path, url, fleet=menu())
        yield made
        made.close()


def grub(site: Site, mac: str = UNKNOWN) -> str:
    return ask(f"{site.url}/boot/grub/grub.cfg-01-{mac}").text


def test_an_unknown_machine_gets_the_menu_of_the_commit_that_was_applied(site: Site) -> None:
    with site.serving():
        site.begun()
        site.until(lambda: "menu" in script(site, UNKNOWN))
        text = script(site, UNKNOWN)
        assert "menu The test's fleet\n" in text
        assert "item entry-rescue Rescue system\n" in text
        assert "choose --default entry-local --timeout 7000 selected" in text
        assert "kernel http://127.0.0.1:8069/media/rescue/vmlinuz initrd=initrd console=ttyS0" in text
        assert "kernel http://127.0.0.1:8069/boot/loader/memtest.bin" in text
        assert "/boot/ipxe?discover=yes&mac=52%3A54%3A00%3A99%3A00%3A01&" in text
        assert "boot/loader/memtest.efi" in script(site, UNKNOWN, "efi")
        site.until(lambda: "sanboot" in script(site) and "menu" not in script(site))
        other = grub(site)
        assert check_grub(other.encode()) == 0
        assert "linux (http,127.0.0.1:8069)/media/rescue/vmlinuz console=ttyS0" in other
        assert "memtest" not in other and "discover" not in other
        site.repo.commit({"fleet.yaml": menu(default="memtest", label="Another name")})
        site.until(lambda: "item entry-rescue Another name\n" in script(site, UNKNOWN))
        assert "--default entry-memtest" in script(site, UNKNOWN)


def test_a_commit_has_a_host_boot_an_entry_and_arms_nothing(site: Site) -> None:
    with site.serving():
        site.begun()
        head = site.repo.commit({"host-1.yaml": bootable(generation=0, spec="  boot: {default: rescue}\n")})
        site.settled(head)
        plan = octofleet(site.path / "data", "explain", "host/shop/web-01", "--repo", str(site.repo.path))
        assert "rescue" in plan.out
        site.until(lambda: "--default entry-rescue" in script(site))
        assert "--default entry-local" in script(site, UNKNOWN)
        assert "set default=rescue" in grub(site, MAC)
        assert site.installations() == []
        assert site.ledger() is None
        head = site.repo.commit({"host-1.yaml": bootable(generation=0)})
        site.settled(head)
        site.until(lambda: "sanboot" in script(site) and "menu" not in script(site))


def test_the_installer_goes_before_the_menu(site: Site) -> None:
    with site.serving():
        site.begun()
        site.repo.commit({"host-1.yaml": bootable(generation=1, spec="  boot: {default: rescue}\n")})
        site.approved()
        site.armed()
        site.until(lambda: "installing" in script(site))
        site.call(site.answers(script(site)), "installed")
        site.until(lambda: "--default entry-rescue" in script(site))


@pytest.mark.parametrize("label", ["'a ${mac} b'", "'a || shell'", "größer"])
def test_a_menu_that_no_loader_can_show_boots_the_disk(tmp_path: Path, label: str, capsys: pytest.CaptureFixture[str]) -> None:
    site = Site(tmp_path, fleet=menu(label=label))
    try:
        found = octofleet(tmp_path / "data", "validate", "--repo", str(site.repo.path))
        assert found.code == 1
        assert "fleet.yaml:16:" in found.out and "the boot menu cannot be rendered for ipxe" in found.out
        with site.serving():
            site.begun()
            said: list[str] = []
            site.until(lambda: said.append(script(site, UNKNOWN) + capsys.readouterr().err) or "menu-broken" in said[-1])
            assert {text.partition("timestamp")[0] for text in said} == {"#!ipxe\nsanboot --no-describe --drive 0x80 || exit 1\n"}
    finally:
        site.close()


@pytest.mark.parametrize(
    ("fleet_text", "said"),
    [
        (FLEET, "the Fleet has no boot menu"),
        (menu(), "the default 'firmware' is no entry of the menu"),
    ],
)
def test_validate_tells_of_a_default_that_leads_nowhere(tmp_path: Path, fleet_text: str, said: str) -> None:
    site = Site(tmp_path, **{"fleet": fleet_text, "host-1": bootable(generation=0, spec="  boot: {default: firmware}\n")})
    try:
        found = octofleet(tmp_path / "data", "validate", "--repo", str(site.repo.path))
        assert found.code == 1
        assert said in found.out and found.out.startswith("host-1.yaml:")
    finally:
        site.close()


def test_no_file_depends_on_the_default_entry(site: Site) -> None:
    commit = site.wiring.repository(str(site.repo.path)).commit()
    inputs = CommitTree.of(site.wiring.repository(str(site.repo.path)), commit.tree)
    values = {"name": "web-01", "tenant": "shop", "os": {"distribution": "debian", "version": "12"}}
    for renderer in RENDERERS.values():
        for boot in ({}, {"boot": {"url": "http://boot.example.net/x"}}):
            with_default = {**values, "boot": {**boot.get("boot", {}), "default": "rescue"}}
            assert file_spec(_host(with_default), renderer, inputs) == file_spec(_host({**values, **boot}), renderer, inputs)


def _host(values: dict[str, object]) -> ResolvedHost:
    return ResolvedHost(tenant="shop", name="web-01", values=values, roles=(), origin=Origin(path="host-1.yaml"))
