"""`octofleet serve` on the laboratory's network, for a repository of one host; see `Served`."""

import json
import os
import sqlite3
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

from tests import fleets
from tests.conftest import ROOT
from tests.ha.kept import Kept, until
from tests.netboot.lab import Lab
from tests.netboot.machine import LIMIT_S, Machine
from tests.netboot.site_dhcp import SERVER

BASE = f"http://{SERVER}:8069"
API = ("127.0.0.1", 8080)
HOST = "host/shop/web-01"
NETWORK = """\
apiVersion: octofleet/v1
kind: Network
metadata: {name: lan}
spec:
  cidr: 10.77.0.0/24
"""
MACHINE = """\
apiVersion: octofleet/v1
kind: Host
metadata: {{name: web-01, tenant: shop}}
spec:
  profile: base
  roles: [{roles}]
  firmware: {firmware}
  kernel_args: [{kernel_args}]
  interfaces:
    - {{name: eth0, mac: "{mac}", network: lan, {address}}}
  disk: {{device: /dev/vda}}
  install:
    source: {base}/media
    kernel: {kernel}
    initrd: {initrd}
    generation: {generation}
"""
SETTINGS = """\
listen = "{api}"
log = "json"
[boot]
listen = "{server}:8069"
tftp = "{server}:69"
url = "{base}"
networks = ["10.77.0.0/24", "fd77::/64"]
media = "{media}"
"""


class Served:
    """The product with `media` published, and its repository's only host, which has this `mac`. `settings` is added to the table [boot],
    `files` to the repository.

    `arm` commits and applies an installation, as a person does with a commit; `start` serves.
    """

    def __init__(self, lab: Lab, media: Path, *, mac: str, settings: str = "", files: Mapping[str, str] | None = None, **host: str) -> None:
        self._lab = lab
        self._host = (
            {"roles": "web", "firmware": "bios", "kernel_args": "console=ttyS0", "mac": mac, "base": BASE, "address": "dhcp4: true"}
            | {
                "kernel": f"{BASE}/media/linux",
                "initrd": f"{BASE}/media/call-back.gz",
            }
            | host
        )
        self.data = lab.directory / "data"
        self.data.mkdir()
        config = lab.directory / "octofleet.toml"
        text = SETTINGS.format(api=":".join(map(str, API)), server=SERVER, base=BASE, media=media)
        config.write_text(text + settings)
        self.env = {"OCTOFLEET_CONFIG": str(config), "OCTOFLEET_DATA_DIR": str(self.data), "PYTHONPATH": str(ROOT)}
        self.env["OCTOFLEET_MEMORY__ENABLED"] = "false"
        fleet = fleets.fleet(0, network=NETWORK, **{"host-1": self._manifest(0)}) | dict(files or {})
        self.repo = fleets.repo(lab.directory / "fleet", fleet)

    def arm(self, generation: int = 1) -> Kept:
        """A commit that raises the host's generation, approved and being applied: `octofleet apply` ends when the machine is installed."""
        self.repo.commit({"host-1.yaml": self._manifest(generation)})
        applying = self._start("apply", "--approve")

        def armed() -> bool:
            assert applying.alive, applying.tail()
            return self.states()[-1:] == ["armed"]

        until(armed, f"{HOST} armed", within_s=LIMIT_S)
        return applying

    def start(self) -> Kept:
        """Serve until the laboratory ends."""
        serving = self._start("serve")

        def ready() -> bool:
            assert serving.alive, serving.tail()
            return self.get(f"http://{API[0]}:{API[1]}/readyz") == 200

        until(ready, "octofleet serve is ready", within_s=120)
        return serving

    def _start(self, name: str, *more: str) -> Kept:
        known = {key: value for key, value in os.environ.items() if not key.startswith("OCTOFLEET_")}
        command = [sys.executable, "-m", "reconciler.cli", name, "--repo", str(self.repo.path), *more]
        return self._lab.start(name, command, env=known | self.env)

    def octofleet(self, *arguments: str) -> str:
        """What the command prints; fails the test on any error."""
        done = fleets.octofleet(self.data, *arguments, env=self.env)
        assert done.code in (0, 2, 3), done.text
        return done.out

    def get(self, url: str) -> int | None:
        """The status that a URL answers with, on the laboratory's network."""
        try:
            with self._lab.inside.entered(), urllib.request.urlopen(url, timeout=10) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return None

    def _manifest(self, generation: int) -> str:
        return MACHINE.format(**self._host, generation=generation)

    def states(self) -> list[str]:
        """How installations stand, the latest last."""
        if not (self.data / "octofleet.db").exists():
            return []
        with closing(sqlite3.connect(f"file:{self.data / 'octofleet.db'}?mode=rw", uri=True)) as database:
            if not database.execute("SELECT 1 FROM sqlite_master WHERE name = 'installation'").fetchall():
                return []  # the command is about to make its tables
            return [str(state) for (state,) in database.execute("SELECT state FROM installation ORDER BY armed_at")]

    def events(self, name: str) -> list[dict[str, Any]]:
        """What `serve` logged under that name, in order."""
        lines = (self._lab.directory / "serve.log").read_text().splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [event for event in found if event["event"] == name]

    def wait_event(self, name: str, **fields: object) -> None:
        """Until `serve` has logged such an event."""

        def logged() -> bool:
            return any(fields.items() <= event.items() for event in self.events(name))

        until(logged, f"{name} {fields}", within_s=LIMIT_S)


def check_installed(served: Served, machine: Machine) -> dict[str, Any]:
    """That the machine, which is off, was installed as an installer does it, and that the server knows; gives the facts it sent."""
    said = [line.partition("lab: ")[2] for line in machine.console.splitlines() if "lab: " in line]
    answers = [line for line in said if line.startswith("answer ")]
    assert len(answers) == 2, said
    assert answers[0] == answers[1]  # a second fetch gives the same bytes
    assert [line for line in said if line.startswith("posted ")] == ["posted booted", "posted installed"], said
    stages = [(event["stage"], event["state"]) for event in served.events("installation-stage")]
    assert stages == [("booted", "installing"), ("installed", "installed")]
    facts: dict[str, Any] = json.loads(next(line for line in said if line.startswith("facts ")).removeprefix("facts "))
    return facts
