"""Twelve hosts, three Roles and two tenants through the real command; waves with a failing canary; a public role."""

import subprocess
import sys
from pathlib import Path

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
    tenants = dict.fromkeys(range(8, 13), "lab")
    with Lab(tmp_path / "lab", hosts=12) as lab:
        site = Site(lab=lab, path=tmp_path, files=files, roles=roles, tenants=tenants)
        lab[5].refuse()
        plan = site.plan()
        assert {name: code for name, (code, _) in deferred(plan).items()} == {f"node-05.{name}": "unreachable" for name in roles}
        shop, other = (" ".join(f"node-{number:02d}" for number in numbers) + "\n" for numbers in (range(1, 8), range(8, 13)))
        told = {name: change["fields"][0]["after"] for name, change in changes(plan).items()}
        numbers = [number for number in range(1, 13) if number != 5]
        assert told == {f"node-{number:02d}.{name}": shop if number < 8 else other for number in numbers for name in roles}, (
            "who was in its run"
        )


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


CHRONY = "ansible-role-chrony==1.3.0"
"""Of OpenStack (Apache-2.0). Installing it with what it asks for would bring hundreds of megabytes of collections that it does not use."""
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


def test_a_public_role_is_done_on_a_fresh_host_and_then_nothing(tmp_path: Path) -> None:
    """Its check fails where nothing is yet, for the service comes with the package. The role is unchanged.
    The package and its service are ours: a real chronyd would set this machine's clock."""
    need_ansible()
    command = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check", "--no-deps", "--no-compile", "--target"]
    if subprocess.run([*command, tmp_path / "pip", CHRONY], check=False, timeout=300).returncode != 0:
        missing(CHRONY, "pip must reach a package index")
    chrony = tmp_path / "pip" / "share" / "ansible" / "roles" / "chrony"
    files = {
        "role.yaml": role("time", "{playbook: time/site.yml, become: true}"),
        "time/site.yml": PUBLIC,
        **{f"time/roles/chrony/{path.relative_to(chrony)}": path.read_text() for path in chrony.rglob("*") if path.is_file()},
    }
    with Lab(tmp_path / "lab", hosts=1) as lab:
        repository.give(lab.machines.values(), tmp_path, name="chrony", service="chronyd")
        site = Site(lab=lab, path=tmp_path, files=files, roles=["time"])
        first = site.plan()
        assert not deferred(first)
        (foreseen,) = changes(first).values()
        blind = foreseen["blindSpots"]
        assert any("chrony : Check for NTP service" in spot and "check mode does not run a shell" in spot for spot in blind)
        last = "in check mode the task chrony : Ensure chronyd is running"
        assert last in blind[-1] and "service chronyd" in blind[-1] and blind[-1].endswith("what comes after it is not foreseen")
        assert not lab[1].has("/etc/chrony.conf"), "a plan changes nothing"
        said = site.apply(first)
        assert site.ended() == {"node-01.time": ("done", "")}, said.text[-2000:]
        assert "server 192.0.2.1 iburst" in lab[1].read("/etc/chrony.conf") and lab[1].run("service chronyd status") == "running\n"
        log = "\n".join(line["text"] for line in site.run()["log"])
        assert "node-01: chrony : Check for NTP service (time/roles/chrony/tasks/install.yml:21): changed" in log, "it says so in each run"
        again = site.plan()
        assert not again["changes"] and not again["deferred"] and again["complete"]
