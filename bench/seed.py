"""Writes into a data directory what applying `main~1` of a generated fleet would have left: `python -m bench.seed DATA REPOSITORY HOSTS`.

Records, specifications, observations and boot files. The hosts that one-file commits change have their own rendered files; the files of all
others are links to one rendered file of the format, with that file's digest on record, so that each is as recorded when it is looked at.
With `--source` only the place and commit of the source are written: another layout of the same fleet has the same records.
"""

import os
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from bench.fleets import touched
from reconciler.drivers.boot import BootDriver
from reconciler.planning import compiled
from reconciler.source.repository import Commit, Repository
from reconciler.store.observations import save_observations
from reconciler.store.records import save_records, save_source, save_specs
from reconciler.tracking import CommitTree
from reconciler.types.canonical import digest_bytes
from reconciler.types.observation import Present
from reconciler.types.resource import Recorded, Resource, parts
from reconciler.wiring import Installation, open_installation, place

BATCH, LINKS = 4000, 20_000
SOURCE = "bench"


class Published:
    """Boot files on disk; gives the digest of each."""

    def __init__(self, installation: Installation, repository: Repository, own: set[str]) -> None:
        self._driver = BootDriver(directory=installation.boot_dir, template=installation.sandbox.render)
        self._repository, self._own = repository, own
        self._shared: dict[str, tuple[Path, str, int]] = {}

    def publish(self, resource: Resource) -> str:
        """The SHA-256 of the file that now stands for the resource."""
        _, kind, _, name = parts(resource.address)
        path, (like, found, links) = self._driver.path(resource.address), self._shared.get(kind, (Path(), "", LINKS))
        if name in self._own or links >= LINKS:
            data = self._driver.render(resource, self._repository.blob)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            if name not in self._own:
                self._shared[kind] = path, digest_bytes(data), 0
            return digest_bytes(data)
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(like, path)
        self._shared[kind] = like, found, links + 1
        return found


def resources(installation: Installation, repository: Repository, commit: Commit) -> Iterator[Resource]:
    """Everything that the commit wants, as plans make it."""
    desired, inputs = compiled(installation, repository, commit), CommitTree.of(repository, commit.tree)
    if desired.problems or desired.blocked:
        raise SystemExit("\n".join(map(str, desired.problems[:10])) or str(desired.blocked))
    for scope in desired.scopes():
        for driver in installation.drivers.values():
            yield from driver.resources(scope, inputs)


def seed(data: Path, location: str, hosts: int, *, without: str = "none/") -> int:
    """The number of resources recorded: all but those whose address begins so."""
    data.mkdir(parents=True, exist_ok=True)
    installation = open_installation(data)
    repository = installation.repository(location)
    commit, written = repository.commit("main~1"), 0
    published, now = Published(installation, repository, touched(hosts)), time.time()
    wanted = (found for found in resources(installation, repository, commit) if not found.address.startswith(without))
    while batch := list(islice(wanted, BATCH)):
        ids = {r.address: published.publish(r) if parts(r.address)[0] == "boot" else "" for r in batch}
        seen = {r.address: Present(spec=r.spec, digest=r.digest, at=now, external_id=ids[r.address]) for r in batch}
        with installation.store.write() as connection:
            save_specs(connection, (r.spec for r in batch))
            save_records(connection, (_recorded(r, ids[r.address], commit.id) for r in batch))
            save_observations(connection, seen, dict.fromkeys(seen, True))
        written += len(batch)
    move(installation, repository, commit)
    installation.close()
    return written


def _recorded(resource: Resource, external_id: str, commit: str) -> Recorded:
    return Recorded(
        address=resource.address,
        source=SOURCE,
        digest=resource.digest,
        rules=resource.rules,
        group=resource.group,
        external_id=external_id,
        observed_digest=resource.digest,
        commit=commit,
    )


def move(installation: Installation, repository: Repository, commit: Commit) -> None:
    """Note the repository and commit as those applied last."""
    with installation.store.write() as connection:
        save_source(connection, SOURCE, place(repository), commit.id, time.time())


def main() -> None:
    """See the module."""
    data, location, hosts, *rest = sys.argv[1:]
    if rest == ["--source"]:
        installation = open_installation(Path(data))
        repository = installation.repository(location)
        move(installation, repository, repository.commit("main~1"))
        installation.close()
    else:
        print(seed(Path(data), location, int(hosts)))


if __name__ == "__main__":
    main()
