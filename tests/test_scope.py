"""Scopes: what a pattern takes in."""

import pytest

from reconciler.gating import tenant_of_scope
from reconciler.scope import in_scope, includes, is_scope


@pytest.mark.parametrize(
    "where", ["host/shop/web-01", "memory/machine/shop/web-01", "ansible/role/shop/web-01.web", "fleet/host/shop/web-01"]
)
def test_a_host_is_its_manifest_and_every_resource_of_it(where: str) -> None:
    assert in_scope(where, "") and in_scope(where, "host/shop/web-*") and in_scope(where, "tenant/shop") and in_scope(where, where)
    assert not in_scope(where, "host/lab/*") and not in_scope(where, "tenant/lab") and not in_scope(where, "host/shop/db-*")


@pytest.mark.parametrize(
    "where", ["policy/shop/web-01", "fleet/policy/shop/web-01", "rolemapping/shop/web-01", "fleet/tenant/-/shop", "tenant/shop"]
)
def test_a_rule_is_of_its_tenant_and_no_host(where: str) -> None:
    assert in_scope(where, "tenant/shop") and not in_scope(where, "host/*/*")


@pytest.mark.parametrize(
    ("scope", "inside", "outside"),
    [
        ("host/shop/web-?", ["host/shop/web-1", "host/shop/web-?"], ["host/shop/web-*", "host/shop/web-[0-9]", "host/shop/*"]),
        ("host/shop/[!d]*", ["host/shop/web-1", "host/shop/[!d]*"], ["host/shop/*", "host/shop/?b-1"]),
        ("host/shop/web-*", ["host/shop/web-1", "host/shop/web-?", "host/shop/web-*-db"], ["host/shop/we*", "host/shop/*", "host/*/web-1"]),
        ("host/shop/web-1", ["host/shop/web-1"], ["host/shop/web-?", "host/shop/web-*"]),
    ],
)
def test_a_scope_includes_a_pattern_if_it_takes_in_all_that_this_does(scope: str, inside: list[str], outside: list[str]) -> None:
    assert all(includes(scope, wanted) for wanted in inside)
    assert not any(includes(scope, wanted) for wanted in outside)


@pytest.mark.parametrize("scope", ["[!/x/shop/]*", "[!/x/shop/z]*", "host/shop/[!/]*", "memory/[!/shop/]*", "tenant/[!shop"])
def test_a_class_of_characters_ends_where_its_part_does(scope: str) -> None:
    """Else a pattern takes in other tenants than the one that it seems to name."""
    assert not is_scope(scope) and tenant_of_scope(scope) == ""
    assert is_scope("host/shop/web-[0-9]") and is_scope("host/shop/[!d]b-[12]*") and tenant_of_scope("host/shop/[!d]b") == "shop"


@pytest.mark.parametrize(
    ("scope", "tenant"), [("host/kind/shop/x", "shop"), ("tenant/kind/shop/x", "shop"), ("host/shop/x", "shop"), ("tenant/shop", "shop")]
)
def test_the_tenant_of_an_address_is_its_third_part(scope: str, tenant: str) -> None:
    assert tenant_of_scope(scope) == tenant
