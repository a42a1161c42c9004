"""The inventory plugin with the command as its source: real `ansible-inventory` and `ansible`."""

import json
from pathlib import Path

import pytest

from tests.fleets import host
from tests.inventory.world import KEY, LINES, SECRET, TEMPLATE, Ansible, Fleet, make_fleet


def test_hosts_groups_and_variables_are_those_of_the_command(made: Fleet, ansible: Ansible) -> None:
    said, found = made().json, ansible.listed(ansible.configure(made.command))
    variables = found["_meta"]["hostvars"]
    assert variables["web-02"] == said["_meta"]["hostvars"]["web-02"]
    assert variables["shop.web-01"]["answer"] == TEMPLATE and variables["shop.web-01"]["lines"] == LINES.replace("\\n", "\n")
    groups = {name: set(group["hosts"]) for name, group in found.items() if "hosts" in group}
    assert groups == {name: set(group["hosts"]) for name, group in said.items() if name not in ("_meta", "all")}
    assert set(found["all"]["children"]) == {"ungrouped", *groups} and "hacked" not in variables


def test_templates_of_vars_are_templates(made: Fleet, ansible: Ansible) -> None:
    """As in a run: their writer means them so. A text with lines stays one text."""
    source = ansible.configure(made.command)
    assert '"msg": "42 of web-01"' in ansible.debug(source, "shop.web-01", "answer").out
    assert f'"msg": "{LINES}"' in ansible.debug(source, "shop.web-01", "lines").out
    assert '"msg": true' in ansible.debug(source, "shop.web-01", "nested.list[2] and nested.list[1] is none").out


@pytest.mark.parametrize("used", ["api_key", "sealed", "nested.list[3].token", "api_key | default('guessed', true)", "nested | to_json"])
def test_who_uses_a_secret_is_told_why_there_is_none(used: str, made: Fleet, ansible: Ansible) -> None:
    found = ansible.debug(ansible.configure(made.command), "shop.web-01", used)
    assert found.code != 0 and "this value is a secret, which Octofleet reveals to its own runs alone" in found.text, found.text
    assert SECRET not in found.text and KEY not in found.text


def test_a_secret_may_be_given(made: Fleet, ansible: Ansible) -> None:
    source = ansible.configure(made.command)
    found = ansible.run(
        "ansible", "-i", str(source), "shop.web-01", "-m", "ansible.builtin.debug", "-a", "var=api_key", "-e", "api_key=given"
    )
    assert '"api_key": "given"' in found.out


def test_constructed_groups_and_variables(made: Fleet, ansible: Ansible) -> None:
    more = """
strict: true
compose: {where: "octofleet.tenant ~ '/' ~ octofleet.name", ansible_port: "2200 + port"}
groups: {firsts: "octofleet.name.endswith('-01')"}
keyed_groups: [{key: octofleet.os.version, prefix: release, parent_group: releases}]
"""
    found = ansible.listed(ansible.configure(made.command + more))
    variables = found["_meta"]["hostvars"]
    assert variables["bank.web-01"]["where"] == {"__ansible_unsafe": "bank/web-01"}, "what a template made is none itself"
    assert variables["web-02"]["ansible_port"] == 2280
    assert set(found["firsts"]["hosts"]) == {"bank.web-01", "shop.web-01", "vault-01"}
    assert found["releases"]["children"] == ["release_12"] and len(found["release_12"]["hosts"]) == 4
    refused = ansible.refused(ansible.configure(made.command + 'strict: true\ncompose: {x: "nothing.there"}\n'))
    assert "Could not set x for host" in refused


def test_a_scope_and_a_revision(tmp_path: Path, ansible: Ansible) -> None:
    made = make_fleet(tmp_path)
    first = made.repo.commit({"host-2.yaml": host("web-02", 2)})
    made.repo.commit({"host-2.yaml": None})
    assert "web-02" not in ansible.listed(ansible.configure(made.command))["_meta"]["hostvars"]
    found = ansible.listed(ansible.configure(f"{made.command}rev: {first}\nscope: host/shop/*\n"))
    assert set(found["_meta"]["hostvars"]) == {"shop.web-01", "web-02"}


