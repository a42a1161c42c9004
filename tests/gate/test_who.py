"""What policies know of who asks: his roles, as they were last applied, where the policy is about."""

from pathlib import Path

import pytest

from reconciler.gate.policy import Who
from reconciler.identity.access import Access, Binding, Identity, Role, RoleMapping
from reconciler.identity.local import whoami
from reconciler.planning import make_plan
from reconciler.types.request import Request
from tests.gate.site import Site

ADA = Identity(name="local:ada", here=True)


def access(*bindings: Binding) -> Access:
    return Access(fleets={"f": [RoleMapping(name="rolemapping/ops", tenant="", bindings=bindings)], "open": []})


def test_roles_are_those_of_all_of_a_tenant_with_what_they_come_with() -> None:
    found = access(
        Binding(subject="local:ada", role=Role.OPERATOR, tenant="shop"),
        Binding(subject="local:ada", role=Role.ADMIN, tenant="shop", scopes=("host/shop/web-*",)),
        Binding(subject="local:ada", role=Role.VIEWER),
        Binding(subject="local:eve", role=Role.SUPER_ADMIN),
    )
    assert found.roles(ADA, "f", "shop") == {Role.OPERATOR, Role.VIEWER}
    assert found.roles(ADA, "f", "lab") == found.roles(ADA, "f", "") == {Role.VIEWER}
    assert found.roles(ADA, "open", "shop") == found.roles(ADA, "other", "") == frozenset()


def test_the_server_has_none() -> None:
    def roles(tenant: str) -> list[str]:
        return ["admin", tenant]

    assert Who(roles=roles).values("shop")["who.roles"] == ["admin", "shop"]
    assert Who(roles=roles, unattended=True).values("shop")["who.roles"] == []


POLICY = """apiVersion: octofleet/v1
kind: Policy
metadata: {name: for-admins, tenant: shop}
spec:
  when: change.action == 'update'
  rule: "'admin' in who.roles"
  message: "it takes an admin, and {who.identity} has {who.roles}"
  examples:
    - {name: an admin, change: {action: update}, who: {roles: [admin]}, passes: true}
    - {name: an operator, change: {action: update}, who: {roles: [operator, viewer]}, passes: false}
"""
MAPPING = """apiVersion: octofleet/v1
kind: RoleMapping
metadata: {name: ops}
spec:
  bindings: [{role: super-admin, subjects: ["local:root", "local:nobody-else"]}]
---
apiVersion: octofleet/v1
kind: RoleMapping
metadata: {name: ops, tenant: shop}
spec:
  bindings: [{role: ROLE, subjects: [ME]}]
"""


@pytest.mark.parametrize(("role", "refuses"), [("admin", False), ("operator", True)])
def test_a_policy_asks_for_a_role(tmp_path: Path, role: str, refuses: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUDO_USER", "grace")
    files = {"policy.yaml": POLICY, "ops.yaml": MAPPING.replace("ROLE", role).replace("ME", f'"{whoami()}"')}
    site = Site(tmp_path, f"sqlite:///{tmp_path / 'q.db'}", hosts=2, files=files)
    site.settle()
    site.change(1)
    verdicts = [verdict for verdict in site.plan().plan.guards if verdict.guard == "policy/shop/for-admins"]
    assert bool(verdicts) is refuses
    if refuses:
        assert "operator" in verdicts[0].message and "viewer" in verdicts[0].message
    unattended = make_plan(site.installation, site.installation.repository(str(site.repo.path)), Request(unattended=True)).plan
    assert any(verdict.refuses for verdict in unattended.guards), "nobody has no role"
