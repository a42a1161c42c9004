"""Generated fleets with everything recorded and an index that is up to date, and the work that a plan of one of their commits does."""

import shutil
import sqlite3
import subprocess
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from bench.fleets import make
from bench.seed import seed
from reconciler.applying import apply_plan
from reconciler.planning import Planned, make_plan
from reconciler.stages import timed
from reconciler.types.request import Request
from reconciler.wiring import open_installation

STEPS = 100
"""SQLite is asked to tell every so many steps of one statement: a search by key takes fewer, a scan of a table one or more for each row."""


@dataclass(frozen=True, kw_only=True)
class Work:
    """A plan and what it cost. `scanned`: how often any statement had taken another `STEPS` steps."""

    planned: Planned
    counts: Mapping[str, int]
    scanned: int

    @property
    def changed(self) -> set[str]:
        """The names of hosts with changes."""
        return {change.address.rpartition("/")[2] for change in self.planned.plan.changes}


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """A repository and a data directory; `main~1` is recorded as applied."""

    hosts: int
    repo: Path
    data: Path

    @classmethod
    def made(cls, hosts: int, into: Path) -> "Fleet":
        """Generated, recorded, and planned once, so that the index stands at the commit applied last."""
        fleet = cls(hosts=hosts, repo=make(hosts, into / "repo"), data=into / "data")
        seed(fleet.data, str(fleet.repo), hosts)
        fleet.plan("main~1")
        return fleet

    def copy(self, into: Path, *, index: bool = True) -> "Fleet":
        """With data of its own, to be changed; without the index, if it is to be made anew."""
        shutil.copytree(self.data, into, ignore=None if index else shutil.ignore_patterns("index"))
        return Fleet(hosts=self.hosts, repo=self.repo, data=into)

    def commit(self, branch: str, files: Mapping[str, str]) -> str:
        """A branch that has these files on top of `main~1`; gives its name."""
        text = f"commit refs/heads/{branch}\ncommitter test <test@example.net> 1700001000 +0000\ndata 0\nfrom refs/heads/main~1\n".encode()
        for path, content in files.items():
            text += f"M 100644 inline {path}\ndata {len(content.encode())}\n{content}\n".encode()
        subprocess.run(["git", "-C", self.repo, "fast-import", "--quiet", "--force"], input=text, check=True)
        return branch

    def plan(self, rev: str, *, apply: bool = False) -> Work:
        """The work of one plan in an installation that has just been opened; afterwards the plan is applied, which is not counted."""
        installation = open_installation(self.data)
        repository = installation.repository(str(self.repo))
        with pytest.MonkeyPatch.context() as patch:
            ticks = _watch(patch)
            with timed() as timings:
                planned = make_plan(installation, repository, Request(rev=rev))
        if apply:
            assert apply_plan(installation, planned.row, approved=True).done
        installation.close()
        return Work(planned=planned, counts=Counter(timings.counts), scanned=len(ticks))


def _watch(patch: pytest.MonkeyPatch) -> list[None]:
    """Have every new connection tell of long statements."""
    ticks: list[None] = []
    connect = sqlite3.connect

    def watched(*args: Any, **more: Any) -> sqlite3.Connection:
        connection: sqlite3.Connection = connect(*args, **more)
        connection.set_progress_handler(lambda: ticks.append(None), STEPS)
        return connection

    patch.setattr(sqlite3, "connect", watched)
    return ticks
