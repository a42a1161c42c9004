"""A drift schedule on real playbooks in check mode: what is seen is stored as any observation, with the facts of the hosts."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from reconciler.applying import apply_plan
from reconciler.drifting import Drifting
from reconciler.drivers.ansible.driver import AnsibleDriver
from reconciler.drivers.ansible.settings import AnsibleSettings
from reconciler.gate.drift import Schedule
from reconciler.planning import make_plan
from reconciler.settings import Followed
from reconciler.store.followed import follow, followed
from reconciler.store.host_checks import checks_of
from reconciler.store.hosts import facts_of, seen_of
from reconciler.store.observations import load_observations
from reconciler.types.observation import Present, Proposed
from reconciler.types.request import Request
from reconciler.why_checks import checks_in_words, shut
from reconciler.wiring import Installation, where
from tests.drivers.ansible_world import need_ansible
from tests.fleets import FLEET, TENANT, installation, repo

ROLE = "apiVersion: octofleet/v1\nkind: Role\nmetadata: {name: web}\nspec: {ansible: {playbook: play/site.yml}}\n"
PLAY = "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.copy: {content: right, dest: '{{ base }}/motd'}\n"
DRIFT = "  drift: {interval: 24h, budget: {hosts: 2, per: 1h}}\n"
WEB = "ansible/role/shop/web-01.web"


def host(name: str, base: Path) -> str:
    said = f"ansible_connection: local, ansible_python_interpreter: {sys.executable}, base: {base}"
    return (
        f"apiVersion: octofleet/v1\nkind: Host\nmetadata: {{name: {name}, tenant: shop}}\n"
        f"spec:\n  os: {{distribution: debian, version: '12'}}\n  roles: [web]\n  vars: {{{said}}}\n"
    )


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Installation]:
    """Three hosts, applied and followed."""
    need_ansible()
    files = {"fleet.yaml": FLEET + DRIFT, "shop.yaml": TENANT, "web.yaml": ROLE, "play/site.yml": PLAY}
    for name in ("web-01", "web-02", "web-03"):
        (tmp_path / "hosts" / name).mkdir(parents=True)
        files[f"{name}.yaml"] = host(name, tmp_path / "hosts" / name)
    location = repo(tmp_path / "repo", files).path
    made = installation(tmp_path / "data", AnsibleDriver(AnsibleSettings(visible=(tmp_path / "hosts",))))
    planned = make_plan(made, made.repository(str(location)), Request())
    assert not planned.plan.problems, planned.plan.problems
    assert apply_plan(made, planned.row, approved=True).done
    with made.store.write() as connection:
        follow(connection, where(str(location)))
    yield made
    made.close()


def drifting(made: Installation, tmp_path: Path, *, heal: bool = True) -> Drifting:
    return Drifting(made, [Followed(location=str(tmp_path / "repo"), heal=heal)])


def due(made: Installation, *names: str) -> None:
    with made.store.write() as connection:
        connection.run("DELETE FROM check_spent")
        connection.run("UPDATE observation SET at = at - 10")
        connection.run_in('UPDATE host_check SET due_at = 0 WHERE "group" IN (...)', [f"host/shop/{name}" for name in names])


def test_hosts_are_checked_when_they_are_due_and_within_the_budget(
    made: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    schedule, commits = drifting(made, tmp_path), []
    observe = AnsibleDriver.observe

    def looked(driver: AnsibleDriver, targets: Any, context: Any) -> Any:
        commits.append(context.commit)
        return observe(driver, targets, context)

    monkeypatch.setattr(AnsibleDriver, "observe", looked)
    with made.store.read() as connection:
        assert seen_of(connection, "shop", "web-01")[2] is not None, "a run that ended done"
    assert schedule.once() == 0, "none is due before its place in the interval"
    due(made, "web-01", "web-02", "web-03")
    assert schedule.once() == 2, "the budget"
    assert schedule.once() == 0
    with made.store.read() as connection:
        assert checks_in_words(connection, "test").startswith("1 host due to be checked for drift")
        assert checks_in_words(connection, "another") == ""
        checks = checks_of(connection, [f"host/shop/web-0{n}" for n in (1, 2, 3)])
        assert [check.ended_at is not None for _, check in sorted(checks.items())] == [True, True, False]
        told = facts_of(connection, "shop", "web-01")
        assert told is not None and told[1]["system"] == "Linux"
        checked, answered, converged, why = seen_of(connection, "shop", "web-02")
        assert checked == answered and why == "" and converged is not None and checks["host/shop/web-02"].begun_at <= converged  # type: ignore[operator]
        assert isinstance(load_observations(connection, [WEB])[WEB], Present)
        assert connection.scalar("SELECT count(*) FROM plan") == 1, "no plan is made for it"
        assert set(commits) == {connection.scalar("SELECT applied_commit FROM source")}, "drivers are told the commit applied last"


@pytest.mark.parametrize("heal", [True, False])
def test_what_was_changed_by_hand_is_drift_and_is_asked_to_be_healed(made: Installation, tmp_path: Path, *, heal: bool) -> None:
    schedule = drifting(made, tmp_path, heal=heal)
    schedule.once()
    (tmp_path / "hosts" / "web-01" / "motd").write_text("by hand")
    with made.store.read() as connection:
        before = seen_of(connection, "shop", "web-01")[2]
    due(made, "web-01")
    assert schedule.once() == 1
    with made.store.read() as connection:
        seen = load_observations(connection, [WEB])[WEB]
        assert isinstance(seen, Proposed) and [(field.before, field.after) for field in seen.fields] == [("by hand", "right")]
        assert seen_of(connection, "shop", "web-01")[2] == before
        assert [one.asked_at is not None for one in followed(connection)] == [heal]
        assert connection.scalar("SELECT settled FROM observation WHERE address = ?", (WEB,)) in (False, 0)
    assert (tmp_path / "hosts" / "web-01" / "motd").read_text() == "by hand"


def test_what_somebody_looked_at_meanwhile_is_not_overwritten(made: Installation, tmp_path: Path) -> None:
    schedule = drifting(made, tmp_path)
    schedule.once()
    due(made, "web-01")
    with made.store.write() as connection:
        later = connection.now() + 1000
        connection.run("UPDATE observation SET at = ? WHERE address = ?", (later, WEB))
    (tmp_path / "hosts" / "web-01" / "motd").write_text("by hand")
    assert schedule.once() == 1
    with made.store.read() as connection:
        assert load_observations(connection, [WEB])[WEB].at == later


def test_a_fleet_that_cannot_be_checked_keeps_no_other(made: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The repository of the one that comes first is gone."""
    broken, elsewhere = tmp_path / "broken", tmp_path / "hosts" / "web-09"
    elsewhere.mkdir()
    fleet = (FLEET + DRIFT).replace("name: test", "name: first")
    files = {"fleet.yaml": fleet, "bank.yaml": TENANT.replace("shop", "bank"), "web.yaml": ROLE, "play/site.yml": PLAY}
    files["web-09.yaml"] = host("web-09", elsewhere).replace("tenant: shop", "tenant: bank")
    planned = make_plan(made, made.repository(str(repo(broken, files).path)), Request())
    assert not planned.plan.problems, planned.plan.problems
    assert apply_plan(made, planned.row, approved=True).done
    told: list[tuple[str, str]] = []
    monkeypatch.setattr("reconciler.events.happened", lambda name, /, **fields: told.append((name, fields["source"])))
    schedule = Drifting(made, [Followed(location=str(tmp_path / "repo")), Followed(location=str(broken))])
    assert schedule.once() == 0
    broken.rename(tmp_path / "away")
    due(made, "web-01")
    with made.store.write() as connection:
        connection.run('UPDATE host_check SET due_at = 0 WHERE "group" = ?', ("host/bank/web-09",))
    assert schedule.once() == 1
    assert told == [("checks-failed", "first")]
    with made.store.read() as connection:
        checks = checks_of(connection, ["host/shop/web-01", "host/bank/web-09"])
    assert all(check.ended_at is not None for check in checks.values()) and len(checks) == 2


def test_a_window_that_is_not_in_force_keeps_all_checks(made: Installation) -> None:
    schedule = Schedule(interval_s=3600.0, window="fleet/maintenancewindow/shop/nights")
    with made.store.read() as connection:
        assert "not in force" in shut(connection, "test", schedule, connection.now())
        assert shut(connection, "test", Schedule(interval_s=3600.0), connection.now()) == ""
