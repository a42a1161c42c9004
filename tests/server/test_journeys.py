"""What people do all day, from the first link to signing out, in a real browser against a real `octofleet serve`; and how far somebody gets by links."""

import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from reconciler import gating
from reconciler.store.engine import sqlite_url
from tests.fleets import TENANT, host
from tests.server.browser import LIGHT, PLAIN, VIEWS, View, chromium, looking, path_of
from tests.server.screenshots import shown
from tests.server.site import Web
from tests.server.tenants import OF_BANK, OPS
from tests.webhooks.serving import serving, until
from tests.webhooks.site import PullSite

PASSWORD = "correct horse battery staple"
BANK = {"bank.yaml": TENANT.replace("shop", "bank"), "vault-1.yaml": host("vault-01", 101, tenant="bank")}
RULES = {"people.yaml": OPS.replace('"local:root"', '"local:root", "account:ada"')}
EACH = (LIGHT, PLAIN, VIEWS[2], VIEWS[3])
"""Desktop and phone, with script and without."""


@dataclass(frozen=True, kw_only=True)
class Day:
    """A server on a fleet that is applied, and the page of somebody who is about to use it. `link`: for the first account."""

    site: PullSite
    web: Web
    page: Any
    view: View
    link: str

    def open(self, path: str, text: str) -> None:
        """A page, as soon as it says something: what the server has found out meanwhile is there when it is loaded again."""
        until(self.site, lambda: self.page.goto(path).ok and text in self.page.locator("main").inner_text(), f"{text} on {path}")

    def press(self, name: str) -> None:
        """A button."""
        self.page.get_by_role("button", name=name, exact=True).click()


@pytest.fixture(params=EACH, ids=lambda view: view.name)
def day(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Day]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with PullSite(tmp_path, sqlite_url(tmp_path), files=BANK | RULES) as site:
        settings = {"listen": f"127.0.0.1:{port}", "public_url": f"http://127.0.0.1:{port}", "more": "heal = false\ninterval_s = 1\n"}
        with serving(site, **settings) as served, chromium() as browser, looking(browser, Web(port), request.param) as page:
            until(site, lambda: site.rows("SELECT 1 FROM run WHERE state = 'done'"), "the first apply")
            link = re.search(r"open (http://\S+) once", served.said)
            assert link, served.said
            page.on("dialog", lambda dialog: dialog.accept())  # whoever has script is asked once more before something dangerous
            yield Day(site=site, web=Web(port), page=page, view=request.param, link=link[1])
        log = (site.path / "serve.log").read_text()
        assert "Traceback" not in log and PASSWORD not in log


def test_a_day(day: Day) -> None:
    come_in(day)
    see_the_fleet(day)
    plan = read_the_plan_of_a_pull_request(day)
    run = approve_and_apply(day, plan)
    follow(day, run)
    find_what_has_drifted(day)
    search(day)
    use_a_token(day)
    leave(day)


def come_in(day: Day) -> None:
    """The one-time link, the first account, and that the link is good for nothing afterwards."""
    page = day.page
    page.goto(day.link)
    page.get_by_label("Name to sign in with").fill("ada")
    page.get_by_label("Your name, as others read it").fill("Ada Lovelace")
    page.get_by_label("Password", exact=True).fill(PASSWORD)
    page.get_by_label("Password again").fill(PASSWORD)
    day.press("Set password")
    page.get_by_text("Your password is set.").wait_for()
    assert page.goto(day.link).status == 409 and page.get_by_text("Next:").is_visible()


def sign_in(day: Day) -> None:
    page = day.page
    page.get_by_label("Name").fill("ada")
    page.get_by_label("Password").fill(PASSWORD)
    day.press("Sign in")


def see_the_fleet(day: Day) -> None:
    """Who asks for a page before he has signed in gets there afterwards."""
    page = day.page
    page.goto("/hosts?tenant=bank")
    sign_in(day)
    page.wait_for_url("**/hosts?tenant=bank")
    day.open("/hosts?tenant=bank", "vault-01")
    until(
        day.site, lambda: page.goto("/") and page.locator(".counts div").first.inner_text().split()[-1] == "4", "4 hosts that are converged"
    )


