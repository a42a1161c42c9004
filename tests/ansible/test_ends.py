"""What a run says of hosts that answer, that do not, that break off and that fail halfway: each host its own end, and never more than was seen."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

from reconciler.drivers.ansible import run
from reconciler.types.outcome import Status
from tests.ansible.lab import Lab
from tests.ansible.site import play
from tests.drivers.ansible_world import World, need_ansible, proposed, unknown
from tests.drivers.test_ansible_apply import running
from tests.ha.kept import until

ROLE = (("web", {"playbook": "web/site.yml", "become": True}),)
ALIVE = "-o ServerAliveInterval=1 -o ServerAliveCountMax=3"
"""Without it nobody notices that a host is gone while a task runs, until the run's time is over."""


@contextmanager
def world(tmp_path: Path, hosts: int, tasks: str, **keywords: str) -> Iterator[tuple[Lab, World]]:
    """The hosts of a lab, and a driver within it."""
    need_ansible()
    with Lab(tmp_path / "lab", hosts=hosts) as lab, lab.inside.entered():
        made = World(root=tmp_path, settings=replace(lab.settings, ssh_common_args=ALIVE))
        made.write("web/site.yml", play(tasks, **keywords))
        for machine in lab.machines.values():
            host = made.host(machine.name, ROLE, ansible_connection="ssh", ansible_python_interpreter="auto_silent")
            host.values["interfaces"] = [{"name": "eth0", "address": machine.address}]  # type: ignore[index]
        yield lab, made


@contextmanager
def meanwhile(ready: Callable[[], object], do: Callable[[], object]) -> Iterator[None]:
    """Do something as soon as it is time for it, while the block runs."""
    done: list[object] = []

    def wait() -> None:
        until(ready, "the time for it", within_s=120, every_s=0.1)
        done.append(do())

    thread = threading.Thread(target=wait)
    thread.start()
    try:
        yield
    finally:
        thread.join()
    assert done


TWO = """
- name: First
  copy: {content: "first\\n", dest: /etc/first}
- name: Second
  copy: {content: "second\\n", dest: /srv/second}
"""


def test_each_trouble_is_told_as_what_it_is(tmp_path: Path) -> None:
    with world(tmp_path, 7, TWO) as (lab, made):
        lab[2].refuse()
        lab[3].go_silent()
        lab[4].pretend()
        lab[5].forbid_sudo()
        lab[6].lose_python()
        lab[7].fill("/srv")
        found = {name.partition(".")[0]: item for name, item in made.observe().items()}
        assert [field.path for field in proposed(found["node-01"]).fields] == ["/tasks/First/content", "/tasks/Second/content"]
        known = {name.partition(".")[0]: item for name, item in made.observe(applied=True).items()}
        for number, words in ((2, "Connection refused"), (3, "timed out"), (4, "Host key verification failed")):
            for told in (unknown(found[f"node-0{number}"]), unknown(known[f"node-0{number}"])):
                assert told.code == "unreachable" and words in told.reason
        for number, words in ((5, "sudo"), (6, "python")):
            new, told = proposed(found[f"node-0{number}"]), unknown(known[f"node-0{number}"])
            assert new.fields == () and words in new.blind_spots[0], "what is new to a host may bring what its check lacks"
            assert told.code == "check-failed" and words in told.reason
        assert len(proposed(found["node-07"]).fields) == 2, "check mode does not write, so it cannot know"
        lab[7].run("dd if=/dev/zero of=/srv/full bs=1k count=64 2>/dev/null || true")
        outcomes = {name.partition(".")[0]: item for name, item in made.apply().items()}
        assert outcomes["node-01"].status is Status.DONE and lab[1].read("/srv/second") == "second\n"
        assert outcomes["node-07"].status is Status.PARTIAL
        assert "Second" in outcomes["node-07"].error and "No space left" in outcomes["node-07"].error
        assert outcomes["node-07"].error.endswith("changed before that: First")
        assert {outcomes[f"node-0{n}"].status for n in range(2, 7)} == {Status.FAILED}
        for number in (2, 3, 4):
            assert outcomes[f"node-0{number}"].error.startswith("unreachable: ")
            lab[number].recover()
        del made.hosts[4:], made.hosts[0]
        assert {item.status for item in made.apply().values()} == {Status.DONE}, "they come back"


