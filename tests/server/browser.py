"""Real Chromium, headless, as people's browsers ask: at desktop and phone size, in light and dark, with script and without.

Debian's package is driven by Playwright, which downloads nothing. One Chromium serves a module of tests (`browser`), each visit with a profile of its own;
it is not kept longer, because Playwright's event loop is in the way of tests that run one of their own.

The cookie of a session is `__Host-` and `Secure`. Over plain HTTP this Chromium takes and sends it on `127.0.0.1` and `localhost`, which count as
trustworthy; on any other address it drops it without a word, and sends no `Sec-Fetch-Site` either. `test_look` holds the first.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import pytest

from reconciler.server.site import COOKIE
from tests.conftest import missing, program
from tests.server.site import Web

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
)
DESKTOP, PHONE = (1280, 800), (360, 740)


@dataclass(frozen=True, kw_only=True)
class View:
    """How somebody looks: `size` is width and height in CSS pixels."""

    name: str
    size: tuple[int, int] = DESKTOP
    dark: bool = False
    script: bool = True

    @property
    def phone(self) -> bool:
        return self.size == PHONE


LIGHT = View(name="desktop")
PLAIN = View(name="desktop-without-script", script=False)
VIEWS = (
    LIGHT,
    View(name="desktop-dark-without-script", dark=True, script=False),
    View(name="phone-dark", size=PHONE, dark=True),
    View(name="phone-without-script", size=PHONE, script=False),
)
"""Both sizes, light and dark, with and without script; axe-core looks at the two with script."""


@contextmanager
def chromium() -> Iterator[Any]:
    """Playwright's `Browser`; skips or fails the test without the programs."""
    path = program("chromium", "chromium")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        missing("playwright", "pip install playwright axe-playwright-python")
    with sync_playwright() as playwright:
        made = playwright.chromium.launch(executable_path=path, args=list(ARGUMENTS))
        try:
            yield made
        finally:
            made.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as made:
        yield made


@contextmanager
def looking(browser: Any, web: Web, view: View = LIGHT, *, by: str = "", **more: Any) -> Iterator[Any]:
    """A Playwright `Page` of a fresh profile, signed in as `by`; its relative addresses are of the site. Fails at the end if the browser complained (of script,
    of the Content-Security-Policy, of a file that is not there; not of a page that answers an error) or anything was asked of another server."""
    home = f"http://127.0.0.1:{web.port}"
    context = browser.new_context(
        base_url=home,
        viewport={"width": view.size[0], "height": view.size[1]},
        java_script_enabled=view.script,
        color_scheme="dark" if view.dark else "light",
        is_mobile=view.phone,
        has_touch=view.phone,
        **more,
    )
    try:
        context.set_default_timeout(20_000)
        if by:
            context.add_cookies([{"name": COOKIE, "value": by, "domain": "127.0.0.1", "path": "/", "secure": True, "httpOnly": True}])
        page, complaints, visited = context.new_page(), list[tuple[str, str]](), set[str]()
        page.on("console", lambda said: complaints.append((said.location["url"], said.text)) if said.type in ("error", "warning") else None)
        page.on("pageerror", lambda error: complaints.append(("", str(error))))
        page.on("request", lambda asked: visited.add(asked.url) if asked.is_navigation_request() else None)
        page.on("request", lambda asked: None if asked.url.startswith((home, "data:")) else complaints.append((asked.url, "asked for")))
        yield page
        wrong = [(url, text) for url, text in complaints if not (url in visited and text.startswith("Failed to load resource"))]
        assert not wrong, wrong
    finally:
        context.close()


def problems(page: Any) -> list[str]:
    """What axe-core finds wrong for keyboards, screen readers and weak eyes: its rule, and where. It is script itself, so only for a `View` with script."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(page).response
    assert found["testEngine"]["name"] == "axe-core" and found["url"] == page.url
    return [f"{rule['id']}: {node['html']} ({node['failureSummary']})" for rule in found["violations"] for node in rule["nodes"]]


def sideways(page: Any) -> int:
    """By how many pixels the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def path_of(page: Any) -> str:
    """Where it is, without the server."""
    parts = urlsplit(page.url)
    return parts.path + (f"?{parts.query}" if parts.query else "")
