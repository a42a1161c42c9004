"""A host from the commit that raises its generation to its disk: armed, booted, installed, and never again."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.boot.files import Files
from reconciler.store.installs import doubt
from reconciler.types.installation import State
from tests.boot.site import Site, ask, bootable, script
from tests.fleets import FLEET
from tests.store.databases import KINDS, database


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with database(request.param, tmp_path) as url:
        made = Site(tmp_path, url)
        yield made
        made.close()


def test_a_raised_generation_installs_once(site: Site) -> None:
    with site.serving():
        site.begun()
        site.repo.commit({"host-1.yaml": bootable(generation=1)})
        site.approved()
        site.armed()
        site.until(lambda: "installing" in script(site))
        text = script(site)
        assert text == script(site), "the same bytes for the same install"
        url = site.answers(text)
        preseed = ask(url)
        assert preseed.status == 200
        assert "d-i" in preseed.text
        assert ask(url) == preseed
        assert site.installations()[0].state is State.ARMED, "fetching changes no state"
        assert site.installations()[0].label == "booting"
        assert site.call(url, "booted").text == "installing\n"
        assert ask(url).text == preseed.text
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFVyYW5kb20ta2V5LWZvci10ZXN0cy1vbmx5"
        assert site.call(url, "installed", hostkeys=f"{key}\n", facts='{"kernel": "6.1"}').text == "installed\n"
        assert site.call(url, "installed").text == "installed\n", "said twice is no news"
        assert site.call(url, "failed").status == 410
        assert ask(url).status == 404, "its token is good for nothing any more"
        assert "sanboot" in script(site)
        site.until(lambda: site.wiring.arming.ledger([("shop", "web-01")])[("shop", "web-01")].generation == 1)
        assert site.wiring.arming.host_keys("shop", "web-01") == (key,)
        assert len(site.installations()) == 1


def test_the_first_installation_needs_a_person_whatever_the_fleet_says(site: Site) -> None:
    loose = FLEET + "  approvals: [{name: nothing, risks: [cost]}]\n"
    site.repo.commit({"fleet.yaml": loose})
    with site.serving():
        site.begun()
        site.repo.commit({"host-1.yaml": bootable(generation=3)})
        site.until(site.waits)
        assert "first installation" in str(site.stands())
        site.approved()
        assert site.armed().generation == 3


def test_a_generation_never_goes_back_and_survives_its_host(site: Site) -> None:
    site.repo.commit({"fleet.yaml": FLEET.replace("spec:", "spec:\n  guards: {maxDeleteFloor: 100, allowEmpty: true}")})
    with site.serving():
        site.installed(generation=2)
        for files in ({"host-1.yaml": bootable(generation=1)}, {"host-1.yaml": None}, {"host-1.yaml": bootable(generation=2)}):
            head = site.repo.commit(files)
            site.settled(head)
            assert site.installations()[0].generation == 2
            assert not any(item.open for item in site.installations())
        site.repo.commit({"host-1.yaml": bootable(name="web-02", generation=2, metadata="  moved: {from: web-01}\n")})
        site.until(lambda: site.ledger("web-02") is not None)
        assert site.ledger("web-02").generation == 2
        assert not site.installations("web-02")


def test_others_do_not_wait_for_a_machine(site: Site) -> None:
    with site.serving():
        site.begun()
        site.repo.commit({"host-1.yaml": bootable(generation=1)})
        site.approved()
        site.armed()
        head = site.repo.commit({"host-2.yaml": bootable(name="web-02", number=2, generation=0)})
        site.until(lambda: site.commit() == head)
        assert site.armed().label == "armed", "its run goes on"
        site.until(lambda: "sanboot" in script(site, "52:54:00:00:00:02"))
        site.call(site.answers(script(site)), "installed")
        site.until(lambda: not site.open_runs())
        assert site.commit() == head, "the run that began earlier does not take the fleet back"


def test_what_fails_is_armed_again_as_often_as_the_host_says(site: Site) -> None:
    with site.serving():
        site.begun()
        site.repo.commit({"host-1.yaml": bootable(generation=1, spec="  \n").replace("generation: 1", "generation: 1\n    attempts: 2")})
        site.approved()
        site.armed()
        site.until(lambda: "installing" in script(site))
        first = site.answers(script(site))
        assert site.call(first, "failed", log="no disk\nat all").text == "failed\n"
        site.until(lambda: len(site.installations()) == 2)
        assert ask(first).status == 404, "the token of an attempt ends with it"
        site.until(lambda: "installing" in script(site))
        second = site.answers(script(site))
        assert second != first
        site.call(second, "partitioned")
        site.call(second, "failed", log="no disk\nat all")
        site.until(lambda: not site.open_runs())
        assert "the installer failed after partitioned: no disk" in str(site.stands()) and "at all" in str(site.stands())
        assert "sanboot" in script(site)
        assert site.ledger() is None


def test_files_are_rendered_when_their_host_is_armed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[str, str]] = []
    monkeypatch.setattr(Files, "_keep", lambda files, key, data, keep=Files._keep: made.append(key[:2]) or keep(files, key, data))
    with site.serving():
        site.begun()
        site.repo.commit({"host-1.yaml": bootable(generation=1)})
        site.approved()
        of = site.armed().id
        site.until(lambda: {(of, "ipxe"), (of, "preseed")} <= set(made))
        before = len(made)
        site.until(lambda: "installing" in script(site))
        assert ask(site.answers(script(site))).status == 200
        assert len(made) == before, "nothing is rendered again"


def test_a_token_is_bound_to_the_machine(site: Site) -> None:
    with site.serving():
        site.begun()
        site.repo.commit({"host-1.yaml": bootable(generation=1)})
        site.approved()
        site.armed()
        site.until(lambda: "installing" in script(site))
        url = site.answers(script(site))
        assert ask(url).status == 200
        assert ask(url, source="127.0.0.7").status == 404
        assert site.call(url, "installed", source="127.0.0.7").status == 404
        assert "sanboot" in ask(f"{site.url}/boot/ipxe?mac=52-54-00-00-00-01", source="127.0.0.7").text
        assert ask(url.replace("/i/", "/i/0")).status == 404
        assert site.installations()[0].claimed_by == "127.0.0.1"


def test_a_restored_database_doubts(site: Site) -> None:
    with site.serving():
        site.installed(generation=1)
        with site.wiring.store.write() as connection:
            doubt(connection)
        head = site.repo.commit({"host-1.yaml": bootable(generation=2)})
        site.settled(head)
        assert "database was restored" in str(site.deferred())
        assert not any(item.open for item in site.installations())


def test_the_new_system_tells_its_keys_once(site: Site) -> None:
    """Windows and ESXi say so before they start anew, and again with their keys."""
    with site.serving():
        site.begun()
        site.repo.commit({"host-1.yaml": bootable(generation=1)})
        site.approved()
        site.armed()
        site.until(lambda: "installing" in script(site))
        url = site.answers(script(site))
        assert ask(url).status == 200
        key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFVyYW5kb20ta2V5LWZvci10ZXN0cy1vbmx5"
        site.call(url, "installed")
        assert site.wiring.arming.host_keys("shop", "web-01") == ()
        assert site.call(url, "installed", hostkeys=key, source="127.0.0.7").status == 404
        assert site.call(url, "installed", hostkeys=key).status == 200
        assert site.call(url, "installed", hostkeys=key.replace("VyYW", "WyYW")).status == 200
        assert site.wiring.arming.host_keys("shop", "web-01") == (key,)


def test_who_asks_without_a_word_is_told_to_ask_again_and_say_who_it_is(site: Site) -> None:
    with site.serving():
        assert (
            ask(f"{site.url}/boot/ipxe")
            .text.splitlines()[1]
            .startswith("chain --replace --autofree ipxe?mac=${netX/mac:hexhyp}&uuid=${uuid}&")
        )
