"""A real run is the apply: what it did, how far it came, and that it can be ended."""

import os
import time
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pygit2
import pytest

from reconciler.drivers.ansible import run
from reconciler.drivers.ansible.process import MARK
from reconciler.drivers.ansible.project import OWN_PLAYBOOK
from reconciler.drivers.ansible.settings import AnsibleSettings
from reconciler.drivers.driver import Step, Target, Work
from reconciler.errors import OctofleetError, Permanent, RetryLater
from reconciler.source.mirror import open_repository
from reconciler.types.change import Action
from reconciler.types.outcome import Outcome, Status
from tests.drivers.ansible_world import World, need_ansible, present, proposed, raised, unknown


@pytest.fixture
def world(tmp_path: Path) -> World:
    need_ansible()
    return World(root=tmp_path)


def running(world: World) -> list[str]:
    """The command lines of this world's processes that are alive."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                environment = (entry / "environ").read_bytes()
                if MARK.encode() in environment and os.fsencode(world.scratch) in environment:
                    found.append((entry / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def test_a_play_that_fails_halfway_is_partial(world: World) -> None:
    world.tasks(
        """
- name: Before
  fail: {msg: "too early"}
  when: early is defined
- name: Directory
  file: {path: "{{ base }}/d", state: directory}
- name: Breaks
  command: sh -c "echo because >&2; exit 3"
  when: breaks is defined
- name: After
  file: {path: "{{ base }}/e", state: directory}
"""
    )
    world.host("fine")
    world.host("half", breaks=True)
    world.host("none", early=True)
    outcomes = world.apply()
    assert outcomes["fine.web"].status is Status.DONE
    assert outcomes["half.web"].status is Status.PARTIAL
    error = "the task Breaks (web/site.yml:9) failed: non-zero return code: because; changed before that: Directory"
    assert outcomes["half.web"].error == error
    assert outcomes["none.web"].status is Status.FAILED
    assert outcomes["none.web"].error == "the task Before (web/site.yml:4) failed: too early"
    assert sorted(world.logged) == [
        "fine: After (web/site.yml:12): changed",
        "fine: Directory (web/site.yml:7): changed",
        "half: Breaks (web/site.yml:9): failed: non-zero return code: because",
        "half: Directory (web/site.yml:7): changed",
        "none: Before (web/site.yml:4): failed: too early",
    ]


def test_two_roles_of_a_host_in_order(world: World) -> None:
    world.tasks('- name: First\n  copy: {dest: "{{ base }}/one", content: "1"}', "one/site.yml")
    world.tasks('- name: Second\n  copy: {dest: "{{ base }}/two", src: "{{ base }}/one", remote_src: true}', "two/site.yml")
    world.host("a", roles=[("one", {"playbook": "one/site.yml"}), ("two", {"playbook": "two/site.yml"})])
    new = proposed(world.observe()["a.two"])
    assert new.fields == () and "the task Second (two/site.yml:4) failed: " in new.blind_spots[0], "it needs what the other brings"
    assert unknown(world.observe(applied=True)["a.two"]).code == "check-failed"
    assert {item.status for item in world.apply().values()} == {Status.DONE}
    assert (world.base("a") / "two").read_text() == "1"


def test_the_same_playbook_by_two_roles_is_two_runs(world: World) -> None:
    world.tasks("- name: Count\n  shell: echo x >> {{ base }}/count")
    world.host("a", roles=[("one", {"playbook": "web/site.yml"}), ("two", {"playbook": "web/site.yml"})])
    world.apply()
    assert (world.base("a") / "count").read_text() == "x\nx\n"


def test_delegation_to_the_server_works(world: World) -> None:
    world.tasks(
        """
- name: Elsewhere
  file: {path: "{{ base }}/from-{{ octofleet.name }}-{{ octofleet.labels.tier }}", state: directory}
  delegate_to: localhost
"""
    )
    world.host("a")
    assert world.apply()["a.web"].status is Status.DONE
    assert (world.base("a") / "from-a-web").is_dir()


SLEEPER = """
- name: Directory
  file: {path: "{{ base }}/d", state: directory}
- name: Asks nobody
  pause: {prompt: "go on?"}
- name: Sleeps
  command: sleep 300
