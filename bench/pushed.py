"""From a push to a pull request's branch to the comment of its head, by a real `octofleet serve`, a seeded fleet and GitHub's double.

`by_command` gives what the command takes for such a commit, which it fetches and plans; `pushes`, after that, the seconds of each push and what the server
took meanwhile.
"""

import json
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pygit2

from bench import fleets
from bench.measure import Machine, cpu_s, peak_mib
from tests.peers.forges.double import SECRET, TOKEN, PullState
from tests.peers.forges.github import GithubDouble

PATIENCE_S, EVERY_S = 120.0, 0.005
CHANGED, NO_CHANGE = 2, 0
BRANCH = "change"


@dataclass(frozen=True, kw_only=True)
class Pushes:
    """The seconds of each push, and of the server its CPU seconds for one of them and its peak memory."""

    seconds: list[float]
    cpu_s: float
    peak_mib: float


class Place:
    """A generated fleet of so many hosts, of which all that is applied but one commit is on record, at a forge."""

    def __init__(self, machine: Machine, hosts: int) -> None:
        self._machine, self._hosts = machine, hosts
        self.directory = machine.directory / f"pushed-{hosts}"
        self.git = fleets.make(hosts, self.directory / "fleet.git")
        self.location = f"file://{self.git}"
        machine.python("-m", "bench.seed", self._data, self.location, str(hosts))

    @property
    def _data(self) -> Path:
        return self.directory / "data"

    def by_command(self, turns: int) -> list[float]:
        """The seconds of `octofleet plan` for commits that it has to fetch."""
        self._plan("main~1", NO_CHANGE)
        found = []
        for turn in range(turns):
            self._move(fleets.edits(self._hosts) - 1 - turn)
            found.append(self._plan(f"refs/heads/{BRANCH}", CHANGED))
        return found

    def pushes(self, turns: int) -> Pushes:
        """Open a pull request and push to it so many times; each push changes another host."""
        double = GithubDouble()
        with double.running(), self._serving(double) as server:
            project = double.project("acme/fleet", self.git)
            self._until("the end of the first apply", self._applied)
            host = self._move(0)
            pull = double.open(project, BRANCH)
            self._until("the first comment", lambda: _shows(double, pull, host))
            seconds, cpu = [], cpu_s(server.pid)
            for turn in range(1, turns + 1):
                began = time.perf_counter()
                host = self._move(turn)
                double.pushed(project, pull)
                self._until("the comment", lambda: _shows(double, pull, host))  # noqa: B023 - asked before the next turn
                seconds.append(time.perf_counter() - began)
                time.sleep(turn % 7 / 10)  # so that pushes meet every moment between two looks
            spent = (cpu_s(server.pid) - cpu) / turns
            assert len(double.ours(pull)) == 1, "there is more than one comment"
            return Pushes(seconds=seconds, cpu_s=spent, peak_mib=peak_mib(server.pid))

    def _plan(self, rev: str, expected: int) -> float:
        command = ("-m", "reconciler.cli", "plan", "--repo", self.location, "--rev", rev)
        return self._machine.python(*command, more={"OCTOFLEET_DATA_DIR": str(self._data)}, expected=(expected,)).seconds

    def _move(self, edit: int) -> str:
        """Have the branch be the commit that changes another host; gives its name."""
        git = pygit2.Repository(str(self.git))
        git.references.create(f"refs/heads/{BRANCH}", git.branches.local[f"edit-{edit:03d}"].target, force=True)
        return f"h{fleets.edited(self._hosts, edit):06d}"

    @contextmanager
    def _serving(self, double: GithubDouble) -> Iterator[subprocess.Popen[str]]:
        for name, text in (("secret", SECRET), ("token", TOKEN)):
            (self.directory / name).write_text(text)
        config = self.directory / "octofleet.toml"
        config.write_text(
            f"""listen = "127.0.0.1:0"
[[forges]]
name = "hub"
type = "github"
url = "{double.url}"
token_file = "{self.directory / "token"}"
secret_files = ["{self.directory / "secret"}"]
[[repositories]]
location = "{self.location}"
forge = "hub"
project = "acme/fleet"
"""
        )
        env = self._machine.environment({"OCTOFLEET_DATA_DIR": str(self._data), "OCTOFLEET_CONFIG": str(config)})
        with (self.directory / "serve.log").open("w") as log:
            command = [sys.executable, "-m", "reconciler.cli", "serve", "--json"]
            server = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=log, text=True)
        try:
            assert server.stdout is not None
            line = server.stdout.readline()
            assert line, self._said()
            double.hook = f"{json.loads(line)['address']}/webhooks/hub"
            yield server
        finally:
            server.terminate()
            server.wait()

    def _applied(self) -> bool:
        database = sqlite3.connect(self._data / "octofleet.db", timeout=10)
        try:
            return bool(database.execute("SELECT 1 FROM run WHERE state = 'done'").fetchone())
        finally:
            database.close()

    def _until(self, what: str, done: Callable[[], object]) -> None:
        end = time.monotonic() + PATIENCE_S
        while not done():
            if time.monotonic() > end:
                raise SystemExit(f"{what} did not come within {PATIENCE_S:g} s:\n{self._said()}")
            time.sleep(EVERY_S)

    def _said(self) -> str:
        return (self.directory / "serve.log").read_text()[-3000:]


def _shows(double: GithubDouble, pull: PullState, host: str) -> bool:
    """Whether a comment of ours is about the head, and names the host that it changes."""
    return any(pull.head[:10] in comment.body and host in comment.body for comment in double.ours(pull))
