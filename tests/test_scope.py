"""Scopes: what a pattern takes in."""

import pytest

from reconciler.scope import in_scope


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
