"""Plans over HTTP: lists, pages of large ones, words about them, and nothing of another tenant."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from threading import Event
from typing import Any

import pytest

from reconciler import gating
from reconciler.errors import OctofleetError
from reconciler.identity.access import Action
from reconciler.permitting import to_steer
from reconciler.reading import making, plan_page, plan_words
from reconciler.reading.call import Call
from reconciler.reading.plans import ChangesAsk
from reconciler.store import plans as plans_of_store
from reconciler.store.engine import Connection
from reconciler.store.followed import follow
from reconciler.store.plans import save_plan
from reconciler.types.canonical import digest
from reconciler.types.change import Action as Does
from reconciler.types.change import Cause, Change, FieldChange, Risk
from reconciler.types.origin import Origin
from reconciler.types.plan import Deferred, GuardVerdict, Plan
from reconciler.types.problem import Problem
from reconciler.types.resource import Rules, address
from reconciler.types.values import Secret, SecretRef
from tests.gate.site import Site, host
from tests.server.site import Web, token, web
from tests.server.tenants import CALLERS, OF_BANK, ROOT, change_both, two_tenants

MAKER = token("token:shop", Action.VIEW, Action.PLAN)
OTHER = replace(token("token:other", Action.VIEW, Action.PLAN), identity=ROOT.identity)
DIGEST, NUMBER = digest("anything"), 300


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Site:
    path = tmp_path_factory.mktemp("plans")
    made = two_tenants(path, f"sqlite:///{path / 'q.db'}")
    change_both(made)
    with made.store.write() as connection:
        follow(connection, str(made.repo.path))
    made.plan()
    return made


@pytest.fixture(scope="module")
def served(site: Site) -> Iterator[Web]:
    with web(site.installation, *CALLERS) as found:
        yield found


def newest(served: Web, by: str = "token:shop") -> str:
    return str(served.api("/plans", by).json["items"][0]["plan"])


def test_a_list_tells_numbers_of_what_one_sees(served: Web) -> None:
    mine = served.api("/plans?limit=1", "token:shop").json
    assert mine["next"] and not mine["items"][0]["whole"]
    older = served.api(f"/plans?limit=1&cursor={mine['next']}", "token:shop").json
    assert older["items"][0]["createdAt"] < mine["items"][0]["createdAt"] and not older["next"]
    page = served.api(f"/plans/{mine['items'][0]['plan']}", "token:shop").json
    assert page["changes"] == mine["items"][0]["changes"] and set(page["tenants"]) == {"shop"}
    assert page["matching"] == sum(page["changes"].values()) and page["hosts"] is None and page["hostsChanged"] == 1


def test_a_plan_as_page_and_by_the_beginning_of_its_id(served: Web) -> None:
    plan = newest(served)
    text = served.page(f"/plans/{plan[:10]}", "github:root").text
    assert "web-01" in text and "vault-01" in text and "htop" in text and "Apply" in text
    short = served.api(f"/plans/{plan[:3]}", "token:shop")
    assert (short.status, short.json["code"]) == (400, "short-plan")
    assert short.json["detail"] == f"'{plan[:3]}' is too short: 4 characters at least of a plan's id are needed"
    assert '<a href="/plans">/plans</a> lists those' in served.page("/plans/zz", "github:vera").text
    assert served.api(f"/plans/{plan[::-1]}", "token:shop").status == 404


PAGES = (
    "/plans",
    "/plans/{plan}",
    "/plans/{plan}?tenant=bank",
    "/plans/{plan}?host=vault",
    "/plans/{plan}/changes",
    "/plans/{plan}/changes?limit=1",
)


@pytest.mark.parametrize("path", PAGES)
def test_nothing_of_another_tenant(served: Web, path: str) -> None:
    plan = newest(served)
    found = path.format(plan=plan)
    said = {word for word in OF_BANK if f"={word}" in path}
    for text in (served.api(found, "token:shop").text, served.page(found, "github:vera").text):
        assert plan[:12] in text and not [word for word in OF_BANK if word in text and word not in said]


def test_who_sees_a_part_of_a_tenant_sees_only_that(served: Web) -> None:
    text = served.page(f"/plans/{newest(served)}", "github:narrow").text
    assert "vault-01" in text and "vault-02" not in text and "web-0" not in text


def test_who_sees_nothing_is_told_that_there_is_none(served: Web) -> None:
    plan = newest(served)
    assert served.page(f"/plans/{plan}", "github:nobody").status == 404
    assert plan[:12] not in served.page("/plans", "github:nobody").text


def test_changes_one_by_one_in_parts(served: Web) -> None:
    plan, found, cursor = newest(served), [], ""
    while True:
        part = served.api(f"/plans/{plan}/changes?limit=1&cursor={cursor}", "token:shop").json
        found += [item["address"] for item in part["items"]]
        if not (cursor := part["next"]):
            break
    assert len(found) == len(set(found)) == sum(served.api(f"/plans/{plan}", "token:shop").json["changes"].values())


@pytest.mark.parametrize(
    ("query", "there"),
    [("driver=boot", True), ("driver=none", False), ("cause=commit", True), ("cause=drift", False), ("host=WEB-01", True)],
)
def test_a_page_of_what_was_asked_for(served: Web, query: str, there: bool) -> None:
    page = served.api(f"/plans/{newest(served)}?{query}", "token:shop").json
    assert bool(page["items"]) is there and bool(page["matching"]) is there


def test_a_plan_is_made_of_what_is_on_a_branch(served: Web, site: Site) -> None:
    with web(site.installation, MAKER, *CALLERS[:4]) as maker:
        refused = maker.api("/plans", "token:shop", body={})
        assert refused.status == 403 and not [word for word in OF_BANK if word in refused.text], "all of the fleet is more than he sees"
        made = maker.api("/plans", "token:shop", body={"scope": "tenant/shop"})
        assert made.status == 201 and made.json["scope"] == "tenant/shop" and made.json["whole"]
        again = maker.form("/plans", "github:sam", {"scope": "tenant/shop", "rev": "", "repository": ""})
        assert (again.status, again.headers["Location"]) == (303, f"/plans/{made.json['plan']}?said=makePlan")
        assert maker.api("/plans", "token:shop", body={"scope": "tenant/bank"}).status == 403
        assert maker.api("/plans", "token:shop", body={"repository": "/nowhere"}).json["code"] == "no-repository"
        assert maker.form("/plans", "github:vera", {"rev": loose(site), "scope": "tenant/shop"}).status == 403, "it takes plan-untrusted"
        assert maker.form("/plans", "github:sam", {"rev": loose(site), "scope": "tenant/shop"}).status == 303


def loose(site: Site) -> str:
    """A commit that is on no branch."""
    import pygit2

    git = pygit2.Repository(str(site.repo.path))
    who = pygit2.Signature("a fork", "fork@example.net")
    head = git.head.peel(pygit2.Commit)
    return str(git.create_commit(None, who, who, "of a fork", head.tree_id, [head.id]))


def test_a_plan_is_approved_and_applied_by_who_may(served: Web, site: Site) -> None:
    plan = served.form("/plans", "github:root", {}).headers["Location"].split("?")[0].rpartition("/")[2]
    assert served.form(f"/plans/{plan}/apply", "github:sam", {}).status == 403
    assert served.form(f"/plans/{plan}/approve", "github:vera", {"reason": "well"}).status == 403
    said = served.form(f"/plans/{plan}/approve", "github:root", {"reason": "it is well"})
    assert said.headers["Location"] == f"/plans/{plan}?said=approvePlan"
    page = served.page(f"/plans/{plan}", "github:root").text
    assert "github:root" in page and "it is well" in page
    assert "it is well" not in served.page(f"/plans/{plan}", "github:sam").text, "a reason may name others"
    begun = served.form(f"/plans/{plan}/apply", "github:root", {"reason": "because"})
    run = begun.headers["Location"].split("?")[0].rpartition("/")[2]
    site.work()
    assert site.ended(run) == "done" and {"web-01", "vault-01"} <= site.changed()
    assert site.rows("SELECT identity FROM audit WHERE action = 'apply' AND run = ?", run) == [("github:root",)]
    assert run in served.page(f"/plans/{plan}", "github:root").text
    assert served.form("/reconcile", "github:root", {}).headers["Location"] == "/?said=reconcile"
    assert served.form("/reconcile", "github:sam", {}).status == 403
    assert site.rows("SELECT 1 FROM repository WHERE asked_at IS NOT NULL")


def test_the_overview_has_the_button_for_who_may(served: Web, site: Site) -> None:
    location = str(site.repo.path)
    page = served.page("/", "github:root").text
    assert "Look now" in page and f'name="repository" value="{location}"' in page
    assert "Look now" not in served.page("/", "github:sam").text, "an operator of one tenant of it"
    with site.store.write() as connection:
        connection.run("UPDATE repository SET asked_at = NULL")
    assert served.form("/reconcile", "github:root", {"repository": location}).status == 303
    assert site.rows("SELECT location FROM repository WHERE asked_at IS NOT NULL") == [(location,)]
    assert "The server looks now." in served.page("/?said=reconcile", "github:root").text


def large(number: int, *, distinct: bool, risk: frozenset[Risk] = frozenset()) -> Plan:
    """A plan with a change for each host, all the same or each with fields of its own."""

    def fields(text: str) -> tuple[FieldChange, ...]:
        made = {"before": "a" * 300, "after": [f"{text}{place} " * 20 for place in range(20)], "diff": f"+{text * 100}\n" * 40}
        return tuple(FieldChange(path=f"/values/{place}", causes=frozenset({Cause.COMMIT}), **made) for place in range(14))

    same = fields("x")

    def one(n: int) -> Change:
        return Change(
            address=address("memory", "config", "shop", f"host-{n:06d}"),
            action=Does.UPDATE,
            fields=fields(f"{n}-") if distinct else same,
            before_digest=DIGEST,
            after_digest=DIGEST,
            desired_digest=DIGEST,
            rules=Rules(tenant="shop"),
            group=f"host/shop/host-{n:06d}",
            origin=Origin(path="a.yaml"),
            causes=frozenset({Cause.COMMIT}),
            risk=risk,
        )

    return Plan(
        source="test",
        scope="",
        commit="c" * 40,
        base=None,
        created_at=1.0,
        expires_at=9e9,
        changes=tuple(map(one, range(number))),
        hosts=number,
    )


@pytest.mark.parametrize("distinct", [True, False])
def test_pages_of_a_large_plan_are_bounded(served: Web, site: Site, distinct: bool) -> None:
    plan = large(NUMBER, distinct=distinct, risk=frozenset({Risk.REINSTALL} if distinct else ()))
    plan = replace(
        plan,
        deferred=tuple(
            Deferred(address=f"memory/config/shop/off-{n}", code="not-seen", reason=f"why {n % 90} " * 90) for n in range(NUMBER)
        ),
    )
    with site.store.write() as connection:
        save_plan(connection, plan, str(site.repo.path))
    for by, path in (("github:root", ""), ("github:sam", ""), ("github:root", "?host=host-00"), ("github:root", "/changes?limit=500")):
        page = served.page(f"/plans/{plan.id}{path}", by)
        assert page.status == 200 and len(page.text) < 300_000, (by, path, len(page.text))
    seen, cursor = 0, ""
    while seen < 60:
        part = served.api(f"/plans/{plan.id}?cursor={cursor}", "token:shop").json
        seen += sum(item["number"] for item in part["items"])
        assert part["matching"] == NUMBER
        if not (cursor := part["next"]):
            break
    assert seen == NUMBER if not distinct else seen >= 60
    if distinct:
        assert part["losses"] == NUMBER and len(part["destructive"]) == 200


def test_what_is_lost_stands_first_and_unfolded(served: Web, site: Site) -> None:
    plan = large(40, distinct=False, risk=frozenset({Risk.DESTRUCTIVE}))
    guards = (GuardVerdict(guard="deletes", refuses=True, message="of vault-01 of bank too much is lost"),)
    origin = Origin(path="bank/vault-01.yaml", line=1)
    plan = replace(plan, guards=guards, problems=(Problem(origin=origin, code="schema", message="vault-01 is wrong", hint=""),))
    with site.store.write() as connection:
        save_plan(connection, plan, str(site.repo.path))
    text = served.page(f"/plans/{plan.id}", "github:root").text
    block = text.index("Destructive (40)")
    assert all(block < text.index(f"memory/config/shop/host-{n:06d}") < text.index("<details") for n in range(40))
    assert "a guard refuses this plan" in text.lower() and "vault-01 is wrong" in text and "too much is lost" in text
    mine = served.page(f"/plans/{plan.id}", "github:vera").text
    assert "vault-01 is wrong" not in mine, "problems are of files that may be others'"


def test_no_secret_shows(served: Web, site: Site) -> None:
    plan = large(1, distinct=False)
    secret = Secret(ref=SecretRef(store="vault", key="db"), token="0" * 64)
    field = FieldChange(
        path="/password", recorded="in-the-clear", before={"was": "in-the-clear"}, after={"was": secret}, causes=frozenset({Cause.COMMIT})
    )
    plan = replace(plan, changes=(replace(plan.changes[0], fields=(field,)),))
    with site.store.write() as connection:
        save_plan(connection, plan, str(site.repo.path))
    for path in ("", "/changes"):
        for text in (served.page(f"/plans/{plan.id}{path}", "github:root").text, served.api(f"/plans/{plan.id}{path}", "token:shop").text):
            assert "in-the-clear" not in text and "0000000000" not in text and "vault/db" in text
    assert json.loads(served.api(f"/plans/{plan.id}/changes", "token:shop").text)["items"][0]["fields"][0]["path"] == "/password"


def test_an_empty_list_is_answered(served: Web, site: Site, tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("empty")
    other = Site(path, f"sqlite:///{path / 'q.db'}", hosts=1)
    with web(other.installation, *CALLERS) as empty:
        for page in ("/plans", "/runs"):
            assert empty.page(page, "github:root").status == 200


def test_a_plan_that_takes_long_is_answered_later(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    site.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [tmux]\n")})
    go_on, real = Event(), plan_words.make_plan

    def slow(*args: Any) -> Any:
        assert go_on.wait(60)
        return real(*args)

    monkeypatch.setattr(making, "WITHIN_S", 0.0)
    monkeypatch.setattr(making, "AGAIN_WITHIN_S", 0.0)
    monkeypatch.setattr(plan_words, "make_plan", slow)
    with web(site.installation, MAKER, OTHER) as maker:
        later(maker, monkeypatch, go_on)


def later(maker: Web, monkeypatch: pytest.MonkeyPatch, go_on: Event) -> None:
    first = maker.api("/plans", "token:shop", body={"scope": "tenant/shop"})
    assert (first.status, first.headers["Location"], set(first.json)) == (202, "/api/v1/plans", {"request"})
    again = maker.api("/plans", "token:shop", body=first.json)
    assert (again.status, again.json) == (202, first.json)
    assert maker.api("/plans", "token:other", body=first.json).json["code"] == "no-request", "it is of who asked for it alone"
    second = maker.api("/plans", "token:shop", body={"scope": "tenant/shop"})
    assert second.status == 202 and maker.api("/plans", "token:shop", body={"scope": "tenant/shop"}).json["code"] == "busy"
    go_on.set()
    monkeypatch.setattr(making, "AGAIN_WITHIN_S", 60.0)
    for asked in (first, second):
        done = maker.api("/plans", "token:shop", body=asked.json)
        assert done.status == 201 and maker.api(f"/plans/{done.json['plan']}", "token:shop").status == 200


def test_what_a_late_plan_fails_of_is_told(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(making, "WITHIN_S", 0.0)
    monkeypatch.setattr(making, "AGAIN_WITHIN_S", 60.0)
    with web(site.installation, OTHER) as other:
        found = other.api("/plans", "token:other", body={"rev": "nothing-of-the-kind", "scope": "tenant/shop"})
        if found.status == 202:
            found = other.api("/plans", "token:other", body=found.json)
    assert (found.status, found.json["code"]) == (404, "unknown-revision")


def test_looks_at_a_plan_read_its_outline_and_what_they_show(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = large(NUMBER, distinct=True, risk=frozenset())
    with site.store.write() as connection:
        row = save_plan(connection, plan, str(site.repo.path))
    asked: list[int] = []
    real = plan_page.load_changes

    def counted(connection: Connection, of: int, numbers: Sequence[int]) -> dict[int, Change]:
        asked.append(len(numbers))
        return real(connection, of, numbers)

    monkeypatch.setattr(plan_page, "load_changes", counted)
    monkeypatch.setattr(plans_of_store, "load_plan", None)
    call = Call(installation=site.installation, caller=CALLERS[0], path={"plan": plan.id})
    assert plan_page.plan(call, ChangesAsk(limit=5)).matching == NUMBER
    assert plan_page.plan(call, ChangesAsk(limit=5, host="host-00000")).matching == 10
    assert asked == [5, 5]
    assert len(list(to_steer(site.installation, Action.APPROVE, row))) == NUMBER
    made = gating.approve(site.installation, row, "seen", yes=True, identity="github:root")
    assert made.changes == {change.digest for change in plan.changes}


def test_an_outline_says_of_changes_what_they_say(site: Site) -> None:
    plan = large(50, distinct=True, risk=frozenset({Risk.REBOOT}))
    moved = replace(plan.changes[3], address="memory/config/shop/moved", moved_from="memory/config/bank/before", action=Does.MOVE)
    plan = replace(plan, changes=(*plan.changes[:3], moved, *plan.changes[4:]))
    with site.store.write() as connection:
        row = save_plan(connection, plan, str(site.repo.path))
        whole = plans_of_store.load_outlined(connection, row)
        connection.run("DELETE FROM outline WHERE plan = ?", (row,))
        older = plans_of_store.load_outlined(connection, row)
        bare = plans_of_store.load_bare(connection, row)
    names = ("address", "digest", "group", "tenant", "action", "causes", "risk", "moved_from", "path", "places")
    said = [[getattr(change, name) for name in names] for change in plan.changes]
    for made in (whole, older):
        assert [[getattr(row, name) for name in names] for row in made.columns.rows()] == said
    assert [[getattr(change, name) for name in names] for change in bare.changes] == said and bare.id == plan.id
    assert [(c.wave, c.depends_on, c.basis, c.rules) for c in bare.changes] == [
        (c.wave, c.depends_on, c.basis, c.rules) for c in plan.changes
    ]


def test_a_damaged_outline_is_refused(site: Site) -> None:
    plan = large(20, distinct=True, risk=frozenset())
    with site.store.write() as connection:
        row = save_plan(connection, plan, str(site.repo.path))
        body = connection.scalar("SELECT body FROM outline WHERE plan = ? AND piece = 0", (row,))
        connection.run(
            "UPDATE outline SET body = ? WHERE plan = ?", (bytes(body).replace(bytes.fromhex(plan.changes[7].digest), bytes(32)), row)
        )
    with pytest.raises(OctofleetError, match="changed or damaged"):
        gating.approve(site.installation, row, "seen", yes=True, identity="github:root")
