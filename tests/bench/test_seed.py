"""Seeded state is what an apply would have left: plans have nothing to do, and see a change of one file as one change."""

from pathlib import Path

from bench.fleets import LAYOUTS, make
from bench.seed import move, seed
from reconciler.wiring import open_installation
from tests.fleets import Result, octofleet

HOSTS = 50


def _plan(data: Path, repository: Path, rev: str, *options: str) -> Result:
    return octofleet(data, "plan", "--repo", str(repository), "--rev", rev, "--json", *options, env={"OCTOFLEET_MEMORY__ENABLED": "false"})


def test_a_plan_of_seeded_state_has_nothing_to_do(tmp_path: Path) -> None:
    repository, data = make(HOSTS, tmp_path / "fleet"), tmp_path / "data"
    assert seed(data, str(repository), HOSTS) == 4 * HOSTS + 20 + 1
    assert _plan(data, repository, "main~1").code == 0
    refreshed = _plan(data, repository, "main~1", "--refresh")
    assert refreshed.code == 0, refreshed.text  # every file was read, and is as recorded


def test_a_change_of_one_file_is_one_change(tmp_path: Path) -> None:
    repository, data = make(HOSTS, tmp_path / "fleet"), tmp_path / "data"
    seed(data, str(repository), HOSTS)
    for rev in ("main", "edit-003"):
        found = _plan(data, repository, rev)
        assert found.code == 2
        assert [change["action"] for change in found.json["changes"]] == ["update"]
    everything = _plan(data, repository, "profile")
    assert {change["action"] for change in everything.json["changes"]} == {"update"}
    assert len(everything.json["changes"]) == HOSTS


def test_the_same_state_serves_another_layout(tmp_path: Path) -> None:
    nested, flat, data = make(HOSTS, tmp_path / "nested"), make(HOSTS, tmp_path / "flat", LAYOUTS[2]), tmp_path / "data"
    seed(data, str(nested), HOSTS)
    installation = open_installation(data)
    repository = installation.repository(str(flat))
    move(installation, repository, repository.commit("main~1"))
    installation.close()
    found = _plan(data, flat, "main~1")
    assert found.code == 0, found.text
