"""Secrets go into the private inventory and nowhere else; what a project brings along does not take over the run."""

import os
import re
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.drivers.ansible import isolation
from reconciler.drivers.ansible.command import environment, fixed_variables
from reconciler.drivers.ansible.galaxy import Galaxy
from reconciler.drivers.ansible.settings import AnsibleSettings
from reconciler.drivers.driver import Step, Work
from reconciler.drivers.wrap import Wrapped
from reconciler.types.change import Action
from reconciler.types.outcome import Outcome, Status
from reconciler.types.values import SecretRef, SecretValue
from tests.drivers.ansible_artifacts import role_archive
from tests.drivers.ansible_world import World, need_ansible, present, proposed, secret, unknown

PLAIN = 'p{{a"ss}}wörd-9f8e7d'


@pytest.fixture
def world(tmp_path: Path) -> World:
    need_ansible()
    return World(root=tmp_path)


class Spy:
    """Looks, while a run is on, for a plaintext in arguments, environments and files.

    Ansible itself keeps what it templates in its temporary directory (below ours, 0700) and each event in a file until it is read.
    """

    def __init__(self, world: World, plain: str) -> None:
        self.world, self.plain = world, re.compile("|".join(re.escape(text) for text in (plain, plain.replace('"', '\\"'))).encode())
        self.found: set[str] = set()
        self.modes: set[str] = set()
        self.looks = 0

    def __call__(self) -> bool:
        for entry in Path("/proc").iterdir():
            for name in ("cmdline", "environ") if entry.name.isdigit() else ():
                self._look(entry / name, f"process {name}")
        for path in self._files():
            if path.name == "inventory.json":
                self.looks += 1
                self.modes |= {f"{path.stat().st_mode & 0o777:o} {path.parent.stat().st_mode & 0o777:o}"}
            if path.is_file() and "-partial.json" not in path.name and "tmp" not in path.relative_to(self.world.scratch).parts:
                self._look(path, path.name)
        return False

    def _files(self) -> Iterator[Path]:
        """What is in the scratch directory, where Ansible makes and deletes directories meanwhile: `Path.rglob` raises for one that goes."""
        for directory, _, names in os.walk(self.world.scratch):
            yield from (Path(directory, name) for name in names)

    def _look(self, path: Path, called: str) -> None:
        try:
            if self.plain.search(path.read_bytes()):
                self.found.add(called)
        except OSError:
            return


def test_a_secret_is_in_the_private_inventory_alone(world: World) -> None:
    world.secrets["password"] = PLAIN
    world.tasks(
        """
- name: Uses {{ deep.list[0] }}
  copy: {dest: "{{ base }}/conf", content: "password={{ deep.list[0] }}\\n", mode: "0600"}
- name: Tells
  debug: {msg: "{{ deep }}"}
- name: Shown to all {{ deep.list[0] }}
  command: sh -c 'printenv P >&2; exit 1'
  environment: {P: "{{ deep.list[0] }}"}
  when: breaks is defined
"""
    )
    world.host("a", deep={"list": [secret("password")]})
    world.host("b", deep={"list": [secret("missing")]})
    world.cancelled = spy = Spy(world, PLAIN)
    found = world.observe()
    assert spy.looks > 0 and spy.modes == {"600 700"}
    assert spy.found == {"inventory.json"}
    (field,) = proposed(found["a.web"]).fields
    assert field.path == "/tasks/Uses {{ deep.list[0] }}/content" and field.after == "password=***\n" and "+password=***" in field.diff
    assert (
        unknown(found["b.web"]).code == "secret-unavailable" and "there is no secret s/missing for shop" in unknown(found["b.web"]).reason
    )

    outcomes = world.apply()
    assert (world.base("a") / "conf").read_text() == f"password={PLAIN}\n"
    assert (outcomes["a.web"].status, outcomes["b.web"].status) == (Status.DONE, Status.FAILED)
    present(world.observe()["a.web"])
    assert spy.found == {"inventory.json"}
    world.cancelled = lambda: False  # a task's `environment` is on the command line of the host's shell: the playbook's own doing
    world.host("c", deep={"list": [secret("password")]}, breaks=True)
    broken = world.apply()["c.web"]
    assert "***" in broken.error
    told = repr((found, outcomes, broken, world.logged))
    assert not spy.plain.search(told.encode()) and "ss}}w" not in told


