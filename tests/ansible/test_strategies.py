"""Each strategy on real hosts, as root by sudo: without a password, with one, and where sudo refuses; isolated or not, a run means the same."""

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.ansible.strategy import PREFIX
from reconciler.types.observation import Present
from reconciler.types.outcome import Status
from tests.ansible.lab import PASSWORD, Lab
from tests.ansible.site import play
from tests.conftest import missing
from tests.drivers.ansible_world import World, need_ansible, proposed, secret
from tests.drivers.test_ansible_apply import running
from tests.ha.kept import until

ROLE = (("web", {"playbook": "web/site.yml", "become": True}),)
TASKS = """
- name: Configuration
  copy: {dest: /etc/of.conf, content: "of {{ inventory_hostname }}\\n", owner: root, mode: "0600"}
  notify: Restart
- name: Not as root
  copy: {dest: /home/deploy/mine, content: "mine\\n"}
  become: false
- name: As another
  command: {cmd: sh -c "id -un >/var/tmp/of.another", creates: /var/tmp/of.another}
  become_user: daemon
- name: Hidden
  copy: {dest: /etc/of.hidden, content: "not-to-be-seen-7782"}
  no_log: true
"""
HANDLERS = """
  handlers:
    - name: Restart
      shell: echo restarted >>/var/of.restarts
"""
LEFT = "rm -f /etc/of.conf /etc/of.hidden /home/deploy/mine /var/tmp/of.another /var/of.restarts"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    need_ansible()
    with Lab(tmp_path_factory.mktemp("lab"), hosts=3, asking=[2]) as made:
        made[3].forbid_sudo()
        yield made


def made(lab: Lab, path: Path, strategy: str, isolation: str) -> World:
    """A driver whose hosts are those of the lab, which hold nothing yet."""
    if strategy.startswith(PREFIX) and importlib.util.find_spec("ansible_mitogen") is None:
        missing("mitogen", "pip install 'octofleet[mitogen]'")
    world = World(root=path, settings=replace(lab.settings, strategy=strategy, isolation=isolation), secrets={"sudo": PASSWORD})
    world.write("web/site.yml", play(TASKS) + HANDLERS)
    for machine in lab.machines.values():
        machine.run(LEFT)
        asked: dict[str, Any] = {"ansible_become_password": secret("sudo")} if machine.number == 2 else {}
        host = world.host(machine.name, ROLE, ansible_connection="ssh", ansible_python_interpreter="auto_silent", **asked)
        host.values["interfaces"] = [{"name": "eth0", "address": machine.address}]  # type: ignore[index]
    return world


CASES = [("linear", "off"), ("free", "auto"), ("mitogen_linear", "auto")]
SLOW = [("host_pinned", "auto"), ("mitogen_linear", "off"), ("mitogen_free", "auto"), ("mitogen_host_pinned", "auto")]


@pytest.mark.parametrize(("strategy", "isolation"), [*CASES, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)])
def test_a_run_means_the_same(lab: Lab, tmp_path: Path, strategy: str, isolation: str) -> None:
    world = made(lab, tmp_path, strategy, isolation)
    with lab.inside.entered():
        found = world.observe()
        for name in ("node-01.web", "node-02.web"):
            assert {field.path for field in proposed(found[name]).fields} >= {
                "/tasks/Configuration/content",
                "/tasks/Not as root/content",
                "/tasks/Hidden/change",
            }
        assert not lab[1].has("/etc/of.conf") and not lab[2].has("/home/deploy/mine"), "check mode changes nothing"

        outcomes = world.apply()
        assert {name: outcome.status for name, outcome in outcomes.items()} == {
            "node-01.web": Status.DONE,
            "node-02.web": Status.DONE,
            "node-03.web": Status.FAILED,
        }, outcomes
        for machine in (lab[1], lab[2]):
            assert machine.run("stat -c '%U %a' /etc/of.conf /home/deploy/mine") == "root 600\ndeploy 644\n"
            assert (machine.read("/var/tmp/of.another"), machine.read("/var/of.restarts")) == ("daemon\n", "restarted\n")
        assert not lab[3].has("/etc/of.conf") and not lab[3].has("/home/deploy/mine")
        assert isinstance(world.observe()["node-02.web"], Present), "nothing is left to do"
    told = repr((found, outcomes, world.logged, world.told))
    assert "not-to-be-seen-7782" not in told and PASSWORD not in told
    assert running(world) == []


@pytest.mark.parametrize("strategy", ["linear", "mitogen_linear"])
def test_a_cancelled_run_leaves_no_python_on_hosts(lab: Lab, tmp_path: Path, strategy: str) -> None:
    world = made(lab, tmp_path, strategy, "auto")
    world.write("web/site.yml", play("- command: sleep 76544\n"))
    del world.hosts[1:]
    world.cancelled = lambda: "sleep" in lab[1].run("cat /proc/[0-9]*/comm 2>/dev/null || true").split()
    with lab.inside.entered():
        assert world.apply()["node-01.web"].status is Status.CANCELLED
    lab[1].run("pkill -x sleep || true")
    until(lambda: "python" not in lab[1].run("readlink /proc/[0-9]*/exe || true"), "no Python is left", within_s=60, every_s=0.2)
