"""Workflow job templates of AWX: launched for some hosts alone, followed over their jobs, joined into one story for each host."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.drivers.ansible.awx import read_handle
from reconciler.drivers.driver import Target
from reconciler.types.outcome import Status
from tests.awx.world import AwxWorld, awx_world
from tests.drivers.ansible_world import World, proposed, raised, secret, unknown

WORKFLOW = (("web", {"workflow": "Deploy"}),)
FIRST = "- name: first\n  ansible.builtin.copy: {content: 'one', dest: '{{ base }}/first'}"
SECOND = "- ansible.builtin.setup: {gather_subset: ['!all']}\n- name: second\n  ansible.builtin.copy: {content: 'two', dest: '{{ base }}/second'}"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AwxWorld]:
    with awx_world(tmp_path) as made:
        made.tasks(FIRST, "first.yml")
        made.tasks(SECOND, "second.yml")
        yield made


def test_a_workflow_is_not_foreseen_and_its_jobs_are_one_run(world: AwxWorld) -> None:
    world.host("a", WORKFLOW)
    world.host("b", WORKFLOW)
    nodes = ({"runs": world.template("one", "first.yml"), "success": [1]}, {"runs": world.template("two", "second.yml")})
    world.awx.workflow("Deploy", *nodes)
    seen = proposed(world.observe()["a.web"])
    assert not seen.fields and any("no check mode for a workflow" in text for text in seen.blind_spots)
    assert not world.awx.things["workflow_jobs"] and not world.awx.things["jobs"] and not world.awx.things["inventories"]
    world.begin()
    world.begin()
    done = world.ended(world.kept[0])
    assert len(world.awx.things["workflow_jobs"]) == 1, "once for a step"
    assert [(job["limit"], job["name"]) for job in world.awx.things["jobs"].values()] == [("a,b", "one"), ("a,b", "two")]
    assert {item.status for item in done.values()} == {Status.DONE}
    assert world.base("b").joinpath("first").exists() and world.base("b").joinpath("second").exists()
    assert {(task.host, task.name) for play in world.told for task in play.tasks} == {(h, t) for h in "ab" for t in ("first", "second")}
    assert [play.seconds for play in world.told if play.totals] == [2.5]
    assert all("python_version" in {one.host: one for one in world.met}[host].facts for host in "ab")


def test_a_host_on_which_a_job_failed_has_failed_whatever_the_workflow_did_then(world: AwxWorld) -> None:
    world.tasks(FIRST + "\n- ansible.builtin.fail: {msg: no room}\n  when: inventory_hostname == 'a'", "first.yml")
    world.host("a", WORKFLOW)
    world.host("b", WORKFLOW)
    nodes = ({"runs": world.template("one", "first.yml"), "failure": [1]}, {"runs": world.template("two", "second.yml")})
    world.awx.workflow("Deploy", *nodes)
    world.begin()
    done = world.ended(world.kept[0])
    assert [job["status"] for job in world.awx.things["workflow_jobs"].values()] == ["successful"]
    assert done["a.web"].status is Status.PARTIAL and "no room" in done["a.web"].error and "second" in done["a.web"].error
    assert done["b.web"].status is Status.PARTIAL and "AWX does not tell" in done["b.web"].error


def test_what_is_not_done_by_a_job_fails_the_workflow_with_its_reason(world: AwxWorld) -> None:
    world.host("a", WORKFLOW)
    world.awx.workflow("Deploy", {"approved": False, "success": [1]}, {"runs": world.template("one", "first.yml")})
    world.begin()
    done = world.ended(world.kept[0])["a.web"]
    assert done.status is Status.FAILED and "No error handling path" in done.error
    assert not world.awx.things["jobs"]


def test_a_workflow_that_somebody_cancels_there_is_cancelled(world: AwxWorld) -> None:
    world.host("a", WORKFLOW)
    inner = world.awx.workflow("Inner", {"runs": world.template("one", "first.yml")})
    world.awx.workflow("Deploy", {"runs": inner})
    world.awx.hold.clear()
    world.begin()
    world.awx.canceled.add(read_handle(world.kept[0]).job)
    assert world.ended(world.kept[0])["a.web"].status is Status.CANCELLED


@pytest.mark.parametrize(
    ("of_workflow", "of_job", "said"),
    [
        ({"ask_limit_on_launch": False}, {}, "'Deploy'"),
        ({}, {"ask_limit_on_launch": False}, "'one'"),
        ({}, {"ask_inventory_on_launch": False}, "'one'"),
    ],
)
def test_what_would_run_on_other_hosts_is_not_launched(
    world: AwxWorld, of_workflow: dict[str, bool], of_job: dict[str, bool], said: str
) -> None:
    world.host("a", WORKFLOW)
    inner = world.awx.workflow("Inner", {"runs": world.template("one", "first.yml", **of_job)})
    world.awx.workflow("Deploy", {"runs": inner}, **of_workflow)
    error = raised(world.begin)
    assert error.code == "awx-workflow" and said in error.message
    assert unknown(world.observe()["a.web"]).code == "awx-workflow"
    assert not world.awx.things["workflow_jobs"]


def test_a_workflow_gets_no_secrets_and_must_be_there(world: AwxWorld) -> None:
    world.secrets["db"] = "pa55word"
    world.host("a", WORKFLOW, password=secret("db"))
    assert raised(world.begin).code == "secret-unavailable"
    world.hosts.clear()
    world.host("a", WORKFLOW)
    assert "no workflow job template 'Deploy'" in raised(world.begin).message


def test_on_this_machine_a_workflow_is_refused(world: AwxWorld) -> None:
    world.host("a", WORKFLOW)
    targets = [Target(address=item.address, desired=item) for item in World.resources(world).values()]
    found = unknown(*world.driver.observe(targets, world.context()).values())
    assert found.code == "workflow-unknown" and "ansibleProvider" in found.reason
