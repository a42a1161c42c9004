"""The fleet as an inventory for Ansible outside of our runs: what an inventory script prints for `--list`. Pure.

In: hosts with their names, facts and variables. Out: one document, as "Developing dynamic inventory" of Ansible's developer guide has it: `_meta` with
all variables, and groups. Must not: hold a secret.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

from reconciler.drivers.ansible.groups import groups
from reconciler.drivers.ansible.inventory import host_facts, variables
from reconciler.types.host import ResolvedHost
from reconciler.types.values import KnownAfter, Secret

Key = tuple[str, str, str]
"""Fleet, tenant and name of a host."""
SECRET = "{{ undef() | mandatory(msg='this value is a secret, which Octofleet reveals to its own runs alone: give it with --extra-vars') }}"  # noqa: S105 - none
LATER = "{{ undef() | mandatory(msg='this value is not known before Octofleet has made what it comes from') }}"


def names(keys: Iterable[Key]) -> dict[Key, str]:
    """What each host is called: `NAME`; `TENANT.NAME` where several tenants have a host of that name, and `FLEET.TENANT.NAME` where several Fleets have it of
    that tenant. None of these has a dot in it, so no two hosts are called the same."""
    by_name: dict[str, list[Key]] = defaultdict(list)
    for key in keys:
        by_name[key[2]].append(key)
    found: dict[Key, str] = {}
    for name, several in by_name.items():
        if len(several) == 1:
            found[several[0]] = name
            continue
        tenants = [tenant for _, tenant, _ in several]
        found |= {key: ".".join(key[1:] if tenants.count(key[1]) == 1 else key) for key in several}
    return found


def told(host: ResolvedHost, user: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A host's variables, as a run tells them but for secrets, and the groups that it is in."""
    facts = host_facts(host)
    return variables(facts, host.values.get("vars") or {}, user, _withheld), groups(facts)


def _withheld(value: Secret | KnownAfter) -> str:
    """A template that fails whatever it is used for, and says why: with nothing in its place a playbook might go on with a default."""
    return SECRET if isinstance(value, Secret) else LATER


def script_document(hosts: Mapping[str, tuple[dict[str, Any], tuple[str, ...]]], about: Mapping[str, Any]) -> dict[str, Any]:
    """The document, from variables and groups by name. `about`: what else there is to know, which Ansible does not read."""
    members: dict[str, list[str]] = defaultdict(list)
    for name, (_, of) in hosts.items():
        for group in of:
            members[group].append(name)
    meta = {"hostvars": {name: known for name, (known, _) in hosts.items()}, "octofleet": dict(about)}
    return {"_meta": meta, "all": {"children": sorted(members)}} | {group: {"hosts": members[group]} for group in sorted(members)}
