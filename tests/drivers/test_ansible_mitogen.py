"""With Mitogen a run means the same: outcomes, events, host keys, no_log, the end of its processes; and it is refused where it cannot be used."""

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.cli.sshd import SshHosts
from reconciler.drivers.ansible import strategy
from reconciler.drivers.ansible.command import environment
from reconciler.drivers.ansible.job import Job
from reconciler.drivers.ansible.settings import AnsibleSettings, ansible_providers
from reconciler.errors import Permanent
from reconciler.settings import Ansible
from reconciler.types.outcome import Status
from tests.conftest import missing, program
from tests.drivers.ansible_world import World, need_ansible, proposed, unknown
from tests.drivers.test_ansible_apply import running


def need_mitogen() -> None:
    """Skip, or fail in CI, where Mitogen is not installed."""
    need_ansible()
    if importlib.util.find_spec("ansible_mitogen") is None:
        missing("mitogen", "pip install 'octofleet[mitogen]'")


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHosts]:
    need_mitogen()
    program("ssh-keygen", "openssh-client")
    with SshHosts(tmp_path_factory.mktemp("sshd"), ["a", "b", "liar"], program("sshd", "openssh-server")) as hosts:
        yield hosts


TASKS = """
- name: Motd
  copy: {dest: "{{ home }}/motd", content: "I am {{ inventory_hostname }}\\n"}
- name: Hidden
  copy: {dest: "{{ home }}/hidden", content: "not-to-be-seen-7781"}
  no_log: true
- name: Breaks
  command: sh -c "echo because >&2; exit 3"
  when: inventory_hostname == "b" and not ansible_check_mode
"""


QUICK = [("mitogen_linear", "auto"), ("mitogen_host_pinned", "off")]
SLOW = [("mitogen_linear", "off"), ("mitogen_free", "auto"), ("mitogen_free", "off"), ("mitogen_host_pinned", "auto")]


@pytest.mark.parametrize(("name", "isolation"), [*QUICK, *(pytest.param(*case, marks=pytest.mark.slow) for case in SLOW)])
def test_a_run_means_the_same(sshd: SshHosts, tmp_path: Path, name: str, isolation: str) -> None:
    lines = sshd.known_hosts.read_text().splitlines()
    lines[2] = f"[127.0.0.1]:{sshd.hosts['liar'].port} {sshd.hosts['a'].public_key}"
    known_hosts = tmp_path / "known hosts"
    known_hosts.write_text("\n".join(lines) + "\n")
    ours = {"private_key_file": sshd.private_key, "known_hosts_file": known_hosts, "user": sshd.user}
    world = World(root=tmp_path, settings=AnsibleSettings(strategy=name, isolation=isolation, **ours))  # type: ignore[arg-type]
    world.tasks(TASKS)
    for host in sshd.hosts.values():
        for left in ("motd", "hidden"):
            (host.home / left).unlink(missing_ok=True)
    ssh = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1"}
    loose = dict.fromkeys(("ansible_host_key_checking", "ansible_ssh_host_key_checking"), False)
    no_check = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    loose_args = {f"ansible_ssh_{args}args": no_check for args in ("", "common_", "extra_")}
    for host_name, more in (("a", {}), ("b", {}), ("liar", loose | loose_args)):
        world.host(host_name, **ssh, **more, home=str(sshd.hosts[host_name].home), ansible_port=sshd.hosts[host_name].port)

    found = world.observe()
    seen = {field.path: field.after for field in proposed(found["a.web"]).fields}
    assert seen == {"/tasks/Motd/content": "I am a\n", "/tasks/Hidden/change": "(hidden by no_log)"}
    assert unknown(found["liar.web"]).code == "unreachable"
    assert not any((host.home / "motd").exists() for host in sshd.hosts.values()), "check mode changes nothing"

    outcomes = world.apply()
    assert outcomes["a.web"].status is Status.DONE
    assert outcomes["b.web"].status is Status.PARTIAL and "because; changed before that: Motd, Hidden" in outcomes["b.web"].error
    assert outcomes["liar.web"].status is Status.FAILED and not (sshd.hosts["liar"].home / "motd").exists()
    assert "not-to-be-seen-7781" not in repr((found, outcomes, world.logged))
    assert running(world) == []
    (sshd.hosts["a"].home / "motd").write_text("by hand\n")
    (field,) = proposed(world.observe()["a.web"]).fields
    assert (field.before, field.after) == ("by hand\n", "I am a\n")
    world.apply()
    assert proposed(world.observe()["a.web"]).fields == (), "only what is not foreseen is left"


def test_a_run_with_mitogen_can_be_cancelled(tmp_path: Path) -> None:
    need_mitogen()
    world = World(root=tmp_path, settings=AnsibleSettings(strategy="mitogen_linear"))
    world.tasks("- command: sleep 76543")
    world.host("a")
    world.cancelled = lambda: any(line.startswith("sleep 76543") for line in running(world))
    assert world.apply()["a.web"].status is Status.CANCELLED
    assert running(world) == []


def test_mitogen_is_a_provider_of_all_without_settings() -> None:
    found = ansible_providers(Ansible(user="deploy"))
    assert (found["mitogen"].strategy, found["mitogen"].user, found["mitogen"].tenants) == ("mitogen_linear", "deploy", ("*",))


def test_where_mitogen_cannot_be_used_it_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    need_mitogen()
    monkeypatch.setattr("importlib.metadata.version", lambda name: "2.16.3")
    with pytest.raises(Permanent, match=r"is for ansible-core 2\.17 to 2\.21 .* here is that 2\.16\.3"):
        strategy.strategy_plugins("mitogen_linear")
    monkeypatch.setattr(strategy, "find_spec", lambda name: None)
    with pytest.raises(Permanent, match="not installed") as raised:
        strategy.strategy_plugins("mitogen_free")
    assert raised.value.hint == "pip install 'octofleet[mitogen]'"
    assert strategy.strategy_plugins("host_pinned") is None


def test_forks_are_as_wanted_or_as_there_is_room() -> None:
    assert (strategy.forks(7, 100), strategy.forks(7, 3), strategy.forks(0, 1), strategy.forks(5, 0)) == (7, 3, 1, 1)
    assert 1 <= strategy.forks(0, 10_000) <= strategy.MOST


def test_forks_are_those_of_the_hosts_of_all_groups(tmp_path: Path) -> None:
    groups = {"a": {"hosts": {"x": {}, "y": {}}}, "b": {"hosts": {"y": {}, "z": {}}, "vars": {}}}
    job = Job(directory=tmp_path, playbook="site.yml", inventory=groups, check=True)
    assert environment(job, AnsibleSettings(forks=9), "/bin/ansible-playbook", tmp_path)["ANSIBLE_FORKS"] == "3"


def test_forks_follow_cores_and_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(strategy.os, "sched_getaffinity", lambda pid: set(range(4)))
    monkeypatch.setattr(strategy, "_free_bytes", lambda: 1 << 40)
    assert strategy.forks(0, 500) == 40
    monkeypatch.setattr(strategy, "_free_bytes", lambda: 1 << 30)
    assert strategy.forks(0, 500) == 16
