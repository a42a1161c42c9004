"""Generated fleets: the same every time, valid, of the promised shape."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from bench.fleets import EDITS, LAYOUTS, edited, edits, host, make, touched
from reconciler.planning import compiled
from reconciler.tracking import CommitTree
from reconciler.types.values import Spec
from reconciler.wiring import open_installation
from tests.fleets import octofleet

HOSTS = 100
each_layout = pytest.mark.parametrize("layout", LAYOUTS)


def _heads(repository: Path) -> str:
    command = ["git", "-C", str(repository), "for-each-ref", "--format=%(refname:short) %(objectname)"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def _changes(repository: Path, branch: str) -> list[str]:
    command = ["git", "-C", str(repository), "diff", "--numstat", "main~1", branch]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()


def _leaves(value: Any) -> int:
    if isinstance(value, dict):
        return sum(map(_leaves, value.values()))
    return sum(map(_leaves, value)) if isinstance(value, list) else 1


@each_layout
def test_the_same_number_gives_the_same_commits(tmp_path: Path, layout: str) -> None:
    heads = _heads(make(HOSTS, tmp_path / "one", layout))
    assert heads == _heads(make(HOSTS, tmp_path / "two", layout))
    assert heads != _heads(make(HOSTS + 1, tmp_path / "three", layout))


@each_layout
def test_every_branch_is_valid_and_changes_one_file(tmp_path: Path, layout: str) -> None:
    repository = make(HOSTS, tmp_path / "fleet", layout)
    for rev in ("main~1", "main", "profile"):
        found = octofleet(tmp_path / "data", "validate", "--repo", str(repository), "--rev", rev)
        assert found.code == 0, found.text
        assert f"{HOSTS} hosts" in found.text
    branches = ["main", "profile", *(["edit-000", "edit-049"] if layout == "nested" else [])]
    for branch in branches:
        (change,) = _changes(repository, branch)
        assert change.split()[:2] == ["1", "1"], change
    assert _changes(repository, "profile")[0].split()[2] == "profiles/root.yaml"


@each_layout
def test_every_host_has_values_and_resources_enough(tmp_path: Path, layout: str) -> None:
    (tmp_path / "data").mkdir()
    installation = open_installation(tmp_path / "data")
    repository = installation.repository(str(make(HOSTS, tmp_path / "fleet", layout)))
    commit = repository.commit("main~1")
    inputs = CommitTree.of(repository, commit.tree)
    found: dict[str, tuple[int, int]] = {}
    for scope in compiled(installation, repository, commit).scopes():
        made = [resource for driver in installation.drivers.values() for resource in driver.resources(scope, inputs)]
        found |= {each.name: (_leaves(each.values), len(made)) for each in scope.hosts}
    installation.close()
    assert len(found) == HOSTS
    assert min(values for values, _ in found.values()) >= 30
    assert min(resources for _, resources in found.values()) >= 3


def test_a_hundred_thousand_hosts_have_addresses_of_their_own() -> None:
    macs, addresses = set(), set()
    for number in range(100_000):
        text = host(number)
        network, address, mac = (_after(text, key) for key in ("network: n", "address: ", "mac: "))
        high, low = divmod(int(network), 256)
        assert re.fullmatch(rf"10\.{high}\.{low}\.\d+", address)
        assert 1 <= int(address.rpartition(".")[2]) <= 250
        macs.add(mac)
        addresses.add(address)
    assert len(macs) == len(addresses) == 100_000


def _after(text: str, key: str) -> str:
    return text.partition(key)[2].partition("\n")[0]


@pytest.mark.parametrize("hosts", [50, 1_000, 10_000, 100_000])
def test_each_one_file_commit_changes_a_host_of_its_own(hosts: int) -> None:
    numbers = {edited(hosts, edit) for edit in range(edits(hosts))}
    assert len(numbers) == min(EDITS, hosts // 2)
    assert hosts // 2 not in numbers
    assert len(touched(hosts)) == len(numbers) + 1


def test_a_change_is_one_value() -> None:
    before, after = host(7).splitlines(), host(7, changed=True).splitlines()
    assert [(a.strip(), b.strip()) for a, b in zip(before, after, strict=True) if a != b] == [
        ("timezone: Etc/UTC", "timezone: Europe/Berlin")
    ]


def test_leaves_are_counted() -> None:
    tree: Spec = {"a": 1, "b": [1, {"c": None}], "d": {}, "e": []}
    assert _leaves(tree) == 3
