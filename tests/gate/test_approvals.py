"""Approvals: they hold for what they saw and for nothing else."""

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reconciler.approving import check_approved
from reconciler.beginning import begin
from reconciler.errors import Refused
from reconciler.gate.approvals import ALWAYS, UNLESS_SAID, Approval, ApprovalRule, missing, rules_of, used
from reconciler.types.change import Action, Change, Risk
from reconciler.types.origin import Origin
from reconciler.types.resource import Rules
from tests.fleets import FLEET
from tests.gate.site import Site
from tests.store.databases import database_url, kind

__all__ = ["database_url", "kind"]

NOW = 1000.0


def change(name: str = "a", risk: Risk = Risk.DESTRUCTIVE, path: str = "hosts/shop/a.yaml", tenant: str = "shop", wave: int = 0) -> Change:
    return Change(
        address=f"memory/machine/{tenant}/{name}",
        action=Action.DELETE,
        fields=(),
        before_digest="b",
        after_digest="",
        desired_digest="",
        rules=Rules(tenant=tenant),
        group=f"host/{tenant}/{name}",
        origin=Origin(path=path),
        risk=frozenset({risk}),
        wave=wave,
    )


def word(who: str, *changes: Change, yes: bool = True, at: float = NOW - 1, until: float = NOW + 1) -> Approval:
    seen = frozenset(change.digest for change in changes)
    return Approval(id=f"{who}{at}", identity=who, at=at, expires_at=until, reason="why", changes=seen, yes=yes)


def test_what_a_fleet_that_says_nothing_asks_for() -> None:
    assert rules_of({}) == UNLESS_SAID and rules_of({"approvals": []}) == ALWAYS
    lost, cheap = change(), change("b", Risk.COST)
    (found,) = missing(UNLESS_SAID, [lost, cheap], [], NOW)
    assert (
        found.number == 1
        and "destructive: somebody with the role approver must approve 1 change, the first is memory/machine/shop/a" in found.message
    )
    assert missing(UNLESS_SAID, [lost, cheap], [word("local:ada", lost)], NOW) == []


def test_it_holds_for_what_it_saw() -> None:
    lost, other = change(), change("b")
    said = [word("local:ada", lost, other)]
    assert missing(UNLESS_SAID, [replace(lost, causes=frozenset(), origin=Origin(path="moved.yaml"))], said, NOW) == [], (
        "told, not approved"
    )
    assert missing(UNLESS_SAID, [lost], said, NOW) == [], "a part of what was approved"
    assert missing(UNLESS_SAID, [replace(lost, before_digest="c")], said, NOW), "one changed change needs a new one"
    assert missing(UNLESS_SAID, [lost], [word("local:ada", lost, until=NOW)], NOW), "it has expired"
    assert used([lost], [*said, word("local:eve", other)]) == [said[0].id]


def test_people_authors_and_counts() -> None:
    lost = change()
    persons = {"local:ada": "ada", "github:ada": "ada", "email:ada@example.org": "ada"}
    two = [ApprovalRule(name="two", count=2)]
    said = [word("local:ada", lost), word("github:ada", lost)]
    person = lambda identity: persons.get(identity, identity)  # noqa: E731
    assert missing(two, [lost], said, NOW) == [], "two that nobody said are one"
    (found,) = missing(two, [lost], said, NOW, person=person)
    assert found.have == ("ada",)
    assert missing(two, [lost], [*said, word("local:grace", lost)], NOW, person=person) == []
    own = [ApprovalRule(name="not the author", not_author=True)]
    assert missing(own, [lost], said, NOW, authors=["email:ada@example.org"], person=person)
    assert missing(own, [lost], said, NOW, authors=["email:grace@example.org"], person=person) == []
    named = [ApprovalRule(name="the owner", people=("github:grace",))]
    assert missing(named, [lost], said, NOW, person=person)
    assert missing([ApprovalRule(name="shop", count=1)], [lost], said, NOW, may=lambda who, tenant: tenant != "shop"), "he may not"


