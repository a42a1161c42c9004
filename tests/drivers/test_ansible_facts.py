"""Facts of hosts: what is kept of them, and what a real run tells of hosts of the local connection."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.ansible.driver import AnsibleDriver
from reconciler.drivers.ansible.facts import MOST_BYTES, Met, steady
from reconciler.drivers.driver import Target
from reconciler.types.canonical import canonical
from reconciler.types.observation import Proposed, Unknown
from reconciler.types.task import HostTold
from tests.drivers.ansible_world import World, need_ansible, secret

SETUP: dict[str, Any] = {
    "ansible_kernel": "6.1.0-26",
    "ansible_memtotal_mb": 1967,
    "ansible_memfree_mb": 12,
    "ansible_uptime_seconds": 99,
    "ansible_date_time": {"epoch": "1"},
    "ansible_env": {"TOKEN": "t"},
    "ansible_cmdline": {"password": "p"},
    "ansible_ssh_host_key_rsa_public": "AAAA",
    "ansible_product_serial": "NA",
    "ansible_processor": ["0", "GenuineIntel", "Xeon", "1", "GenuineIntel", "Xeon"],
    "ansible_interfaces": ["lo", "eth0.100", "veth12ab", "docker0"],
    "ansible_eth0.100": {
        "device": "eth0.100",
        "macaddress": "52:54:00:00:00:01",
        "mtu": 1500,
        "ipv4": {"address": "192.0.2.9", "prefix": "24"},
    },
    "ansible_mounts": [{"mount": "/", "device": "/dev/vda1", "fstype": "ext4", "size_total": 10 << 30, "size_available": 5}],
    "ansible_dns": {"nameservers": ["192.0.2.53"], "options": {"x": 1}},
    "ansible_local": {"octofleet": {"rack": {"row": 3}}, "app": {"password": "p"}},
    "facter_secret": "p",
}


def same(text: str) -> str:
    return text


def test_what_changes_by_itself_or_may_be_secret_is_not_kept() -> None:
    assert steady(SETUP, same) == {
        "dns.nameservers": ["192.0.2.53"],
        "interfaces.eth0.100.ipv4": ["192.0.2.9/24"],
        "interfaces.eth0.100.mac": "52:54:00:00:00:01",
        "interfaces.eth0.100.mtu": 1500,
        "kernel": "6.1.0-26",
        "local.octofleet.rack.row": 3,
        "memory_mb": 1920,
        "mounts./.device": "/dev/vda1",
        "mounts./.fstype": "ext4",
        "mounts./.size_mb": 10_240,
        "processor_model": "Xeon",
    }


def test_facts_are_cleaned_and_bounded_whatever_a_host_says() -> None:
    many = {f"n{number}": "x" * 290 for number in range(64)}
    found = steady(
        {"ansible_kernel": "6.1\x1b[31m secret", "ansible_local": {"octofleet": {"a": many, "b": many}}},
        lambda t: t.replace("secret", "***"),
    )
    assert found == {"kernel": "6.1 [31m ***"}, "what has the most parts went"
    shapes = dict.fromkeys(SETUP, 7) | {
        "ansible_interfaces": [None, {"a": 1}, "eth0"],
        "ansible_eth0": "text",
        "ansible_mounts": ["x", {"mount": 1}],
    }
    assert steady(shapes, same)["kernel"] == 7
    assert len(canonical(steady(SETUP, same))) < MOST_BYTES


def event(host: str = "a", action: str = "setup", **more: Any) -> dict[str, Any]:
    return {"host": host, "task_action": action, "res": {"ansible_facts": {"ansible_kernel": "6.1"}, **more}}


def test_only_what_the_host_itself_was_asked_counts() -> None:
    met = Met(hosts=("a", "b", "c"), clean=same)
    met.hear("runner_on_ok", event(action="set_fact"))
    met.hear("runner_on_ok", event(action="ansible.builtin.debug"))
    met.hear("runner_on_ok", event(_ansible_delegated_vars={"ansible_host": "x"}))
    met.hear("runner_on_ok", event(host="stranger"))
    met.hear("runner_on_skipped", event())
    assert met.told("shop", 1.0) == []
    met.hear("runner_on_ok", event(action="ansible.builtin.package_facts"))
    met.hear("runner_on_unreachable", event(host="b", msg="refused"))
    met.hear("runner_on_ok", event(host="c", action="ansible.builtin.gather_facts"))
    met.hear("runner_on_unreachable", event(host="c", msg="cut off"))
    assert met.told("shop", 1.0) == [
        HostTold(tenant="shop", host="a", at=1.0, answered=True),
        HostTold(tenant="shop", host="b", at=1.0, answered=False, why="refused"),
        HostTold(tenant="shop", host="c", at=1.0, answered=False, why="cut off", facts={"kernel": "6.1"}),
    ]


@pytest.fixture
def world(tmp_path: Path) -> World:
    need_ansible()
    return World(root=tmp_path)


def observed(world: World, *, gather: bool) -> tuple[dict[str, Any], dict[str, HostTold]]:
    told: list[HostTold] = []
    context = replace(world.context(), met=told.extend, gather=gather)
    targets = [Target(address=resource.address, desired=resource) for resource in world.resources().values()]
    return dict(AnsibleDriver(world.settings).observe(targets, context)), {one.host: one for one in told}


def test_a_check_tells_who_answered_and_gathers_only_if_it_is_to(world: World) -> None:
    world.tasks("- ansible.builtin.copy: {content: x, dest: '{{ base }}/x'}")
    world.host("a")
    world.host("b", ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    seen, told = observed(world, gather=False)
    assert (told["a"].answered, told["a"].facts) == (True, {})
    assert not told["b"].answered and "refused" in told["b"].why
    again, told = observed(world, gather=True)
    assert told["a"].facts["system"] == "Linux" and told["a"].facts["kernel"]
    for found in (seen, again):
        assert isinstance(found["ansible/role/shop/a.web"], Proposed)
        assert isinstance(found["ansible/role/shop/b.web"], Unknown)


def test_facts_that_a_playbook_gathers_are_kept_without_its_secrets(world: World) -> None:
    world.secrets["k"] = "hunter2-hunter2"
    world.write(
        "web/site.yml", "- hosts: all\n  gather_facts: true\n  tasks:\n    - ansible.builtin.set_fact: {kernel_of_mine: '{{ word }}'}\n"
    )
    world.host("a", word=secret("k"), ansible_local={"octofleet": {"word": "x"}})
    _, told = observed(world, gather=True)
    assert told["a"].facts["distribution"]
    assert "hunter2" not in repr(told)
    assert not {name for name in told["a"].facts if name.partition(".")[0] in ("env", "date_time", "kernel_of_mine")}
