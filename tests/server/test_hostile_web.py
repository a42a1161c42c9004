"""Somebody who means harm, on a server with two tenants: what he comes to by links and by guesses, what he sends, and what he costs others."""

import html
import json
import re
from base64 import urlsafe_b64encode
from collections import deque
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

import msgspec
import pygit2
import pytest

from reconciler import applying, events, gating
from reconciler.server import refused
from reconciler.server.route import API, Route, plain_path
from reconciler.server.routes import ROUTES
from reconciler.store.followed import follow
from reconciler.store.runs import write_log
from reconciler.types.canonical import pack
from tests.fleets import host
from tests.gate.site import Site
from tests.server.site import CSRF, Answered, Web, web
from tests.server.tenants import BEN, CALLERS, NARROW, ROOT, SAM, VERA, change_both, pull_of, two_tenants

HIDDEN = {SAM: ("bank", "vault"), VERA: ("bank", "vault"), BEN: ("shop", "web-0"), NARROW: ("shop", "web-0", "vault-02")}
"""What shows to each that there is more than he sees."""
TEXTS = (
    "%00",
    "a%00b",
    "..",
    "%2e%2e%2f%2e%2e%2fetc",
    "-1",
    "9" * 26,
    str(2**63),
    "1e999",
    "nan",
    "%25",
    "%5C",
    "_",
    "a" * 3000,
    "%E2%80%AE",
)
KEYS = ("[9223372036854775808]", '[9223372036854775808,"a"]', '["a","b",99999999999999999999]', '["\\u0000"]', "[" * 700, "[NaN]")
VALUES = (
    "\0",
    "a\0b",
    "-x",
    "--upload-pack=x",
    ":/x",
    "HEAD^{/x}",
    "@{-1}",
    "~nobody/x",
    "a" * 20_000,
    10**30,
    [],
    None,
    "host/*/vault-01",
    "\n",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("hostile")
    made = two_tenants(path, f"sqlite:///{path / 'q.db'}", name="zephyrine")
    change_both(made)
    made.begin()
    pull_of(made, "bank", 7)
    pull_of(made, "shop", 8)
    repository = pygit2.Repository(str(made.repo.path))
    repository.branches.local.create("vault-02-is-moved", repository.head.peel(pygit2.Commit))
    return made


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Web]:
    with web(site.installation, *CALLERS) as found:
        yield found


def crawled(served: Web, by: str) -> set[str]:
    """Every address that pages lead to."""
    found, left = set[str](), deque(["/"])
    while left:
        path = left.popleft()
        if path in found:
            continue
        found.add(path)
        answer = served.page(path, by)
        links = re.findall(r'(?:href|src)="([^"#]+)', answer.text) if "html" in answer.headers["Content-Type"] else []
        wanted = (html.unescape(link) for link in links)
        left += [path.partition("?")[0] + link if link.startswith("?") else link for link in wanted if link.startswith(("/", "?"))]
    return {path for path in found if not path.startswith(("/static", "/account"))}


def test_no_link_leads_to_anything_of_the_other_tenant(served: Web) -> None:
    everything = crawled(served, ROOT.session)
    assert len(everything) > 50
    for caller, words in HIDDEN.items():
        for path in sorted(everything | crawled(served, caller.session)):
            told = [word for word in words if word not in path]
            for answer in (served.page(path, caller.session), served.page(API + path, caller.session)):
                assert answer.status < 500 and [word for word in told if word in answer.text] == [], (caller.name, path)


def test_a_revision_that_is_none_names_no_branch_to_who_sees_a_part(served: Web) -> None:
    for rev in ("vault-02-is-move", "vault-02-is-moved^{/x}"):
        answer = served.page(f"{API}/explain?ref=shop/web-01&rev={rev}", SAM.session)
        assert answer.status in (400, 404) and "vault-02-is-moved" not in answer.text.replace(rev, "")
    mine = served.page(f"{API}/explain?ref=shop/web-01&rev=vault-02-is-move", ROOT.session)
    assert (mine.status, mine.json["code"]) == (404, "unknown-revision") and "vault-02-is-moved" in mine.json["hint"]


def test_a_broken_revision_names_nobody_elses_files_to_who_sees_a_part(site: Site, served: Web) -> None:
    broken = site.repo.commit({"vault-1.yaml": host("vault-01", 1, tenant="bank") + "  colour: mauve\n"})
    site.repo.commit({"vault-1.yaml": host("vault-01", 101, tenant="bank")})
    for path in (f"/explain?ref=shop/web-01&rev={broken}", f"/hosts/shop/web-01?rev={broken}", f"/render?ref=shop/web-01&rev={broken}"):
        answer = served.page(API + path, SAM.session)
        assert answer.status < 500 and "vault" not in answer.text and "mauve" not in answer.text


def test_where_nothing_is_followed_nobody_can_have_it_looked_at(served: Web) -> None:
    asked = served.ask("POST", f"{API}/reconcile", body="{}", Cookie=f"__Host-octofleet={SAM.session}", X_CSRF_Token=CSRF)
    assert asked.status == 415
    asked = sent(served, "/reconcile", b"{}")
    assert (asked.status, asked.json["code"]) == (404, "no-repository")


def sent(served: Web, path: str, body: bytes) -> Answered:
    kind = {"Content_Type": "application/json", "X_CSRF_Token": CSRF}
    return served.ask("POST", API + path, body=body, Cookie=f"__Host-octofleet={SAM.session}", **kind)


