"""A repository in a directory, hosts that are directories, and contexts: what the tests of the Ansible driver share."""

import importlib.util
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reconciler.drivers.ansible.driver import AnsibleDriver
from reconciler.drivers.ansible.galaxy import Galaxy
from reconciler.drivers.ansible.settings import AnsibleSettings
from reconciler.drivers.driver import Context, Step, Target, Work
from reconciler.errors import OctofleetError, Permanent
from reconciler.types.change import Action
from reconciler.types.host import FleetScope, ResolvedHost, RoleUse
from reconciler.types.observation import Observation, Present, Proposed, Unknown
from reconciler.types.origin import Origin
from reconciler.types.outcome import Outcome
from reconciler.types.resource import Recorded, Resource
from reconciler.types.task import PlayTold
from reconciler.types.values import Secret, SecretRef, SecretValue
from tests.conftest import missing

PLAY = "- hosts: all\n  gather_facts: false\n  tasks:\n"


def need_ansible() -> None:
    """Skip, or fail in CI, where Ansible is not installed."""
    if importlib.util.find_spec("ansible_runner") is None or importlib.util.find_spec("ansible") is None:
        missing("ansible-core and ansible-runner", "pip install 'octofleet[ansible]'")


def secret(key: str) -> Secret:
    return Secret(ref=SecretRef(store="s", key=key), token=f"token-of-{key}")


@dataclass(kw_only=True)
class World:
    """`repository` holds playbooks; `hosts/NAME` is a host of the local connection, which playbooks know as `base`."""

    root: Path
    settings: AnsibleSettings = field(default_factory=AnsibleSettings)
    galaxy: Galaxy | None = None
    secrets: dict[str, str] = field(default_factory=dict)
    passwords: dict[str, str] = field(default_factory=dict)
    logged: list[str] = field(default_factory=list)
    told: list[PlayTold] = field(default_factory=list)
    hosts: list[ResolvedHost] = field(default_factory=list)
    cancelled: Callable[[], bool] = lambda: False
    stopped: Callable[[], bool] = lambda: False
    deadline_s: float = 120.0

    @property
    def repository(self) -> Path:
        return self.root / "repository"

    @property
    def scratch(self) -> Path:
        return self.root / "scratch"

    def write(self, path: str, text: str) -> None:
        target = self.repository / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def tasks(self, text: str, path: str = "web/site.yml") -> None:
        """A playbook of one play with these tasks (YAML, not indented)."""
        self.write(path, PLAY + "".join(f"    {line}\n" for line in text.strip("\n").splitlines()))

    def base(self, name: str) -> Path:
        return self.root / "hosts" / name

    def host(
        self,
        name: str,
        roles: Sequence[tuple[str, Mapping[str, Any]]] = (("web", {"playbook": "web/site.yml"}),),
        tenant: str = "shop",
        **variables: Any,
    ) -> ResolvedHost:
        self.base(name).mkdir(parents=True, exist_ok=True)
        local = {"ansible_connection": "local", "ansible_python_interpreter": sys.executable, "base": str(self.base(name))}
        host = ResolvedHost(
            name=name,
            tenant=tenant,
            values={"name": name, "fqdn": f"{name}.example", "labels": {"tier": "web"}, "vars": local | variables},
            roles=tuple(RoleUse(name=role, tenant="", ansible=ansible) for role, ansible in roles),
            origin=Origin(path="hosts.yaml"),
        )
        self.hosts.append(host)
        return host

    def content(self, path: str) -> str | None:
        return f"tree:{path}" if (self.repository / path).exists() else None

    @property
    def driver(self) -> AnsibleDriver:
        """Its runs see the directories that stand for hosts, isolated or not."""
        return AnsibleDriver(replace(self.settings, visible=(self.root / "hosts", *self.settings.visible)), galaxy=self.galaxy)

    def resources(self) -> dict[str, Resource]:
        found = self.driver.resources(FleetScope(fleet="f", hosts=self.hosts), self)
        return {resource.address.rpartition("/")[2]: resource for resource in found}

    def context(self) -> Context:
        self.scratch.mkdir(exist_ok=True)
        return Context(
            deadline=time.monotonic() + self.deadline_s,
            scratch=self.scratch,
            secret=self._secret,
            export=lambda tree, into: shutil.copytree(self.repository / tree.removeprefix("tree:"), into, symlinks=True) and None,
            content=lambda blob: b"",
            cancelled=self.cancelled,
            stopped=self.stopped,
            log=self.logged.append,
            passwords=lambda tenant: {name: SecretValue(password) for name, password in self.passwords.items()},
            told=self.told.append,
        )

    def _secret(self, ref: SecretRef, tenant: str) -> SecretValue:
        if ref.key not in self.secrets:
            raise Permanent(f"there is no secret {ref} for {tenant}")
        return SecretValue(self.secrets[ref.key])

    def observe(self, *, applied: bool = False) -> dict[str, Observation]:
        """By `host.role`. `applied`: by the record, what is desired was applied; otherwise it is new to the hosts."""
        targets = [self.target(resource, resource.digest if applied else "") for resource in self.resources().values()]
        found = self.driver.observe(targets, self.context())
        self.check_clean()
        return {where.rpartition("/")[2]: item for where, item in found.items()}

    def target(self, resource: Resource, recorded: str = "") -> Target:
        """To look at; `recorded` is the digest of what was applied before, if anything was."""
        record = Recorded(
            address=resource.address,
            source="f",
            digest=recorded,
            rules=resource.rules,
            group=resource.group,
            external_id="",
            observed_digest="",
            commit="",
        )
        return Target(
            address=resource.address,
            desired=resource,
            recorded=record if recorded else None,
            recorded_spec=resource.spec if recorded else None,
        )

    def apply(self) -> dict[str, Outcome]:
        work = [Work(action=Action.RUN, target=Target(address=item.address, desired=item)) for item in self.resources().values()]
        found = self.driver.apply(Step(id="run.1", work=tuple(work)), self.context())
        self.check_clean()
        assert all(isinstance(item, Outcome) for item in found.values())
        return {where.rpartition("/")[2]: item for where, item in found.items() if isinstance(item, Outcome)}

    def check_clean(self) -> None:
        """Nothing is left of a run."""
        assert list(self.scratch.iterdir()) == []


def proposed(found: Observation) -> Proposed:
    assert isinstance(found, Proposed), found
    return found


def present(found: Observation) -> Present:
    assert isinstance(found, Present), found
    return found


def unknown(found: Observation) -> Unknown:
    assert isinstance(found, Unknown), found
    return found


def raised(call: Callable[[], object]) -> OctofleetError:
    try:
        call()
    except OctofleetError as error:
        return error
    raise AssertionError("nothing was raised")
