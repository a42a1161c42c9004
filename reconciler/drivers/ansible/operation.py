"""One host's part of an operation as a resource: a playbook that is run once. Pure.

Its specification has the form of a role's, so that all that the driver does with one it does with the other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reconciler.drivers.ansible.driver import ORDER, directory_of
from reconciler.drivers.ansible.inventory import host_facts
from reconciler.drivers.driver import Inputs
from reconciler.types.host import ResolvedHost
from reconciler.types.resource import Resource, Rules, address


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an operation says of its playbook. `project`: by default the playbook's directory; `variables` go over those of the host."""

    playbook: str
    project: str | None = None
    tags: tuple[str, ...] = ()
    become: bool = False
    variables: Mapping[str, Any] = field(default_factory=dict)


def operation(host: ResolvedHost, name: str, said: Said, inputs: Inputs) -> Resource:
    """The resource `ansible/operation/TENANT/HOST.NAME`."""
    project = said.project if said.project is not None else directory_of(said.playbook)
    spec: dict[str, Any] = {
        "playbook": said.playbook,
        "project": project,
        "content": inputs.content(project) if inputs.content(said.playbook) else None,
        "vars": {**(host.values.get("vars") or {}), **said.variables},
        "host": host_facts(host),
    }
    spec |= {"tags": list(said.tags)} if said.tags else {}
    return Resource(
        address=address("ansible", "operation", host.tenant, f"{host.name}.{name}"),
        spec=spec | ({"become": True} if said.become else {}),
        rules=Rules(tenant=host.tenant, provider=str(host.values.get("ansibleProvider", "")), order=ORDER),
        group=host.group,
        origin=host.origin,
    )
