"""The Ansible groups that a host is in, by what its manifests say. Pure; the same for a run's inventory and for `octofleet inventory`."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

FAMILIES = {
    "debian": "debian",
    "ubuntu": "debian",
    "rhel": "redhat",
    "rocky": "redhat",
    "almalinux": "redhat",
    "centos-stream": "redhat",
    "fedora": "redhat",
    "opensuse-leap": "suse",
    "sles": "suse",
}
"""Distributions as manifests have them, and the family that Ansible's `ansible_os_family` knows, in lower case."""


def groups(facts: Mapping[str, Any]) -> tuple[str, ...]:
    """Sorted names of groups from what `inventory.host_facts` gives: `tenant_T`, `profile_P`, `role_R`, `label_KEY_VALUE`, `network_N`, `os_D`, `os_D_VERSION` and
    `os_FAMILY`. What a group's name may not have (`[^A-Za-z0-9_]`) becomes `_`."""
    return tuple(sorted({re.sub(r"[^A-Za-z0-9_]", "_", name) for name in _named(facts)}))


def _named(facts: Mapping[str, Any]) -> Iterator[str]:
    yield f"tenant_{facts['tenant']}"
    if facts.get("profile"):
        yield f"profile_{facts['profile']}"
    yield from (f"role_{role}" for role in facts.get("roles", ()))
    yield from (f"label_{key}_{value}" for key, value in facts.get("labels", {}).items())
    yield from (f"network_{network}" for network in facts.get("networks", ()))
    system = facts.get("os") or {}
    if name := system.get("distribution"):
        yield f"os_{name}"
        yield f"os_{FAMILIES.get(name, name)}"
        if version := system.get("version"):
            yield f"os_{name}_{version}"
