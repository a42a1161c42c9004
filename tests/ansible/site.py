"""A repository whose hosts are those of a lab, and the real command that plans and applies it there."""

import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.ansible.lab import Lab, Machine
from tests.fleets import FLEET, Repo, Result, octofleet, repo

PROJECTS = Path(__file__).with_name("projects")
NETWORK = """\
apiVersion: octofleet/v1
kind: Network
metadata: {name: lab}
spec: {cidr: 10.213.0.0/24}
"""
PROFILE = """\
apiVersion: octofleet/v1
kind: Profile
metadata: {name: base}
spec:
  os: {distribution: debian, version: "12"}
  firmware: bios
"""
PLAY = "- hosts: all\n  gather_facts: false\n  tasks:\n"


def tenant(name: str) -> str:
    return f"apiVersion: octofleet/v1\nkind: Tenant\nmetadata: {{name: {name}}}\nspec: {{}}\n"


def role(name: str, ansible: str, spec: str = "") -> str:
    """A Role of all tenants; `ansible` and `spec` in YAML's flow style and as lines."""
    return f"apiVersion: octofleet/v1\nkind: Role\nmetadata: {{name: {name}}}\nspec:\n  ansible: {ansible}\n{spec}"


def play(tasks: str, **keywords: str) -> str:
    """A playbook of one play on all hosts: tasks as YAML that is not indented."""
    head = "- hosts: all\n  gather_facts: false\n" + "".join(f"  {name}: {value}\n" for name, value in keywords.items())
    return head + "  tasks:\n" + "".join(f"    {line}\n" for line in tasks.strip("\n").splitlines())


@dataclass(kw_only=True)
class Site:
    """`files` of the repository beside its hosts. Each host of the lab has `roles`, and the tenant that `tenants` says of its number, else `shop`."""

    lab: Lab
    path: Path
    files: Mapping[str, str]
    roles: Sequence[str] = ("web",)
    tenants: Mapping[int, str] = field(default_factory=dict)
    specs: Mapping[int, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    projects: Sequence[str] = ()
    profile: str = ""

    def __post_init__(self) -> None:
        names = sorted({"shop", *self.tenants.values()})
        base = {"fleet.yaml": FLEET, "network.yaml": NETWORK, "profile.yaml": PROFILE + self.profile}
        base |= {f"tenant-{name}.yaml": tenant(name) for name in names}
        for name in self.projects:
            shutil.copytree(PROJECTS / name, self.path / "repository" / "ansible" / name)
        hosts = {f"hosts/{machine.name}.yaml": self._host(machine) for machine in self.lab.machines.values()}
        self.repo: Repo = repo(self.path / "repository", base | hosts | dict(self.files))

    def _host(self, machine: Machine) -> str:
        return (
            "apiVersion: octofleet/v1\nkind: Host\n"
            f"metadata: {{name: {machine.name}, tenant: {self.tenants.get(machine.number, 'shop')}}}\n"
            f"spec:\n  profile: base\n  roles: [{', '.join(self.roles)}]\n"
            f'  interfaces: [{{name: eth0, mac: "{machine.hardware}", network: lab, address: {machine.address}}}]\n'
            f"{self.specs.get(machine.number, '')}"
        )

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def environment(self) -> dict[str, str]:
        return self.lab.environment | {"OCTOFLEET_MEMORY__ENABLED": "false"} | dict(self.env)

    def __call__(self, *args: str) -> Result:
        """The command, where it can reach the hosts."""
        with self.lab.inside.entered():
            return octofleet(self.data, *args, env=self.environment, timeout=900)

    def plan(self) -> Any:
        """The plan as a document."""
        said = self("plan", "--repo", str(self.repo.path), "--refresh", "--json")
        assert "changes" in said.json, said.text
        return said.json

    def apply(self, plan: Any = None) -> Result:
        """Apply exactly this plan, or a new one."""
        which = [plan["id"]] if plan else ["--repo", str(self.repo.path)]
        return self("apply", *which, "--approve")

    def run(self) -> Any:
        """The newest run: its changes, with how each ended, and its log."""
        return self("logs", self("runs", "--json").json["runs"][0]["run"], "--json").json

    def ended(self) -> dict[str, tuple[str, str]]:
        """Of the newest run: how Ansible's changes ended and why, by `HOST.ROLE`."""
        return {
            item["address"].rpartition("/")[2]: (item["status"], item["error"])
            for item in self.run()["changes"]
            if item["address"].startswith("ansible/")
        }


def changes(plan: Any) -> dict[str, Any]:
    """Ansible's changes of a plan by `HOST.ROLE`."""
    return {item["address"].rpartition("/")[2]: item for item in plan["changes"] if item["address"].startswith("ansible/")}


def deferred(plan: Any) -> dict[str, tuple[str, str]]:
    """Of Ansible's resources that are put off: code and reason, by `HOST.ROLE`."""
    return {
        item["address"].rpartition("/")[2]: (item["code"], item["reason"])
        for item in plan["deferred"]
        if item["address"].startswith("ansible/")
    }
