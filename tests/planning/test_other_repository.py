"""A Role whose playbook is in another repository, planned as a whole: by the settings, at the commit, and with the reason where it cannot be had."""

import subprocess
import sys
from pathlib import Path

import pytest

from reconciler.drivers.ansible.driver import AnsibleDriver
from reconciler.drivers.ansible.settings import AnsibleSettings
from reconciler.planning import make_plan
from reconciler.settings import Ansible, Apply, Settings
from reconciler.source.repository import Repository
from reconciler.types.plan import Plan
from reconciler.types.request import Request
from tests.drivers.ansible_world import need_ansible
from tests.fleets import Chosen, fleet, repo

ROLE = """\
apiVersion: octofleet/v1
kind: Role
metadata: {{name: web}}
spec:
  vars: {{ansible_connection: local, ansible_python_interpreter: "{python}", base: "{base}"}}
  ansible:
    playbook: plays/site.yml
    repository: {{url: "{url}", commit: "{commit}"}}
"""
PLAY = "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.copy: {content: x, dest: '{{ base }}/said', mode: '0644'}\n"


def planned(root: Path, commit: str, *, allowed: bool = True) -> Plan:
    url = (root / "other").as_uri()
    role = ROLE.format(python=sys.executable, base=root, url=url, commit=commit)
    there = repo(root / "repo", fleet(1, role=role))
    settings = Settings(apply=Apply(attempts=1), ansible=Ansible(repositories=[url] if allowed else []))
    (root / "data").mkdir()
    chosen = Chosen(data_dir=root / "data", settings=settings, extra=(AnsibleDriver(AnsibleSettings()),))
    try:
        return make_plan(chosen, Repository(str(there.path), there.path), Request()).plan
    finally:
        chosen.close()


def head(root: Path) -> str:
    repo(root / "other", {"plays/site.yml": PLAY})
    return subprocess.run(["git", "-C", root / "other", "rev-parse", "HEAD"], check=True, capture_output=True, text=True).stdout.strip()


def reasons(plan: Plan) -> dict[str, str]:
    return {item.address: item.code for item in plan.deferred if item.address.startswith("ansible/")}


def test_it_is_planned_from_there(tmp_path: Path) -> None:
    need_ansible()
    plan = planned(tmp_path, head(tmp_path))
    assert reasons(plan) == {}
    change = next(change for change in plan.changes if change.address == "ansible/role/shop/web-01.web")
    assert any("said" in field.path or "said" in str(field) for field in change.fields)
    assert plan.problems == ()
    assert not (tmp_path / "said").exists()


@pytest.mark.parametrize(
    ("allowed", "commit", "code"), [(False, "", "repository-not-allowed"), (True, "0" * 40, "repository-commit-missing")]
)
def test_what_cannot_be_had_is_put_off_with_its_reason(tmp_path: Path, allowed: bool, commit: str, code: str) -> None:
    found = head(tmp_path)
    plan = planned(tmp_path, commit or found, allowed=allowed)
    assert reasons(plan) == {"ansible/role/shop/web-01.web": code}
    assert (tmp_path / "data" / "mirrors").exists() is allowed
