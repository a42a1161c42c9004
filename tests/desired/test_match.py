"""Roles that choose their hosts."""

import json
from typing import Any

from reconciler.desired.compile import compile_tree
from reconciler.desired.desired import Desired
from reconciler.index.file import Index
from tests.desired.trees import CONTRACT, Texts, token
from tests.fleets import fleet, host

LABELLED = "  labels: {tier: web}\n"


def role(match: str, name: str = "audited", tenant: str = "", **variables: Any) -> str:
    metadata = f"{{name: {name}, tenant: {tenant}}}" if tenant else f"{{name: {name}}}"
    values = json.dumps(variables or {"audit": True})
    return f"apiVersion: octofleet/v1\nkind: Role\nmetadata: {metadata}\nspec:\n  match: {match}\n  vars: {values}\n"


def wanted(**files: str) -> Desired:
    made = fleet(0, one=host("web-01", 1, metadata=LABELLED), two=host("web-02", 2), **files)
    return compile_tree(Texts.of(made, {}), CONTRACT, token, Index(None, "0" * 64))


def roles(desired: Desired) -> dict[str, list[str]]:
    return {found.name: [use.name for use in found.roles] for scope in desired.scopes() for found in scope.hosts}


def test_by_label_after_the_roles_that_a_host_names() -> None:
    assert roles(wanted(choosing=role("{labels: {tier: web}}"))) == {"web-01": ["web", "audited"], "web-02": ["web"]}


def test_by_profile_and_by_scope() -> None:
    assert roles(wanted(choosing=role("{profiles: [base]}"))) == {"web-01": ["web", "audited"], "web-02": ["web", "audited"]}
    assert roles(wanted(choosing=role("{scopes: [host/shop/*-02]}"))) == {"web-01": ["web"], "web-02": ["web", "audited"]}
    assert roles(wanted(choosing=role("{scopes: [host/shop/*-02], labels: {tier: web}}"))) == {"web-01": ["web"], "web-02": ["web"]}


def test_a_tenants_own_goes_before_the_shared_one_of_its_name() -> None:
    files = {"choosing": role("{profiles: [base]}"), "own": role("{profiles: [base]}", tenant="shop", audit="own")}
    desired = wanted(**files)
    assert {found.values["vars"]["audit"] for scope in desired.scopes() for found in scope.hosts} == {"own"}
    assert roles(desired)["web-01"] == ["web", "audited"]


def test_its_settings_are_a_layer_and_the_host_goes_over_it() -> None:
    spec = "  vars: {audit: mine}\n"
    made = fleet(0, one=host("web-01", 1, metadata=LABELLED, spec=spec), choosing=role("{labels: {tier: web}}", audit="role", more="x"))
    desired = compile_tree(Texts.of(made, {}), CONTRACT, token, Index(None, "0" * 64))
    (found,) = (found for scope in desired.scopes() for found in scope.hosts)
    assert found.values["vars"] == {"port": 80, "audit": "mine", "more": "x"}


def test_while_one_has_problems_no_host_that_it_may_choose_is_known() -> None:
    desired = wanted(choosing=role("{labels: {tier: web}}") + "  bogus: 1\n")
    assert set(desired.blocked) == {"host/shop/web-01", "host/shop/web-02"}
    assert all("match" in why for why in desired.blocked.values())
    assert ["bogus" in str(problem) for problem in desired.problems] == [True], "told once, where it is"


def test_one_of_another_tenant_that_has_problems_is_no_matter() -> None:
    other = "apiVersion: octofleet/v1\nkind: Tenant\nmetadata: {name: lab}\nspec: {}\n"
    desired = wanted(lab=other, choosing=role("{labels: {tier: web}}", tenant="lab") + "  bogus: 1\n")
    assert not desired.blocked