@pytest.fixture(scope="module")
def names(site: Site) -> Mapping[str, str]:
    """What stands for the names of paths: each is there."""
    ((run, plan),) = site.rows('SELECT run.id, plan.id FROM run JOIN plan ON plan."row" = run.plan WHERE run.ended_at IS NULL')
    pull = {"forge": "hub", "project": "acme/fleet", "number": "8"}
    return {"run": run, "plan": plan, "pause": "x", "tenant": "shop", "name": "web-01", "file": "x"} | pull


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_nothing_that_is_sent_breaks_anything(site: Site, served: Web, names: Mapping[str, str], route: Route) -> None:
    """Whatever it is: an answer that says what is wrong with it, or that there is none."""
    fields, path = msgspec.structs.fields(route.asks), plain_path(route.path)
    needed = {field.encode_name: "because" for field in fields if field.required}
    for name in re.findall(r"{(\w+)}", path):
        for text in TEXTS:
            there = API + path.format_map({**names, name: text})
            kind = {"Content_Type": "application/json", "X_CSRF_Token": CSRF}
            body = json.dumps(needed) if route.method == "POST" else ""
            answer = served.ask(route.method, there, body=body, Cookie=f"__Host-octofleet={SAM.session}", **(kind if body else {}))
            assert answer.status < 500, (there, answer.text)
    for name in (field.encode_name for field in fields):
        if route.method == "POST":
            for value in VALUES:
                answer = sent(served, path.format_map(names), json.dumps({**needed, name: value}).encode())
                assert answer.status < 500 or answer.json["code"] == "nothing-seen", (name, value, answer.text)
            continue
        for text in (*TEXTS, *((urlsafe_b64encode(key.encode()).decode() for key in KEYS) if name == "cursor" else ())):
            answer = served.page(f"{API}{path.format_map(names)}?{name}={text}", ROOT.session) if not route.stream else None
            assert answer is None or answer.status < 500, (name, text, answer.text)


@pytest.mark.parametrize(
    "body", [b"[" * 100_000, b'{"a":' * 100_000, b"null", b"1", b"NaN", b"\xff\xfe", b"x" * (1 << 20), b'{"reason":"\\ud800"}']
)
def test_what_is_no_document_is_refused(served: Web, names: Mapping[str, str], body: bytes) -> None:
    assert sent(served, f"/runs/{names['run']}/pause", body).status == 400
    assert sent(served, f"/runs/{names['run']}/pause", b"x" * ((1 << 20) + 1)).status == 413


def test_what_is_planned_is_followed_under_that_very_name(site: Site, served: Web) -> None:
    with site.store.write() as connection:
        follow(connection, str(site.repo.path))
    for name in (f"{site.repo.path}/../{site.repo.path.name}", "~", "~nobody", "."):
        assert sent(served, "/plans", json.dumps({"repository": name}).encode()).json["code"] == "no-repository"


def test_no_one_time_link_comes_into_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    told = list[str]()
    monkeypatch.setattr(events, "listeners", [lambda name, fields: told.append(str(fields))])
    refused.unforeseen(f"/invitation/{'s' * 43}", RuntimeError("broken"))
    assert told and "sss" not in told[0] and "/invitation/" in told[0]


def test_what_people_write_is_text_on_every_page(tmp_path: Path) -> None:
    """Titles, reasons, notes, errors, log lines and what is asked for: no tag, no address of theirs that is a program, nothing of a template."""
    made, evil = two_tenants(tmp_path, f"sqlite:///{tmp_path / 'q.db'}"), "<b onclick=alert(1)>\"'{{'zq'*5}}</b>"
    change_both(made)
    run = made.begin()
    pull_of(made, "shop", 8)
    made.write(
        "UPDATE pull SET seen = ?, note = ?",
        pack({"title": evil, "identity": evil, "head_branch": evil, "url": f"javascript:{evil}"}),
        evil,
    )
    made.write("UPDATE item SET error = ?, status = 'failed' WHERE run = ?", evil, run)
    made.write("UPDATE step SET note = ? WHERE run = ?", evil, run)
    gating.pause(made.installation, "tenant/shop", 3600, evil, identity=f"github:{evil}")
    applying.pause(made.installation, run, evil, identity=f"github:{evil}")
    with made.store.write() as connection:
        write_log(connection, run, [(1, 1.0, evil), (0, 1.0, evil)])
    places = ("/runs/", "/hosts?text=", "/search?q=", "/audit?who=", "/explain?ref=", "/runs?said=", "/access?who=github:")
    asked = [f"{place}{quote(evil, safe='')}" for place in places]
    with web(made.installation, *CALLERS) as served:
        shown = {path: served.page(path, ROOT.session).text for path in [*crawled(served, ROOT.session), *asked]}
    assert len([path for path, text in shown.items() if "&lt;b onclick" in text]) >= 12
    for path, text in shown.items():
        assert "<b onclick" not in text and "zqzq" not in text and not re.search(r"(href|src|action)=.?javascript", text), path


@pytest.mark.parametrize(
    "scope", ["[!/x/shop/]*", "*/bank/*", "host/*/vault-01", "tenant/ban?", "tenant/[b]ank", "*", "fleet", "host/bank/vault-01"]
)
def test_no_pattern_reaches_the_other_tenant(site: Site, served: Web, scope: str) -> None:
    with site.store.write() as connection:
        follow(connection, str(site.repo.path))
    for path, body in (("/pauses", {"scope": scope, "reason": "because"}), ("/plans", {"scope": scope, "repository": str(site.repo.path)})):
        answer = sent(served, path, json.dumps(body).encode())
        assert answer.status in (400, 403), (path, answer.text)
    assert site.rows("SELECT count(*) FROM pause") == [(0,)]
