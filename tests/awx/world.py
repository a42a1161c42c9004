"""A repository with a commit, hosts that are directories, and an AWX that runs playbooks on them."""

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from reconciler.drivers.ansible.awx_client import AwxSettings
from reconciler.drivers.ansible.driver import AnsibleDriver
from reconciler.drivers.driver import Context, Step, Target, Work
from reconciler.source.pinned import Pinned
from reconciler.types.change import Action
from reconciler.types.observation import Observation
from reconciler.types.outcome import Outcome, Pending
from reconciler.types.resource import Resource
from reconciler.types.task import HostTold
from tests.drivers.ansible_world import World, need_ansible
from tests.ha.kept import until
from tests.peers.awx.double import Awx, served
from tests.peers.awx.workflows import Thing


@dataclass(kw_only=True)
class AwxWorld(World):
    """As `World`; `begin` and `polled` are the two halves of an apply."""

    awx: Awx
    way: AwxSettings
    kept: list[str] = field(default_factory=list)
    met: list[HostTold] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    @property
    def driver(self) -> AnsibleDriver:
        """Another process's, each time."""
        return AnsibleDriver(self.settings, {"tower": self.way})

    def commit(self) -> str:
        return committed(self.repository)

    def template(self, name: str, playbook: str, **asks: bool) -> Thing:
        """A job template that somebody made there, of a project of theirs."""
        here = {"organization": 1, "scm_url": str(self.repository), "status": "successful"}
        projects = self.awx.things["projects"].values()
        project = next((one for one in projects if one["name"] == "theirs"), None) or self.awx.add("projects", name="theirs", **here)
        asked = {f"ask_{what}_on_launch": True for what in ("inventory", "limit")} | asks
        return self.awx.add("job_templates", name=name, project=project["id"], playbook=playbook, **asked)

    def context(self) -> Context:
        pinned = Pinned(mirrors=self.root / "mirrors", allowed=self.allowed)
        return replace(
            World.context(self),
            commit=self.commit(),
            location=str(self.repository),
            checkpoint=self.kept.append,
            met=self.met.extend,
            export_from=pinned.export,
        )

    def resources(self) -> dict[str, Resource]:
        found = World.resources(self)
        return {name: replace(item, rules=replace(item.rules, provider="tower")) for name, item in found.items()}

    def observe(self) -> dict[str, Observation]:
        targets = [Target(address=item.address, desired=item) for item in self.resources().values()]
        return {where.rpartition("/")[2]: item for where, item in self.driver.observe(targets, self.context()).items()}

    def begin(self, step: str = "run.1") -> dict[str, Outcome | Pending]:
        work = [Work(action=Action.RUN, target=Target(address=item.address, desired=item)) for item in self.resources().values()]
        return dict(self.driver.apply(Step(id=step, work=tuple(work)), self.context()))

    def polled(self, operation: str) -> dict[str, Outcome | Pending]:
        return {where.rpartition("/")[2]: item for where, item in self.driver.poll(operation, self.context()).items()}

    def ended(self, operation: str) -> dict[str, Outcome]:
        """Asked until it has ended."""
        found: dict[str, Outcome | Pending] = {}

        def over() -> bool:
            found.update(self.polled(operation))
            return all(isinstance(item, Outcome) for item in found.values())

        until(over, "the job's end", within_s=60)
        return {name: item for name, item in found.items() if isinstance(item, Outcome)}

    def apply(self) -> dict[str, Outcome]:
        self.begin()
        return self.ended(self.kept[-1])


def committed(repository: Path) -> str:
    """All that is there as a commit, if anything has changed; its id."""
    who = ("-c", "user.name=t", "-c", "user.email=t@example.com")
    for command in (("init", "-q"), ("add", "-A"), (*who, "commit", "-qm", "x")):
        subprocess.run(["git", "-C", str(repository), *command], check=False, capture_output=True)
    return subprocess.check_output(["git", "-C", str(repository), "rev-parse", "HEAD"], text=True).strip()


@contextmanager
def awx_world(root: Path) -> Iterator[AwxWorld]:
    need_ansible()
    (root / "token").write_text("t0ken-of-awx\n")
    (root / "repository").mkdir()
    with served(root) as (awx, url):
        way = AwxSettings(name="tower", url=url, organization="Default", token_file=root / "token")
        yield AwxWorld(root=root, awx=awx, way=way)
