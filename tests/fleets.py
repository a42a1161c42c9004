"""Small fleets as Git repositories, the real command run on them, and installations with chosen drivers: shared by the tests of the core."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from reconciler.cli.init import commit_all
from reconciler.drivers.boot import BootDriver
from reconciler.drivers.driver import Driver
from reconciler.drivers.fleet import FleetDriver
from reconciler.drivers.wrap import Wrapped
from reconciler.settings import Apply, Settings
from reconciler.wiring import Installation
from tests.conftest import ROOT

FLEET = """\
apiVersion: octofleet/v1
kind: Fleet
metadata: {name: test}
spec:
  defaults:
    timezone: UTC
    packages: [curl]
"""
TENANT = """\
apiVersion: octofleet/v1
kind: Tenant
metadata: {name: shop}
spec:
  defaults:
    locale: en_US.UTF-8
"""
NETWORK = """\
apiVersion: octofleet/v1
kind: Network
metadata: {name: lan}
spec:
  cidr: 192.0.2.0/24
  gateway: 192.0.2.1
  nameservers: [192.0.2.53]
"""
PROFILE = """\
apiVersion: octofleet/v1
kind: Profile
metadata: {name: base}
spec:
  os: {distribution: debian, version: "12"}
  firmware: bios
  packages: [vim]
"""
ROLE = """\
apiVersion: octofleet/v1
kind: Role
metadata: {name: web}
spec:
  vars: {port: 80}
"""


def host(name: str, number: int, tenant: str = "shop", metadata: str = "", spec: str = "") -> str:
    """A Host with one interface; more `metadata` and `spec` as lines of YAML."""
    return f"""\
apiVersion: octofleet/v1
kind: Host
metadata:
  name: {name}
  tenant: {tenant}
{metadata}spec:
  profile: base
  roles: [web]
  interfaces:
    - name: eth0
      mac: "52:54:00:00:00:{number:02x}"
      network: lan
      address: 192.0.2.{number + 10}
{spec}"""


def fleet(hosts: int = 3, **more: str) -> dict[str, str]:
    """The files of a valid fleet: `more` replaces or adds files, named without their suffix."""
    files = {"fleet": FLEET, "tenant": TENANT, "network": NETWORK, "profile": PROFILE, "role": ROLE}
    files |= {f"host-{n}": host(f"web-{n:02d}", n) for n in range(1, hosts + 1)}
    return {f"{name}.yaml": text for name, text in (files | more).items()}


@dataclass(frozen=True, kw_only=True)
class Repo:
    """A Git repository in a directory."""

    path: Path

    def commit(self, files: Mapping[str, str | bytes | None]) -> str:
        """Write files (None removes one) and commit; gives the id."""
        for name, text in files.items():
            place = self.path / name
            place.parent.mkdir(parents=True, exist_ok=True)
            if text is None:
                place.unlink()
            else:
                place.write_bytes(text if isinstance(text, bytes) else text.encode())
        return commit_all(self.path, "a commit")


def repo(path: Path, files: Mapping[str, str | bytes | None] | None = None) -> Repo:
    """A new repository with one commit."""
    path.mkdir(parents=True, exist_ok=True)
    made = Repo(path=path)
    made.commit(fleet() if files is None else files)
    return made


@dataclass(frozen=True, kw_only=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on stdout; fails if there is anything else."""
        return json.loads(self.out)

    @property
    def text(self) -> str:
        """Everything that was printed."""
        return self.out + self.err


def octofleet(data: Path, *args: str, **more: Any) -> Result:
    """The real command in a process of its own, with the simulated world enabled. `env` adds to its environment; it may take `timeout` seconds."""
    known = {name: value for name, value in os.environ.items() if not name.startswith("OCTOFLEET_")}
    env = known | {"OCTOFLEET_DATA_DIR": str(data), "OCTOFLEET_MEMORY__ENABLED": "true", "PYTHONPATH": str(ROOT)} | more.pop("env", {})
    command = [sys.executable, "-m", "reconciler.cli", *args]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env, **{"cwd": data.parent, "timeout": 120} | more)
    return Result(code=done.returncode, out=done.stdout, err=done.stderr)


@dataclass(frozen=True, kw_only=True)
class Chosen(Installation):
    """An installation with the built-in fleet and boot drivers and `extra`, and no plugins."""

    extra: Sequence[Driver] = field(default_factory=tuple)

    @cached_property
    def drivers(self) -> Mapping[str, Driver]:
        """As wiring has it, but for where the optional drivers come from."""
        boot = BootDriver(directory=self.boot_dir, template=self.sandbox.render)
        return {driver.info.name: Wrapped(driver=driver) for driver in (FleetDriver(), boot, *self.extra)}


def installation(data: Path, *extra: Driver) -> Chosen:
    """An installation in a directory with chosen drivers. What may work later is not tried again in it: that takes time."""
    data.mkdir(exist_ok=True)
    return Chosen(data_dir=data, settings=Settings(apply=Apply(attempts=1)), extra=extra)