"""


@pytest.mark.parametrize("why", ["cancelled", "timeout"])
def test_the_end_of_a_run_is_the_end_of_its_processes(world: World, why: str, monkeypatch: pytest.MonkeyPatch) -> None:
    world.tasks(SLEEPER)
    world.host("a")
    world.host("never", ansible_host="192.0.2.1")
    asleep = lambda: any(line.startswith("sleep 300") for line in running(world))  # noqa: E731
    if why == "cancelled":
        world.cancelled = asleep
    else:
        late: list[float] = []
        world.cancelled = lambda: bool(late.append(1e6) if not late and asleep() else None)
        monkeypatch.setattr(run, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + sum(late)))
    outcome = world.apply()["a.web"]
    assert running(world) == []
    assert outcome.status is Status.PARTIAL
    words = {"cancelled": "the run was cancelled", "timeout": "the run took too long and was stopped"}[why]
    assert (
        outcome.error
        == f"{words} after the task Asks nobody; a task that was under way may go on on the host; changed before that: Directory"
    )


def test_a_run_that_closes_its_output_is_still_watched(world: World) -> None:
    world.settings = AnsibleSettings(isolation="off")
    world.host("a")
    silent = f"open({str(world.base('a') / 'silent')!r}, 'w'); os.closerange(0, 4096); time.sleep(1000)"
    world.write(
        "web/filter_plugins/silent.py",
        f"import os, time\ndef silent(text):\n    {silent}\nclass FilterModule:\n    def filters(self): return {{'silent': silent}}\n",
    )
    world.write("web/site.yml", "- hosts: \"{{ 'all' | silent }}\"\n  tasks: [{ping: }]\n")
    world.cancelled = (world.base("a") / "silent").exists
    assert world.apply()["a.web"].error.startswith("the run was cancelled before its first task was done")
    assert running(world) == []


def test_nothing_begins_when_it_is_cancelled_or_late(world: World) -> None:
    world.tasks(SLEEPER)
    world.host("a")
    world.cancelled = lambda: True
    assert unknown(world.observe()["a.web"]).code == "cancelled"
    assert world.apply()["a.web"].status is Status.CANCELLED
    world.cancelled, world.deadline_s = (lambda: False), -1.0
    assert unknown(world.observe()["a.web"]).code == "timeout"
    assert world.apply()["a.web"].status is Status.FAILED


def test_a_log_that_fails_ends_the_run(world: World) -> None:
    world.tasks(SLEEPER)
    world.host("a")

    def full(line: str) -> None:
        raise OSError(28, "No space left on device")

    (resource,) = world.resources().values()
    step = Step(id="s", work=(Work(action=Action.RUN, target=Target(address=resource.address, desired=resource)),))
    with pytest.raises(OSError, match="No space left"):
        world.driver.apply(step, replace(world.context(), log=full))
    assert running(world) == []
    world.check_clean()


def test_without_ansible_there_is_a_hint(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.tasks(SLEEPER)
    world.host("a")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    monkeypatch.setenv("PATH", "/nowhere")
    error = raised(world.observe)
    assert error.message == "the program ansible-playbook is not installed" and error.hint == "pip install 'octofleet[ansible]'"
    monkeypatch.setitem(__import__("sys").modules, "ansible_runner.utils", None)
    assert raised(world.observe).hint == "pip install 'octofleet[ansible]'"


def test_a_removed_role_is_neither_checked_nor_undone(world: World) -> None:
    target = Target(address="ansible/role/shop/a.web")
    driver = world.driver
    assert unknown(driver.observe([target], world.context())[target.address]).code == "not-observable"
    outcome = driver.apply(Step(id="s", work=(Work(action=Action.DELETE, target=target),)), world.context())[target.address]
    assert getattr(outcome, "status", None) is Status.FAILED


def test_threads_do_not_disturb_each_other(world: World, tmp_path: Path) -> None:
    from concurrent.futures import ThreadPoolExecutor

    other = World(root=tmp_path / "other")
    for each, text in ((world, "one"), (other, "two")):
        each.tasks(f'- name: {text}\n  copy: {{dest: "{{{{ base }}}}/f", content: {text}}}')
        each.host("a")
    with ThreadPoolExecutor(2) as pool:
        for outcome in pool.map(lambda each: each.apply()["a.web"], (world, other)):
            assert outcome.status is Status.DONE
    assert (world.logged, other.logged) == (["a: one (web/site.yml:4): changed"], ["a: two (web/site.yml:4): changed"])
    present(world.observe()["a.web"])


def test_a_run_that_cannot_begin_does_not_hide_the_ones_before_it(world: World) -> None:
    world.tasks("- name: One\n  debug:", "one/site.yml")
    world.tasks("- name: Two\n  debug:", "two/site.yml")
    world.host("a", roles=[(name, {"playbook": f"{name}/site.yml"}) for name in ("one", "two")])
    work = tuple(Work(action=Action.RUN, target=Target(address=item.address, desired=item)) for item in world.resources().values())
    context = world.context()

    def export(tree: str, into: Path) -> None:
        context.export(tree, into)
        if tree == "tree:two":
            (into.parent / "ansible.cfg").mkdir()

    driver = world.driver
    found = driver.apply(Step(id="s", work=work), replace(context, export=export))
    assert [getattr(item, "status", None) for item in found.values()] == [Status.DONE, Status.FAILED]
    with pytest.raises(Permanent, match=r"cannot write ansible\.cfg"):
        driver.apply(Step(id="s", work=work[1:]), replace(context, export=export))
    world.check_clean()


def test_what_a_group_did_not_expect_is_the_trouble_of_its_hosts_alone(world: World) -> None:
    """A project as deep as Python's calls, of another tenant than the one before and the one after it in the same call."""
    for name in ("one", "two", "three"):
        world.tasks(f"- name: {name}\n  debug:", f"{name}/site.yml")
    world.host("a", roles=[("one", {"playbook": "one/site.yml"})])
    world.host("b", roles=[("two", {"playbook": "two/site.yml"})], tenant="other")
    world.host("c", roles=[("three", {"playbook": "three/site.yml"})])
    targets = [world.target(resource) for resource in world.resources().values()]
    context = world.context()

    git = pygit2.init_repository(world.root / "git", bare=True)
    tree = git.TreeBuilder().write()
    for _ in range(1_200):
        above = git.TreeBuilder()
        above.insert("d", tree, pygit2.enums.FileMode.TREE)
        tree = above.write()
    repository = open_repository(str(world.root / "git"), world.root / "mirrors")

    def export(of: str, into: Path) -> None:
        repository.export(str(tree), "", into) if of == "tree:two" else context.export(of, into)

    driver, deep = world.driver, replace(context, export=export)
    found = {where.rpartition("/")[2]: item for where, item in driver.observe(targets, deep).items()}
    assert unknown(found["b.two"]).code == "driver-failed" and "RecursionError" in unknown(found["b.two"]).reason
    for name in ("a.one", "c.three"):
        present(found[name])
    work = tuple(Work(action=Action.RUN, target=target) for target in targets)
    outcomes = driver.apply(Step(id="s", work=work), deep)
    assert [getattr(item, "status", None) for item in outcomes.values()] == [Status.DONE, Status.FAILED, Status.DONE]
    world.check_clean()


