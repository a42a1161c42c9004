"""A fleet with rollouts and windows, applied through the real worker, journal and store."""

from collections.abc import Mapping
from concurrent.futures import wait
from dataclasses import replace
from pathlib import Path
from typing import Any

from reconciler.beginning import begin
from reconciler.drivers.memory import MemoryDriver, World
from reconciler.planning import Planned, make_plan
from reconciler.settings import Settings
from reconciler.store.engine import Store
from reconciler.store.phases import PhaseRow, load_phases
from reconciler.types.request import Request
from reconciler.working import worker
from tests.fleets import PROFILE, Chosen, fleet, host, installation, repo

QUIET = "  packages: [htop]\n"


class Site:
    """`rollout` as a line of YAML, of every host; more `files` of the repository."""

    def __init__(
        self, path: Path, url: str, *, hosts: int, rollout: str = "", files: Mapping[str, str] | None = None, **memory: Any
    ) -> None:
        self.path = path
        self.world = World(str(path / "world.db"))
        made = installation(path / "data", MemoryDriver(world=self.world, **memory))
        self.installation: Chosen = replace(made, settings=Settings(database_url=url))
        profile = {"profile.yaml": f"{PROFILE}  rollout: {rollout}\n"} if rollout else {}
        self.repo = repo(path / "repo", fleet(hosts=hosts) | profile | dict(files or {}))

    @property
    def store(self) -> Store:
        return self.installation.store

    def plan(self) -> Planned:
        return make_plan(self.installation, self.installation.repository(str(self.repo.path)), Request())

    def begin(self, *, approved: bool = True) -> str:
        return begin(self.installation, self.plan().row, approved=approved)

    def change(self, *numbers: int, spec: str = QUIET) -> None:
        """Another package for these hosts."""
        self.repo.commit({f"host-{n}.yaml": host(f"web-{n:02d}", n, spec=spec) for n in numbers})

    def work(self) -> None:
        """Do all that can be done now."""
        with worker(self.installation, "worker") as one:
            idle = 0
            while idle < 3:
                futures = one.take()
                wait(futures)
                idle = 0 if futures else idle + 1
                self.write("UPDATE step SET due_at = 0 WHERE owner = '' AND note LIKE ?", "waits for %")

    def settle(self) -> None:
        """Apply everything, whatever waits for a person or for time."""
        run = self.begin()
        for _ in range(50):
            self.work()
            if self.rows("SELECT 1 FROM run WHERE id = ? AND ended_at IS NOT NULL", run):
                return
            self.write("UPDATE phase SET opens_at = 0, promote = ?", False)
        raise AssertionError("it never ends")

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self.store.read() as connection:
            return list(connection.rows(query, values))

    def write(self, query: str, *values: object) -> None:
        with self.store.write() as connection:
            connection.run(query, values)

    def phases(self, run: str) -> list[PhaseRow]:
        with self.store.read() as connection:
            return [phase for phase in load_phases(connection, run) if phase.track]

    def states(self, run: str) -> list[str]:
        return [phase.state for phase in self.phases(run)]

    def changed(self) -> set[str]:
        """The hosts that have the new package."""
        return {where.rpartition("/")[2] for where, spec in self.world.things().items() if "config" in where and "htop" in str(spec)}

    def ended(self, run: str) -> str:
        ((state,),) = self.rows("SELECT state FROM run WHERE id = ?", run)
        return str(state)
