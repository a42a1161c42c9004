"""What a real run tells of its tasks: every result is counted once, under its task and under its host."""

from collections import Counter
from dataclasses import astuple
from pathlib import Path

import pytest

from reconciler.drivers.ansible.settings import AnsibleSettings
from reconciler.drivers.ansible.telling import BATCH, Telling, times
from reconciler.types.task import Counted, PlayTold, TaskTold
from tests.drivers.ansible_world import World, need_ansible

PLAYBOOK = """
- name: Loop
  file: {path: "{{ base }}/{{ item }}", state: directory}
  loop: [a, b, c]
- name: Again
  shell: echo x >> {{ base }}/count; test $(wc -l < {{ base }}/count) -ge 3
  register: tried
  until: tried.rc == 0
  retries: 5
  delay: 0
  notify: Reload
- name: Once
  command: "true"
  run_once: true
- name: Elsewhere
  command: "true"
  delegate_to: localhost
- name: Skipped
  command: "true"
  when: false
- name: Ignored
  command: "false"
  ignore_errors: true
- block:
    - name: Fails
      fail: {msg: "no {{ inventory_hostname }}"}
      when: breaks is defined
  rescue:
    - name: Rescues
      debug: {msg: hello}
- name: Hidden
  shell: echo {{ item }} > {{ base }}/hidden
  loop: [hunter2]
  no_log: true
- include_tasks: more.yml
  loop: [1, 2]
- name: Same
  debug: {msg: hello}
"""
MORE = "- name: Included {{ item }}\n  command: echo {{ item }}\n"


@pytest.fixture
def world(tmp_path: Path) -> World:
    need_ansible()
    made = World(root=tmp_path)
    made.write(
        "web/site.yml",
        "- hosts: all\n  gather_facts: false\n  handlers:\n    - name: Reload\n      command: 'true'\n  tasks:\n"
        + "".join(f"    {line}\n" for line in PLAYBOOK.strip("\n").splitlines()),
    )
    made.write("web/more.yml", MORE)
    made.host("a")
    made.host("b", breaks=True)
    made.host("c")
    return made


def totals(world: World) -> dict[str, tuple[int, ...]]:
    return {total.name: astuple(total.counted) for play in world.told for total in play.totals}


@pytest.mark.parametrize("strategy", ["linear", "free"])
def test_every_result_is_counted_once(world: World, strategy: str) -> None:
    world.settings = AnsibleSettings(strategy=strategy)
    world.apply()
    found = totals(world)
    once = sum(found.pop("Once"))
    assert once == (1 if strategy == "linear" else 3), "free runs it for each"
    assert found.pop("Fails")[2:5] == (1, 0, 2) and sum(found.pop("Rescues")) == 1
    assert found.pop("Skipped") == (0, 0, 0, 0, 3, 0) and found.pop("Ignored") == (0, 0, 0, 3, 0, 0)
    assert found.pop("Included {{ item }}") == (0, 6, 0, 0, 0, 0), "one task, twice on each of three hosts"
    assert found.pop("Same") == (3, 0, 0, 0, 0, 0)
    assert {name: found[name] for name in ("Loop", "Again", "Elsewhere", "Hidden", "Reload")} == dict.fromkeys(
        ("Loop", "Again", "Elsewhere", "Hidden", "Reload"), (0, 3, 0, 0, 0, 0)
    )
    tasks = [task for play in world.told for task in play.tasks]
    (hosts,) = [play.hosts for play in world.told if play.hosts]
    for host in hosts:
        kept = Counter(task.status for task in tasks if task.host == host.host)
        counted = {name: getattr(host.counted, name) for name in ("changed", "failed", "ignored", "unreachable")}
        assert counted == {name: kept[name] for name in counted}
    assert {task.message for task in tasks if task.status == "failed"} == {"no b"}
    assert not [task for task in tasks if "hunter2" in repr(task)]
    assert all(task.at > 1e9 and task.seconds >= 0 for task in tasks) and any(task.seconds > 0 for task in tasks)


def test_tasks_are_numbered_as_they_begin(world: World) -> None:
    world.apply()
    (found,) = [play.totals for play in world.told if play.totals]
    assert [total.number for total in found] == sorted(total.number for total in found)
    assert [total.name for total in found][:3] == ["Loop", "Again", "Once"] and found[-1].name == "Reload"
    assert all(total.slowest in ("a", "b", "c") and total.seconds >= total.most_s > 0 for total in found if total.counted.changed)
    assert {total.place.rpartition(":")[0] for total in found} == {"web/site.yml", "web/more.yml"}


def test_a_check_tells_nothing_and_all_can_be_kept(world: World) -> None:
    world.observe()
    assert not world.told
    world.settings = AnsibleSettings(keep="all")
    world.apply()
    kept = Counter(task.status for play in world.told for task in play.tasks)
    (hosts,) = [play.hosts for play in world.told if play.hosts]
    assert kept == sum((Counter(dict(zip(Counted.__slots__, astuple(host.counted), strict=True))) for host in hosts), Counter())
    assert kept["skipped"] == 5 and kept["ok"] == 7, "what includes others is a result of each host, too"


def test_two_playbooks_of_a_call_are_two_parts(world: World) -> None:
    world.tasks("- name: Other\n  command: 'true'", "two/site.yml")
    world.host("d", roles=[("two", {"playbook": "two/site.yml"})])
    world.apply()
    assert {play.part for play in world.told} == {0, 1}


def task(host: str, status: str = "changed", name: str = "n") -> TaskTold:
    return TaskTold(tenant="t", host=host, name=name, place="p:1", status=status, at=1.0, seconds=1.0)


def test_what_waits_is_bounded_by_a_batch() -> None:
    told: list[PlayTold] = []
    telling = Telling(tenant="t", told=told.append, now=lambda: 0.0)
    for number in range(500):
        for host in range(3):
            telling.ended(f"h{host}", task(f"h{host}", name=f"n{number}"))
            assert len(telling._waiting) < BATCH
    telling.close()
    assert [len(play.tasks) for play in told] == [500, 500, 500, 0]
    assert len(told[-1].totals) == 500 and {total.counted.changed for total in told[-1].totals} == {3}
    assert [(host.host, host.counted.changed) for host in told[-1].hosts] == [("h0", 500), ("h1", 500), ("h2", 500)]


def test_a_lone_result_does_not_wait_for_a_batch() -> None:
    told: list[PlayTold] = []
    clock = [0.0]
    telling = Telling(tenant="t", told=told.append, now=lambda: clock[0])
    telling.ended("h", task("h"))
    assert not told
    clock[0] = 2.0
    telling.ended("h", task("h", "ok"))
    assert [len(play.tasks) for play in told] == [1]


def test_hidden_changes_move_from_ok() -> None:
    told: list[PlayTold] = []
    telling = Telling(tenant="t", told=told.append)
    telling.ended("h", task("h", "ok"))
    telling.hidden("h", 3)
    telling.close()
    assert told[-1].hosts[0].counted == Counted(changed=1)


def test_an_event_without_times() -> None:
    assert times({"end": None, "duration": None}, 7.0) == (7.0, 0.0)
    assert times({"end": "1970-01-01T00:00:05+00:00", "duration": -1}, 7.0) == (5.0, 0.0)
