"""How people see the server, in a real browser: with keyboard and screen reader, on a phone, in the dark, on paper, with script and without."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.store.installs import open_installations, report
from reconciler.types.installation import Stage
from tests.server.browser import LIGHT, PLAIN, VIEWS, View, browser, looking, path_of, problems, sideways
from tests.server.screenshots import PATHS, shown
from tests.server.site import Web, web
from tests.server.specimen import LINES, documents
from tests.server.tenants import CALLERS, install, two_tenants

__all__ = ["browser"]
SHOWN = [*PATHS, *documents()]
"""Every page there is. What stands for the `{names}` of a path is said by `screenshots.shown`."""
each_view = pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Web, dict[str, str]]]:
    with shown(tmp_path_factory.mktemp("look")) as found:
        yield found


@pytest.fixture(scope="module")
def served(site: tuple[Web, dict[str, str]]) -> Web:
    return site[0]


@each_view
@pytest.mark.parametrize("path", SHOWN)
def test_a_page_is_for_everybody(browser: Any, site: tuple[Web, dict[str, str]], path: str, view: View) -> None:
    served, names = site
    with looking(browser, served, view, by="github:root") as page:
        assert page.goto(path.format(**names)).status == 200
        assert not view.script or not problems(page)
        assert sideways(page) <= 0
        assert page.locator("h1").count() == 1 and page.title().endswith(" · Octofleet")


@each_view
@pytest.mark.parametrize("path", ["/runs/none", "/runs?limit=x"])
def test_a_refusal_says_what_to_do(browser: Any, served: Web, path: str, view: View) -> None:
    with looking(browser, served, view, by="github:root") as page:
        assert page.goto(path).status in (400, 404)
        assert page.get_by_text("Next:").is_visible() and sideways(page) <= 0
        assert not view.script or not problems(page)


def test_where_one_is(browser: Any, site: tuple[Web, dict[str, str]]) -> None:
    served, names = site
    with looking(browser, served, by="github:root") as page:
        for path, mark in (("/runs", "page"), (f"/runs/{names['run']}", "true")):
            page.goto(path)
            marked = page.locator("nav [aria-current]")
            assert (marked.all_inner_texts(), marked.get_attribute("aria-current")) == (["Runs"], mark)


def _focused(page: Any) -> str:
    return str(
        page.evaluate(
            "(document.activeElement.getAttribute('aria-label') || document.activeElement.innerText || document.activeElement.id).trim()"
        )
    )


@pytest.mark.parametrize("view", [LIGHT, PLAIN], ids=lambda view: view.name)
def test_the_keyboard_goes_through_the_page_in_order_and_shows_where_it_is(browser: Any, served: Web, view: View) -> None:
    with looking(browser, served, view, by="github:root") as page:
        page.goto("/runs")
        passed = []
        for _ in range(18):
            page.keyboard.press("Tab")
            passed.append(_focused(page))
            assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") != "none", passed[-1]
        menu = ["Overview", "Hosts", "Installations", "Operations", "Drift", "Facts", "Plans", "Runs", "Pull requests", "Gates"]
        menu += ["Providers", "Audit"]
        assert passed == ["Skip to content", "Octofleet", "Search", "Search", "github:root", "Sign out", *menu]
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('main tbody') !== null"), "the first link of the list"


def test_the_menu_can_be_skipped(browser: Any, served: Web) -> None:
    with looking(browser, served, by="github:root") as page:
        page.goto("/runs")
        page.keyboard.press("Tab")
        assert page.locator(".skip").bounding_box()["x"] >= 0, "seen while it has the focus"
        page.keyboard.press("Enter")
        page.keyboard.press("Tab")
        assert page.evaluate("document.activeElement.closest('main') !== null")


def test_on_paper(browser: Any, served: Web) -> None:
    with looking(browser, served, by="github:root") as page:
        page.goto("/specimen")
        page.emulate_media(media="print")
        assert not page.locator("header, main form, .pager, footer").filter(visible=True).count()
        assert page.locator("section.destructive, h1, table, .log").filter(visible=True).count() == 5
        assert " UTC)" in page.evaluate(
            "getComputedStyle(document.querySelector('time'), '::after').content + document.querySelector('time').title + ')'"
        )
        assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
        assert page.pdf(format="A4").startswith(b"%PDF")


def test_it_is_dark_where_one_wants_it_dark_and_still_where_one_wants_it_still(browser: Any, served: Web) -> None:
    with looking(browser, served, View(name="dark", dark=True), reduced_motion="reduce") as page:
        page.goto("/specimen")
        paper = [int(part) for part in page.evaluate("getComputedStyle(document.body).backgroundColor.match(/[0-9]+/g)")]
        assert max(paper) < 64
        page.locator(".log li.fresh").first.wait_for()
        assert page.evaluate("document.getAnimations().length") == 0


def test_a_table_on_a_phone_is_cards_that_say_what_they_are(browser: Any, served: Web) -> None:
    with looking(browser, served, VIEWS[-1], by="github:root") as page:
        page.goto("/runs")
        cell = page.locator("td[data-label=State]").first
        assert page.locator("table").first.bounding_box()["width"] <= VIEWS[-1].size[0]
        assert cell.evaluate("cell => getComputedStyle(cell, '::before').content").startswith('"State"')
        assert page.get_by_role("row").count() == 3, "still a table for who listens to it"


def test_slash_goes_to_the_search_box(browser: Any, served: Web) -> None:
    with looking(browser, served, by="github:root") as page:
        page.goto("/specimen")
        page.keyboard.press("/")
        assert page.evaluate("document.activeElement.name") == "q"
        page.keyboard.type("a/b")
        assert page.locator("[role=search] input").input_value() == "a/b"


@pytest.mark.parametrize("view", [LIGHT, PLAIN], ids=lambda view: view.name)
def test_a_search_has_an_address(browser: Any, served: Web, view: View) -> None:
    with looking(browser, served, view, by="github:root") as page:
        page.route(
            "**/search?*", lambda asked: asked.fulfill(content_type="text/html", body="<title>found</title><link rel=icon href='data:,'>")
        )
        page.goto("/runs")
        page.locator("[role=search] input").fill("web-01 a&b")
        page.keyboard.press("Enter")
        page.wait_for_url("**/search?q=*")
        assert path_of(page) == "/search?q=web-01+a%26b"


def test_a_filter_is_sent_when_typing_pauses(browser: Any, served: Web) -> None:
    with looking(browser, served, by="github:root") as page:
        page.goto("/specimen")
        page.locator(".filter input[name=q]").press_sequentially("web")
        page.wait_for_url("**/specimen?q=web&state=")
        assert page.locator(".filter input[name=q]").evaluate("field => field === document.activeElement && field.selectionStart === 3")


def test_danger_is_asked_about_once_more(browser: Any, served: Web) -> None:
    with looking(browser, served, by="github:root") as page:
        page.goto("/specimen")
        page.locator("input[name=reason]").fill("too slow")
        said: list[str] = []
        page.once("dialog", lambda dialog: (said.append(dialog.message), dialog.dismiss()))
        page.locator("button.danger").click()
        assert said == ["Cancel the run?"] and path_of(page) == "/specimen"
        page.once("dialog", lambda dialog: dialog.accept())
        page.locator("button.danger").click()
        page.wait_for_url("**/specimen?did=too%20slow")


def test_a_run_is_followed_as_it_goes_on(browser: Any, served: Web) -> None:
    with looking(browser, served, by="github:root") as page:
        page.goto("/specimen")
        page.locator("[data-of=run] .state.done").wait_for()
        assert page.locator(".log li").all_inner_texts()[1:] == [f"2027-01-15 08:00:0{n} UTC step 1 {text}" for n, text in enumerate(LINES)]
        assert page.locator("[data-of='shop/web-01'] .state").inner_text() == "done"
        assert page.locator("[data-of='phase/shop/web/1'] .state").inner_text() == "held"


def test_times_go_on_being_right(browser: Any, served: Web) -> None:
    with looking(browser, served, by="github:root") as page:
        page.clock.install()
        page.goto("/specimen")
        before = page.locator(".facts time").inner_text()
        page.clock.fast_forward("02:00:00")
        assert (before, page.locator(".facts time").inner_text()) == ("5 min ago", "2 h ago")


@pytest.mark.parametrize("view", VIEWS[2:], ids=lambda view: view.name)
def test_a_run_is_paused(browser: Any, tmp_path: Path, view: View) -> None:
    with shown(tmp_path) as (served, names), looking(browser, served, view, by="github:root") as page:
        page.goto("/runs")
        page.get_by_role("link", name=names["run"]).click()
        page.get_by_label("Why").first.fill("it is late")
        page.get_by_role("button", name="Pause").click()
        page.wait_for_url("**/runs/*?said=pauseRun")
        assert page.get_by_role("status").inner_text() == "The run is paused."
        assert page.locator("h1 .state").inner_text() == "paused"


def test_an_installation_is_followed_and_begins_anew(browser: Any, tmp_path: Path) -> None:
    site = two_tenants(tmp_path, f"sqlite:///{tmp_path / 'q.db'}")
    with site.store.write() as connection:
        install(connection, "shop", "web-02")
    with web(site.installation, *CALLERS) as served, looking(browser, served, LIGHT, by="github:sam") as page:
        page.goto("/hosts/shop/web-02")
        page.on("dialog", lambda dialog: dialog.accept())
        page.get_by_text("Let it begin anew").click()
        form = page.locator("form", has=page.get_by_role("button", name="Begin anew"))
        form.get_by_label("Why").fill("another card")
        form.get_by_role("button").click()
        page.get_by_text("The installation begins anew.").wait_for()
        assert page.get_by_text("It has no higher generation").count() == 0, "that is for an approver"
        page.get_by_text("its machine has not come").wait_for()
        with site.store.write() as connection:
            (item,) = open_installations(connection)
            report(connection, item, Stage.PARTITIONED, connection.now(), log="formatting /dev/vda")
        page.get_by_text("formatting /dev/vda").wait_for(timeout=60_000)
        assert page.locator("[data-part=install] .state").first.inner_text() == "installing"


def test_what_somebody_fills_in_on_a_live_page_is_left_alone(browser: Any, tmp_path: Path) -> None:
    """Everything else is as it is now, without being loaded again."""
    with shown(tmp_path) as (served, names), looking(browser, served, by="github:root") as page:
        page.goto(f"/runs/{names['run']}")
        page.evaluate("window.same = true")
        field = page.locator("[data-part=actions]").get_by_label("Why").first
        field.fill("half a sen")
        assert served.form(f"/runs/{names['run']}/pause", "github:root", {"reason": "it is late"}).status == 303
        page.locator("[data-part=stands] strong", has_text="paused").wait_for(timeout=60_000)
        assert field.input_value() == "half a sen" and page.get_by_role("button", name="Pause", exact=True).is_visible()
        field.fill("")
        field.blur()
        page.get_by_role("button", name="Resume", exact=True).wait_for(timeout=60_000)
        assert page.evaluate("window.same")


def test_the_cookie_of_a_session_is_kept_on_this_machine_without_tls(browser: Any, served: Web) -> None:
    with looking(browser, served, PLAIN) as page:
        page.goto("/specimen/cookie")
        assert page.goto("/specimen/cookie").text().endswith("kept")


def test_what_is_wrong_is_seen(browser: Any, served: Web) -> None:
    with looking(browser, served, VIEWS[2], by="github:root") as page:
        page.goto("/runs")
        page.evaluate("document.querySelector('h1').insertAdjacentHTML('afterend', '<input><pre>' + 'x'.repeat(99) + '</pre>')")
        page.evaluate("document.querySelector('pre').style.whiteSpace = 'pre'")
        assert sideways(page) > 0 and problems(page)[0].startswith("label: <input>")
    with pytest.raises(AssertionError, match="Content Security Policy"), looking(browser, served, by="github:root") as page:
        page.goto("/runs")
        page.evaluate("document.querySelector('h1').insertAdjacentHTML('afterend', '<p style=\"color: red\">red</p>')")
    with pytest.raises(AssertionError, match=r"192\.0\.2\.1"), looking(browser, served, by="github:root") as page:
        page.goto("/runs")
        page.evaluate("void fetch('http://192.0.2.1/').catch(() => 0)")
