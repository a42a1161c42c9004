"""Playbooks that AWX runs: observation, durable apply, verdicts, cancel, and secrets."""

import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.ansible.awx import read_handle
from reconciler.drivers.ansible.awx_client import AwxClient
from reconciler.drivers.ansible.awx_jobs import JOB, stop
from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.types.observation import Present, Proposed
from reconciler.types.outcome import Pending, Status
from tests.awx.world import AwxWorld, awx_world
from tests.drivers.ansible_world import proposed, raised, secret, unknown
from tests.ha.kept import until

COPY = "- name: write\n  ansible.builtin.copy: {content: 'one', dest: '{{ base }}/f'}"
PLAIN = "pa55-{{ not.a.template }}-word"


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AwxWorld]:
    with awx_world(tmp_path) as made:
        yield made


def test_a_check_proposes_an_apply_converges_and_a_check_then_sees_it(world: AwxWorld) -> None:
    world.tasks(COPY)
    world.host("a")
    world.host("b")
    world.base("b").joinpath("f").write_text("one")
    world.base("b").joinpath("f").chmod(0o644)
    found = world.observe()
    assert [field.path for field in proposed(found["a.web"]).fields] == ["/tasks/write/content"]
    assert isinstance(found["b.web"], Present)
    assert not world.base("a").joinpath("f").exists()
    done = world.apply()
    assert {item.status for item in done.values()} == {Status.DONE}
    assert world.base("a").joinpath("f").read_text() == "one"
    counted = [(total.name, total.counted.changed, total.counted.ok) for play in world.told for total in play.totals]
    assert counted == [("write", 1, 1)] and [play.seconds for play in world.told if play.totals] == [1.5]
    assert [(task.host, task.status) for play in world.told for task in play.tasks] == [("a", "changed")]
    assert {(one.host, one.answered) for one in world.met} == {("a", True), ("b", True)}
    again = world.observe()
    digests = {name: item.digest for name, item in world.resources().items()}
    assert {name: item.digest for name, item in again.items() if isinstance(item, Present)} == digests
    seen = done["a.web"].observation
    assert isinstance(seen, Present) and seen.digest == digests["a.web"]
    assert [one["name"] for one in world.awx.things["inventories"].values()] == ["octofleet shop"], "inventories of checks are gone"
    assert all(job["scm_branch"] == world.commit() and job["limit"] == "a,b" for job in world.awx.things["jobs"].values())


def test_hosts_get_their_groups_and_only_what_differs_is_written(world: AwxWorld) -> None:
    world.tasks(COPY)
    world.awx.page = 2
    for name in "abcde":
        world.host(name)
    world.apply()
    members = {one["name"]: len(world.awx.members[one["id"]]) for one in world.awx.things["groups"].values()}
    assert members["tenant_shop"] == members["label_tier_web"] == 5
    world.awx.told.clear()
    world.begin("run.2")
    world.ended(world.kept[-1])
    written = [line for line in world.awx.told if not line.startswith("GET")]
    assert len(written) == 1 and written[0].endswith("/launch/")


@pytest.mark.parametrize("brief", [False, True])
def test_a_step_is_launched_once_whatever_is_lost(world: AwxWorld, brief: bool) -> None:
    world.awx.brief = brief
    world.tasks(COPY)
    world.host("a")
    world.awx.faults.append((r"POST .*/launch/", 502, {"detail": "Bad Gateway"}, True))
    assert isinstance(raised(world.begin), RetryLater)
    assert not world.kept, "it was killed before it kept anything"
    first = world.begin()
    assert len(world.awx.things["jobs"]) == 1 and len(world.kept) == 1
    assert all(isinstance(item, Pending) and item.operation == world.kept[0] for item in first.values())
    assert world.ended(world.kept[0])["a.web"].status is Status.DONE
    world.begin("run.2")
    assert len(world.awx.things["jobs"]) == 2


