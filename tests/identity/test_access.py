"""The one function of authorization, for whatever RoleMappings there are: deny by default, monotone, within its tenant, and with its reason."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schemas
from reconciler.identity.access import HAS, KINDS, NEEDS, Access, Action, Identity, Resource, Role, RoleMapping, canonical, role_mapping
from reconciler.identity.local import whoami
from tests.conftest import ROOT

FLEETS = ("one", "two")
TENANTS = ("", "shop", "lab")
GROUPS = ("", "host/shop/web-01", "host/shop/db-01", "host/lab/web-01", "rolemapping/shop/team", "boot/preseed/shop/db-01")
SUBJECTS = ("local:ada", "github:Ada", "gitlab:ada", "token:ada", "account:Ada", "local:bob", "group:ops")
ROLED = sorted(action for action, need in NEEDS.items() if need.role is not None)

people = st.builds(
    Identity,
    name=st.sampled_from(("local:ada", "github:ada", "GITHUB:ada", "token:ada", "account:ada", "local:bob", "local:eve")),
    groups=st.frozensets(st.sampled_from(("group:ops", "group:none"))),
    here=st.booleans(),
    owner=st.booleans(),
)
resources = st.builds(Resource, source=st.sampled_from(("", *FLEETS)), tenant=st.sampled_from(TENANTS), group=st.sampled_from(GROUPS))
actions = st.sampled_from(ROLED)


@st.composite
def bindings(draw: st.DrawFn, tenant: str) -> dict[str, Any]:
    found: dict[str, Any] = {
        "role": draw(st.sampled_from([role.value for role in Role if not (tenant and role is Role.SUPER_ADMIN)])),
        "subjects": draw(st.lists(st.sampled_from(SUBJECTS), min_size=1, max_size=3, unique=True)),
    }
    if draw(st.booleans()):
        found["scopes"] = draw(st.lists(st.sampled_from(("host/shop/db-*", "tenant/shop", "host/*/web-*", "*")), min_size=1, unique=True))
    return found


@st.composite
def role_mappings(draw: st.DrawFn, tenants: tuple[str, ...] = TENANTS) -> RoleMapping:
    tenant = draw(st.sampled_from(tenants))
    name = "/".join(filter(None, ("rolemapping", tenant, draw(st.sampled_from(("a", "b", "c"))))))
    return role_mapping(name, tenant, {"bindings": draw(st.lists(bindings(tenant), max_size=3))})


def accesses(least: int = 0, tenants: tuple[str, ...] = TENANTS) -> st.SearchStrategy[Access]:
    each = st.lists(role_mappings(tenants), min_size=least, max_size=3).map(tuple)
    return st.builds(Access, fleets=st.fixed_dictionaries(dict.fromkeys(FLEETS, each)))


def bound(access: Access) -> set[str]:
    return {binding.subject for source in access.fleets for binding in access.bindings(source)}


@given(accesses(least=1), people, st.sampled_from(Action), resources)
def test_who_is_not_named_may_nothing(access: Access, who: Identity, action: Action, resource: Resource) -> None:
    if who.subjects & bound(access):
        who = Identity(name="local:stranger", here=who.here, owner=who.owner)
    assert access.decide(who, action, resource).allowed == (NEEDS[action].role is None and who.here)


@given(people, st.sampled_from(Action), resources)
def test_without_any_mapping_those_at_the_machine_and_owners_may_everything_and_others_nothing(
    who: Identity, action: Action, resource: Resource
) -> None:
    for fleets in ({}, {"one": (), "two": ()}):
        owns = who.owner and NEEDS[action].role is not None
        assert access_of(fleets).decide(who, action, resource).allowed == (who.here or owns)


@given(accesses(least=1), people, st.sampled_from(Action), resources)
def test_an_owner_is_nothing_more_once_a_mapping_is_in_force(access: Access, who: Identity, action: Action, resource: Resource) -> None:
    decided = [access.decide(replace(who, owner=owner), action, resource) for owner in (True, False)]
    assert decided[0] == decided[1]
    half = access_of({"one": access.fleets["one"], "two": ()})
    owner = Identity(name="account:eve", owner=True)
    for source in ("one", ""):
        assert not half.decide(owner, action, replace(resource, source=source)).allowed


def access_of(fleets: Mapping[str, tuple[RoleMapping, ...]]) -> Access:
    return Access(fleets=fleets)


@given(accesses(least=1), people, actions, resources, st.data())
def test_one_more_binding_takes_nothing_away(
    access: Access, who: Identity, action: Action, resource: Resource, data: st.DataObject
) -> None:
    before = access.decide(who, action, resource).allowed
    source = data.draw(st.sampled_from(FLEETS))
    mapping = access.fleets[source][0]
    extra = role_mapping(mapping.name, mapping.tenant, {"bindings": [data.draw(bindings(mapping.tenant))]}).bindings
    more = data.draw(st.sampled_from(([mapping], [])))
    changed = (replace(mapping, bindings=mapping.bindings + extra), *access.fleets[source][1:], *more)
    after = access_of({**access.fleets, source: changed}).decide(who, action, resource).allowed
    assert after >= before


@given(accesses(least=1, tenants=("shop",)), people, actions, resources)
def test_roles_of_a_tenant_never_reach_another_or_what_is_across(access: Access, who: Identity, action: Action, resource: Resource) -> None:
    if resource.tenant != "shop":
        assert not access.decide(who, action, resource).allowed


@given(accesses(least=1), people, actions, resources)
def test_roles_of_a_fleet_never_reach_another(access: Access, who: Identity, action: Action, resource: Resource) -> None:
    other = access_of({"one": access.fleets["one"], "two": (role_mapping("rolemapping/none", "", {}),)})
    assert not other.decide(who, action, replace(resource, source="two")).allowed
    assert not other.decide(who, action, replace(resource, source="")).allowed


@given(accesses(least=1), people, actions, resources)
def test_what_is_allowed_is_allowed_by_a_mapping_that_the_reason_names(
    access: Access, who: Identity, action: Action, resource: Resource
) -> None:
    decision = access.decide(who, action, resource)
    names = {mapping.name for found in access.fleets.values() for mapping in found}
    if decision.allowed:
        assert any(f"by {name}" in decision.reason for name in names)
        assert any(subject in decision.reason for subject in who.subjects)
    else:
        assert NEEDS[action].role in decision.reason and who.name in decision.reason


@given(accesses(least=1), people, actions, resources)
def test_who_may_change_everybodys_access_may_everything_else(access: Access, who: Identity, action: Action, resource: Resource) -> None:
    """Commands ask for no more where this is so."""
    if access.decide(who, Action.GRANT_ACROSS, Resource(source=resource.source)).allowed:
        assert access.decide(who, action, resource).allowed


@given(accesses(least=1), people, actions, resources)
def test_who_may_in_a_whole_tenant_may_in_each_part_of_it(access: Access, who: Identity, action: Action, resource: Resource) -> None:
    if access.decide(who, action, replace(resource, group="")).allowed:
        assert access.decide(who, action, resource).allowed


@given(accesses(least=1), people, resources)
def test_a_role_has_all_that_the_roles_below_it_have(access: Access, who: Identity, resource: Resource) -> None:
    may = {action for action in ROLED if access.decide(who, action, resource).allowed}
    roles = {NEEDS[action].role for action in may}
    assert may == {action for action in ROLED if NEEDS[action].role in roles}
    assert not roles or Role.VIEWER in roles


def test_the_roles_are_a_lattice() -> None:
    for role, has in HAS.items():
        assert role in has and Role.VIEWER in has
        assert all(HAS[lower] <= has for lower in has)
    assert Role.APPROVER not in HAS[Role.OPERATOR] and Role.OPERATOR not in HAS[Role.APPROVER]
    assert set(NEEDS) == set(Action)


def test_scopes_narrow_a_role_to_their_hosts() -> None:
    spec = {"bindings": [{"role": "operator", "subjects": ["local:dan"], "scopes": ["host/*/db-*"]}]}
    access, dan = access_of({"one": (role_mapping("rolemapping/shop/dbas", "shop", spec),)}), Identity(name="local:dan")

    def may(tenant: str, group: str) -> bool:
        return access.decide(dan, Action.APPLY, Resource(source="one", tenant=tenant, group=group)).allowed

    assert may("shop", "host/shop/db-01") and may("shop", "boot/preseed/shop/db-01")
    assert not may("shop", "host/shop/web-01") and not may("shop", "") and not may("lab", "host/lab/db-01")
    assert "host/*/db-*" in access.decide(dan, Action.APPLY, Resource(source="one", tenant="shop")).reason


@given(st.permutations(["local:ada", "github:ada", "email:ada@example.net", "gitlab:ada"]))
def test_identities_of_one_person_are_found_through_each_other(identities: list[str]) -> None:
    one, two, three, four = identities
    people = [
        {"name": "Ada", "identities": [one, two]},
        {"name": "Ada", "identities": [two, three]},
        {"name": "Bob", "identities": [four, "local:bob"]},
    ]
    person = access_of({"one": (role_mapping("rolemapping/all", "", {"people": people}),)}).person
    assert person("one", one) == person("one", three)
    assert person("one", one) != person("one", four) and person("two", one) != person("two", three)


def test_a_person_gives_his_identities_no_roles_of_each_other() -> None:
    spec = {
        "bindings": [{"role": "super-admin", "subjects": ["local:ada"]}],
        "people": [{"name": "Ada", "identities": ["local:ada", "github:ada"]}],
    }
    access = access_of({"one": (role_mapping("rolemapping/all", "", spec),)})
    assert not access.decide(Identity(name="github:ada"), Action.VIEW, Resource(source="one")).allowed


def test_forges_do_not_tell_cases_apart_and_login_names_do() -> None:
    assert canonical("github:Ada") == canonical("github:ada") and canonical("email:Ada@Example.net") == "email:ada@example.net"
    assert canonical("account:Ada") == "account:ada"
    assert canonical("local:Ada") != canonical("local:ada") and canonical("bitbucket:{A}") == "bitbucket:{A}"


@pytest.mark.parametrize("form", ["subject", "identity"])
def test_the_schema_takes_the_kinds_of_identities_that_there_are(form: str) -> None:
    kinds = schemas.common()["$defs"][form]["pattern"].partition("(")[2].partition(")")[0].split("|")
    assert set(kinds) == set(KINDS) - {"email" if form == "subject" else "group"}


def test_the_schema_has_the_roles_that_there_are() -> None:
    binding = schemas.schema("RoleMapping")["properties"]["spec"]["properties"]["bindings"]["items"]
    assert binding["properties"]["role"]["enum"] == [role.value for role in Role]


def test_the_docs_tell_of_every_role() -> None:
    page = (ROOT / "docs" / "concepts.md").read_text().partition("## Who may do what")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == [role.value for role in Role]
    told = {row[0]: set(row[2].split(", ")) - {""} for row in rows}
    least = {role: HAS[role] - {role} for role in Role}
    assert {name: found for name, found in told.items() if name != "super-admin"} == {
        role.value: {has.value for has in found if not any(has in HAS[other] for other in found - {has})}
        for role, found in least.items()
        if role is not Role.SUPER_ADMIN
    }


def test_who_is_an_admin_of_hosts_changes_no_rules() -> None:
    hosts = role_mapping(
        "rolemapping/shop/a", "shop", {"bindings": [{"role": "admin", "subjects": ["local:ada"], "scopes": ["host/shop/*"]}]}
    )
    access, ada = access_of({"one": (hosts,)}), Identity(name="local:ada")
    assert access.decide(ada, Action.APPLY, Resource(source="one", tenant="shop", group="host/shop/web-01")).allowed
    for group in ("rolemapping/shop/a", "fleet/rolemapping/shop/a", "policy/shop/web-01", "maintenancewindow/shop/nights"):
        resource = Resource(source="one", tenant="shop", group=group)
        assert not access.decide(ada, Action.GRANT, resource).allowed and not access.decide(ada, Action.APPLY, resource).allowed


def test_a_name_from_sudo_is_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.getuid", lambda: 0)
    monkeypatch.setenv("SUDO_USER", "ada")
    assert whoami() == "local:ada"
    monkeypatch.setenv("SUDO_USER", "\x1b[2Jada\n")
    assert whoami().isprintable() and "ada" not in whoami()
