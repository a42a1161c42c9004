"""Sites with a history: commits made without a working tree, an installation, and what a second one without an index says of the same data."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePath
from typing import Any

import pygit2

from reconciler.applying import apply_plan
from reconciler.beginning import note_applied
from reconciler.drivers.driver import DriverInfo, Inputs
from reconciler.drivers.memory import MemoryDriver, World
from reconciler.errors import InputError, OctofleetError
from reconciler.planning import Planned, make_plan
from reconciler.settings import Apply, Observe, Secrets, Settings, Store
from reconciler.types.host import FleetScope
from reconciler.types.request import Request
from reconciler.types.resource import Resource
from tests.fleets import Chosen

File = str | bytes | tuple[int, str] | None
"""What a path holds: text, or a mode and a text (a link's target, a submodule's commit)."""
MODULE, LINK, EXECUTABLE = 0o160000, 0o120000, 0o100755
SECRETS = Secrets(stores={"env": Store(type="env", prefix="SITE_SECRET_", tenants=["*"])})


class History:
    """A bare repository that is committed to without a working tree."""

    def __init__(self, path: Path, files: Mapping[str, File]) -> None:
        self.path = path
        self.git = pygit2.init_repository(str(path), bare=True, initial_head="main")
        self.files: dict[str, File] = {}
        self.commit(files)

    def commit(self, edits: Mapping[str, File], branch: str = "main", parent: str | None = "") -> str:
        """Commit the newest files with some edits (None removes one). `parent`: another than the branch's own, None for none at all."""
        self.files = {path: text for path, text in {**self.files, **edits}.items() if text is not None}
        who = pygit2.Signature("x", "x@x", 1_700_000_000, 0)
        name = f"refs/heads/{branch}"
        if parent == "":
            parent = str(self.git.references[name].target) if name in self.git.references else None
        made = self.git.create_commit(None, who, who, "a commit", self._tree(), [] if parent is None else [parent])
        self.git.references.create(name, made, force=True)
        return str(made)

    def head(self, branch: str = "main") -> str:
        return str(self.git.references[f"refs/heads/{branch}"].target)

    def _tree(self) -> pygit2.Oid:
        index = pygit2.Index()
        for path, text in sorted(self.files.items()):
            mode, content = text if isinstance(text, tuple) else (0o100644, text)
            assert content is not None
            blob = (
                pygit2.Oid(hex=str(content))
                if mode == MODULE
                else self.git.create_blob(content if isinstance(content, bytes) else content.encode())
            )
            index.add(pygit2.IndexEntry(path, blob, mode))
        return index.write_tree(self.git)


@dataclass(frozen=True, kw_only=True)
class Versioned(MemoryDriver):
    """A simulated world whose driver is of a chosen version, which shows in what it makes, and whose roles read their Ansible project."""

    version: int = 1

    @property
    def info(self) -> DriverInfo:
        return replace(super().info, version=self.version)

    def resources(self, scope: FleetScope, inputs: Inputs) -> Iterator[Resource]:
        projects = {role.name: PurePath(role.ansible["playbook"]).parent for host in scope.hosts for role in host.roles if role.ansible}
        for resource in super().resources(scope, inputs):
            more: dict[str, Any] = {} if self.version == 1 else {"made-by": self.version}
            if resource.spec.get("role") in projects:
                more["content"] = inputs.content(str(projects[resource.spec["role"]]))
            yield replace(resource, spec={**resource.spec, **more})


@dataclass
class Site:
    """A repository and a data directory, and what is installed there."""

    history: History
    data: Path
    version: int = 1
    at_most: int = 1000
    opened: list[Chosen] = field(default_factory=list)

    def installed(self, data: Path | None = None) -> Chosen:
        place = data or self.data
        place.mkdir(exist_ok=True, mode=0o700)
        driver = Versioned(world=World(str(place / "memory.db")), version=self.version)
        return Chosen(
            data_dir=place,
            settings=Settings(secrets=SECRETS, observe=Observe(at_most=self.at_most), apply=Apply(attempts=1)),
            extra=[driver],
        )

    @property
    def installation(self) -> Chosen:
        """The one that goes on from plan to plan."""
        if not self.opened:
            self.opened.append(self.installed())
        return self.opened[0]

    @property
    def world(self) -> World:
        driver = self.installation.extra[0]
        assert isinstance(driver, Versioned)
        return driver.world

    def restart(self) -> None:
        """As after the end of a process."""
        while self.opened:
            close(self.opened.pop())

    def plan(self, request: Request, installation: Chosen | None = None) -> Planned:
        made = installation or self.installation
        return make_plan(made, made.repository(str(self.history.path)), request)

    def apply(self, request: Request) -> None:
        """Plan and apply, as the command does."""
        planned = self.plan(request)
        if planned.plan.changes:
            apply_plan(self.installation, planned.row, approved=True)
        else:
            note_applied(self.installation, planned.row, planned.plan)

    def told(self, request: Request, installation: Chosen | None = None) -> Any:
        """What a plan says, or why there is none."""
        try:
            return said(self.plan(request, installation))
        except InputError as error:
            return ("input", [str(problem) for problem in error.problems])
        except OctofleetError as error:
            return (type(error).__name__, error.message, error.hint)

    @contextmanager
    def copied(self, into: Path) -> Iterator[Chosen]:
        """Another installation on a copy of the data directory that has no index."""
        shutil.rmtree(into, ignore_errors=True)
        shutil.copytree(self.data, into, ignore=shutil.ignore_patterns("index", "scratch", "*-shm"))
        made = self.installed(into)
        try:
            yield made
        finally:
            close(made)

    def agrees(self, request: Request) -> Any:
        """Plan with the index that is there and with none: both must say the same, which is given."""
        assert self.installation.key  # made at its first use, and both must have the same
        with self.copied(self.data.with_name("copy")) as other:
            cold = self.told(request, other)
        kept = self.told(request)
        assert kept == cold
        return kept


def close(installation: Chosen) -> None:
    installation.close()
    for driver in installation.extra:
        if isinstance(driver, MemoryDriver):
            driver.world._database.close()


def said(planned: Planned) -> dict[str, Any]:
    """Everything that a plan tells and that does not depend on when it was made."""
    plan = planned.plan
    return {
        "changes": {
            change.address: (
                change.action,
                change.digest,
                sorted(change.causes),
                [(item.stated(), sorted(item.causes)) for item in change.fields],
                str(change.origin),
                change.basis,
            )
            for change in plan.changes
        },
        "deferred": [str(item) for item in plan.deferred],
        "problems": [str(problem) for problem in plan.problems],
        "guards": [str(guard) for guard in plan.guards],
        "base": plan.base,
        "hosts": plan.hosts,
        "expiry": plan.expires_at - plan.created_at > 0,
        "id": plan.id,
    }