def test_a_step_is_launched_once_whichever_hosts_are_left_of_it(world: AwxWorld) -> None:
    """Whoever resumes a step looks at its hosts first, while the job that nobody knows of is at work: some have ended by then."""
    world.secrets["db"] = PLAIN
    world.tasks("- name: write {{ password }}\n  ansible.builtin.copy: {content: 'one', dest: '{{ base }}/f'}")
    world.host("a", password=secret("db"))
    world.host("b", password="of b")
    world.awx.faults.append((r"POST .*/launch/", 502, {"detail": "Bad Gateway"}, True))
    assert isinstance(raised(world.begin), RetryLater)
    world.hosts.pop(0)
    begun = world.begin()
    assert [where.rpartition("/")[2] for where in begun] == ["b.web"]
    assert len(world.awx.things["jobs"]) == 1, "the job for both is the one"
    assert world.ended(world.kept[0])["b.web"].status is Status.DONE
    assert PLAIN not in repr((world.told, world.logged)) and "***" in repr(world.told), (
        "the name of a task has the secret of the host that has ended"
    )
    world.host("c")
    world.begin()
    assert len(world.awx.things["jobs"]) == 2, "it was not for the third"


def test_what_a_job_did_is_told_once_however_often_it_is_read(world: AwxWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    world.tasks(COPY + "\n- ansible.builtin.ping:")
    world.host("a")
    world.begin()
    until(lambda: [job["status"] for job in world.awx.things["jobs"].values()] == ["successful"], "the job's end", within_s=60)
    world.awx.lag = 0
    real, heard = AwxClient.every, []

    def by_half(client: AwxClient, path: str, **asked: Any) -> Iterator[Any]:
        for one in real(client, path, **asked):
            yield one
            if path.endswith("job_events/") and one["event"] == "runner_on_ok":
                heard.append(one)
                raise RetryLater("it is away")

    with monkeypatch.context() as away:
        away.setattr(AwxClient, "every", by_half)
        until(lambda: isinstance(raised_or_none(lambda: world.polled(world.kept[0])), RetryLater), "it is away", within_s=60)
    assert heard and not world.told and not world.logged, "nothing of a job that was read by half"
    world.awx.faults.append((r"GET /api/v2/credentials/", 502, {"detail": "Bad Gateway"}, False))
    assert isinstance(raised_or_none(lambda: world.polled(world.kept[0])), RetryLater) and not world.told
    assert world.ended(world.kept[0])["a.web"].status is Status.DONE
    counted = [(total.name, total.counted.changed) for play in world.told for total in play.totals]
    assert counted == [("write", 1), ("ansible.builtin.ping", 0)] and len([line for line in world.logged if "write" in line]) == 1


def raised_or_none(call: Callable[[], object]) -> Exception | None:
    try:
        call()
    except RetryLater as error:
        return error
    return None


def test_a_job_that_may_not_be_cancelled_goes_on_and_its_hosts_are_kept(world: AwxWorld) -> None:
    world.tasks(COPY)
    world.host("a")
    world.awx.hold.clear()
    world.begin()
    world.stopped = lambda: True
    world.awx.faults.append((r"POST .*/cancel/", 403, {"detail": "You do not have permission to perform this action."}, False))
    assert all(isinstance(item, Pending) for item in world.polled(world.kept[0]).values())
    assert any("cannot be stopped" in line for line in world.logged)
    world.stopped = lambda: False
    world.awx.hold.set()
    assert world.ended(world.kept[0])["a.web"].status is Status.DONE


def test_secrets_are_in_no_inventory_job_or_text_and_the_credential_goes(world: AwxWorld) -> None:
    world.secrets["db"] = PLAIN
    world.tasks("- name: write\n  ansible.builtin.copy: {content: '{{ password }}', dest: '{{ base }}/f'}")
    world.host("a", password=secret("db"))
    assert PLAIN not in repr(world.observe())
    world.awx.hold.clear()
    world.begin()
    assert len(world.awx.things["credentials"]) == 1 and PLAIN not in world.awx.stored()
    world.awx.hold.set()
    assert world.ended(world.kept[0])["a.web"].status is Status.DONE
    assert world.base("a").joinpath("f").read_text() == PLAIN
    assert not world.awx.things["credentials"]
    assert PLAIN not in world.awx.stored() + "".join(world.kept) + "".join(world.logged)


def test_without_the_right_to_make_the_credential_type_a_secret_is_refused(world: AwxWorld) -> None:
    world.secrets["db"] = PLAIN
    world.tasks(COPY)
    world.host("a", password=secret("db"))
    world.awx.faults.append(
        (r"POST /api/v2/credential_types/", 403, {"detail": "You do not have permission to perform this action."}, False)
    )
    error = raised(world.begin)
    assert error.code == "secret-unavailable" and "administrator" in error.hint
    assert not world.awx.things["jobs"]


@pytest.mark.parametrize("what", ["groups", "credential_types", "inventories"])
def test_what_another_process_makes_at_the_same_time_is_used(world: AwxWorld, what: str) -> None:
    world.secrets["db"] = PLAIN
    world.tasks(COPY)
    world.host("a", password=secret("db"))
    world.awx.faults.append((f"POST /api/v2/{what}/", 400, {"__all__": ["with this Name and Organization already exists."]}, True))
    assert world.apply()["a.web"].status is Status.DONE
    names = [one["name"] for one in world.awx.things[what].values()]
    assert not world.awx.faults and len(names) == len(set(names))


def test_what_awx_does_not_launch_leaves_no_secret(world: AwxWorld) -> None:
    world.secrets["db"] = PLAIN
    world.tasks(COPY)
    world.host("a", password=secret("db"))
    world.awx.faults.append((r"POST .*/launch/", 400, {"detail": "no"}, False))
    assert isinstance(raised(world.begin), Permanent)
    assert not world.awx.things["credentials"] and not world.awx.secrets and not world.awx.things["jobs"]
    template = next(iter(world.awx.things["job_templates"].values()))
    template["ask_limit_on_launch"] = False
    world.awx.faults.append((r"PATCH /api/v2/job_templates/.*", 200, {}, False))
    world.awx.hold.clear()
    assert "passes over limit" in raised(world.begin).message
    assert [job["status"] for job in world.awx.things["jobs"].values()] == ["canceled"]
    assert not world.awx.things["credentials"] and not world.awx.secrets


def test_failed_after_a_change_is_partial_and_the_other_host_is_in_doubt(world: AwxWorld) -> None:
    world.tasks(COPY + "\n- name: break\n  ansible.builtin.fail: {msg: no}\n  when: inventory_hostname == 'a'")
    world.host("a")
    world.host("b")
    done = world.apply()
    assert done["a.web"].status is Status.PARTIAL and "changed before that: write" in done["a.web"].error
    assert done["b.web"].status is Status.PARTIAL and "AWX does not tell" in done["b.web"].error


def test_who_goes_on_after_a_failure_elsewhere_is_done(world: AwxWorld) -> None:
    world.tasks("- ansible.builtin.fail: {msg: no}\n  when: inventory_hostname == 'a'\n" + COPY)
    world.host("a")
    world.host("b")
    done = world.apply()
    assert (done["a.web"].status, done["b.web"].status) == (Status.FAILED, Status.DONE)


def test_unreachable_and_silence_are_unknown(world: AwxWorld) -> None:
    world.write("web/site.yml", "- hosts: a\n  gather_facts: false\n  tasks:\n    - ansible.builtin.ping:\n")
    world.host("a", ansible_connection="ssh", ansible_host="127.0.0.1", ansible_port=1)
    world.host("b")
    found = world.observe()
    assert (unknown(found["a.web"]).code, unknown(found["b.web"]).code) == ("unreachable", "not-targeted")


def test_a_job_that_somebody_cancels_there_is_cancelled(world: AwxWorld) -> None:
    world.tasks(COPY)
    world.host("a")
    world.awx.hold.clear()
    world.begin()
    assert all(isinstance(item, Pending) for item in world.polled(world.kept[0]).values())
    world.awx.canceled.add(read_handle(world.kept[0]).job)
    assert world.ended(world.kept[0])["a.web"].status is Status.CANCELLED


def test_a_run_that_a_person_wants_stopped_is_cancelled_there(world: AwxWorld) -> None:
    world.tasks(COPY)
    world.host("a")
    world.awx.hold.clear()
    world.begin()
    world.stopped = lambda: True
    assert all(isinstance(item, Pending) for item in world.polled(world.kept[0]).values())
    assert world.ended(world.kept[0])["a.web"].status is Status.CANCELLED
    assert [job["status"] for job in world.awx.things["jobs"].values()] == ["canceled"]
    assert not world.awx.things["credentials"]
    client, job = AwxClient(world.way, time.monotonic() + 60), read_handle(world.kept[0]).job
    assert not stop(client, JOB, job), "what has ended by itself meanwhile is no error"


def test_a_job_in_error_before_any_event_says_why(world: AwxWorld) -> None:
    world.tasks(COPY)
    world.host("a")
    world.awx.broken = "Failed to prepare project: no such revision"
    done = world.apply()["a.web"]
    assert done.status is Status.FAILED and "no such revision" in done.error


def test_a_check_that_is_stopped_is_cancelled_there(world: AwxWorld) -> None:
    world.tasks(COPY)
    world.host("a")
    world.awx.hold.clear()
    world.cancelled = lambda: bool(world.awx.things["jobs"])
    assert unknown(world.observe()["a.web"]).code == "cancelled"
    assert [job["status"] for job in world.awx.things["jobs"].values()] == ["canceled"]


def test_tasks_that_really_run_while_planning_are_told_and_no_marks_are_told_too(world: AwxWorld) -> None:
    world.tasks(
        "- name: really\n  ansible.builtin.copy: {content: 'x', dest: '{{ base }}/r'}\n  check_mode: false\n- ansible.builtin.ping:"
    )
    world.host("a")
    assert any("really runs" in text for text in proposed(world.observe()["a.web"]).blind_spots)
    world.awx.task_env = {}
    found = world.observe()["a.web"]
    assert isinstance(found, Proposed) and any("ANSIBLE_CHECK_MODE_MARKERS" in text for text in found.blind_spots)


@pytest.mark.parametrize(
    ("status", "kind", "code"),
    [
        (401, Permanent, "awx-token"),
        (403, Permanent, "awx-forbidden"),
        (429, RetryLater, "awx-away"),
        (503, RetryLater, "awx-away"),
        (302, Permanent, "awx-refused"),
    ],
)
def test_what_awx_refuses_is_the_error_that_it_is(world: AwxWorld, status: int, kind: type[OctofleetError], code: str) -> None:
    world.tasks(COPY)
    world.host("a")
    world.awx.faults.append((r"GET /api/v2/organizations/", status, {"detail": "t0ken-of-awx is what you sent"}, False))
    error = raised(world.begin)
    assert type(error) is kind and error.code == code and "t0ken-of-awx" not in str(error)
    if isinstance(error, RetryLater) and status == 429:
        assert error.after_s == 7.0


def test_awx_away_leaves_an_operation_going_on(world: AwxWorld) -> None:
    world.tasks(COPY)
    world.host("a")
    world.begin()
    near = world.way
    world.way = replace(near, url="http://127.0.0.1:1")
    assert isinstance(raised(lambda: world.polled(world.kept[0])), RetryLater)
    world.way = near
    assert world.ended(world.kept[0])["a.web"].status is Status.DONE


def test_a_token_never_goes_in_the_clear(world: AwxWorld) -> None:
    world.tasks(COPY)
    world.host("a")
    world.way = replace(world.way, url="http://awx.example.com")
    assert raised(world.begin).code == "awx-untrusted"


def test_no_handle_is_no_success(world: AwxWorld) -> None:
    world.tasks(COPY)
    error = raised(lambda: world.polled('{"step": "nobody.7"}'))
    assert error.code == "operation-unknown"
