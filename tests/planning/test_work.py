"""A plan costs what changed, not what there is: held by counts of work, which are the same on every machine, and never by seconds.

Each count is exact where the design says what it must be. Whoever makes a plan do less corrects the number here; whoever makes it depend on the
size of the fleet does not pass.
"""

from pathlib import Path

import pytest

from bench.fleets import ROLES, TENANTS, edited, path_of, shared_files
from tests.planning.fleets_at_work import Fleet, Work

SMALL, LARGE = 100, 300
LOOKS = 2
"""How often a host that differs is resolved: to compare it with its record, and to make its resources for the plan."""
PER_HOST = 4
"""Resources of a generated host: the host, and three boot files."""
WHOLE = 1 + TENANTS
"""Resources of the Fleet and its tenants."""
KEPT = 17
"""Rows that a plan reads when nothing is to be done: facts about the index and the store, secrets, findings, the source's commit and newest run, the
guards' rules."""
ONE_FILE = 60
"""Rows that a plan of one changed host reads at most."""
SHARED_FILE = 8 * SMALL
"""Rows that a plan of a shared file reads at most besides those of the hosts that it reaches: the kinds' names, and the places of what is shared."""
ENTRY = 2
"""Trees that every plan of another commit reads besides the difference: the compiled tree is there, and there is no ignore file."""


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet.made(SMALL, tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def large(tmp_path_factory: pytest.TempPathFactory) -> Fleet:
    return Fleet.made(LARGE, tmp_path_factory.mktemp("large"))


def counts(work: Work, *names: str) -> tuple[int, ...]:
    return tuple(work.counts.get(name, 0) for name in names)


def documents(hosts: int) -> int:
    return hosts + sum(1 for _ in shared_files(hosts))


def uses(number: int, role: int) -> bool:
    return role in (number % ROLES, (number * 7 + 3) % ROLES)


def test_a_plan_without_an_index_reads_everything_once(large: Fleet, tmp_path: Path) -> None:
    work = large.copy(tmp_path / "data", index=False).plan("main~1")
    assert counts(work, "documents_parsed", "blobs_read") == (documents(LARGE),) * 2
    assert counts(work, "hosts_resolved", "resources_observed") == (LARGE, 0)
    assert counts(work, "resources_made") == (PER_HOST * LARGE + WHOLE,)
    assert work.counts["rows_read"] < 12 * LARGE and not work.planned.plan.changes


def test_the_first_plan_of_all_parses_once_and_looks_at_each_host_to_compare_and_to_plan(small: Fleet, tmp_path: Path) -> None:
    fresh = Fleet(hosts=SMALL, repo=small.repo, data=tmp_path / "data")
    fresh.data.mkdir()
    work = fresh.plan("main~1")
    assert counts(work, "documents_parsed", "hosts_resolved") == (documents(SMALL), LOOKS * SMALL)
    assert len(work.planned.plan.changes) == PER_HOST * SMALL + WHOLE


def test_a_plan_with_nothing_to_do_costs_the_same_for_every_fleet(small: Fleet, large: Fleet) -> None:
    one, other = small.plan("main~1"), large.plan("main~1")
    assert one.counts == other.counts and one.scanned == other.scanned
    names = ("documents_parsed", "hosts_resolved", "resources_made", "resources_observed", "bytes_hashed", "blobs_read", "trees_read")
    assert counts(other, *names) == (0, 0, 0, 0, 0, 0, 1)
    assert other.counts["rows_read"] <= KEPT and other.scanned < 14, "reading the schema is most of it"


def test_a_commit_of_one_file_costs_one_file(small: Fleet, large: Fleet) -> None:
    one, other = small.plan("edit-001"), large.plan("edit-001")
    directories = path_of(edited(LARGE, 1)).count("/") + 1
    for work in (one, other):
        assert counts(work, "documents_parsed", "blobs_read", "hosts_resolved") == (1, 1, LOOKS)
        assert counts(work, "resources_made", "resources_observed") == (LOOKS * PER_HOST, 1)
        assert counts(work, "trees_read") == (2 * directories + ENTRY,), "each directory on the way, before and after"
    assert other.changed == {f"h{edited(LARGE, 1):06d}"}
    assert one.counts["rows_read"] == other.counts["rows_read"] <= ONE_FILE
    assert one.scanned == other.scanned < 20


def test_a_commit_that_was_planned_before_is_not_parsed_again(large: Fleet) -> None:
    large.plan("edit-003")
    again = large.plan("edit-003")
    assert counts(again, "documents_parsed", "blobs_read", "hosts_resolved") == (0, 0, LOOKS)


@pytest.mark.parametrize("role", [5, 8])
def test_a_role_reaches_the_hosts_that_use_it(small: Fleet, large: Fleet, role: int) -> None:
    path = f"roles/r{role:02d}.yaml"
    found = {}
    for fleet in (small, large):
        text = dict(shared_files(fleet.hosts))[path].replace("packages: [", "packages: [more, ")
        work = fleet.plan(fleet.commit(f"role-{role}", {path: text}))
        users = {f"h{number:06d}" for number in range(fleet.hosts) if uses(number, role)}
        assert work.changed == users
        assert counts(work, "documents_parsed", "hosts_resolved") == (1, LOOKS * len(users))
        assert counts(work, "resources_made", "resources_observed") == ((1 + PER_HOST) * len(users), len(users))
        found[fleet.hosts] = work.counts["rows_read"] - 24 * len(users)
    assert found[LARGE] <= SHARED_FILE and found[SMALL] <= SHARED_FILE


def test_a_role_that_nobody_uses_reaches_no_host(large: Fleet) -> None:
    text = dict(shared_files(LARGE))["roles/r05.yaml"].replace("name: r05", "name: r99")
    work = large.plan(large.commit("unused", {"roles/r99.yaml": text}))
    assert counts(work, "documents_parsed", "hosts_resolved", "resources_made") == (1, 0, 0)
    assert work.counts["rows_read"] <= SHARED_FILE


def test_a_profile_reaches_its_hosts(large: Fleet) -> None:
    text = dict(shared_files(LARGE))["profiles/p07.yaml"].replace("packages: [", "packages: [more, ")
    work = large.plan(large.commit("p07", {"profiles/p07.yaml": text}))
    users = {f"h{number:06d}" for number in range(LARGE) if number % 20 == 7}
    assert work.changed == users
    assert counts(work, "documents_parsed", "hosts_resolved", "resources_observed") == (1, LOOKS * len(users), len(users))


def test_the_profile_of_all_hosts_reaches_each_host(large: Fleet) -> None:
    work = large.plan("profile")
    assert len(work.changed) == LARGE
    assert counts(work, "documents_parsed", "hosts_resolved", "resources_observed") == (1, LOOKS * LARGE, LARGE)


def test_after_an_apply_only_what_the_run_touched_is_looked_at_again(small: Fleet, large: Fleet, tmp_path: Path) -> None:
    followed, scanned = {}, {}
    for fleet in (small, large):
        mine = fleet.copy(tmp_path / f"data-{fleet.hosts}")
        assert len(mine.plan("edit-002", apply=True).changed) == 1
        after, idle = mine.plan("edit-002"), mine.plan("edit-002")
        assert not after.planned.plan.changes
        assert counts(after, "documents_parsed", "hosts_resolved", "resources_made") == (0, 1, PER_HOST)
        assert counts(idle, "documents_parsed", "hosts_resolved") == (0, 0) and idle.counts["rows_read"] <= KEPT
        followed[fleet.hosts] = after.counts["rows_read"]
        scanned[fleet.hosts] = after.scanned
    assert followed[SMALL] == followed[LARGE] < 100
    assert scanned[LARGE] <= scanned[SMALL] + 5
