"""Runs by their ids, or by how these begin: every command that takes one."""

from pathlib import Path

import pytest

from reconciler.beginning import begin
from reconciler.store.engine import Store, sqlite_url
from reconciler.store.runs import JournalRun, create_run
from reconciler.wiring import open_installation
from tests.cli.command import quick
from tests.fleets import Repo, fleet, repo

GIVEN = ["logs {}", "pause {} --reason x", "cancel {} --reason x", "resume {}", "apply --resume {}"]


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Path, Repo, str]:
    """A data directory, a repository, and an open run of its plan that nobody works on."""
    data, git = tmp_path / "data", repo(tmp_path / "git", fleet(1))
    assert quick(data, "plan", "--repo", str(git.path)).code == 2
    store = Store(sqlite_url(data))
    with store.read() as connection:
        row = connection.scalar('SELECT max("row") FROM plan')
    store.close()
    monkeypatch.setenv("OCTOFLEET_MEMORY__ENABLED", "true")
    installation = open_installation(data)
    run = begin(installation, row, approved=True)
    installation.close()
    return data, git, run


@pytest.mark.parametrize("command", GIVEN)
def test_a_beginning_is_enough(site: tuple[Path, Repo, str], command: str) -> None:
    data, _, run = site
    told = quick(data, *command.format(run[:17]).split())
    assert told.code in (0, 3) and run in told.text, told.text


@pytest.mark.parametrize("command", GIVEN)
@pytest.mark.parametrize("given", ["2", "nothing", "%", "_"])
def test_several_or_none(site: tuple[Path, Repo, str], command: str, given: str) -> None:
    data, _, run = site
    store = Store(sqlite_url(data))
    with store.write() as connection:
        create_run(connection, JournalRun(id="2-another", plan=1, source="s", state="running", started_at=1, ended_at=None, reason=""), [])
    store.close()
    told = quick(data, *command.format(given).split())
    said = "2 is the beginning of 2 runs" if given == "2" else f"there is no run {given}"
    assert told.code == 1 and said in told.err and "octofleet runs lists them" in told.err
    assert run not in told.out


def test_no_id_at_all(site: tuple[Path, Repo, str]) -> None:
    data, *_ = site
    assert quick(data, "cancel", "", "--reason", "x").code == 1


def test_a_run_or_a_plan(site: tuple[Path, Repo, str]) -> None:
    data, _, run = site
    told = quick(data, "apply", "abcdef", "--resume", run)
    assert told.code == 1 and "give one of them" in told.err


def test_paused_twice_it_says_so(site: tuple[Path, Repo, str]) -> None:
    data, _, run = site
    assert f"run {run} is paused" in quick(data, "pause", run, "--reason", "one").out
    assert "was paused already, and has a new reason now" in quick(data, "pause", run, "--reason", "two").out
    told = quick(data, "status", "--why")
    assert "paused: two" in told.out and "paused: one" not in told.out
