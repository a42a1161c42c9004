"""A fleet whose machines boot from the network: a repository, an installation, the boot server on loopback, and machines that ask it."""

import http.client
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.applying import unfinished
from reconciler.beginning import find
from reconciler.boot.serving import booting
from reconciler.gating import approve
from reconciler.serving import serving
from reconciler.settings import Followed
from reconciler.store.followed import APPROVAL, followed
from reconciler.store.installs import installations_of
from reconciler.store.plans import load_plan
from reconciler.store.records import applied_commit
from reconciler.types.installation import Installation
from reconciler.wiring import Installation as Wiring
from reconciler.wiring import open_installation
from tests.fleets import Repo, fleet, host, repo

MAC = "52:54:00:00:00:01"
INSTALL = """\
  install:
    generation: {generation}
    source: http://mirror.example.net/debian
  disk: {{device: /dev/vda}}
"""


def bootable(name: str = "web-01", number: int = 1, generation: int = 1, spec: str = "", metadata: str = "") -> str:
    return host(name, number, metadata=metadata, spec=INSTALL.format(generation=generation) + spec)


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back."""

    status: int
    text: str
    headers: dict[str, str] = field(default_factory=dict)


def ask(
    url: str,
    form: dict[str, str] | None = None,
    *,
    method: str = "",
    headers: dict[str, str] | None = None,
    source: str = "127.0.0.1",
    tls: Any = None,
) -> Answer:
    """A request from an address of this machine."""
    at = urllib.parse.urlsplit(url)
    where: dict[str, Any] = {"host": at.hostname, "port": at.port, "timeout": 30, "source_address": (source, 0)}
    connection = http.client.HTTPSConnection(**where, context=tls) if at.scheme == "https" else http.client.HTTPConnection(**where)
    body = urllib.parse.urlencode(form) if form is not None else None
    kind = {"Content-Type": "application/x-www-form-urlencoded"} if form is not None else {}
    path = f"{at.path}?{at.query}" if at.query else at.path
    with closing(connection):
        connection.request(method or ("POST" if form is not None else "GET"), path, body, kind | (headers or {}))
        found = connection.getresponse()
        return Answer(status=found.status, text=found.read().decode(errors="replace"), headers=dict(found.headers))


def script(site: "Site", mac: str = MAC, platform: str = "pcbios") -> str:
    """What a machine is told to boot."""
    return ask(f"{site.url}/boot/ipxe?mac={mac.replace(':', '-')}&platform={platform}").text


class Site:
    """`settings`: further lines of the table [boot]."""

    def __init__(self, path: Path, url: str = "", settings: str = "", *, network: str = "127.0.0.0/8", **files: str) -> None:
        self.path = path
        self.repo: Repo = repo(path / "repo", fleet(0, **({"host-1": bootable(generation=0)} | files)))
        (path / "data").mkdir()
        lines = [f'database_url = "{url}"'] if url else []
        lines += ["[boot]", 'listen = "127.0.0.1:0"', 'url = "http://127.0.0.1:8069"', f'networks = ["{network}"]', settings]
        (path / "data" / "octofleet.toml").write_text("\n".join(lines))
        self.wiring: Wiring = open_installation(path / "data")
        self.url = ""

    def close(self) -> None:
        self.wiring.close()

    @contextmanager
    def serving(self) -> Iterator["Site"]:
        """What `octofleet serve` does, but for people's pages: follows, plans, works, and serves machines."""
        rules = Followed(location=str(self.repo.path), poll_s=0.2, interval_s=3600)
        with serving(self.wiring, "serve", [rules], lambda: False), booting(self.wiring) as where:
            self.url = where[0]
            yield self

    def answers(self, text: str) -> str:
        """The URL of the answer file in a script, as it is reached here."""
        found = re.search(r"url=(http://\S+)", text)
        assert found is not None, text
        return found.group(1).replace("http://127.0.0.1:8069", self.url)

    def call(self, url: str, stage: str, source: str = "127.0.0.1", **more: str) -> Answer:
        """What an installer says whose answer file is there."""
        return ask(f"{url.partition('/shop/')[0]}/callback", {"stage": stage, **more}, source=source)

    def begun(self) -> None:
        """The first commit is applied, and the host known."""
        self.until(lambda: self.commit() and not self.open_runs())

    def installed(self, generation: int = 1) -> None:
        """web-01 goes all its way."""
        self.begun()
        self.repo.commit({"host-1.yaml": bootable(generation=generation)})
        self.approved()
        self.armed()
        self.until(lambda: "installing" in script(self))
        self.call(self.answers(script(self)), "installed")
        self.until(lambda: not self.open_runs())

    def ledger(self, host: str = "web-01") -> Any:
        return self.wiring.arming.ledger([("shop", host)]).get(("shop", host))

    def open_runs(self) -> list[Any]:
        return unfinished(self.wiring)

    def commit(self) -> str:
        """The commit that was applied last."""
        with self.wiring.store.read() as connection:
            found = applied_commit(connection, "test")
        return found[0] if found else ""

    def settled(self, head: str) -> None:
        """Nothing more is done for a commit."""
        self.until(lambda: self._follows().planned == head and not self.open_runs())

    def _follows(self) -> Any:
        with self.wiring.store.read() as connection:
            (found,) = followed(connection)
        return found

    def deferred(self) -> object:
        """What the newest plan put off."""
        with self.wiring.store.read() as connection:
            row = connection.scalar('SELECT max("row") FROM plan')
            return [(item.address, item.code, item.reason) for item in load_plan(connection, row).deferred]

    def approved(self) -> None:
        """Say yes to the plan that waits for it, once there is one."""
        self.until(lambda: self.waits() is not None)
        plan = self.waits()
        assert plan is not None
        approve(self.wiring, find(self.wiring, plan), yes=True, reason="a test")

    def waits(self) -> str | None:
        found = self._follows()
        return found.about if found.code == APPROVAL else None

    def armed(self, host: str = "web-01") -> Installation:
        """The installation of a host, once it is armed."""
        self.until(lambda: any(item.open for item in self.installations(host)))
        return self.installations(host)[0]

    def stands(self) -> object:
        """For people: how the repository and its runs stand."""
        with self.wiring.store.read() as connection:
            steps = list(connection.rows("SELECT run, seq, wave, driver, state, note FROM step ORDER BY run, seq"))
            items = list(connection.rows("SELECT address, action, status, error FROM item"))
            return followed(connection), steps, items

    def until(self, so: Callable[[], object], within_s: float = 30.0) -> None:
        end = time.monotonic() + within_s
        while not so():
            assert time.monotonic() < end, f"it did not come to that: {self.stands()}"
            time.sleep(0.05)

    def installations(self, host: str = "web-01") -> list[Installation]:
        with self.wiring.store.read() as connection:
            return installations_of(connection, "shop", host)
