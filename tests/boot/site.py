"""A fleet whose machines boot from the network: a repository, an installation, the boot server on loopback, and machines that ask it."""

import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from reconciler.beginning import find
from reconciler.boot.serving import booting
from reconciler.gating import approve
from reconciler.serving import serving
from reconciler.settings import Followed
from reconciler.store.followed import APPROVAL, followed
from reconciler.store.installs import installations_of
from reconciler.types.installation import Installation
from reconciler.wiring import Installation as Wiring
from reconciler.wiring import open_installation
from tests.fleets import Repo, fleet, host, repo

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
    url: str, form: dict[str, str] | None = None, *, method: str | None = None, headers: dict[str, str] | None = None, **more: Any
) -> Answer:
    data = urllib.parse.urlencode(form).encode() if form is not None else None
    request = urllib.request.Request(url, data=data, method=method, headers=headers or {})
    try:
        with urllib.request.urlopen(request, timeout=30, **more) as found:
            return Answer(status=found.status, text=found.read().decode(errors="replace"), headers=dict(found.headers))
    except urllib.error.HTTPError as error:
        return Answer(status=error.code, text=error.read().decode(errors="replace"), headers=dict(error.headers))


class Site:
    """`settings`: further lines of the table [boot]."""

    def __init__(self, path: Path, url: str = "", settings: str = "", **files: str) -> None:
        self.path = path
        self.repo: Repo = repo(path / "repo", fleet(0, **({"host-1": bootable(generation=0)} | files)))
        (path / "data").mkdir()
        lines = [f'database_url = "{url}"'] if url else []
        lines += ["[boot]", 'listen = "127.0.0.1:0"', 'url = "http://127.0.0.1:8069"', 'networks = ["127.0.0.0/8"]', settings]
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

    def approved(self) -> None:
        """Say yes to the plan that waits for it, once there is one."""
        self.until(lambda: self.waits() is not None)
        plan = self.waits()
        assert plan is not None
        approve(self.wiring, find(self.wiring, plan), yes=True, reason="a test")

    def waits(self) -> str | None:
        with self.wiring.store.read() as connection:
            (found,) = followed(connection)
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
