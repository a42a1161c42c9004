"""The table of docs/variables.md, row by row: the real Ansible is asked who wins."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.drivers.ansible.groups import groups, priorities
from reconciler.types.outcome import Status
from tests.conftest import ROOT
from tests.drivers.ansible_world import World, need_ansible, present, unknown

SHOW = '- name: show\n  copy: {dest: "{{ base }}/said", content: "{{ x | default(\'nothing\') }}"}\n'
FACTS = {
    "tenant": "shop",
    "profile": "base",
    "roles": ["web", "db"],
    "labels": {"site": "ams-1"},
    "networks": ["lan"],
    "os": {"distribution": "rocky", "version": "9.4"},
}
PLAYBOOK = """
- hosts: all
  gather_facts: false
  {play}
  roles: [{{role: r, {param}}}]
  tasks:
    - name: show
      {task}
      copy: {{dest: "{{{{ base }}}}/said", content: "{{{{ x | default('nothing') }}}}"}}
"""
FILES = {
    "role defaults": "web/play/roles/r/defaults/main.yml",
    "group_vars/all in the project": "web/group_vars/all.yml",
    "group_vars/all beside the playbook": "web/play/group_vars/all.yml",
    "group_vars/GROUP in the project": "web/group_vars/role_web.yml",
    "group_vars/GROUP beside the playbook": "web/play/group_vars/role_web.yml",
    "vars of manifests": "",
    "host_vars/HOST in the project": "web/host_vars/a.yml",
    "host_vars/HOST beside the playbook": "web/play/host_vars/a.yml",
    "vars of the play": "",
    "vars_files of the play": "web/play/more.yml",
    "vars of the role": "web/play/roles/r/vars/main.yml",
    "vars of the task": "",
}
"""Where a value may stand, lowest first, and the file that says so."""


@pytest.fixture
def world(tmp_path: Path) -> World:
    need_ansible()
    return World(root=tmp_path)


def said(world: World, host: str = "a") -> str:
    found = world.apply()
    assert {item.status for item in found.values()} == {Status.DONE}, found
    return (world.base(host) / "said").read_text()


def prepare(world: World, levels: Mapping[str, str]) -> None:
    """A project in which these levels say `x`, each its own name."""
    for level in levels:
        if FILES[level]:
            world.write(FILES[level], json.dumps({"x": level}))
    play = "vars: {x: vars of the play}" if "vars of the play" in levels else "vars: {}"
    play += "\n  vars_files: [more.yml]" if "vars_files of the play" in levels else ""
    task = "vars: {x: vars of the task}" if "vars of the task" in levels else "vars: {}"
    world.write("web/play/roles/r/tasks/main.yml", "[]")
    world.write("web/play/site.yml", PLAYBOOK.format(play=play, task=task, param="tags: []"))
    world.host(
        "a",
        roles=(("web", {"playbook": "web/play/site.yml", "project": "web"}),),
        **({"x": "vars of manifests"} if "vars of manifests" in levels else {}),
    )
    (host,) = world.hosts
    world.hosts[:] = [replace(host, values={**host.values, "roles": ["web"]})]


@pytest.mark.parametrize("level", FILES)
def test_each_row_wins_over_all_above_it(world: World, level: str) -> None:
    rows = list(FILES)
    prepare(world, {name: FILES[name] for name in rows[: rows.index(level) + 1]})
    assert said(world) == level


def test_the_documented_table_has_these_rows_in_this_order() -> None:
    page = (ROOT / "docs" / "variables.md").read_text()
    rows = re.findall(r"^\| \d+ \| ([^|]+) \|", page, re.MULTILINE)
    told = [row.replace("`", "").strip() for row in rows]
    assert [row for row in told if row in FILES] == list(FILES)
    assert "connection facts" in told and told.index("connection facts") < told.index("vars of manifests")


def test_connection_facts_are_below_vars_and_octofleet_above_them(world: World) -> None:
    world.tasks('- name: show\n  copy: {dest: "{{ base }}/said", content: "{{ ansible_host }} {{ octofleet.name }}"}\n')
    world.write("web/group_vars/all.yml", "octofleet: {name: wrong}\nansible_host: wrong\n")
    world.host("a", octofleet={"name": "wrong"}, ansible_host="192.0.2.7")
    assert said(world) == "192.0.2.7 a"


def test_extra_variables_of_ours_win_over_all(world: World) -> None:
    world.tasks('- name: show\n  vars: {ansible_ssh_args: mine}\n  copy: {dest: "{{ base }}/said", content: "{{ ansible_ssh_args }}"}\n')
    world.host("a", ansible_ssh_args="mine")
    assert "StrictHostKeyChecking=yes" in said(world)


def test_priorities_of_groups(world: World) -> None:
    order = [
        "tenant_shop",
        "network_lan",
        "os_redhat",
        "os_rocky",
        "os_rocky_9_4",
        "profile_base",
        "role_db",
        "role_web",
        "label_site_ams_1",
    ]
    assert sorted(priorities(FACTS), key=lambda name: (priorities(FACTS)[name], name)) == order
    assert groups(FACTS) == tuple(sorted(order))
    world.tasks(SHOW)
    host = world.host("a")
    values = {key: value for key, value in FACTS.items() if key not in ("tenant", "networks")}
    world.hosts[:] = [replace(host, values={**host.values, **values, "interfaces": [{"name": "eth0", "network": "lan"}]})]
    for name in ("octofleet", *order):
        world.write(f"web/group_vars/{name}.yml", f"x: {name}\n")
        assert said(world) == name


def test_patterns_of_groups_and_who_is_not_targeted(world: World) -> None:
    world.write(
        "web/site.yml", "- hosts: role_web:&label_site_ams_1\n  gather_facts: false\n  tasks:\n    " + SHOW.replace("\n  ", "\n      ")
    )
    for name, site in (("a", "ams-1"), ("b", "fra-2")):
        world.host(name)
        host = world.hosts.pop()
        world.hosts.append(replace(host, values={**host.values, "roles": ["web"], "labels": {"site": site}}))
    found = world.observe()
    assert unknown(found["b.web"]).code == "not-targeted"
    assert {name: item.status for name, item in world.apply().items()} == {"a.web": Status.DONE, "b.web": Status.FAILED}
    assert present(world.observe()["a.web"])
    assert not (world.base("b") / "said").exists()


def test_a_hostile_label_is_no_template_and_no_other_group(world: World) -> None:
    world.tasks('- name: show\n  copy: {dest: "{{ base }}/said", content: "{{ group_names | sort | join(\' \') }}"}\n')
    host = world.host("a")
    world.hosts[:] = [replace(host, values={**host.values, "labels": {"{{ 7*7 }}": "{% raw %}", "all": "octofleet"}})]
    assert said(world) == "label____7_7_______raw___ label_all_octofleet octofleet tenant_shop"