def test_owners_by_directory_and_scope() -> None:
    rules = rules_of(
        {
            "approvals": [
                {"name": "shop", "paths": ["hosts/shop/"], "people": ["local:grace"]},
                {"name": "one file", "paths": ["fleet.yaml"]},
                {"name": "databases", "scopes": ["host/shop/db-*"]},
            ]
        }
    )
    assert [rule.name for rule in rules if rule.is_about(change())] == ["shop"]
    assert [rule.name for rule in rules if rule.is_about(change(path="hosts/shopping/a.yaml"))] == []
    assert [rule.name for rule in rules if rule.is_about(change("db-1", path="fleet.yaml"))] == ["one file", "databases"]


def test_a_move_is_asked_about_where_it_comes_from_too() -> None:
    stolen = replace(change("x-1", tenant="lab"), action=Action.MOVE, moved_from="memory/machine/shop/db-1")
    databases = ApprovalRule(name="databases", scopes=("host/shop/db-*",))
    assert missing([databases], [stolen], [], NOW), "another name does not take it out of a rule"
    of_lab = lambda who, tenant: tenant == "lab"  # noqa: E731
    assert missing([databases], [stolen], [word("local:ada", stolen)], NOW, may=of_lab), "whoever answers for one tenant does not for both"
    assert missing([], [stolen], [word("local:ada", stolen, yes=False)], NOW, may=of_lab), "and may say no for his own"


def test_a_rejection_stands_until_the_same_person_approves() -> None:
    lost = change("a", Risk.COST)
    no = word("local:ada", lost, yes=False, at=NOW - 3)
    (found,) = missing([], [lost], [no], NOW)
    assert "local:ada rejected it (why)" in found.message
    assert missing([], [lost], [no, word("local:grace", lost, at=NOW - 2)], NOW), "another one's yes does not undo it"
    assert missing([], [lost], [no, word("local:ada", lost, at=NOW - 2)], NOW) == []
    assert missing([], [lost], [no], NOW, may=lambda who, tenant: False) == [], "whoever may not approve may not reject"


@given(
    st.lists(st.tuples(st.sampled_from(["a", "b", "c"]), st.sets(st.integers(0, 3)), st.booleans(), st.integers(0, 20)), max_size=8),
    st.integers(1, 3),
    st.sets(st.integers(0, 3), min_size=1),
)
def test_nothing_is_applied_that_too_few_have_seen(words: list[tuple[str, set[int], bool, int]], count: int, wanted: set[int]) -> None:
    changes = [change(f"m{number}") for number in range(4)]
    said = [
        word(who, *(changes[n] for n in seen), yes=yes, at=NOW - 30 + number, until=NOW - 10 + left)
        for number, (who, seen, yes, left) in enumerate(words)
    ]
    asked = [changes[number] for number in sorted(wanted)]
    if missing([ApprovalRule(name="r", count=count)], asked, said, NOW):
        return
    for item in asked:
        last = {}
        for approval in said:
            if item.digest in approval.changes and approval.expires_at > NOW:
                last[approval.identity] = approval.yes
        assert sum(last.values()) >= count and all(last.values())


def test_rules_that_ask_for_authors_since_these_were_looked_for_refuse(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=1)
    site.settle()
    site.repo.commit({"fleet.yaml": f"{FLEET}  approvals: [{{name: two, notAuthor: true}}]\n"})
    site.settle()
    site.change(1)
    plan = site.plan().plan
    with site.store.read() as connection, pytest.raises(Refused, match="have just changed"):
        check_approved(connection, plan, None, connection.now())
    with site.store.read() as connection, pytest.raises(Refused, match="waits for approval"):
        check_approved(connection, plan, frozenset(), connection.now())


def test_a_plan_that_was_applied_does_not_ask_for_another_approval(tmp_path: Path, database_url: str) -> None:
    site = Site(tmp_path, database_url, hosts=1)
    site.settle()
    site.repo.commit({"fleet.yaml": f"{FLEET}  approvals: [{{name: one}}]\n"})
    site.settle()
    site.change(1)
    planned = site.plan()
    with pytest.raises(Refused, match="waits for approval"):
        begin(site.installation, planned.row, approved=False)
    assert site.rows("SELECT 1 FROM run WHERE plan = ?", planned.row) == []
    begin(site.installation, planned.row, approved=True)
    site.work()
    with pytest.raises(Refused, match="is superseded"):
        begin(site.installation, planned.row, approved=False)