def test_the_repository_may_be_where_the_configuration_is(tmp_path: Path, ansible: Ansible) -> None:
    made = make_fleet(tmp_path)
    source = made.repo.path / "my.octofleet.yml"
    source.write_text("plugin: octofleet.fleet.octofleet\n" + made.command.partition("\n")[2])
    assert "web-02" in ansible.listed(source)["_meta"]["hostvars"]


def test_beside_another_source_what_comes_later_wins(made: Fleet, ansible: Ansible) -> None:
    other = ansible.root / "other.yml"
    other.write_text("all: {hosts: {web-02: {port: 1, more: 2}}, vars: {nested: below}}\n")
    source = ansible.configure(made.command)
    both = ansible.run("ansible-inventory", "-i", str(other), "-i", str(source), "--host", "web-02").json
    assert (both["port"], both["more"]) == (80, 2)
    turned = ansible.run("ansible-inventory", "-i", str(source), "-i", str(other), "--host", "web-02").json
    assert (turned["port"], turned["more"], turned["octofleet"]["name"]) == (1, 2, "web-02")


def test_what_was_cached_is_used_and_holds_no_secret(tmp_path: Path, ansible: Ansible) -> None:
    made, cache = make_fleet(tmp_path), tmp_path / "cache"
    cached = f"cache: true\ncache_plugin: ansible.builtin.jsonfile\ncache_connection: {cache}\n"
    source = ansible.configure(made.command + cached, "cached")
    first = ansible.listed(source)
    made.repo.commit({"host-2.yaml": None})
    assert ansible.listed(source) == first
    kept = [json.loads(path.read_text()) for path in cache.iterdir()]
    assert len(kept) == 1 and "web-02" in str(kept) and not any(word in str(kept) for word in (SECRET, KEY, "6162636465"))
    flushed = ansible.run("ansible-inventory", "-i", str(source), "--list", "--flush-cache").json
    assert "web-02" not in flushed["_meta"]["hostvars"]
    ansible.configure(f"{made.command}{cached}scope: tenant/bank\n", "cached")
    assert set(ansible.listed(source)["_meta"]["hostvars"]) == {"bank.web-01", "vault-01"}, "asked in other words, it is asked anew"


def test_a_host_that_is_unknown_is_warned_of(tmp_path: Path, ansible: Ansible) -> None:
    made = make_fleet(tmp_path)
    made.repo.commit({"host-2.yaml": host("web-02", 2).replace("profile: base", "profile: none")})
    found = ansible.run("ansible-inventory", "-i", str(ansible.configure(made.command)), "--list")
    assert found.code == 0 and "web-02" not in found.json["_meta"]["hostvars"]
    assert "web-02 is left out" in " ".join(found.err.split())


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (
            "command: [/nowhere/octofleet]\n",
            "cannot run /nowhere/octofleet: No such file or directory: install Octofleet, or say in command where it is",
        ),
        ("command: [sh, -c, exec sleep 60]\ntimeout: 1\n", "took longer than 1 s: raise timeout"),
        ("command: [echo]\n", "what came back is no inventory of Octofleet"),
        ("source: test\n", "source is of no use without server"),
        ("rev: nothing\n", "inventory failed: "),
        ("scope: web-01\n", "web-01 is no scope; for example host/shop/web-*, or tenant/shop"),
    ],
)
def test_what_goes_wrong_is_told(more: str, said: str, made: Fleet, ansible: Ansible) -> None:
    kept = "".join(f"{line}\n" for line in made.command.splitlines() if line.partition(":")[0] != more.partition(":")[0])
    assert said in ansible.refused(ansible.configure(kept + more))
