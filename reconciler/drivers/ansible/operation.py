"""One host's part of an operation as a resource: a playbook that is run once. Pure.

Its specification has the form of a role's, so that all that the driver does with one it does with the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.drivers.ansible.driver import ORDER
from reconciler.drivers.ansible.inventory import host_facts
from reconciler.drivers.ansible.project import project_spec
from reconciler.drivers.driver import Inputs
from reconciler.types.host import ResolvedHost
from reconciler.types.resource import Resource, Rules, address
from reconciler.types.values import Spec


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an operation says: `ansible` as a Role does, and `variables` that go over those of the host."""

    ansible: Spec
    variables: Mapping[str, Any] = field(default_factory=dict)


def operation(host: ResolvedHost, name: str, said: Said, inputs: Inputs) -> Resource:
    """The resource `ansible/operation/TENANT/HOST.NAME`."""
    told = {"vars": {**(host.values.get("vars") or {}), **said.variables}, "host": host_facts(host)}
    return Resource(
        address=address("ansible", "operation", host.tenant, f"{host.name}.{name}"),
        spec=project_spec(said.ansible, inputs) | told | {name: said.ansible[name] for name in ("tags", "become") if name in said.ansible},
        rules=Rules(tenant=host.tenant, provider=str(host.values.get("ansibleProvider", "")), order=ORDER),
        group=host.group,
        origin=host.origin,
    )