def test_a_rotated_secret_is_proposed_though_both_sides_are_hidden(world: World) -> None:
    world.secrets["password"] = "old-password"
    world.tasks('- name: Conf\n  copy: {dest: "{{ base }}/conf", content: "{{ deep }}"}')
    world.host("a", deep=secret("password"))
    world.apply()
    world.secrets["password"] = "new-password"
    (field,) = proposed(world.observe()["a.web"]).fields
    assert (field.before.strip(), field.after) == ("(hidden: it may hold a former secret)", "***")
    assert "old-password" not in field.diff


EVIL = """
from pathlib import Path
Path({mark!r}).touch()
{rest}
"""


def test_what_a_project_brings_along(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = world.root / "marks"
    mark.mkdir()
    world.settings = AnsibleSettings(visible=(mark,))

    def evil(path: str, rest: str) -> None:
        world.write(path, EVIL.format(mark=str(mark / Path(path).stem), rest=rest))

    callback = "from ansible.plugins.callback import CallbackBase\nclass CallbackModule(CallbackBase):\n    CALLBACK_TYPE='aggregate'\n"
    evil("web/callback_plugins/callback_beside.py", callback)
    evil("web/roles/r/callback_plugins/callback_role.py", callback)
    evil("web/cfg_plugins/callback_cfg.py", callback)
    evil("web/vars_plugins/vars_beside.py", "class VarsModule: pass\n")
    evil("web/filter_plugins/filter_beside.py", "class FilterModule:\n    def filters(self): return {'evil': str}\n")
    world.write("web/ansible.cfg", "[defaults]\ncallback_plugins=cfg_plugins\ninventory=inventory\nremote_user=evil\nforks=1\n")
    world.write("web/inventory/hosts", "evil ansible_connection=local\n")
    world.write("web/group_vars/all.yml", "from_group_vars: yes, these are the project's own\n")
    world.write("web/roles/r/tasks/main.yml", "- name: role\n  debug:\n")
    world.tasks(
        """
- name: Tells
  copy:
    dest: "{{ base }}/told"
    content: "{{ [groups.all, lookup('env', 'SERVER_SECRET'), from_group_vars, playbook_dir | basename] | to_json | evil }}"
- include_role: {name: r}
"""
    )
    monkeypatch.setenv("SERVER_SECRET", "of the server")
    monkeypatch.setenv("ANSIBLE_CALLBACK_PLUGINS", str(world.repository / "web/cfg_plugins"))
    monkeypatch.setenv("ANSIBLE_FORCE_COLOR", "1")
    monkeypatch.setenv("ANSIBLE_STDOUT_CALLBACK", "minimal")
    world.host("a")
    assert world.apply()["a.web"].status is Status.DONE
    assert (world.base("a") / "told").read_text() == """["a"],"", "yes, these are the project's own", "project"]""".replace(
        '["a"],"",', '[["a"], "",'
    )
    # A playbook is a program: filters and the like beside it do run on this machine. The module's docstring says so.
    assert [path.name for path in mark.iterdir()] == ["filter_beside"]


def test_nothing_of_ours_is_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from reconciler.drivers.ansible.job import Job

    monkeypatch.setenv("VAULT_TOKEN", "x")
    monkeypatch.setenv("SSH_AUTH_SOCK", "/agent")
    job = Job(directory=tmp_path, playbook="site.yml", inventory={}, check=True)
    with_key = environment(job, AnsibleSettings(private_key_file=Path("/k ey")), "/bin/ansible-playbook", tmp_path)
    assert with_key["ANSIBLE_PRIVATE_KEY_FILE"] == "/k ey"
    assert {name for name in with_key if not name.startswith("ANSIBLE_")} == {
        "PATH",
        "HOME",
        "LANG",
        "LC_ALL",
        "NO_COLOR",
        "PYTHONDONTWRITEBYTECODE",
    }
    assert environment(job, AnsibleSettings(), "/bin/ansible-playbook", tmp_path)["SSH_AUTH_SOCK"] == "/agent"
    fixed = fixed_variables(AnsibleSettings(known_hosts_file=Path("/known hosts")))
    assert "'UserKnownHostsFile=\"/known hosts\"'" in fixed["ansible_ssh_args"] and fixed["ansible_host_key_checking"] is True


def test_hosts_of_two_tenants_never_share_a_run(world: World) -> None:
    world.tasks('- name: Tells\n  copy: {dest: "{{ base }}/told", content: "{{ groups.all | sort }}"}')
    world.host("a", tenant="shop")
    world.host("b", tenant="shop")
    world.host("c", tenant="bank")
    world.apply()
    assert (world.base("a") / "told").read_text() == '["a", "b"]'
    assert (world.base("c") / "told").read_text() == '["c"]'
    assert threading.active_count() < 5


@pytest.fixture
def no_answer() -> Iterator[None]:
    """Nothing is known of this machine's bubblewrap, before and after."""
    isolation._answer.cache_clear()
    yield
    isolation._answer.cache_clear()


@pytest.mark.usefixtures("no_answer")
def test_where_isolation_is_required_nothing_is_opened_or_installed_without(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path, monkeypatch, "echo 'no namespaces here' >&2; exit 1")
    world.settings = AnsibleSettings(isolation="required")
    world.galaxy = Galaxy(directory=tmp_path / "galaxy")
    role_archive(world.root / "said.tar.gz")
    world.tasks("- debug:")
    world.write("web/requirements.yml", "roles:\n  - src: said.tar.gz\n    name: said\n")
    (world.root / "said.tar.gz").rename(world.repository / "web" / "said.tar.gz")
    world.secrets["password"] = PLAIN
    world.host("a", deep=secret("password"))
    read: list[str] = []

    def asked(ref: SecretRef, tenant: str) -> SecretValue:
        read.append(str(ref))
        return SecretValue(PLAIN)

    context = replace(world.context(), secret=asked, export=lambda tree, into: read.append(tree))
    (target,) = [world.target(resource) for resource in world.resources().values()]
    found = unknown(world.driver.observe([target], context)[target.address])
    assert found.code == "isolation-missing" and "no namespaces here" in found.reason and "bubblewrap" in found.reason
    (ended,) = world.driver.apply(Step(id="s", work=(Work(action=Action.RUN, target=target),)), context).values()
    assert isinstance(ended, Outcome) and ended.status is Status.FAILED and "no namespaces here" in ended.error
    assert read == [] and not (tmp_path / "galaxy").exists()
    world.check_clean()


@pytest.mark.usefixtures("no_answer")
def test_that_bubblewrap_was_not_heard_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path, monkeypatch, "exec sleep 60")
    with monkeypatch.context() as busy:
        busy.setattr(isolation, "PROBE_S", 0.05)
        assert "timed out" in isolation.why_not() and not isolation.isolated("auto")
    program(tmp_path, monkeypatch, "#!/nowhere/interpreter", first="")
    assert "does not run" in isolation.why_not()
    program(tmp_path, monkeypatch, "echo asked >> asked")
    monkeypatch.chdir(tmp_path)
    assert isolation.why_not() == "" and isolation.isolated("required") and isolation.isolated("auto")
    assert (tmp_path / "asked").read_text() == "asked\n"


