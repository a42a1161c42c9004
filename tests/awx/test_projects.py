"""What AWX fetches and what it is given to open it: other repositories, roles, vault texts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.drivers.ansible.awx import Handle, read_handle
from reconciler.secrets import ansible_vault
from reconciler.types.outcome import Status
from tests.awx.world import AwxWorld, awx_world, committed
from tests.drivers.ansible_world import raised, unknown

PLAIN = "pa55-of-the-database"
PLAY = (
    "- hosts: all\n  gather_facts: false\n  tasks:\n    - name: write\n      ansible.builtin.copy: {content: here, dest: '{{ base }}/f'}\n"
)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[AwxWorld]:
    with awx_world(tmp_path) as made:
        made.write("README", "x")
        yield made


def test_another_repository_is_a_project_at_its_own_commit_and_gets_no_credential(world: AwxWorld) -> None:
    other = world.root / "other"
    (other / "web").mkdir(parents=True)
    (other / "web/site.yml").write_text(PLAY)
    url, commit = f"file://{other}", committed(other)
    world.awx.add("credentials", name="git")
    world.way = replace(world.way, project_credential="git")
    world.host("a", (("web", {"playbook": "web/site.yml", "repository": {"url": url, "commit": commit}}),))
    assert raised(world.begin).code == "repository-not-allowed"
    assert not world.awx.things["projects"], "AWX is asked for nothing that the settings do not allow"
    world.allowed.append(url)
    assert world.apply()["a.web"].status is Status.DONE
    assert [(one["scm_url"], one.get("credential")) for one in world.awx.things["projects"].values()] == [(url, None)]
    assert [job["scm_branch"] for job in world.awx.things["jobs"].values()] == [commit]


def test_roles_and_playbooks_of_collections_are_refused_with_what_to_do(world: AwxWorld) -> None:
    world.host("a", (("web", {"roles": [{"name": "site"}], "project": "web"}),))
    world.host("b", (("web", {"collectionPlaybook": "example.web.deploy", "project": "web"}),))
    found = world.observe()
    assert unknown(found["a.web"]).code == unknown(found["b.web"]).code == "playbook-missing"
    assert "import_playbook: example.web.deploy" in unknown(found["b.web"]).reason


def test_vaulted_values_are_opened_there_and_kept_out_of_what_is_told(world: AwxWorld) -> None:
    sealed = ansible_vault.encrypt(f"password: {PLAIN}\n".encode(), b"open", "shop")
    world.write("web/group_vars/all.yml", sealed)
    world.tasks(
        "- name: write\n  ansible.builtin.copy: {content: '{{ password }}', dest: '{{ base }}/f'}\n- ansible.builtin.fail: {msg: '{{ password }}'}"
    )
    world.host("a")
    assert raised(world.begin).code == "secret-unavailable"
    world.passwords["shop"] = "open"
    world.begin()
    done = world.ended(world.kept[0])["a.web"]
    assert world.base("a").joinpath("f").read_text() == PLAIN
    assert done.status is Status.PARTIAL and PLAIN not in done.error + "".join(world.logged) + repr(world.told)
    assert not world.awx.things["credentials"] and '"open"' not in world.awx.stored()


def test_a_handle_of_500_hosts_is_small_and_comes_back_whole() -> None:
    hosts = {f"web-{n:03}.ams1.example.net": (f"ansible/role/shop/web-{n:03}.ams1.example.net.web", f"{n:064x}") for n in range(500)}
    what = {"playbook": "web/site.yml", "project": "web", "content": "0" * 40}
    handle = Handle(
        provider="tower", kind="jobs", job=7, mark="run.1.ab", tenant="shop", part=0, what=what, hosts=hosts, secrets=[("s", "k")]
    )
    text = handle.text()
    assert len(text) < 100_000
    assert read_handle(text) == handle