def read_the_plan_of_a_pull_request(day: Day) -> str:
    """Follows the link in the comment to the plan, and from there to the line that sets a value; gives the plan's id."""
    site, page = day.site, day.page
    site.commit("more", {"host-1.yaml": host("web-01", 1, spec="  packages: [htop]\n"), "host-3.yaml": None})
    pull = site.open("more", title="Retire web-03")
    until(site, lambda: site.double.ours(pull) and "/plans/" in site.double.ours(pull)[0].body, "a comment with a link")
    link = re.search(rf"http://127\.0\.0\.1:{day.web.port}/plans/\w+", site.double.ours(pull)[0].body)
    assert link
    until(
        site,
        lambda: any(one.url == link[0] for one in site.project.statuses if one.commit == pull.head),
        "a commit status that leads there too",
    )
    page.goto(link[0])
    assert page.locator("section.destructive").inner_text().count("web-03") >= 1 and "htop" in page.locator("main").inner_text()
    page.get_by_role("link", name="which file and line set each value").first.click()
    page.wait_for_url("**/explain?**")
    row = page.locator("tr", has_text="htop")
    assert "host-1.yaml" in row.inner_text() and "host/shop/web-01" in row.inner_text()
    page.goto("/pulls")
    page.get_by_role("link", name="acme/fleet#1").click()
    assert "Retire web-03" in page.locator("h1").inner_text()
    site.double.merge(site.project, pull)
    day.open("/", "Waits for somebody")
    page.locator("main a[href^='/plans/']").first.click()
    page.wait_for_url("**/plans/*")
    return path_of(page).rpartition("/")[2]


def approve_and_apply(day: Day, plan: str) -> str:
    """What waits is approved and applied; it does not begin before the pause ends. Gives the run's id."""
    page = day.page
    gating.pause(day.site.installation, "fleet", 3600, "wait for me", identity="local:root")
    assert path_of(page) == f"/plans/{plan}"
    assert "Waits for approval" in page.locator("main").inner_text()
    page.get_by_label("Why").first.fill("web-03 is retired")
    page.get_by_label("I have seen what is lost").check()
    day.press("Apply")
    page.wait_for_url(re.compile(r"/runs/[^/]+$"))
    assert page.get_by_role("status").first.inner_text() == "The run has begun."
    return re.sub(r"\?.*", "", path_of(page)).rpartition("/")[2]


def follow(day: Day, run: str) -> None:
    """Somebody lets it go on in another window; here the lines come by themselves, or when the page is loaded again."""
    page = day.page
    assert page.locator("h1 .state").inner_text() == "running"
    if day.view.script:
        page.evaluate("window.same = true")
    other = page.context.new_page()
    other.goto("/gates")
    other.get_by_role("button", name="Go on").click()
    other.wait_for_url("**/gates?said=endPause")
    other.close()
    if day.view.script:
        page.locator("[data-ended]").wait_for(timeout=60_000)
        page.locator("dl.facts dt", has_text="Ended").wait_for(timeout=60_000)
        page.get_by_role("button", name="Pause").wait_for(state="detached", timeout=60_000)
        page.locator("dl.facts", has_text="done").wait_for(timeout=60_000)
        assert page.evaluate("window.same"), "it was loaded again"
    else:
        until(day.site, lambda: page.goto(f"/runs/{run}") and page.locator("h1 .state").inner_text() == "done", "the end of the run")
    assert page.locator("h1 .state").inner_text() == "done"
    assert page.locator(".log li", has_text="web-03").count() > 0
    page.goto(f"/runs/{run}")
    page.get_by_role("link", name="each of them").click()
    assert page.locator("main .state.done").count() > 3 and "web-03" in page.locator("main").inner_text()
    page.goto(f"/runs/{run}")
    page.get_by_role("link", name="Who said and did what about it").click()
    assert "web-03 is retired" in page.locator("main").inner_text() and "account:ada" in page.locator("main").inner_text()


def find_what_has_drifted(day: Day) -> None:
    """Something is changed by hand; the server sees it, and the host's page says what, and which line wants it otherwise."""
    page, where = day.page, "memory/config/bank/vault-01"
    spec, _ = day.site.world.things()[where]
    day.site.world.put(where, {**spec, "values": {**spec["values"], "timezone": "Europe/Paris"}})
    day.open("/drift", "Europe/Paris")
    page.get_by_role("link", name="vault-01").click()
    page.wait_for_url("**/hosts/bank/vault-01")
    row = page.locator("tr.differs")
    assert all(word in row.inner_text() for word in ("/values/timezone", "Europe/Paris", "UTC", "fleet.yaml:"))
    page.get_by_label("Why").fill("by hand, and wrong")
    day.press("Look again and heal")
    page.wait_for_url("**/drift?**")
    until(day.site, lambda: "Europe/Paris" not in str(day.site.world.things()[where]), "the healing")


