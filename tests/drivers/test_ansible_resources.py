"""What a host's roles become, without any Ansible: specifications, order, moves, groups."""

from pathlib import Path

from reconciler.drivers.ansible.driver import AnsibleDriver
from reconciler.drivers.ansible.resources import grouped
from reconciler.drivers.ansible.settings import AnsibleSettings, ansible_settings
from reconciler.drivers.driver import Staleness
from reconciler.settings import Ansible
from reconciler.types.host import FleetScope, ResolvedHost, RoleUse
from reconciler.types.origin import Origin
from reconciler.types.resource import Dependency, OnDelete, Resource

TREE = {"web": "t1", "web/site.yml": "b1", "web/db.yml": "b2", "": "t0", "top.yml": "b3", "shared": "t2"}


class Inputs:
    def content(self, path: str) -> str | None:
        return TREE.get(path)


def host(*roles: tuple[str, dict[str, object] | None], **given: object) -> ResolvedHost:
    values = {
        "name": "web-01",
        "fqdn": "web-01.example",
        "labels": {"tier": "web"},
        "os": {"distribution": "debian", "version": "12"},
        "packages": ["not", "of", "interest"],
        "vars": {"a": 1},
        "interfaces": [{"name": "one"}, {"name": "two", "address": "10.0.0.2"}, {"name": "three", "address": "10.0.0.3", "primary": True}],
    }
    uses = tuple(RoleUse(name=name, tenant="", ansible=ansible) for name, ansible in roles)
    return ResolvedHost(name="web-01", tenant="shop", values=values, roles=uses, origin=Origin(path="h.yaml"), **given)  # type: ignore[arg-type]


def made(*hosts: ResolvedHost) -> list[Resource]:
    return list(AnsibleDriver(AnsibleSettings()).resources(FleetScope(fleet="f", hosts=hosts), Inputs()))


def test_a_role_of_a_host_is_a_resource() -> None:
    (found,) = made(
        host(("plain", None), ("web", {"playbook": "web/site.yml", "tags": ["x"], "become": True}), protect=True, on_delete=OnDelete.FORGET)
    )
    assert found.address == "ansible/role/shop/web-01.web" and found.group == "host/shop/web-01"
    assert found.spec == {
        "playbook": "web/site.yml",
        "project": "web",
        "content": "t1",
        "tags": ["x"],
        "become": True,
        "vars": {"a": 1},
        "host": {
            "name": "web-01",
            "tenant": "shop",
            "fqdn": "web-01.example",
            "address": "10.0.0.3",
            "labels": {"tier": "web"},
            "os": {"distribution": "debian", "version": "12"},
        },
    }
    rules = found.rules
    assert (rules.tenant, rules.order, rules.protect, rules.on_delete) == ("shop", 30, True, OnDelete.FORGET)
    assert rules.depends_on == (Dependency(address="fleet/host/shop/web-01", lifetime=True),)
    assert found.moved_from is None


def test_roles_follow_the_order_of_the_host() -> None:
    roles = [(name, {"playbook": "web/site.yml"}) for name in ("c", "a", "b")]
    found = made(host(roles[0], ("none", None), *roles[1:]))
    alive = Dependency(address="fleet/host/shop/web-01", lifetime=True)
    assert [item.rules.depends_on for item in found] == [
        (alive,),
        (alive, Dependency(address="ansible/role/shop/web-01.c")),
        (alive, Dependency(address="ansible/role/shop/web-01.a")),
    ]


def test_projects_and_what_is_not_there() -> None:
    found = made(
        host(
            ("top", {"playbook": "top.yml"}),
            ("given", {"playbook": "web/site.yml", "project": "shared"}),
            ("gone", {"playbook": "web/gone.yml"}),
            ("nowhere", {"playbook": "web/site.yml", "project": "gone"}),
        )
    )
    assert [(item.spec["project"], item.spec["content"]) for item in found] == [("", "t0"), ("shared", "t2"), ("web", None), ("gone", None)]


def test_moves_follow_the_host() -> None:
    (found,) = made(host(("web", {"playbook": "web/site.yml"}), moved_from=("old", "box")))
    assert found.moved_from == "ansible/role/old/box.web"


def test_groups_share_all_that_a_run_has_only_one_of() -> None:
    site, db = {"playbook": "web/site.yml"}, {"playbook": "web/db.yml"}
    several = made(host(("a", site), ("b", db), ("c", site), ("d", site | {"tags": ["x"]}), ("e", site | {"become": True})))
    assert [[item.address[-1] for item in group] for group in grouped(several)] == [["a"], ["b"], ["c"], ["d"], ["e"]]


def test_the_driver_says_what_it_is() -> None:
    info = AnsibleDriver(AnsibleSettings()).info
    assert (info.name, info.batch, info.concurrency, info.staleness) == ("ansible", 500, 2, Staleness.INPUTS)
    found = [(kind.name, kind.order, kind.engine, kind.deletable, kind.destroys) for kind in info.kinds]
    assert found == [("role", 30, True, False, False), ("operation", 30, True, False, False)]


def test_settings_come_from_the_servers_table() -> None:
    assert ansible_settings(Ansible()) == AnsibleSettings()
    found = ansible_settings(Ansible(private_key_file="/k", known_hosts_file="~/h", forks=3))
    assert (found.private_key_file, found.known_hosts_file, found.forks) == (Path("/k"), Path.home() / "h", 3)
