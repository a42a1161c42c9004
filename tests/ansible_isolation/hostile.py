"""Two tenants of one machine, one of them hostile: what is to be protected, and a run of a playbook that looks for it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from reconciler.drivers.ansible.isolation import why_not
from reconciler.drivers.ansible.settings import AnsibleSettings
from reconciler.types.outcome import Outcome
from tests.conftest import missing
from tests.drivers.ansible_world import World, need_ansible

CANARY = "canary-4f1d-of-the-bank"


def need_isolation() -> None:
    """Skip, or fail in CI, where bubblewrap does not work."""
    need_ansible()
    if why_not():
        missing(f"bubblewrap ({why_not()})", "apt-get install bubblewrap")


@dataclass(kw_only=True)
class Machine:
    """`data`: the server's data directory, with what the tenant bank has in it; every file of it holds the canary."""

    root: Path
    world: World = field(init=False)

    def __post_init__(self) -> None:
        need_isolation()
        data = self.root / "data"
        self.files = [
            data / "octofleet.db",
            data / "key",
            data / "cache" / "projects" / "bank" / "site.yml",
            data / "cache" / "galaxy" / "bank" / "secret.yml",
            data / "scratch" / "run-of-the-bank" / "ansible-abc" / "inventory.json",
            data / "scratch" / "run-of-the-bank" / "ansible-abc" / "vault-password",
            self.root / "etc" / "octofleet.toml",
            self.root / "etc" / "bank_key",
            self.root / "secrets" / "password",
        ]
        for path in self.files:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(CANARY)
        key = self.root / "etc" / "shop_key"
        key.write_text("the key of the shop\n")
        key.chmod(0o600)
        known = self.root / "etc" / "known_hosts"  # else a run sees the ones of whoever runs the tests
        known.touch()
        keys = {"shop": key, "bank": self.root / "etc" / "bank_key"}
        self.world = World(
            root=data / "scratch" / "shop", settings=AnsibleSettings(isolation="required", tenant_keys=keys, known_hosts_file=known)
        )

    @property
    def targets(self) -> list[str]:
        """Everything that the hostile tenant would like to read or change."""
        return [str(path) for path in self.files]

    def hostile(self, tasks: str, **variables: Any) -> tuple[Outcome, Path]:
        """Run a playbook of the tenant shop on its one host; its outcome, and its host's directory, where it leaves what it found."""
        self.world.tasks(tasks)
        if not self.world.hosts:
            self.world.host(
                "a", targets=self.targets, pid=os.getpid(), canary_dirs=sorted({str(path.parent) for path in self.files}), **variables
            )
        return self.world.apply()["a.web"], self.world.base("a")

    def untouched(self) -> bool:
        """Nothing of the bank was changed, and nothing put beside it."""
        places = {path.parent for path in self.files} - {self.root / "etc"}
        planted = {entry for place in places for entry in place.iterdir() if entry.is_file()} - set(self.files)
        return not planted and all(path.read_text() == CANARY for path in self.files)


def loot(base: Path) -> dict[str, Any]:
    """What the playbook's program wrote."""
    found: dict[str, Any] = json.loads((base / "loot").read_text())
    return found


@contextmanager
def environment(name: str, value: str) -> Iterator[None]:
    """A variable of this process, which stands for the server."""
    os.environ[name] = value
    try:
        yield
    finally:
        del os.environ[name]


def isolated_as(world: World, mode: str) -> World:
    """The world with another setting."""
    world.settings = replace(world.settings, isolation=mode)
    return world