def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, first: str = "#!/bin/sh\n") -> None:
    """A bubblewrap that does this."""
    place = tmp_path / "programs"
    place.mkdir(exist_ok=True)
    (place / "bwrap").write_text(f"{first}{text}\n")
    (place / "bwrap").chmod(0o755)
    if not os.environ["PATH"].startswith(f"{place}:"):
        monkeypatch.setenv("PATH", f"{place}:{os.environ['PATH']}")


def test_what_is_hidden_from_a_tenant_tells_nothing_of_the_secrets_of_another(world: World) -> None:
    words = {"shop": "word-of-the-shop", "bank": "word-of-the-bank"}
    world.secrets.update(words)
    world.tasks(f"- name: Tells\n  copy: {{dest: '{{{{ base }}}}/told', content: '{' '.join(words.values())} {{{{ mine | length }}}}'}}")
    for tenant in words:
        world.host(tenant, tenant=tenant, mine=secret(tenant))
    targets = [world.target(resource, resource.digest) for resource in world.resources().values()]
    found = Wrapped(driver=world.driver).observe(targets, world.context())
    seen = {where: field.after for where, item in found.items() for field in proposed(item).fields if field.path.endswith("/content")}
    assert seen == {
        "ansible/role/shop/shop.web": "*** word-of-the-bank 16",
        "ansible/role/bank/bank.web": "word-of-the-shop *** 16",
    }
