"""A commit that reaches many hosts is decided in bulk: the plan is the one that looking at each host would give, and it can be applied."""

import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from tests.fleets import FLEET, PROFILE, Repo, fleet, host, octofleet, repo

INSTALL = """\
  install: {generation: 1, source: "http://mirror.example.net/debian"}
  boot: {url: "http://boot.example.net"}
  disk: {device: /dev/sda, partitions: [{mount: /, size: rest}]}
"""
BULK, EACH = {"OCTOFLEET_OBSERVE__AT_MOST": "0"}, {"OCTOFLEET_OBSERVE__AT_MOST": "1000"}


@pytest.fixture
def applied(tmp_path: Path) -> tuple[Repo, Path]:
    made = repo(tmp_path / "repo", fleet(hosts=6, profile=PROFILE + INSTALL, odd=host("odd", 9, spec="  packages: [own]\n")))
    done = octofleet(tmp_path / "data", "apply", "--approve", "--repo", str(made.path))
    assert done.code == 0, done.text
    return made, tmp_path / "data"


@pytest.mark.parametrize("first", ["ubuntu", "debian", "rocky"])
def test_hosts_that_say_the_same_and_mean_something_else(tmp_path: Path, first: str) -> None:
    """All of them set `os` themselves, so they are alike but for what follows from it: which formats they have."""
    systems = [first, *(name for name in ("ubuntu", "debian", "rocky", "debian") if name != first)]
    hosts = {
        f"host-{n}": host(f"web-{n:02d}", n, spec=f'  os: {{distribution: {name}, version: "12"}}\n') for n, name in enumerate(systems, 1)
    }
    profile = PROFILE + INSTALL
    made, data = repo(tmp_path / "repo", fleet(hosts=0, profile=profile, **hosts)), tmp_path / "data"
    octofleet(data, "apply", "--approve", "--repo", str(made.path))
    for text in (
        profile + "  kernel_args: [quiet]\n",
        profile.replace("generation: 1", "generation: 2"),
        profile.replace("[vim]", "[nano]"),
    ):
        made.commit({"profile.yaml": text})
        bulk, each = plan(made, data, BULK), plan(made, data, EACH)
        assert bulk == each


def plan(made: Repo, data: Path, env: dict[str, str]) -> Any:
    done = octofleet(data, "plan", "--json", "--repo", str(made.path), env=env)
    assert done.code in (0, 2, 3), done.text
    return {key: value for key, value in done.json.items() if key not in ("createdAt", "expiresAt", "observedFrom")}


@pytest.mark.parametrize(
    "text",
    [
        PROFILE.replace("[vim]", "[vim, jq]") + INSTALL,
        PROFILE + INSTALL + "  kernel_args: [quiet]\n",
        PROFILE.replace("bios", "uefi") + INSTALL,
        PROFILE.replace("debian", "rocky") + INSTALL,
        PROFILE + INSTALL.replace("generation: 1", "generation: 2"),
        PROFILE + INSTALL + "  vars: {other: 81}\n",
        PROFILE,
    ],
    ids=["packages", "kernel", "firmware", "distribution", "generation", "vars", "no-installer"],
)
def test_the_plan_is_the_same_either_way(applied: tuple[Repo, Path], text: str) -> None:
    made, data = applied
    made.commit({"profile.yaml": text})
    bulk, each = plan(made, data, BULK), plan(made, data, EACH)
    assert bulk == each and bulk["changes"]


def test_it_is_applied_and_then_there_is_nothing_to_do(applied: tuple[Repo, Path]) -> None:
    made, data = applied
    made.commit({"profile.yaml": PROFILE.replace("[vim]", "[vim, jq]") + INSTALL})
    done = octofleet(data, "apply", "--approve", "--json", "--repo", str(made.path), env=BULK)
    assert done.code == 0, done.text
    assert all("jq" in path.read_text() for path in data.rglob("preseed.cfg"))
    assert octofleet(data, "plan", "--refresh", "--repo", str(made.path)).code == 0


def test_the_next_commit_knows_what_was_recorded(applied: tuple[Repo, Path]) -> None:
    made, data = applied
    for packages in ("[vim, jq]", "[vim, jq, git]", "[nano]"):
        made.commit({"profile.yaml": PROFILE.replace("[vim]", packages) + INSTALL})
        bulk, each = plan(made, data, BULK), plan(made, data, EACH)
        assert bulk == each and list(bulk["summary"]["byCause"]) == ["commit"]
        done = octofleet(data, "apply", "--approve", "--repo", str(made.path), env=BULK)
        assert done.code == 0, done.text
    with sqlite3.connect(data / "octofleet.db") as database:
        assert database.execute("SELECT count(*) FROM record WHERE digest NOT IN (SELECT digest FROM spec)").fetchone() == (0,)


def test_what_has_drifted_or_is_pending_goes_the_ordinary_way(applied: tuple[Repo, Path]) -> None:
    made, data = applied
    touched = data / "boot" / "shop" / "web-02" / "preseed.cfg"
    touched.write_text(touched.read_text() + "# by hand\n")
    assert octofleet(data, "drift", "--repo", str(made.path)).code == 2
    made.commit({"profile.yaml": PROFILE.replace("[vim]", "[vim, jq]") + INSTALL})
    bulk, each = plan(made, data, BULK), plan(made, data, EACH)
    assert bulk == each and bulk["summary"]["byCause"]["drift"] == 1


def test_a_change_by_hand_since_is_found_when_it_is_applied(applied: tuple[Repo, Path]) -> None:
    made, data = applied
    touched = data / "boot" / "shop" / "web-02" / "preseed.cfg"
    touched.write_text(touched.read_text() + "# by hand\n")
    made.commit({"profile.yaml": PROFILE.replace("[vim]", "[vim, jq]") + INSTALL})
    assert "drift" not in plan(made, data, BULK)["summary"]["byCause"]
    done = octofleet(data, "apply", "--approve", "--json", "--repo", str(made.path), env=BULK)
    assert done.code != 0 and "stale" in done.text and "# by hand" in touched.read_text()
    assert "# by hand" not in (data / "boot" / "shop" / "web-01" / "preseed.cfg").read_text()


@pytest.mark.parametrize("env", [BULK, EACH], ids=["bulk", "each"])
def test_another_fleet_has_another_record(tmp_path: Path, env: dict[str, str]) -> None:
    """Nothing that a host depends on changes with the Fleet's name, and all of it belongs to the former one."""
    alone = env | {"OCTOFLEET_MEMORY__ENABLED": "false"}
    made, data = repo(tmp_path / "repo", fleet(hosts=3, profile=PROFILE + INSTALL)), tmp_path / "data"
    assert octofleet(data, "apply", "--approve", "--repo", str(made.path), env=alone).code == 0
    made.commit({"fleet.yaml": FLEET.replace("name: test", "name: other")})
    kept = plan(made, data, alone)
    shutil.rmtree(data / "index")
    assert kept == plan(made, data, alone) and len(kept["deferred"]) > 3 * 3
    made.commit({"fleet.yaml": FLEET, "profile.yaml": PROFILE.replace("[vim]", "[vim, jq]") + INSTALL})
    made_for_the_other = plan(made, data, alone)
    shutil.rmtree(data / "index")
    assert made_for_the_other == plan(made, data, alone)
