"""A fleet whose hosts are directories of this machine, with a playbook to run once, and the real Ansible."""

import json
import sys
from pathlib import Path
from typing import Any

from reconciler.drivers.ansible.driver import AnsibleDriver
from reconciler.drivers.ansible.settings import AnsibleSettings
from tests.fleets import PROFILE, Repo, Result, fleet, host, installation, octofleet, repo

PATCH = """\
- hosts: all
  gather_facts: false
  tasks:
    - name: say what was done
      ansible.builtin.copy: {content: "{{ octofleet.name }} {{ word }}\\n", dest: "{{ base }}/{{ octofleet.name }}.done", mode: "0644"}
    - name: count
      ansible.builtin.shell: echo once >> {{ base }}/{{ octofleet.name }}.count
"""
OPERATION = """\
apiVersion: octofleet/v1
kind: Operation
metadata: {{name: patch, tenant: shop}}
spec:
  ansible: {{playbook: ops/patch.yml}}
  vars: {{word: patched}}
{more}"""


class Place:
    """`base`: where hosts write to."""

    def __init__(self, path: Path, hosts: int = 3, env: dict[str, str] | None = None, **files: str) -> None:
        self.path, self.base, self.data = path, path / "world", path / "data"
        self.env = {"OCTOFLEET_MEMORY__ENABLED": "false", "OCTOFLEET_ANSIBLE__ISOLATION": "off"} | (env or {})
        self.base.mkdir()
        values = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "base": str(self.base), "word": "done"}
        profile = PROFILE + f"  vars: {json.dumps(values)}\n"
        made = fleet(0, profile=profile, **files) | {
            f"host-{n}.yaml": host(f"web-{n:02d}", n, metadata=f"  labels: {{site: {'ams' if n % 2 else 'rtm'}}}\n")
            for n in range(1, hosts + 1)
        }
        self.repo: Repo = repo(path / "repo", made | {"ops/patch.yml": PATCH, ".octofleetignore": "ops/\n"})

    def command(self, *args: str) -> Result:
        return octofleet(self.data, *args, env=self.env, cwd=self.repo.path)

    def applied(self) -> "Place":
        done = self.command("apply", "--approve")
        assert done.code == 0, done.text
        return self

    def done(self) -> list[str]:
        """What hosts have done, each line once for each time."""
        return sorted(f"{path.stem} {line}" for path in self.base.glob("*.done") for line in path.read_text().splitlines())

    def counts(self) -> dict[str, int]:
        return {path.stem: len(path.read_text().splitlines()) for path in sorted(self.base.glob("*.count"))}

    def installation(self, **more: Any) -> Any:
        return installation(self.data, AnsibleDriver(AnsibleSettings(isolation="off")), **more)
