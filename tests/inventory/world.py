"""A fleet of two tenants with secrets and hostile values, the collection as real `ansible-galaxy` installs it, and Ansible's own programs on both."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.conftest import ROOT, program
from tests.fleets import TENANT, Repo, Result, fleet, host, octofleet, repo

SECRET, KEY = "correct horse battery", "shop_api_key"
VAULT = "$ANSIBLE_VAULT;1.1;AES256\n        6162636465\n"
TEMPLATE = "{{ 6 * 7 }} of {{ octofleet.name }}"
LINES = "one\\n[all]\\nhacked ansible_connection=local"
LABELS = "  labels: {site: ams1, example.net/rack: r-1}\n"
VARS = f"""  vars:
    ansible_connection: local
    ansible_python_interpreter: {sys.executable}
    answer: "{TEMPLATE}"
    lines: "{LINES}"
    nested: {{list: [1, null, true, {{token: {{secretRef: {{store: keys, key: {KEY}}}}}}}]}}
    api_key: {{secretRef: {{store: keys, key: {KEY}}}}}
    sealed: !vault |
        {VAULT}"""
FILES = {
    "host-1.yaml": host("web-01", 1, metadata=LABELS, spec=VARS),
    "bank.yaml": TENANT.replace("shop", "bank"),
    "bank-1.yaml": host("web-01", 101, tenant="bank"),
    "bank-2.yaml": host("vault-01", 102, tenant="bank"),
}
"""`web-01` is a host of both tenants."""
SETTINGS = """[secrets.stores.keys]
type = "directory"
path = "{path}"
tenants = ["*"]
[ansible]
user = "deploy"
[ansible.providers.own]
tenants = ["shop"]
user = "owner"
"""
PLUGIN = "plugin: octofleet.fleet.octofleet\n"


@dataclass(frozen=True, kw_only=True)
class Ansible:
    """Ansible's programs with a home of their own, in which the collection is installed."""

    root: Path

    def run(self, name: str, *args: str, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> Result:
        own = {"HOME": str(self.root), "ANSIBLE_HOME": str(self.root), "ANSIBLE_COLLECTIONS_PATH": str(self.root / "collections")}
        own |= {
            "PATH": os.environ["PATH"],
            "LC_ALL": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "ANSIBLE_INVENTORY_ANY_UNPARSED_IS_FAILED": "true",
        }
        command = [program(name, "ansible-core"), *args]
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            cwd=cwd or self.root,
            env=own | dict(env or {}),
            stdin=subprocess.DEVNULL,
        )
        assert "Traceback" not in done.stderr, done.stderr
        return Result(code=done.returncode, out=done.stdout, err=done.stderr)

    def configure(self, text: str, name: str = "fleet") -> Path:
        """A configuration of the plugin."""
        path = self.root / f"{name}.octofleet.yml"
        path.write_text(PLUGIN + text)
        return path

    def listed(self, source: Path, **env: str) -> dict[str, Any]:
        """What Ansible makes of an inventory."""
        found = self.run("ansible-inventory", "-i", str(source), "--list", env=env)
        assert found.code == 0, found.text
        document: dict[str, Any] = found.json
        return document

    def refused(self, source: Path, **env: str) -> str:
        """What is said of an inventory that cannot be read, on one line."""
        found = self.run("ansible-inventory", "-i", str(source), "--list", env=env)
        assert found.code != 0, found.text
        return " ".join(found.text.split())

    def debug(self, source: Path, host: str, expression: str) -> Result:
        """What an expression is for a host."""
        return self.run("ansible", "-i", str(source), host, "-m", "ansible.builtin.debug", "-a", f"msg={{{{ {expression} }}}}")


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """The repository, and the data directory of the command."""

    repo: Repo
    data: Path

    def __call__(self, *args: str) -> Result:
        return octofleet(self.data, "inventory", "--repo", str(self.repo.path), *args)

    @property
    def command(self) -> str:
        """The configuration that reads it by the command."""
        return f"repo: {self.repo.path}\ndata_dir: {self.data}\ncommand: [{sys.executable}, -m, reconciler.cli]\n"


def make_fleet(root: Path) -> Fleet:
    """The fleet, with its secret in a store that both tenants may read."""
    made = Fleet(repo=repo(root / "repo", fleet(hosts=2) | FILES), data=root / "data")
    keys = root / "keys"
    keys.mkdir(mode=0o700)
    (keys / KEY).write_text(SECRET)
    (keys / KEY).chmod(0o600)
    made.data.mkdir(mode=0o700)
    (made.data / "octofleet.toml").write_text(SETTINGS.format(path=keys))
    return made


def installed(root: Path) -> Ansible:
    """Ansible, with the collection from the archive that the command writes."""
    made = Ansible(root=root)
    written = octofleet(root / "data", "inventory", "--collection", str(root))
    assert written.code == 0, written.text
    archive = written.out.strip().removeprefix("wrote ")
    done = made.run("ansible-galaxy", "collection", "install", archive, "-p", str(root / "collections"))
    assert done.code == 0 and "was installed successfully" in done.text, done.text
    return made
