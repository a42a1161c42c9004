"""A fleet of two tenants, and the people of each: what one of them may see is never to show for another."""

from pathlib import Path

from reconciler.identity.access import Action
from tests.fleets import FLEET, TENANT, host
from tests.gate.site import Site
from tests.server.site import person, token

OPS = """apiVersion: octofleet/v1
kind: RoleMapping
metadata: {name: ops}
spec:
  bindings:
    - {role: super-admin, subjects: ["github:root", "local:root"]}
---
apiVersion: octofleet/v1
kind: RoleMapping
metadata: {name: staff, tenant: shop}
spec:
  bindings:
    - {role: operator, subjects: ["github:sam", "token:shop"]}
    - {role: viewer, subjects: ["github:vera"]}
---
apiVersion: octofleet/v1
kind: RoleMapping
metadata: {name: staff, tenant: bank}
spec:
  bindings:
    - {role: admin, subjects: ["github:ben"]}
    - {role: operator, subjects: ["github:narrow"], scopes: ["host/bank/vault-01"]}
"""
ROOT, SAM, VERA, BEN, NARROW, NOBODY = (person(f"github:{name}") for name in ("root", "sam", "vera", "ben", "narrow", "nobody"))
SHOP, READS = token("token:shop", Action.VIEW, Action.PAUSE), token("token:shop", Action.VIEW)
CALLERS = (ROOT, SAM, VERA, BEN, NARROW, NOBODY, SHOP)
OF_BANK = ("bank", "vault")
"""What only those of the tenant `bank` may read anywhere."""


def two_tenants(path: Path, url: str, *, name: str = "test") -> Site:
    """Three hosts of `shop` and two of `bank`, all applied, in a Fleet of this name; the next change of a host of each is pending."""
    bank = {"fleet.yaml": FLEET.replace("test", name), "bank.yaml": TENANT.replace("shop", "bank"), "ops.yaml": OPS}
    bank |= {f"vault-{n}.yaml": host(f"vault-{n:02d}", 100 + n, tenant="bank") for n in (1, 2)}
    site = Site(path, url, hosts=3, files=bank)
    site.settle()
    return site


def change_both(site: Site) -> None:
    """Another package for a host of each tenant."""
    spec = "  packages: [htop]\n"
    site.repo.commit(
        {"host-1.yaml": host("web-01", 1, spec=spec), "vault-1.yaml": host("vault-01", 101, tenant="bank", spec=spec)},
    )
