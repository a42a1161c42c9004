"""A host from the commit that raises its generation to its disk: armed, booted, installed, and never again."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.types.installation import State
from tests.boot.site import Answer, Site, ask, bootable
from tests.store.databases import KINDS, database

MAC = "52:54:00:00:00:01"


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with database(request.param, tmp_path) as url:
        made = Site(tmp_path, url)
        yield made
        made.close()


def script(site: Site, mac: str = MAC, platform: str = "pcbios") -> str:
    return ask(f"{site.url}/boot/ipxe?mac={mac.replace(':', '-')}&platform={platform}").text


def answers(site: Site, text: str) -> str:
    """The URL of the answer file in a script, as it is reached here."""
    found = re.search(r"url=(http://\S+)", text)
    assert found is not None, text
    return found.group(1).replace("http://127.0.0.1:8069", site.url)


def call(site: Site, url: str, stage: str, **more: str) -> Answer:
    return ask(f"{url.partition('/shop/')[0]}/callback", {"stage": stage, **more})


def test_a_raised_generation_installs_once(site: Site) -> None:
    with site.serving():
        site.until(lambda: "disk" in script(site))
        site.repo.commit({"host-1.yaml": bootable(generation=1)})
        site.approved()
        site.armed()
        site.until(lambda: "installing" in script(site))
        text = script(site)
        assert text == script(site), "the same bytes for the same install"
        url = answers(site, text)
        preseed = ask(url)
        assert preseed.status == 200
        assert "d-i" in preseed.text
        assert ask(url) == preseed
        assert site.installations()[0].state is State.ARMED, "fetching changes no state"
        assert site.installations()[0].label == "booting"
        assert call(site, url, "booted").text == "installing\n"
        assert ask(url).text == preseed.text
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFVyYW5kb20ta2V5LWZvci10ZXN0cy1vbmx5"
        assert call(site, url, "installed", hostkeys=f"{key}\n", facts='{"kernel": "6.1"}').text == "installed\n"
        assert call(site, url, "installed").text == "installed\n", "said twice is no news"
        assert call(site, url, "failed").status == 410
        assert ask(url).status == 404, "its token is good for nothing any more"
        assert "disk" in script(site)
        site.until(lambda: site.wiring.arming.ledger([("shop", "web-01")])[("shop", "web-01")].generation == 1)
        assert site.wiring.arming.host_keys("shop", "web-01") == (key,)
        assert len(site.installations()) == 1
