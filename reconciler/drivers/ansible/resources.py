"""The Roles of a host, and its part of an operation, as resources: one resource is one host and what is run on it. Pure.

A specification holds what is run (`project`), the host's variables and its facts, so that a commit that changes any of them is a change, and no
file is read to know it.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from reconciler.drivers.ansible.inventory import host_facts
from reconciler.drivers.ansible.project import project_spec, same_project
from reconciler.drivers.driver import Inputs
from reconciler.drivers.netboot import generation_of
from reconciler.types.host import ResolvedHost
from reconciler.types.resource import Dependency, Resource, Rules, address
from reconciler.types.values import Spec

ORDER = 30
ROLE, OPERATION = "role", "operation"


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What an operation says: `ansible` as a Role does, and `variables` that go over those of the host."""

    ansible: Spec
    variables: Mapping[str, Any] = field(default_factory=dict)


def host_of(resource: Resource) -> str:
    """The name of its host."""
    return str(resource.spec["host"]["name"])


def roles(host: ResolvedHost, inputs: Inputs) -> Iterator[Resource]:
    """`ansible/role/TENANT/HOST.ROLE` for each Role that has Ansible run something; they converge in the host's order."""
    used = [(role.name, role.ansible) for role in host.roles if role.ansible is not None]
    facts = host_facts(host) if used else {}
    machine = [Dependency(address=address("fleet", "host", host.tenant, host.name), lifetime=True)]
    if generation_of(host.values):
        machine.append(Dependency(address=address("netboot", "install", host.tenant, host.name), lifetime=True))
    before: list[Dependency] = []
    for name, ansible in used:
        where = address("ansible", ROLE, host.tenant, f"{host.name}.{name}")
        yield Resource(
            address=where,
            spec=_spec(host, ansible, facts, {}, inputs),
            rules=Rules(
                tenant=host.tenant,
                provider=_provider(host),
                order=ORDER,
                protect=host.protect,
                on_delete=host.on_delete,
                depends_on=(*machine, *before),
            ),
            group=host.group,
            origin=host.origin,
            moved_from=address("ansible", ROLE, host.moved_from[0], f"{host.moved_from[1]}.{name}") if host.moved_from else None,
        )
        before = [Dependency(address=where)]


def operation(host: ResolvedHost, name: str, said: Said, inputs: Inputs) -> Resource:
    """`ansible/operation/TENANT/HOST.NAME`: what is run once. All that is done with a Role's resource can be done with it."""
    return Resource(
        address=address("ansible", OPERATION, host.tenant, f"{host.name}.{name}"),
        spec=_spec(host, said.ansible, host_facts(host), said.variables, inputs),
        rules=Rules(tenant=host.tenant, provider=_provider(host), order=ORDER),
        group=host.group,
        origin=host.origin,
    )


def _spec(host: ResolvedHost, ansible: Spec, facts: Mapping[str, Any], over: Mapping[str, Any], inputs: Inputs) -> dict[str, Any]:
    told = {"vars": {**(host.values.get("vars") or {}), **over}, "host": facts}
    return project_spec(ansible, inputs) | told | {name: ansible[name] for name in ("tags", "become") if name in ansible}


def _provider(host: ResolvedHost) -> str:
    return str(host.values.get("ansibleProvider", ""))


def grouped(resources: Sequence[Resource]) -> list[list[Resource]]:
    """What may share a run, in the order of the first of each. A host is in a run once: the same playbook by two Roles is two runs.

    Hosts of two tenants never share one, for a playbook sees all variables of its run.
    """
    found: dict[tuple[object, ...], list[Resource]] = {}
    turns: dict[tuple[object, ...], int] = {}
    for resource in resources:
        spec = resource.spec
        key = (resource.rules.tenant, resource.rules.provider, *same_project(spec), spec.get("become"), *(spec.get("tags") or ()))
        turn = turns[host_of(resource), *key] = turns.get((host_of(resource), *key), -1) + 1
        found.setdefault((turn, *key), []).append(resource)
    return list(found.values())
