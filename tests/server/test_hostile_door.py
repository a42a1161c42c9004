"""Somebody who means harm at the door: links, sign-in, forms of others, and what browsers and proxies may be made to send."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest

from reconciler import accounts, events
from reconciler.server.app import listening
from reconciler.server.doorstep import Doorstep
from reconciler.server.opening import DOORS
from reconciler.server.own_account import OwnAccount
from reconciler.server.routes import ROUTES
from reconciler.server.site import COOKIE, Site
from reconciler.server.threads import Threads
from reconciler.store.audit import entries
from reconciler.wiring import Installation
from tests.identity.people import HERE, PASSWORD, hasher, installation, person
from tests.server.process import Process
from tests.server.process import app as app_of
from tests.server.site import Answered, Web
from tests.store.databases import database_url, kind

__all__ = ["database_url", "hasher", "installation", "kind"]
FORM = {"Content_Type": "application/x-www-form-urlencoded"}
SCRIPT = "<script>alert(1)</script>"


@pytest.fixture
def served(installation: Installation) -> Iterator[Web]:
    threads = Threads(installation)
    site = Site(installation, ROUTES, DOORS, threads, Doorstep(threads), OwnAccount(threads))
    with app_of(Process(store=installation.store), site=site) as app, listening(app, "127.0.0.1", 0) as port:
        yield Web(port)
    site.close()


def form(served: Web, path: str, fields: Mapping[str, str | list[str]], cookie: str = "", **headers: str) -> Answered:
    more = {"Cookie": f"{COOKIE}={cookie}"} if cookie else {}
    return served.ask("POST", path, body=urlencode(fields, doseq=True), **(FORM | more | headers))


def sign_in(served: Web, name: str = "ada", **more: str) -> Answered:
    return form(served, "/sign-in", {"name": name, "password": PASSWORD, "next": "/"} | more)


def cookie_of(answer: Answered) -> str:
    found = re.match(rf"{COOKIE}=([\w-]{{43}}); HttpOnly; Path=/; SameSite=Lax; Secure", answer.headers.get("Set-Cookie", ""))
    assert found is not None, answer
    return found[1]


def csrf_of(served: Web, cookie: str) -> str:
    found = re.search(r'name="csrf" value="(\w+)"', served.page("/account", cookie).text)
    assert found is not None
    return found[1]


def test_each_step_says_what_comes_next(installation: Installation, served: Web) -> None:
    link = f"/invitation/{accounts.invite(installation, 'bob', False, by=HERE)}"
    wrong = form(served, link, {"password": PASSWORD, "again": "otherwise"})
    assert "The two passwords differ. Type the same one twice" in wrong.text
    there = form(served, link, {"password": PASSWORD, "again": PASSWORD}).headers["Location"]
    assert "Your password is set" in served.page(there).text and "Your password is set" not in served.page("/sign-in").text
    assert "sign in, if you chose your password with it" in served.page(link).text
    cookie = sign_in(served, "bob")
    changed = form(
        served,
        "/account/password",
        {"password": PASSWORD, "chosen": "another " + PASSWORD, "again": "another " + PASSWORD, "csrf": csrf_of(served, cookie_of(cookie))},
        cookie_of(cookie),
    )
    assert changed.headers["Location"] == there


def test_many_at_one_link_make_one_account(installation: Installation, served: Web) -> None:
    """At once; and so do many at several first links."""
    links = [accounts.first_link(installation) for _ in range(5)]
    chosen = {"password": PASSWORD, "again": PASSWORD}
    with ThreadPoolExecutor(10) as pool:
        found = Counter(pool.map(lambda n: form(served, f"/invitation/{links[n % 5]}", chosen | {"name": f"first-{n}"}).status, range(50)))
        assert found == {303: 1, 409: 49}
        link = accounts.invite(installation, "ada", False, by=HERE)
        found = Counter(pool.map(lambda _: form(served, f"/invitation/{link}", chosen).status, range(50)))
        assert found == {303: 1, 409: 49}
    with installation.store.read() as connection:
        assert sorted(owner for (owner,) in connection.rows("SELECT owner FROM account")) == [0, 1]


@pytest.mark.parametrize(
    "there",
    [
        "//evil.example",
        "/\\evil.example",
        "/\t/evil.example",
        "https://evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        " //evil.example",
        "/a\r\nSet-Cookie: x=y",
    ],
)
def test_nobody_is_sent_to_another_site(installation: Installation, served: Web, there: str) -> None:
    person(installation)
    answer = sign_in(served, next=there)
    assert (answer.status, answer.headers["Location"]) == (303, "/") and cookie_of(answer)
    page = served.page(f"/sign-in?{urlencode({'next': there})}")
    assert page.status == 200 and 'name="next" value="/"' in page.text


def test_a_cookie_is_never_one_that_somebody_chose(installation: Installation, served: Web) -> None:
    person(installation)
    chosen = "A" * 43
    assert cookie_of(form(served, "/sign-in", {"name": "ada", "password": PASSWORD}, chosen)) != chosen
    assert served.page("/account", chosen).status == 303


def test_a_form_of_another_page_changes_nothing(installation: Installation, served: Web) -> None:
    person(installation)
    person(installation, "bob")
    cookie, other = cookie_of(sign_in(served)), cookie_of(sign_in(served, "bob"))
    mine = {"csrf": csrf_of(served, cookie)}
    there = "/account/sessions/end"
    assert form(served, there, {}, cookie).status == 403 and form(served, there, {"csrf": csrf_of(served, other)}, cookie).status == 403
    for headers in (
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ):
        assert form(served, there, mine, cookie, **headers).status == 403
        assert form(served, "/sign-in", {"name": "bob", "password": PASSWORD}, **headers).status == 403, "nor is anybody signed in"
    assert form(served, there, mine, cookie, Content_Type="text/plain").status == 415
    for method in ("HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"):
        assert served.ask(method, there, Cookie=f"{COOKIE}={cookie}").status == 405
    served.ask("GET", "/account?_method=POST", X_HTTP_Method_Override="POST", Cookie=f"{COOKIE}={cookie}")
    assert served.page("/account", cookie).status == 200, "the session goes on"


def test_nobody_types_a_password_that_others_can_read(installation: Installation, served: Web) -> None:
    person(installation)
    link = f"/invitation/{accounts.invite(installation, 'bob', False, by=HERE)}"
    for there in ("evil.example", "localhost.evil.example", "127.evil.example"):
        for answer in (
            served.ask("GET", "/sign-in", Host=there),
            served.ask("GET", link, Host=there),
            form(served, "/sign-in", {"name": "ada", "password": PASSWORD}, Host=there),
            form(served, link, {"password": PASSWORD, "again": PASSWORD}, Host=there),
        ):
            assert answer.status == 409 and "unencrypted" in answer.text and "Set-Cookie" not in answer.headers
    assert served.ask("GET", link, Host="[::1]:8080").status == 200


@pytest.mark.parametrize("name", ["\uff41da", "\u0430da", "ada\0", "ada.", "ada/", "ada\u200b", "ad\u0430", "a\u0307da", "a" * 101])
def test_a_name_that_looks_like_one_is_nobodys(installation: Installation, served: Web, name: str) -> None:
    person(installation)
    assert sign_in(served, name).status in (400, 401)


def test_who_shows_a_token_is_who_that_says(installation: Installation, served: Web) -> None:
    person(installation, owner=True)
    cookie = cookie_of(sign_in(served))
    csrf = csrf_of(served, cookie)
    made = form(served, "/account/tokens", {"csrf": csrf, "label": SCRIPT, "actions": "view", "days": "1"}, cookie, User_Agent=SCRIPT)
    found = re.search(r"oft_[0-9a-f]{16}_[\w-]{43}", made.text)
    assert found is not None and SCRIPT not in made.text and "&lt;script&gt;" in made.text
    both = {"Cookie": f"{COOKIE}={cookie}", "Authorization": f"Bearer {found[0]}"}
    assert form(served, "/pauses", {"scope": "fleet", "reason": "x", "csrf": csrf}, **both).status == 403, "the cookie adds nothing"
    assert served.ask("GET", "/api/v1/runs", **both).status == 200
    assert served.ask("GET", "/api/v1/runs", **(both | {"Authorization": "Bearer x"})).status == 401
    assert served.ask("GET", "/account", Authorization=both["Authorization"]).status == 303, "no token makes tokens"
    for wrong in (
        {"actions": "break-glass"},
        {"actions": "operate-process"},
        {"actions": ["view", "x"]},
        {"actions": []},
        {"actions": ["view", "a\0b"]},
        {"label": ["a", "b"]},
        {"days": "9999"},
        {"label": "a\0b"},
        {"label": "x" * 101},
    ):
        asked: dict[str, str | list[str]] = {"csrf": csrf, "label": "x", "actions": "view", "days": "1"} | wrong  # type: ignore[operator]
        assert form(served, "/account/tokens", asked, cookie).status == 400


def test_no_secret_is_kept_or_told(installation: Installation, served: Web, monkeypatch: pytest.MonkeyPatch) -> None:
    told = list[Any]()
    monkeypatch.setattr(events, "listeners", [lambda name, fields: told.append((name, dict(fields)))])
    first = accounts.first_link(installation) or ""
    form(served, f"/invitation/{first}", {"name": "ada", "password": PASSWORD, "again": PASSWORD})
    cookie = cookie_of(sign_in(served))
    form(served, "/sign-in", {"name": "ada", "password": "no such password"})
    with installation.store.read() as connection:
        trail = json.dumps([row.fields() for row in entries(connection)], default=str)
    for secret in (first, PASSWORD, cookie, "no such password"):
        assert secret and secret not in trail and secret not in str(told)