HALFWAY = """
- name: First
  copy: {content: "first\\n", dest: /etc/first}
- name: Long
  shell: "touch /run/at-work; {wait}; touch /run/through"
  ignore_unreachable: {ignored}
- name: Last
  debug: {msg: "this one needs nobody"}
"""
WAIT = "if [ $(hostname) = node-01 ]; then while [ ! -e /run/go ]; do sleep 0.1; done; fi"


def test_who_is_cut_off_halfway_is_partly_done_and_delays_nobody(tmp_path: Path) -> None:
    with world(tmp_path, 2, HALFWAY.replace("{wait}", WAIT).replace("{ignored}", "false")) as (lab, made):
        with meanwhile(lambda: lab[1].has("/run/at-work"), lab[1].go_silent):
            outcomes = made.apply()
        cut, other = outcomes["node-01.web"], outcomes["node-02.web"]
        assert cut.status is Status.PARTIAL and cut.error.startswith("unreachable: ") and "changed before that: First" in cut.error
        assert other.status is Status.DONE
        lab[1].recover()
        lab[1].run("touch /run/go")
        until(lambda: lab[1].has("/run/through"), "what nobody watches any more", within_s=60)


def test_a_host_that_is_lost_is_unknown_though_the_playbook_ignores_it(tmp_path: Path) -> None:
    tasks = HALFWAY.replace("{wait}", WAIT).replace("{ignored}", "true").replace("- name: Long\n", "- name: Long\n  check_mode: false\n")
    with world(tmp_path, 1, tasks) as (lab, made):
        with meanwhile(lambda: lab[1].has("/run/at-work"), lab[1].go_silent):
            found = unknown(made.observe()["node-01.web"])
        assert found.code == "unreachable"
        lab[1].recover()
        lab[1].run("rm /run/at-work")
        with meanwhile(lambda: lab[1].has("/run/at-work"), lab[1].go_silent):
            outcome = made.apply()["node-01.web"]
        assert (
            outcome.status is Status.PARTIAL
            and outcome.error.startswith("unreachable: ")
            and outcome.error.endswith("changed before that: First")
        )


RESCUE = """
- name: Rescued
  block:
    - name: Look
      stat: {path: /etc/hosts}
  rescue:
    - name: Saved
      copy: {content: "saved\\n", dest: /etc/saved}
- meta: clear_host_errors
"""


def test_no_rescue_makes_an_unreachable_host_known(tmp_path: Path) -> None:
    with world(tmp_path, 2, RESCUE) as (lab, made):
        lab[1].refuse()
        found = made.observe()
        assert unknown(found["node-01.web"]).code == "unreachable" and found["node-02.web"].digest  # type: ignore[union-attr]
        outcomes = made.apply()
        assert outcomes["node-01.web"].status is Status.FAILED and outcomes["node-02.web"].status is Status.DONE


STUCK = """
- name: First
  copy: {content: "first\\n", dest: /etc/first}
- name: Stuck
  shell: "touch /run/at-work; sleep 1000"
  when: inventory_hostname == 'node-01'
"""


def test_a_stuck_host_holds_the_others_no_longer_than_the_time_limit(tmp_path: Path) -> None:
    with world(tmp_path, 3, STUCK, strategy="free") as (lab, made):
        late: list[float] = []

        def stuck() -> bool:
            """Once all others wait for it, the time is over."""
            if not late and lab[1].has("/run/at-work") and all(machine.has("/etc/first") for machine in lab.machines.values()):
                late.append(1e6)
            return False

        made.cancelled = stuck
        with mock.patch.object(run, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + sum(late))):
            outcomes = made.apply()
        assert late and running(made) == []
        assert {name: item.status for name, item in outcomes.items()} == dict.fromkeys(outcomes, Status.PARTIAL)
        for outcome in outcomes.values():
            assert (
                outcome.error.startswith("the run took too long and was stopped after the task ")
                and "changed before that: First" in outcome.error
            )


def test_cancelling_ends_all_that_is_here_and_says_what_may_go_on_there(tmp_path: Path) -> None:
    with world(tmp_path, 2, STUCK) as (lab, made):
        made.cancelled = lambda: lab[1].has("/run/at-work")
        outcomes = made.apply()
        assert running(made) == []
        stuck = outcomes["node-01.web"]
        assert stuck.status is Status.PARTIAL
        assert stuck.error.endswith("; a task that was under way may go on on the host; changed before that: First")
        assert "sleep 1000" in lab[1].run("ps ax"), "and it does"
