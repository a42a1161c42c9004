"""A fleet whose pull requests are on a forge: a bare repository, the forge's double, and the work on pull requests, in this process."""

from collections.abc import Mapping
from concurrent.futures import wait
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import pygit2

from reconciler.drivers.memory import MemoryDriver, World
from reconciler.loop import Loop
from reconciler.settings import Followed, Settings
from reconciler.settings import Forge as Rules
from reconciler.store.leases import WorkerRow, beat
from reconciler.store.postings import COMMENT, posted, postings_of
from reconciler.store.pulls import Command, PullKey, PullRow, ask_pull, commands_of, load_pull, save_command
from reconciler.working import worker
from tests.fleets import FLEET, fleet, host, installation
from tests.peers.forges.double import TOKEN, PullState
from tests.peers.forges.github import GithubDouble
from tests.webhooks.repositories import WHO, bare_with, commit_files
from webhooks.forge import Status
from webhooks.forges import make_forge
from webhooks.work import PullWork

PEOPLE = """\
apiVersion: octofleet/v1
kind: RoleMapping
metadata: {name: people}
spec:
  bindings:
    - {role: super-admin, subjects: ["github:root", "local:root"]}
    - {role: operator, subjects: ["github:olga"]}
    - {role: approver, subjects: ["github:petra", "github:ada"]}
    - {role: viewer, subjects: ["github:victor"]}
"""


class PullSite:
    """`fleet` is the text of the Fleet's manifest; more `files` of the repository; `rules` of the followed repository."""

    def __init__(
        self,
        path: Path,
        url: str,
        *,
        hosts: int = 3,
        fleet_text: str = FLEET,
        files: Mapping[str, str] | None = None,
        public_url: str = "",
        **rules: Any,
    ) -> None:
        self.path, self._stack = path, ExitStack()
        self.git = path / "fleet.git"
        bare_with(self.git, fleet(hosts=hosts, fleet=fleet_text) | {"people.yaml": PEOPLE} | dict(files or {}))
        self.double = GithubDouble()
        self._stack.enter_context(self.double.running())
        self.project = self.double.project("acme/fleet", self.git)
        (path / "token").write_text(TOKEN)
        forge = Rules(name="hub", type="github", url=self.double.url, token_file=str(path / "token"), public_url=public_url)
        self.location = f"file://{self.git}"
        self.rules = Followed(location=self.location, forge="hub", project="acme/fleet", **rules)
        self.world = World(str(path / "world.db"))
        made = installation(path / "data", MemoryDriver(world=self.world))
        self.installation = replace(made, settings=Settings(database_url=url, repositories=[self.rules], forges=[forge]))
        self.store = self.installation.store
        with self.store.write() as connection:
            self.beat(connection)
        self.work = PullWork(self.installation.apart(), "pulls", {"hub": make_forge(forge)}, [self.rules])

    def __enter__(self) -> "PullSite":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.work.close()
        self._stack.close()

    def beat(self, connection: Any) -> None:
        beat(connection, WorkerRow(id="pulls", name="pulls", role="serve", version="0", started_at=0.0, until=connection.now() + 1e6))

    def commit(
        self, branch: str, files: Mapping[str, str | None], *, onto: str = "", author: pygit2.Signature = WHO, git: Path | None = None
    ) -> str:
        """See `commit_files`."""
        return commit_files(git or self.git, branch, files, onto=onto or "main", author=author)

    def change(self, branch: str, *numbers: int, packages: str = "htop", **more: Any) -> str:
        """Another package for these hosts, on a branch."""
        return self.commit(branch, {f"host-{n}.yaml": host(f"web-{n:02d}", n, spec=f"  packages: [{packages}]\n") for n in numbers}, **more)

    def apply_branch(self) -> None:
        """Have the loop look at the branch, and work on what it begins."""
        loop = Loop(self.installation, [self.rules], "pulls", lambda: None)
        self.write("UPDATE repository SET due_at = 0, owner = ''")
        loop.once()
        self.run()

    def run(self) -> None:
        """Do all steps that can be done."""
        with worker(self.installation, "worker") as one:
            idle = 0
            while idle < 3:
                futures = one.take()
                wait(futures)
                idle = 0 if futures else idle + 1
                self.write("UPDATE step SET due_at = 0 WHERE owner = '' AND note LIKE ?", "waits for %")

    def open(self, branch: str, **more: Any) -> PullState:
        """A pull request."""
        return self.double.open(self.project, branch, **more)

    def key(self, pull: PullState) -> PullKey:
        return PullKey(forge="hub", project="acme/fleet", number=pull.number)

    def look(self, pull: PullState) -> PullRow:
        """As a delivery has it looked at; gives how it was left."""
        with self.store.write() as connection:
            ask_pull(connection, self.key(pull), self.location)
        assert self.work.once()
        return self.row(pull)

    def row(self, pull: PullState) -> PullRow:
        with self.store.read() as connection:
            row = load_pull(connection, self.key(pull))
        assert row is not None
        return row

    def say(self, pull: PullState, author: str, body: str) -> str:
        """Somebody reads what stands there, and comments; gives what came of it."""
        self.post(pull)
        made = self.double.say(self.project, pull, author, body)
        with self.store.write() as connection:
            command = Command(
                forge="hub", comment=made.id, project="acme/fleet", number=pull.number, author=author, body=body, at=connection.now()
            )
            assert save_command(connection, command)
        self.look(pull)
        with self.store.read() as connection:
            (said,) = [item for item in commands_of(connection, self.key(pull), done=True) if item.comment == made.id]
        return said.answer

    def comment(self, pull: PullState) -> str:
        """What is to stand there."""
        with self.store.read() as connection:
            return next((item.body.decode() for item in postings_of(connection, self.key(pull)) if item.what == COMMENT), "")

    def status(self, pull: PullState) -> Status:
        """The status of its head that is to stand there."""

        with self.store.read() as connection:
            (found,) = [item.body for item in postings_of(connection, self.key(pull)) if item.what == f"status octofleet {pull.head}"]
        return msgspec.json.decode(found, type=Status)

    def post(self, pull: PullState) -> int:
        """As if all was posted; gives how much was not."""
        with self.store.write() as connection:
            waiting = [item for item in postings_of(connection, self.key(pull)) if item.wanted != item.posted]
            for item in waiting:
                posted(connection, item, item.id or "1")
        return len(waiting)

    def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self.store.read() as connection:
            return list(connection.rows(query, values))

    def write(self, query: str, *values: object) -> None:
        with self.store.write() as connection:
            connection.run(query, values)
