"""Whose a machine is: manifests of others that claim it, within a Fleet and across Fleets."""

from pathlib import Path

import pytest

from reconciler.boot.asked import asked
from reconciler.boot.decision import Boot, Machine, decide
from reconciler.boot.picture import Picture
from reconciler.desired.clash import of_machine
from tests.boot.hostile import HOST, standing
from tests.boot.site import ask, bootable, script
from tests.fleets import TENANT, fleet, host, octofleet, repo

BANK = TENANT.replace("name: shop", "name: bank")
OTHER_NET = "apiVersion: octofleet/v1\nkind: Network\nmetadata: {name: other}\nspec: {cidr: 198.51.100.0/24}\n"
UUID = "4c4c4544-0042-3510-8054-b7c04f384d32"


@pytest.mark.parametrize(
    ("mine", "theirs", "says"),
    [
        ("", "", "the MAC 52:54:00:00:00:01, and so has"),
        (f"  hardware: {{uuid: {UUID}}}\n", f"  hardware: {{uuid: {UUID.upper()}}}\n", "the UUID"),
        ("  hardware: {serial: 5BQ 8T72}\n", "  hardware: {serial: 5bq 8t72}\n", "the serial 5bq 8t72, and so has"),
        ("  hardware: {assetTag: rack-12}\n", "  hardware: {assetTag: RACK-12}\n", "the asset tag rack-12, and so has"),
    ],
)
def test_another_tenant_cannot_claim_a_machine(tmp_path: Path, mine: str, theirs: str, says: str) -> None:
    """Whatever the network, and in whatever case it is written."""
    claimed = host("evil", 2 if mine else 1, tenant="bank", spec=theirs).replace("network: lan", "network: other")
    claimed = claimed.replace("192.0.2.1", "198.51.100.1").replace("roles: [web]", "roles: []")
    files = {"host-1": host("web-01", 1, spec=mine), "bank": BANK, "other": OTHER_NET, "evil": claimed}
    made = repo(tmp_path / "repo", fleet(0, **files))
    found = octofleet(tmp_path / "data", "validate", "--repo", str(made.path))
    text = found.out + found.err
    assert found.code == 1, text
    assert says in text.replace("\n", " "), text
    assert "host/bank/evil" in text
    assert "host/shop/web-01" in text


def test_what_is_the_same_is_one_identity() -> None:
    assert of_machine({"serial": " A b ", "assetTag": "X", "uuid": UUID.upper(), "secureBoot": True}) == [
        f"UUID {UUID} ",
        "serial a b ",
        "asset-tag x ",
    ]


def test_a_second_fleet_that_claims_a_machine_gets_nothing_and_gives_nothing(tmp_path: Path) -> None:
    """No validation sees both. The first one stays known; neither is installed by the key, and the log and the page say why."""
    with standing(tmp_path) as site:
        url = site.arm()
        picture = Picture(site.wiring.store)
        picture.refresh()
        mine = picture.hosts[HOST]
        rival = Machine(tenant="bank", host="evil", source="other")
        picture._put(rival.place, rival, ["mac:52:54:00:00:00:01"])
        assert picture.machines["mac:52:54:00:00:00:01"] is mine
        who = asked({"mac": "52:54:00:00:00:01"})
        found = decide(who, "127.0.0.1", picture.machines, picture.installations, Boot.MENU, 0.0, picture.rivals)
        assert (found.boot, found.installation) == (Boot.LOCAL, None)
        assert "bank/evil and shop/web-01" in found.why
        picture._put(rival.place, None, ())
        found = decide(who, "127.0.0.1", picture.machines, picture.installations, Boot.MENU, 0.0, picture.rivals)
        assert found.boot is Boot.INSTALL
        assert picture.machines["mac:52:54:00:00:00:01"] is mine
        assert not picture.rivals
        assert ask(url).status == 200


def test_a_machine_that_says_what_two_hosts_would_is_nobodys(tmp_path: Path) -> None:
    two = bootable("web-02", 2, generation=0, spec="  hardware: {serial: S2}\n")
    with standing(tmp_path, **{"host-2": two}) as site:
        site.arm()
        for query in ("mac=52-54-00-00-00-01&serial=S2", "mac=52-54-00-00-00-01&serial=s2&uuid=" + UUID):
            assert "installing" not in ask(f"{site.url}/boot/ipxe?{query}").text
        assert "installing" in script(site)
        assert "installing" not in ask(f"{site.url}/boot/ipxe?mac=52-54-00-00-00-02").text
