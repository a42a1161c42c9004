"""`octofleet inventory`, and real Ansible with it as an inventory script."""

import sys
from pathlib import Path

from tests.conftest import ROOT
from tests.fleets import host
from tests.inventory.world import KEY, SECRET, Ansible, Fleet, make_fleet


def test_all_hosts_with_groups_and_variables(made: Fleet) -> None:
    found = made()
    document = found.json
    assert found.code == 0 and not found.err
    hosts = document["_meta"]["hostvars"]
    assert sorted(hosts) == ["bank.web-01", "shop.web-01", "vault-01", "web-02"], "two tenants have a web-01"
    assert hosts["web-02"] == {
        "ansible_host": "192.0.2.12",
        "ansible_user": "deploy",
        "port": 80,
        "octofleet": {
            "name": "web-02",
            "tenant": "shop",
            "fqdn": "web-02",
            "profile": "base",
            "roles": ["web"],
            "labels": {},
            "os": {"distribution": "debian", "version": "12"},
            "timezone": "UTC",
            "address": "192.0.2.12",
            "networks": ["lan"],
        },
    }
    assert document["tenant_bank"] == {"hosts": ["vault-01", "bank.web-01"]}
    assert document["label_site_ams1"] == document["label_example_net_rack_r_1"] == {"hosts": ["shop.web-01"]}
    assert (
        set(document["all"]["children"]) == set(document) - {"_meta", "all"} >= {"profile_base", "role_web", "network_lan", "os_debian_12"}
    )
    assert document == made("--list", "--json").json


def test_one_host_and_some(made: Fleet) -> None:
    document = made().json
    assert made("--host", "shop.web-01").json == document["_meta"]["hostvars"]["shop.web-01"]
    some = made("--scope", "tenant/bank").json
    assert some["_meta"]["hostvars"] == {name: document["_meta"]["hostvars"][name] for name in ("vault-01", "bank.web-01")}
    assert "tenant_shop" not in some
    assert made("--scope", "host/shop/nobody").json["_meta"]["hostvars"] == {}


def test_what_cannot_be_asked(made: Fleet) -> None:
    several = made("--host", "web-01", "--json")
    assert several.code == 1 and several.json["error"]["hint"] == "there is: bank.web-01, shop.web-01"
    assert made("--host", "none", "--json").json["error"]["code"] == "no-host"
    assert made("--scope", "web-01", "--json").json["error"]["code"] == "usage"


def test_no_secret_is_told(made: Fleet) -> None:
    for found in (made(), made("--host", "shop.web-01"), made("--debug")):
        assert found.code == 0
        for word in (SECRET, KEY, "6162636465", "ANSIBLE_VAULT"):
            assert word not in found.text


def test_a_host_that_is_unknown_is_named_and_not_guessed(tmp_path: Path) -> None:
    made = make_fleet(tmp_path)
    made.repo.commit({"host-2.yaml": host("web-02", 2).replace("profile: base", "profile: none")})
    found = made()
    assert found.code == 0 and "web-02" not in found.json["_meta"]["hostvars"]
    assert "web-02" in found.json["_meta"]["octofleet"]["unknown"] and "1 host left out" in found.err and "web-02: " in found.err
    assert made("--host", "web-02", "--json").json["error"]["code"] == "desired-unknown"


def test_a_repository_without_a_fleet_is_an_error(tmp_path: Path) -> None:
    made = make_fleet(tmp_path)
    made.repo.commit({"fleet.yaml": "kind: ["})
    found = made("--json")
    assert found.code == 1 and found.json["problems"]


def test_the_user_is_that_of_the_way_in_which_a_run_would_come(tmp_path: Path) -> None:
    made = make_fleet(tmp_path)
    way = "  ansibleProvider: own\n"
    made.repo.commit({"host-2.yaml": host("web-02", 2, spec=way), "bank-2.yaml": host("vault-01", 102, tenant="bank", spec=way)})
    hosts = made().json["_meta"]["hostvars"]
    assert hosts["web-02"]["ansible_user"] == "owner"
    assert "ansible_user" not in hosts["vault-01"], "this provider is not for the tenant"


def test_ansible_takes_it_as_a_script(made: Fleet, ansible: Ansible) -> None:
    script = ansible.root / "script"
    script.write_text(
        f"#!/bin/sh\nexec env PYTHONPATH={ROOT} OCTOFLEET_DATA_DIR={made.data} {sys.executable} -m reconciler.cli inventory --repo {made.repo.path} $*\n"
    )
    script.chmod(0o700)
    by_plugin = ansible.listed(ansible.configure(made.command, "same"))
    assert ansible.listed(script) == by_plugin
    assert ansible.debug(script, "shop.web-01", "answer").text.count("42 of web-01") == 1
