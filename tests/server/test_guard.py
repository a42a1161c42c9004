"""Every route of the API and every page: nobody gets anything, somebody without roles nothing of the fleet, and nothing is there that asks no rule.

A new route is walked by itself. One with a new name in its path, or with a body that cannot be made up, needs a line in `names` or `BODIES`.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web as aiohttp

from reconciler import gating
from reconciler.errors import Refused
from reconciler.reading.call import Call
from reconciler.reading.paging import Raw
from reconciler.server.doorstep import Doorstep
from reconciler.server.own_account import OwnAccount
from reconciler.server.route import API, Route, plain_path
from reconciler.server.routes import ROUTES
from reconciler.server.site import Site as Pages
from reconciler.server.threads import Threads
from reconciler.store.followed import follow
from tests.fleets import installation
from tests.gate.site import Site
from tests.server.process import Process
from tests.server.process import app as app_of
from tests.server.site import CSRF, Answered, Web, doors, person, web
from tests.server.tenants import CALLERS, NOBODY, ROOT, change_both, pull_of, two_tenants

FLEET = "zephyrine"
OF_THE_FLEET = (
    FLEET,
    "shop",
    "bank",
    "web-0",
    "vault-",
    "htop",
    "192.0.2.",
    "rolemapping/",
    "github:root",
    "github:sam",
    "nights",
    "is counted",
)
"""What shows that a page knows the fleet."""
BODIES: dict[str, dict[str, Any]] = {
    "pauseScope": {"scope": "tenant/bank"},
    "overrideWindow": {"window": "bank/nights"},
    "planOperation": {"playbook": "ops/patch.yml", "on": "host/bank/vault-01"},
    "listHostsByFact": {"where": "kernel=6.1*"},
    "makePlan": {"scope": "host/bank/vault-01"},
    **{name: {"ref": "host/bank/vault-01"} for name in ("explain", "renderHost", "healDrift")},
}
"""By the name of a route: what it is sent, where texts made up are none that it takes."""
OF_ONE = ("explain", "renderHost", "validate")
"""Routes of one host or one Fleet that the query names: where nothing was ever applied there is none."""
PUBLIC = {
    "GET /healthz",  # whether the process works; says nothing of a fleet
    "GET /readyz",
    "GET /metrics",  # numbers for whoever watches the process; see docs/observability.md for what names they carry
    "GET /static",  # the stylesheet
    "GET /api/v1/openapi.json",  # of this version, of nobody's fleet
    "GET /sign-in",  # a form; says nothing of who there is
    "POST /sign-in",  # takes a password, and says the same of whoever is none
    "POST /sign-out",  # ends the session that it comes with
    "GET /invitation/{secret}",  # a one-time link is shown to who has it
    "POST /invitation/{secret}",
    "GET /account",  # what somebody who has signed in sees of himself alone; takes no role
    "POST /account/password",
    "POST /account/sessions/end",
    "POST /account/tokens",  # good for no more than his own roles, which are asked when the token is used
    "POST /account/tokens/{token}/revoke",
}
"""All that answers without being a Route. What is added here needs a reason."""
each = pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("guard")
    made = two_tenants(path, f"sqlite:///{path / 'q.db'}", name=FLEET)
    change_both(made)
    made.begin()
    with made.store.write() as connection:
        follow(connection, str(made.repo.path))
    return made


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Web]:
    with web(site.installation, *CALLERS) as found:
        yield found


@pytest.fixture(scope="module")
def names(site: Site) -> dict[str, str]:
    """What stands for the names of paths: each is there."""
    ((run, plan),) = site.rows('SELECT run.id, plan.id FROM run JOIN plan ON plan."row" = run.plan WHERE run.ended_at IS NULL')
    pause = gating.pause(site.installation, "tenant/bank", 3600, "the vault is counted", identity="github:ben").id
    there = pull_of(site, "bank", 7)
    pull = {"forge": there.forge, "project": there.project, "number": str(there.number)}
    return pull | {"run": run, "plan": plan, "pause": pause, "tenant": "bank", "name": "vault-01", "file": "cloud-init/meta-data"}


def named(route: Route) -> list[str]:
    """The names in its path."""
    return re.findall(r"\{(\w+)", route.path)


def check_names(route: Route, names: dict[str, str]) -> None:
    missing = set(named(route)) - names.keys()
    assert not missing, f"{route.name}: say in `names` what stands for {missing}"


def body_of(route: Route) -> dict[str, Any]:
    """What fits what a route asks."""
    fields = [field for field in msgspec.structs.fields(route.asks) if field.required]
    made = {field.encode_name: "because" for field in fields} | BODIES.get(route.name, {})
    try:
        msgspec.convert(made, route.asks, strict=route.method != "GET")
    except msgspec.ValidationError as error:
        raise AssertionError(f"{route.name}: say in BODIES what it is sent: {error}") from error
    return made


def asked(served: Web, route: Route, names: dict[str, str], by: str) -> list[Answered]:
    """The answers of the API and, where there is one, of the page."""
    check_names(route, names)
    path, page = (plain_path(found).format_map(names) for found in (route.path, route.page or route.path))
    fields = body_of(route)
    cookie = {"Cookie": f"__Host-octofleet={by}", "X_CSRF_Token": CSRF} if by else {}
    if route.method == "GET":
        query = "?" + "&".join(f"{name}={text}" for name, text in fields.items()) if fields else ""
        found = [served.ask("GET", API + path + query, **cookie)]
        return found + ([served.page(page + query, by)] if has_page(route) else [])
    body = msgspec.json.encode(fields)
    found = [served.ask(route.method, API + path, body=body, Content_Type="application/json", **cookie)]
    return found + ([served.form(page, by, fields)] if route.then else [])


def has_page(route: Route) -> bool:
    """Or an image or a file, which browsers show in one."""
    return bool(route.template or route.answers is Raw)


@each
def test_nobody_gets_anything(served: Web, names: dict[str, str], route: Route) -> None:
    api, *pages = asked(served, route, names, "")
    assert api.status == 401 and api.headers["Content-Type"] == "application/problem+json"
    assert [page.status for page in pages] in ([], [303]) and not [page for page in pages if page.text]
    assert all(page.headers["Location"].startswith("/sign-in?next=") for page in pages)
    known = served.ask(route.method, API + plain_path(route.path).format_map(names), Authorization="Bearer no such token")
    assert known.status == 401, "a token that is none"


@each
def test_who_has_no_role_learns_nothing(served: Web, names: dict[str, str], route: Route) -> None:
    for answer in asked(served, route, names, NOBODY.session):
        assert answer.status in ((200, 403, 404) if route.method == "GET" else (403, 404)), answer.text
        shown = answer.text.replace(plain_path(route.path).format_map(names), "")
        said = [names[name] for name in named(route)] + list(body_of(route).values())
        for text in (*said, *(text.replace("/", "%2F") for text in said), *(text.removeprefix("host/") for text in said)):
            shown = shown.replace(text, "")  # what he has named himself
        told = {*OF_THE_FLEET, names["run"], names["plan"][:12]}
        assert [word for word in told if word in shown] == []


@each
def test_a_rule_is_asked(site: Site, names: dict[str, str], route: Route) -> None:
    """Whatever comes of it, and before anything is told: somebody without roles is refused by a rule, not by chance."""
    check_names(route, names)
    call = Call(installation=site.installation, caller=NOBODY, path={name: names[name] for name in named(route)})
    ask = msgspec.convert(body_of(route), route.asks, strict=route.method != "GET")
    try:
        route.do(call, ask)
    except Refused as error:
        assert error.code in ("forbidden", "unauthenticated") or error.code.startswith("no-"), error.code
    assert call.guarded


@pytest.mark.parametrize("route", [route for route in ROUTES if route.method == "GET"], ids=lambda route: route.name)
def test_the_walk_goes_to_what_is_there(served: Web, names: dict[str, str], route: Route) -> None:
    if route.stream:
        pytest.skip("it does not end: tests/server/test_stream.py")
    assert [answer.status for answer in asked(served, route, names, ROOT.session)] in ([200], [200, 200])


def test_where_nothing_was_ever_applied(tmp_path: Path) -> None:
    """Also with nothing to filter a rule is asked first."""
    with web(installation(tmp_path), person("local:first", here=True)) as served:
        for route in ROUTES:
            if route.method == "GET" and "{" not in route.path:
                answers = asked(served, route, {}, "local:first")
                assert {answer.status for answer in answers} == {404 if route.name in OF_ONE else 200}, route.name


def test_a_route_that_asks_no_rule_answers_nothing(site: Site) -> None:
    bare = Route(method="GET", path="/bare", name="bare", action="view", summary="", do=lambda call, ask: {"secret": "shop"}, answers=dict)  # type: ignore[arg-type]
    with web(site.installation, ROOT, routes=[bare]) as served:
        answer = served.page(f"{API}/bare", ROOT.session)
    assert (answer.status, answer.json["code"]) == (500, "internal") and "shop" not in answer.text


def test_whatever_else_answers_is_on_the_list(site: Site) -> None:
    threads = Threads(site.installation)
    pages = Pages(site.installation, ROUTES, doors(), threads, Doorstep(threads), OwnAccount(threads))
    with app_of(Process(store=site.store), site=pages) as app:
        there = set(handlers(app))
    pages.close()
    of_routes = {f"{route.method} {API}{plain_path(route.path)}" for route in ROUTES}
    of_routes |= {f"{route.method} {plain_path(route.page or route.path)}" for route in ROUTES if has_page(route) or route.then}
    assert there - of_routes - PUBLIC == set(), "guard it, or say in PUBLIC why everybody may ask"
    assert of_routes <= there and there >= PUBLIC


def handlers(app: aiohttp.Application) -> Iterator[str]:
    """Method and path of everything that answers; HEAD goes with GET."""
    for found in app.router.routes():
        resource = found.resource
        assert resource is not None
        if found.method != "HEAD":
            yield f"{found.method} {resource.canonical}"
