"""Twelve hosts, three Roles and two tenants through the real command; waves with a failing canary; a public role."""

import sys
from pathlib import Path

import pytest

from tests.ansible import repository
from tests.ansible.lab import Lab
from tests.ansible.site import Site, changes, deferred, play, role
from tests.conftest import missing
from tests.drivers.ansible_world import need_ansible

SEEN = """
- name: Run
  copy: {content: "{{ ansible_play_hosts_all | sort | join(' ') }}\\n", dest: "/etc/run-{{ part }}"}
"""


def test_tenants_never_share_a_run_and_hosts_of_a_playbook_do(tmp_path: Path) -> None:
    need_ansible()
    roles = ("one", "two", "three")
    files = {f"role-{name}.yaml": role(name, f"{{playbook: {name}/site.yml, become: true}}") for name in roles}
    files |= {f"{name}/site.yml": play(SEEN, vars=f"{{part: {name}}}") for name in roles}
    tenants = {number: "lab" for number in range(8, 13)}
    with Lab(tmp_path / "lab", hosts=12) as lab:
        site = Site(lab=lab, path=tmp_path, files=files, roles=roles, tenants=tenants)
        lab[5].refuse()
        said = site.apply()
        ended = site.ended()
        assert len(ended) == 33 and {status for status, _ in ended.values()} == {"done"}, said.text[-3000:]
        assert not any(name.startswith("node-05.") for name in ended), "unknown, so nothing was planned for it"
        # The time is that of the plan: node-05 was in the check runs alone.
        shop, other = ("node-01 node-02 node-03 node-04 node-06 node-07\n", "node-08 node-09 node-10 node-11 node-12\n")
        for name in roles:
            for number in (1, 7):
                assert lab[number].read(f"/etc/run-{name}") == shop
            assert lab[8].read(f"/etc/run-{name}") == lab[12].read(f"/etc/run-{name}") == other
        assert "unreachable" in said.text and "node-05" in said.text


FIRST = """
- name: Version
  copy: {content: "1\\n", dest: /etc/version}
"""
SECOND = """
- name: Version
  copy: {content: "2\\n", dest: /etc/version}
- name: Smoke
  fail: {msg: "it burns"}
  when: not ansible_check_mode and inventory_hostname == 'node-01'
"""


def test_a_failing_canary_stops_the_rest(tmp_path: Path) -> None:
    need_ansible()
    files = {"role.yaml": role("web", "{playbook: web/site.yml, become: true}"), "web/site.yml": play(FIRST)}
    with Lab(tmp_path / "lab", hosts=3) as lab:
        site = Site(lab=lab, path=tmp_path, files=files, profile="  rollout: {canary: 1}\n")
        assert site.apply().code == 0 and [machine.read("/etc/version") for machine in lab.machines.values()] == ["1\n"] * 3
        site.repo.commit({"web/site.yml": play(SECOND)})
        said = site.apply()
        ended = site.ended()
        assert said.code != 0 and [machine.read("/etc/version") for machine in lab.machines.values()] == ["2\n", "1\n", "1\n"]
        assert ended["node-01.web"][0] == "partial" and ended["node-01.web"][1].endswith("failed: it burns; changed before that: Version")
        assert not {"done", "partial"} & {ended[f"node-0{number}.web"][0] for number in (2, 3)}, ended


CHRONY = Path(sys.prefix) / "share" / "ansible" / "roles" / "chrony"
PUBLIC = """\
- hosts: all
  vars:
    # The role knows these of Red Hat alone.
    chrony_package_name: chrony
    chrony_service_name: chronyd
    chrony_config_file_location: /etc/chrony.conf
    chrony_ntp_servers: [192.0.2.1]
  tasks:
    - include_role: {name: chrony}
      vars: {chrony_role_action: "{{ item }}"}
      loop: [install, config]
"""


def test_a_public_role_is_foreseen_done_and_always_tells_what_it_always_does(tmp_path: Path) -> None:
    """OpenStack's role for chrony, unchanged. The package and its service are ours: a real chronyd would set this machine's clock."""
    need_ansible()
    if not CHRONY.is_dir():
        missing("OpenStack's role chrony", "pip install ansible-role-chrony")
    files = {
        "role.yaml": role("time", "{playbook: time/site.yml, become: true}"),
        "time/site.yml": PUBLIC,
        **{f"time/roles/chrony/{path.relative_to(CHRONY)}": path.read_text() for path in CHRONY.rglob("*") if path.is_file()},
    }
    with Lab(tmp_path / "lab", hosts=1) as lab:
        repository.give(lab.machines.values(), tmp_path, name="chrony", service="chronyd")
        site = Site(lab=lab, path=tmp_path, files=files, roles=["time"])
        first = site.plan()
        assert not deferred(first)
        (foreseen,) = changes(first).values()
        print(foreseen)
        said = site.apply(first)
        print(said.text[-1500:], site.ended())
        again = site.plan()
        print(changes(again), deferred(again))
        assert 0