def test_what_the_caller_raises_begins_no_other_run(world: World) -> None:
    """A lease that is lost is seen when something is logged: another process may be at the step by then."""
    for name in ("one", "two"):
        world.tasks(f"- name: {name}\n  copy: {{dest: '{{{{ base }}}}/{name}', content: x}}", f"{name}/site.yml")
    world.host("a", roles=[(name, {"playbook": f"{name}/site.yml"}) for name in ("one", "two")])
    work = tuple(Work(action=Action.RUN, target=world.target(item)) for item in world.resources().values())

    def lost(line: str) -> None:
        raise OctofleetError("the lease is lost")

    with pytest.raises(OctofleetError, match="the lease is lost"):
        world.driver.apply(Step(id="s", work=work), replace(world.context(), log=lost))
    assert [path.name for path in world.base("a").iterdir()] == ["one"]
    world.check_clean()


@pytest.mark.parametrize("what", ["directory", "link to itself", "link to another", "file"])
def test_a_project_that_has_the_playbook_of_roles_already_is_refused(world: World, what: str) -> None:
    world.write("p/roles/r/tasks/main.yml", "- debug:\n")
    world.write("p/precious", "stays")
    own = world.repository / "p" / OWN_PLAYBOOK
    if what == "directory":
        own.mkdir()
    elif what == "file":
        own.write_text("- hosts: all\n")
    else:
        own.symlink_to(own.name if what == "link to itself" else "precious")
    world.host("a", roles=[("web", {"roles": [{"name": "r"}], "project": "p"})])
    world.host("b", roles=[("web", {"roles": [{"name": "r"}], "project": "p"})])
    found = unknown(world.observe()["a.web"])
    assert found.reason.startswith(f"the project has a {OWN_PLAYBOOK}") and found.code == "playbook-in-the-way"
    assert "remove it from the project" in found.reason


def test_a_project_that_cannot_be_had_is_the_trouble_of_its_hosts_alone(world: World) -> None:
    world.tasks("- name: One\n  debug:", "one/site.yml")
    world.tasks("- name: Two\n  debug:", "two/site.yml")
    world.host("a", roles=[("one", {"playbook": "one/site.yml"})])
    world.host("b", roles=[("two", {"playbook": "two/site.yml"})])
    context = world.context()

    def export(tree: str, into: Path) -> None:
        if tree == "tree:one":
            raise RetryLater("the other side is away", after_s=1, hint="ask again", code="away")
        context.export(tree, into)

    resources = world.resources().values()
    work = tuple(Work(action=Action.RUN, target=Target(address=item.address, desired=item)) for item in resources)
    first, second = world.driver.apply(Step(id="s", work=work), replace(context, export=export)).values()
    assert isinstance(first, Outcome) and (first.status, first.error) == (Status.FAILED, "the other side is away (ask again)")
    assert isinstance(second, Outcome) and second.status is Status.DONE
    seen = world.driver.observe([world.target(item) for item in resources], replace(context, export=export))
    assert unknown(seen["ansible/role/shop/a.one"]).code == "away"
    present(seen["ansible/role/shop/b.two"])
    world.check_clean()
