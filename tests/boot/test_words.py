"""What people see and say of installations: the commands, the API and the pages, over a fleet whose machine is installed."""

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from reconciler.beginning import find
from reconciler.gating import approve
from reconciler.store.audit import entries
from reconciler.store.installs import doubt
from reconciler.types.audit import Row
from reconciler.types.installation import State
from tests.boot.site import Site, ask, bootable, script
from tests.cli.command import quick
from tests.fleets import Result
from tests.server.site import person, web
from tests.store.databases import KINDS, database

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIFVyYW5kb20ta2V5LWZvci10ZXN0cy1vbmx5"
WHO = person("local:first", here=True)
PAGE = "/hosts/shop/web-01"


@pytest.fixture(params=KINDS)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    with database(request.param, tmp_path) as url:
        made = Site(tmp_path, url)
        yield made
        made.close()


def said(site: Site, *args: str) -> Result:
    return quick(site.path / "data", *args)


def armed(site: Site, generation: int = 1) -> None:
    site.begun()
    site.repo.commit({"host-1.yaml": bootable(generation=generation)})
    site.approved()
    site.armed()


def agreed(site: Site, so: Callable[[], object]) -> None:
    """Say yes to each plan that waits for it, until it has come to that."""
    known = set[str]()

    def look() -> object:
        plan = site.waits()
        if plan is not None and plan not in known:
            approve(site.wiring, find(site.wiring, plan), yes=True, reason="a test")
            known.add(plan)
        return so()

    site.until(look)


def recorded(site: Site, action: str) -> tuple[str, list[str]]:
    """Reason and subjects of what the audit trail says of an action."""
    with site.wiring.store.read() as connection:
        (row,) = entries(connection, action=action)
    assert isinstance(row, Row)
    return row.reason, row.subjects


def test_an_installation_is_told(site: Site) -> None:
    assert "no machine is being installed" in said(site, "installs").out
    with site.serving():
        armed(site)
        assert "shop/web-01  armed  generation 1, attempt 1 of 1" in said(site, "installs").out
        site.until(lambda: "installing" in script(site))
        assert "booting" in said(site, "installs").out
        url = site.answers(script(site))
        assert ask(url).status == 200
        site.call(url, "booted", log="formatting\x1b[2J vda\n", facts='{"kernel": "6.1"}')
        (row,) = said(site, "installs", "--json").json["installs"]
        assert (row["state"], row["stage"], row["claimedBy"]) == ("installing", "booted", "127.0.0.1")
        site.until(lambda: "machine (1)" in said(site, "status", "--why").out)
        why = said(site, "status", "--why")
        assert "shop/web-01 (generation 1, attempt 1 of 1)" in why.out and "said booted" in why.out, why.text
        run = site.installations()[0].run
        assert "shop/web-01 (generation 1, attempt 1 of 1), said booted" in said(site, "logs", run).out
        site.call(url, "installed", hostkeys=f"{KEY}\n")
        site.until(lambda: not site.open_runs())
        site.until(lambda: "sanboot" in script(site))
        site.until(lambda: "last told to boot: local" in said(site, "installs", "shop/web-01").out)
    text = said(site, "installs", "host/shop/web-01").out
    assert "installed with generation 1" in text and "host key ssh-ed25519 SHA256:" in text
    assert "formatting" in text and "\x1b" not in text and '"kernel": "6.1"' in text
    assert said(site, "installs", "host/shop/nobody").code == 1
    assert "write it as host/TENANT/NAME" in said(site, "installs", "web-01").text


def test_it_begins_anew_for_another_machine(site: Site) -> None:
    with site.serving():
        armed(site)
        site.until(lambda: "installing" in script(site))
        url = site.answers(script(site))
        assert ask(url).status == 200
        other = f"{site.url}/boot/ipxe?mac=52-54-00-00-00-01"
        assert "sanboot" in ask(other, source="127.0.0.7").text
        assert said(site, "installs", "host/shop/web-01", "--again").code == 1, "without a reason"
        assert said(site, "installs", "host/shop/web-01", "--again", "--reason", "another card").code == 0
        assert recorded(site, "install-again") == ("another card", ["host/shop/web-01"])
        site.until(lambda: ask(url).status == 404)
        site.until(lambda: "installing" in ask(other, source="127.0.0.7").text)
        new = site.answers(ask(other, source="127.0.0.7").text)
        assert new != url and ask(new, source="127.0.0.7").status == 200
        assert site.call(new, "installed", source="127.0.0.7").text == "installed\n"
        site.until(lambda: not site.open_runs())
        assert [item.state for item in site.installations()] == [State.INSTALLED, State.CANCELLED]
        refused = said(site, "installs", "host/shop/web-01", "--again", "--reason", "once more", "--json")
        assert refused.json["error"]["code"] == "no-installation"


