"""Over real ssh: several hosts in one run, one that is down, one that is not who it should be."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from reconciler.cli.sshd import SshHosts, free_port
from reconciler.drivers.ansible.settings import AnsibleSettings
from reconciler.types.outcome import Status
from tests.conftest import program
from tests.drivers.ansible_world import World, need_ansible, present, proposed, unknown
from tests.drivers.test_ansible_apply import running


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SshHosts]:
    need_ansible()
    program("ssh-keygen", "openssh-client")
    with SshHosts(tmp_path_factory.mktemp("sshd"), ["a", "b", "liar"], program("sshd", "openssh-server")) as hosts:
        yield hosts


def test_each_host_of_a_run_has_its_own_end(sshd: SshHosts, tmp_path: Path) -> None:
    lines = sshd.known_hosts.read_text().splitlines()
    lines[2] = f"[127.0.0.1]:{sshd.hosts['liar'].port} {sshd.hosts['a'].public_key}"
    known_hosts = tmp_path / "known hosts"
    known_hosts.write_text("\n".join(lines) + "\n")
    settings = AnsibleSettings(private_key_file=sshd.private_key, known_hosts_file=known_hosts, user=sshd.user)
    world = World(root=tmp_path, settings=settings)
    world.tasks('- name: Motd\n  copy: {dest: "{{ home }}/motd", content: "I am {{ inventory_hostname }}\\n"}')
    ssh = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1"}
    for name in ("a", "b"):
        world.host(name, **ssh, home=str(sshd.hosts[name].home), ansible_port=sshd.hosts[name].port)
    world.host("down", home="/nowhere", **ssh, ansible_port=free_port())
    loose = dict.fromkeys(("ansible_host_key_checking", "ansible_ssh_host_key_checking"), False)
    no_check = "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    loose_args = {f"ansible_ssh_{name}args": no_check for name in ("", "common_", "extra_")}
    world.host("liar", home=str(sshd.hosts["liar"].home), **ssh, **loose, **loose_args, ansible_port=sshd.hosts["liar"].port)

    found = world.observe()
    assert [field.path for name in "ab" for field in proposed(found[f"{name}.web"]).fields] == ["/tasks/Motd/content"] * 2
    assert unknown(found["down.web"]).code == "unreachable" and "Connection refused" in unknown(found["down.web"]).reason
    assert unknown(found["liar.web"]).code == "unreachable" and "Host key verification failed" in unknown(found["liar.web"]).reason
    assert not any((host.home / "motd").exists() for host in sshd.hosts.values())

    outcomes = world.apply()
    assert outcomes["a.web"].status is outcomes["b.web"].status is Status.DONE
    assert outcomes["down.web"].status is Status.FAILED and outcomes["down.web"].error.startswith("unreachable: ")
    assert (sshd.hosts["b"].home / "motd").read_text() == "I am b\n"
    assert not (sshd.hosts["liar"].home / "motd").exists()
    assert running(world) == [], "ssh's masters are gone"

    del world.hosts[2:]
    (sshd.hosts["a"].home / "motd").write_text("by hand\n")
    (field,) = proposed((found := world.observe())["a.web"]).fields
    assert (field.before, field.after) == ("by hand\n", "I am a\n")
    present(found["b.web"])


def test_the_address_is_where_ssh_goes(tmp_path: Path) -> None:
    need_ansible()
    world = World(root=tmp_path, settings=AnsibleSettings(known_hosts_file=Path(os.devnull), ssh_common_args="-o ConnectTimeout=1"))
    world.tasks("- ping:")
    world.host("a", ansible_connection="ssh", ansible_port=free_port())
    world.hosts[0].values["interfaces"] = [{"name": "x", "address": "127.0.0.2"}, {"name": "y", "address": "127.0.0.3", "primary": True}]  # type: ignore[index]
    assert "127.0.0.3" in unknown(world.observe()["a.web"]).reason