def search(day: Day) -> None:
    page = day.page
    page.goto("/")
    page.get_by_placeholder("Hosts, plans, runs").fill("web-01")
    page.keyboard.press("Enter")
    page.wait_for_url("**/search?q=web-01")
    assert page.get_by_placeholder("Hosts, plans, runs").input_value() == "web-01"
    page.get_by_role("link", name="shop/web-01").first.click()
    page.wait_for_url("**/hosts/shop/web-01")


def use_a_token(day: Day) -> None:
    page = day.page
    page.goto("/account")
    page.get_by_label("What it is for").fill("dashboard")
    assert page.get_by_role("group", name="Good for reading").get_by_role("checkbox", checked=True).count() == 1, (
        "viewing, unless more is ticked"
    )
    page.get_by_role("group", name="Good for reading").get_by_label("plan", exact=True).check()
    page.get_by_role("group", name="Good for changing").get_by_label("apply", exact=True).check()
    day.press("Make token")
    assert "apply, plan, view" in page.locator("main table", has_text="dashboard").inner_text()
    secret = page.locator("main pre").inner_text()
    answer = day.web.api("/hosts", secret)
    assert answer.status == 200 and {item["name"] for item in answer.json["items"]} == {"web-01", "web-02", "vault-01"}
    assert day.web.api("/pauses", secret, body={"scope": "fleet", "reason": "x"}).status == 403, (
        "it is good for nothing that was not ticked"
    )


def leave(day: Day) -> None:
    """A cookie that somebody has stolen before is good for nothing afterwards."""
    page = day.page
    (stolen,) = [cookie["value"] for cookie in page.context.cookies() if cookie["name"].startswith("__Host-")]
    assert day.web.page("/hosts", stolen).status == 200
    day.press("Sign out")
    page.wait_for_url("**/sign-in")
    assert not [cookie for cookie in page.context.cookies() if cookie["name"].startswith("__Host-")]
    assert day.web.page("/hosts", stolen).status == 303 and day.web.page("/api/v1/hosts", stolen).status == 401


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Web, dict[str, str]]]:
    with shown(tmp_path_factory.mktemp("full")) as found:
        yield found


MOST_PAGES = 400


def pages_of(web: Web, by: str) -> dict[str, str]:
    """Every page that somebody reaches by links, by address."""
    found, left = dict[str, str](), ["/"]
    while left and len(found) < MOST_PAGES:
        path = left.pop(0)
        answer = web.page(path, by)
        assert answer.status == 200, (path, answer.status)
        found[path] = answer.text
        links = (
            unescape(link).partition("#")[0]
            for link in re.findall(r'(?:href|src|action)="(/[^"]*)"', re.sub(r'<form[^>]*method="post"[^>]*>', "", answer.text))
        )
        left += sorted({link for link in links if not link.startswith(("/static/", "/account"))} - {*found, *left})
    return found


def test_who_is_of_one_tenant_finds_nothing_of_another_by_links(full: tuple[Web, dict[str, str]]) -> None:
    web, names = full
    mine = pages_of(web, "github:vera")
    reached = {
        "/hosts/shop/web-01",
        "/drift",
        "/plans",
        f"/runs/{names['run']}",
        f"/runs/{names['run']}/log",
        "/pulls/hub/acme/fleet/1",
        "/status",
        "/audit",
    }
    assert len(mine) > 30 and not [path for path in reached if not any(unescape(one).startswith(path) for one in mine)], sorted(mine)
    assert [(path, word) for path, text in mine.items() for word in OF_BANK if word in text] == []
    everything = pages_of(web, "github:root")
    assert len(everything) > len(mine) and any("vault-01" in path for path in everything)


@pytest.mark.parametrize("view", EACH[1:3], ids=lambda view: view.name)
def test_where_nothing_is_there_is_a_page_that_says_so(full: tuple[Web, dict[str, str]], view: View) -> None:
    with chromium() as browser, looking(browser, full[0], view, by="github:vera") as page:
        for path in ("/nowhere", "/hosts/bank/vault-01", "/hosts/shop/none"):
            assert page.goto(path).status == 404
            assert (
                page.get_by_text("Next:").is_visible()
                and page.locator("h1").count() == 1
                and "vault" not in page.locator("h1").inner_text()
            )
            assert page.locator("main a[href='/']").is_visible()
