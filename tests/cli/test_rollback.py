"""`octofleet rollback`: a branch to look at, and nothing else."""

import subprocess
from pathlib import Path

from tests.cli.command import quick
from tests.fleets import Repo, Result, fleet, host, repo

ENV = {"OCTOFLEET_MEMORY__ENABLED": "true"}


def git(where: Path, *arguments: str) -> str:
    return subprocess.run(["git", "-C", str(where), *arguments], check=True, capture_output=True, text=True).stdout.strip()


class Site:
    def __init__(self, path: Path, *, remote: bool = False) -> None:
        self.data, self.repo = path / "data", repo(path / "repo", fleet(hosts=2))
        self.location = self.repo.path.as_uri() if remote else str(self.repo.path)
        self.apply()

    def __call__(self, *args: str) -> Result:
        return quick(self.data, *args, env=ENV)

    def apply(self) -> str:
        assert self("apply", "--approve", "--repo", self.location).code == 0
        return str(self("runs", "--json").json["runs"][0]["run"])

    def changed(self, number: int) -> str:
        self.repo.commit({f"host-{number}.yaml": host(f"web-{number:02d}", number, spec="  packages: [htop]\n")})
        return self.apply()


def shown(made: Repo, rev: str) -> str:
    return git(made.path, "show", rev)


def test_it_takes_back_what_a_run_brought_and_keeps_what_came_later(tmp_path: Path) -> None:
    site = Site(tmp_path)
    run = site.changed(1)
    site.changed(2)
    head = git(site.repo.path, "rev-parse", "HEAD")
    said = site("rollback", run, "--reason", "it burns")
    branch = f"octofleet/rollback-{run}"
    assert said.code == 0 and branch in said.out and git(site.repo.path, "rev-parse", "HEAD") == head, "the branch alone"
    assert git(site.repo.path, "rev-parse", f"{branch}^") == head and "it burns" in git(site.repo.path, "log", "-1", "--format=%B", branch)
    assert "htop" not in shown(site.repo, f"{branch}:host-1.yaml") and "htop" in shown(site.repo, f"{branch}:host-2.yaml")
    assert "there is a branch" in site("rollback", run, "--reason", "again").err
    assert site("rollback", run, "--reason", "again", "--branch", "again").code == 0
    assert "rollback" in site("audit", "list").out
    git(site.repo.path, "merge", "-q", "--ff-only", branch)
    site.apply()
    assert "nothing to take back" in site("rollback", run, "--reason", "once more", "--branch", "third").err


def test_it_refuses_what_cannot_be_told_apart(tmp_path: Path) -> None:
    site = Site(tmp_path)
    first = str(site("runs", "--json").json["runs"][0]["run"])
    run = site.changed(1)
    site.repo.commit({"host-1.yaml": host("web-01", 1, spec="  packages: [strace]\n")})
    said = site("rollback", run, "--reason", "it burns")
    assert said.code == 1 and "later commits changed the same" in said.err and "host-1.yaml" in said.err
    assert "brought no commit" in site("rollback", first, "--reason", "it burns").err
    assert site("rollback", run, "--reason", "x", "--branch", "no..such").code == 1
    assert git(site.repo.path, "branch", "--list", "octofleet/*") == ""


def test_a_remote_repository_gets_the_branch(tmp_path: Path) -> None:
    site = Site(tmp_path, remote=True)
    run = site.changed(1)
    said = site("rollback", run, "--reason", "it burns", "--json").json
    assert git(site.repo.path, "rev-parse", f"octofleet/rollback-{run}") == said["commit"]
    assert "htop" not in shown(site.repo, f"octofleet/rollback-{run}:host-1.yaml")


def test_a_branch_is_not_called_as_something_else_is(tmp_path: Path) -> None:
    site = Site(tmp_path)
    run = site.changed(1)
    before = git(site.repo.path, "for-each-ref")
    for name in ("HEAD", "@", "-f", "refs/heads/main", "../x"):
        said = site("rollback", run, "--reason", "why", "--branch", name)
        assert said.code == 1 and name in said.err and "internal" not in said.err
    assert git(site.repo.path, "for-each-ref") == before
