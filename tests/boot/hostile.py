"""A boot server without the loop that follows a repository: a host that is applied, armed by the test itself, on either kind of database."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path

from reconciler.arming import token_of
from reconciler.boot.serving import booting
from reconciler.events import listeners
from reconciler.types.installation import Installation
from reconciler.wiring import open_installation
from tests.boot.site import Site, script

HOST = ("shop", "web-01")
_steps = count(1)


class Stand(Site):
    """`arm` begins an installation of web-01; `told` are all events since the start."""

    told: list[tuple[str, dict[str, object]]]
    where: list[str]

    def arm(self, attempts: int = 1) -> str:
        """The URL of the answer file of a new installation, as its machine was told it; what went on before is cancelled."""
        self.operation = f"step{next(_steps)}.1"
        self.wiring.arming.arm(self.operation, HOST, 1, attempts)
        token = token_of(self.wiring.key, self.newest.id)
        self.until(lambda: token in script(self))
        return self.answers(script(self))

    @property
    def newest(self) -> Installation:
        found = self.wiring.arming.armed_by(self.operation)
        assert len(found) == 1
        return found[0]


@contextmanager
def standing(path: Path, url: str = "", settings: str = "", *, network: str = "127.0.0.0/8", **files: str) -> Iterator[Stand]:
    site = Stand(path, url, settings, network=network, **files)
    site.told = []

    def told(name: str, fields: object) -> None:
        site.told.append((name, dict(fields)))  # type: ignore[call-overload]

    try:
        with site.serving():
            site.begun()
        listeners.append(told)
        with booting(site.wiring) as where:
            site.where, site.url = where, where[0]
            yield site
    finally:
        if told in listeners:
            listeners.remove(told)
        site.close()


@contextmanager
def beside(site: Stand) -> Iterator[str]:
    """A second serving process, as far as the database and memory go; gives its URL."""
    other = open_installation(site.path / "data")
    try:
        with booting(other) as where:
            yield where[0]
    finally:
        other.close()


def there(site: Stand, url: str, other: str) -> str:
    """The same URL at another process."""
    return url.replace(site.url, other)