def test_a_machine_is_adopted(site: Site) -> None:
    with site.serving():
        site.begun()
        head = site.repo.commit({"host-1.yaml": bootable(generation=3)})
        site.until(site.waits)
        found = said(site, "adopt", "host/shop/web-01", "--reason", "it ran before", "--json")
        assert found.json["generation"] == 3, found.text
        assert recorded(site, "adopt") == ("it ran before", ["host/shop/web-01"])
        assert site.ledger().generation == 3 and "it ran before" in site.ledger().why
        said(site, "reconcile", str(site.repo.path))
        agreed(site, lambda: site.commit() == head)
        assert not site.installations()
        site.repo.commit({"host-1.yaml": bootable(generation=4)})
        site.approved()
        site.armed()
        assert said(site, "adopt", "host/shop/web-01", "--reason", "no", "--json").json["error"]["code"] == "installing"


def test_what_is_adopted_is_what_the_newest_commit_wants_though_no_server_has_seen_it(site: Site) -> None:
    with site.serving():
        site.begun()
    site.repo.commit({"host-1.yaml": bootable(generation=3)})
    assert said(site, "adopt", "host/shop/web-01", "--reason", "it ran before", "--json").json["generation"] == 3
    assert site.ledger().generation == 3


def test_after_a_restore_somebody_is_sure(site: Site) -> None:
    with site.serving():
        site.installed(generation=1)
        with site.wiring.store.write() as connection:
            doubt(connection)
        site.settled(site.repo.commit({"host-1.yaml": bootable(generation=2)}))
        assert "octofleet installs host/shop/web-01 --sure" in str(site.deferred())
        assert "may be more" in said(site, "installs", "host/shop/web-01").out
        assert said(site, "installs", "host/shop/web-01", "--sure", "--reason", "looked at it").code == 0
        assert recorded(site, "install-sure") == ("looked at it", ["host/shop/web-01"]) and site.ledger().sure
        said(site, "reconcile", str(site.repo.path))
        agreed(site, lambda: site.installations()[0].open)
        assert site.installations()[0].generation == 2
        assert said(site, "installs", "host/shop/web-01", "--sure", "--reason", "twice", "--json").json["error"]["code"] == "no-doubt"


def test_pages_tell_and_take_words(site: Site) -> None:
    evil = "<script>alert(1)</script>"
    with site.serving(), web(site.wiring, WHO) as pages:
        armed(site)
        assert "1 armed" in pages.page("/", WHO.session).text
        site.until(lambda: "installing" in script(site))
        url = site.answers(script(site))
        ask(url)
        site.call(url, "booted", log=evil, facts=json.dumps({evil: evil}))
        text = pages.page(PAGE, WHO.session).text
        assert evil not in text and text.count("&lt;script&gt;") >= 3 and "known by mac:52:54:00:00:00:01" in text
        listed = pages.page("/installs", WHO.session).text
        assert PAGE in listed and "booted" in listed
        assert "No installation stands so" in pages.page("/installs?state=failed", WHO.session).text
        run = pages.page(f"/runs/{site.installations()[0].run}", WHO.session).text
        assert "shop/web-01 (generation 1, attempt 1 of 1)" in run
        assert re.search(r"/installs/again", text)
        assert pages.form(f"{PAGE}/installs/again", WHO.session, {"reason": "another card"}).status == 303
        assert site.installations()[0].label == "armed" and site.installations()[0].claimed_by == ""


@pytest.mark.parametrize("into", KINDS)
def test_a_backup_is_restored(site: Site, tmp_path: Path, into: str) -> None:
    """A generation that is on record is installed no second time; a higher one is not before somebody is sure."""
    with site.serving():
        site.installed(generation=1)
    assert said(site, "backup", str(tmp_path / "saved")).code == 0
    data = tmp_path / "restored"
    data.mkdir()
    with database(into, data) as url:
        lines = (site.path / "data" / "octofleet.toml").read_text().splitlines()
        kept = [line for line in lines if not line.startswith("database_url")]
        (data / "octofleet.toml").write_text("\n".join([f'database_url = "{url}"', *kept]))
        assert quick(data, "restore", str(tmp_path / "saved")).code == 0
        assert "may be more" in quick(data, "installs", "host/shop/web-01").out
        at = ("plan", "--repo", str(site.repo.path), "--json")
        assert quick(data, *at).json["deferred"] == []
        site.repo.commit({"host-1.yaml": bootable(generation=2)})
        assert [item["code"] for item in quick(data, *at).json["deferred"]] == ["generation-doubted"]
        assert quick(data, "installs", "host/shop/web-01", "--sure", "--reason", "looked at it").code == 0
        found = quick(data, *at).json
        assert found["deferred"] == []
        assert [(item["address"], item["risk"]) for item in found["changes"] if item["address"].startswith("netboot/install/")] == [
            ("netboot/install/shop/web-01", ["reinstall"])
        ]
