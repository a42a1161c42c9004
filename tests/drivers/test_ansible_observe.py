"""Check mode with diff is the observation: what it proposes, what it cannot foresee, and when nothing can be said."""

from dataclasses import replace
from pathlib import Path

import pytest

from reconciler.types.canonical import NOTHING, digest
from reconciler.types.observation import Present
from reconciler.types.outcome import Status
from tests.drivers.ansible_world import World, need_ansible, present, proposed, unknown

MOTD = """
- name: Write the motd
  copy: {dest: "{{ base }}/motd", content: "hello {{ inventory_hostname }}\\n", mode: "0644"}
"""


@pytest.fixture
def world(tmp_path: Path) -> World:
    need_ansible()
    return World(root=tmp_path)


def test_converges_and_then_finds_drift(world: World) -> None:
    world.tasks(MOTD)
    world.host("a")
    world.host("b")
    first = world.observe()
    (field,) = proposed(first["a.web"]).fields
    assert (field.path, field.before, field.after) == ("/tasks/Write the motd/content", "", "hello a\n")
    assert field.diff == f"--- before: {world.base('a')}/motd\n+++ after: {world.base('a')}/motd\n@@ -0,0 +1 @@\n+hello a"
    assert proposed(world.observe()["a.web"]).digest == proposed(first["a.web"]).digest
    assert not (world.base("a") / "motd").exists()

    outcomes = world.apply()
    assert [item.status for item in outcomes.values()] == [Status.DONE, Status.DONE]
    resource = world.resources()["a.web"]
    assert isinstance(found := outcomes["a.web"].observation, Present) and found.digest == resource.digest
    assert (world.base("a") / "motd").read_text() == "hello a\n"
    assert "a: Write the motd (web/site.yml:4): changed" in world.logged

    (world.base("b") / "motd").write_text("changed by hand\n")
    drifted = world.observe()
    assert present(drifted["a.web"]).digest == resource.digest
    (field,) = proposed(drifted["b.web"]).fields
    assert (field.before, field.after) == ("changed by hand\n", "hello b\n")
    assert proposed(drifted["b.web"]).blind_spots == (
        "Write the motd (web/site.yml:4): its content changes, and a change of mode or owner does not show beside that",
    )


def test_names_tasks_of_loops_roles_handlers_and_rescues(world: World) -> None:
    world.write("web/roles/r1/tasks/main.yml", "- name: same\n  debug: {}\n  changed_when: true\n")
    world.write("web/roles/r2/tasks/main.yml", "- name: same\n  debug: {}\n  changed_when: true\n")
    world.write("web/more.yml", "- name: more\n  debug: {}\n  changed_when: true\n")
    world.write(
        "web/site.yml",
        """
- hosts: all
  gather_facts: false
  roles: [r1, r2]
  tasks:
    - name: Loop
      debug: {}
      changed_when: true
      loop: [{n: l/1}, {n: l2}]
      ignore_errors: true
      notify: restart
    - name: twin
      debug: {}
      changed_when: true
    - name: twin
      debug: {}
      changed_when: true
    - name: For {{ inventory_hostname }}
      debug: {}
      changed_when: true
    - include_tasks: more.yml
      vars: {n: "{{ item }}"}
      loop: [1, 2]
    - block:
        - name: boom
          fail: {msg: boom}
      rescue:
        - name: saved
          debug: {}
          changed_when: true
  handlers:
    - name: restart
      debug: {}
      changed_when: true
- hosts: all
  gather_facts: false
  tasks:
    - name: second play
      debug: {}
      changed_when: true
- hosts: localhost
  gather_facts: false
  tasks:
    - name: on the server
      debug: {}
      changed_when: true
""",
    )
    world.host("a")
    world.host("b")
    found = world.observe()
    paths = [field.path for field in proposed(found["b.web"]).fields]
    assert paths == [
        "/tasks/For {{ inventory_hostname }}/changed",
        '/tasks/Loop/{"n":"l2"}/changed',
        '/tasks/Loop/{"n":"l~11"}/changed',
        "/tasks/more #2/changed",
        "/tasks/more/changed",
        "/tasks/r1 : same/changed",
        "/tasks/r2 : same/changed",
        "/tasks/restart/changed",
        "/tasks/saved/changed",
        "/tasks/second play/changed",
        "/tasks/twin (web~1site.yml:12)/changed",
        "/tasks/twin (web~1site.yml:15)/changed",
    ]
    assert proposed(found["b.web"]).blind_spots == ("boom (web/site.yml:25): it fails in check mode and is rescued",)
    world.hosts.pop(0)
    assert proposed(world.observe()["b.web"]).digest == proposed(found["b.web"]).digest


def test_names_what_check_mode_cannot_foresee(world: World) -> None:
    world.tasks(
        """
- name: Reload
  command: touch {{ base }}/reloaded
- name: Raw
  raw: "true"
- name: Looped
  shell: "true"
  loop: [1, 2]
- name: Once
  command: touch {{ base }}/once
  args: {creates: "{{ base }}/once"}
- name: Not wanted
  command: "true"
  when: base is undefined
- name: Nothing to loop over
  command: "true"
  loop: []
- name: Later
  copy: {dest: "{{ base }}/later", content: x}
  when: not ansible_check_mode
- name: Really
  command: touch {{ base }}/really
  check_mode: false
  changed_when: false
- name: Read
  stat: {path: "{{ base }}"}
  check_mode: false
- name: Lacking
  lacking:
"""
    )
    module = """
from ansible.module_utils.basic import AnsibleModule
AnsibleModule(argument_spec={}, supports_check_mode=False).exit_json(changed=True)
"""
    world.write("web/library/lacking.py", module.lstrip())
    world.host("a")
    found = proposed(world.observe()["a.web"])
    assert found.blind_spots == (
        "Really (web/site.yml:23): check_mode: false: it really runs, also while planning",
        "Reload (web/site.yml:4): check mode does not run a command",
        "Raw (web/site.yml:6): check mode does not run a raw",
        "Looped (web/site.yml:8): check mode does not run a shell",
        "Once (web/site.yml:11): what its command does is not foreseen",
        "Later (web/site.yml:20): it is skipped because this is check mode",
        "Lacking (web/site.yml:30): the module lacking does not support check mode",
    )
    assert [(field.path, field.before, field.after) for field in found.fields] == [("/tasks/Once/changed", False, True)]
    assert (world.base("a") / "really").exists()


def test_blind_spots_alone_are_an_empty_proposal(world: World) -> None:
    world.tasks("- name: Reload\n  command: 'true'")
    world.host("a")
    found = proposed(world.observe()["a.web"])
    assert (found.fields, found.digest, len(found.blind_spots)) == ((), NOTHING, 1)


def test_honours_no_log(world: World) -> None:
    world.tasks(
        """
- name: Quiet
  debug: {msg: do not tell}
  changed_when: tell is defined
  no_log: true
- name: Quiet and there
  debug: {msg: do not tell}
  no_log: true
- name: Quiet loop
  debug: {msg: "do not tell {{ item }}"}
  changed_when: tell is defined
  loop: [1, 2]
  no_log: true
"""
    )
    world.host("a", tell=True)
    world.host("b")
    observed = world.observe()
    present(observed["b.web"])
    found = proposed(observed["a.web"])
    assert [(field.path, field.before, field.after) for field in found.fields] == [
        ("/tasks/Quiet loop/change", "(hidden by no_log)", "(hidden by no_log)"),
        ("/tasks/Quiet loop/change#2", "(hidden by no_log)", "(hidden by no_log)"),
        ("/tasks/Quiet/change", "(hidden by no_log)", "(hidden by no_log)"),
    ]
    assert "do not tell" not in repr(found)


def test_tells_attributes_binary_and_large_files(world: World) -> None:
    world.tasks(
        """
- name: Directory
  file: {path: "{{ base }}/d", state: directory, mode: "0700"}
- name: Binary
  copy: {dest: "{{ base }}/b", src: b.bin}
- name: Large
  copy: {dest: "{{ base }}/l", src: l.txt}
- name: Long
  template: {dest: "{{ base }}/t", src: t.j2}
- name: Line
  lineinfile: {path: "{{ base }}/line", line: "abc", create: true, mode: "0600"}
"""
    )
    (world.repository / "web/b.bin").write_bytes(b"\0\1\2" * 10)
    world.write("web/l.txt", "x" * 200_000)
    world.write("web/t.j2", "line {{ base }}\n" * 400)
    world.host("a")
    (world.base("a") / "d").mkdir(mode=0o755)
    (world.base("a") / "b").write_bytes(b"\0\1")
    (world.base("a") / "line").write_text("abc\n")
    (world.base("a") / "line").chmod(0o644)
    found = proposed(world.observe()["a.web"])
    told = {field.path: (field.before, field.after) for field in found.fields}
    assert told["/tasks/Directory/mode"] == ("0755", "0700")
    assert told["/tasks/Binary/content"] == ("(binary)", "(binary)")
    assert "more than 104448 bytes" in str(told["/tasks/Large/content"][1])
    assert told["/tasks/Line/mode"] == ("0644", "0600")
    long = next(field for field in found.fields if field.path == "/tasks/Long/content")
    assert len(str(long.after)) < 20_200 and len(long.diff) < 20_200 and "more characters" in str(long.after)
    assert "/ansible-local-" not in long.diff and digest([long.after])


def test_unknown_wherever_the_playbook_did_not_reach_its_end(world: World) -> None:
    world.tasks(
        """
- name: First
  file: {path: "{{ base }}/d", state: directory}
- name: Needs a package
  command: /no/such/program
  check_mode: false
  when: inventory_hostname == "a"
"""
    )
    world.host("a")
    world.host("b")
    world.host("late", unready="{{ undefined_variable }}", base="{{ unready }}")
    found = world.observe(applied=True)
    failed = unknown(found["a.web"])
    assert failed.code == "check-failed" and failed.reason.startswith("the task Needs a package (web/site.yml:6) failed: ")
    assert failed.reason.endswith("Error executing command.")
    assert unknown(found["late.web"]).reason.startswith("the task First (web/site.yml:4) failed: ")
    assert [field.path for field in proposed(found["b.web"]).fields] == ["/tasks/First/state"]

    new = world.observe()
    foreseen = proposed(new["a.web"])
    assert [field.path for field in foreseen.fields] == ["/tasks/First/state"]
    assert foreseen.blind_spots[1:] == (f"in check mode {failed.reason}; what comes after it is not foreseen",)
    assert foreseen.blind_spots[0].startswith("Needs a package (web/site.yml:6): check_mode: false: it really runs")
    late = proposed(new["late.web"])
    assert (late.fields, late.digest) == ((), NOTHING) and "in check mode the task First (web/site.yml:4) failed: " in late.blind_spots[0]
    assert new["b.web"] == replace(proposed(found["b.web"]), at=proposed(new["b.web"]).at)

    resource = world.resources()["a.web"]
    changed = world.driver.observe([world.target(resource, "of another specification")], world.context())
    assert proposed(changed[resource.address]).blind_spots == foreseen.blind_spots, "what is applied there is not what is checked"


def test_a_play_cut_short_by_other_hosts_says_nothing_of_the_rest(world: World) -> None:
    world.write(
        "web/site.yml",
        """
- hosts: all
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - name: Fails for one
      fail: {msg: no}
      when: inventory_hostname == "a"
    - name: Never reached
      file: {path: "{{ base }}/d", state: directory}
""",
    )
    world.host("a")
    world.host("b")
    found = world.observe(applied=True)
    assert unknown(found["a.web"]).code == "check-failed"
    assert unknown(found["b.web"]).code == "cut-short"
    new = world.observe()
    assert "the task Fails for one (web/site.yml:6) failed: " in proposed(new["a.web"]).blind_spots[0]
    assert unknown(new["b.web"]).code == "cut-short", "nothing failed there"
    outcome = world.apply()["b.web"]
    assert outcome.status is Status.FAILED and "because of other hosts" in outcome.error


@pytest.mark.parametrize("strategy", ["linear", "free"])
def test_serial_and_free_strategies(world: World, strategy: str) -> None:
    world.write(
        "web/site.yml",
        f"""
- hosts: all
  gather_facts: false
  serial: 1
  strategy: {strategy}
  tasks:
    - name: Really
      command: "true"
      check_mode: false
    - name: Directory
      file: {{path: "{{{{ base }}}}/d", state: directory}}
""",
    )
    world.host("a")
    world.host("b")
    for found in world.observe().values():
        assert [field.path for field in proposed(found).fields] == ["/tasks/Directory/state", "/tasks/Really/changed"]
        assert proposed(found).blind_spots == ("Really (web/site.yml:7): check_mode: false: it really runs, also while planning",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("- hosts: all\n  tasks:\n    - name: Two at once\n      copy: {}\n      file: {}\n", "web/site.yml:3"),
        ("- hosts: all\n  tasks: [\n", "web/site.yml"),
        ("- hosts: all\n  roles: [nowhere]\n", "nowhere"),
        ("- hosts: elsewhere\n  tasks: [{ping: }]\n", "no task of web/site.yml ran for this host"),
    ],
)
def test_a_playbook_that_cannot_run(world: World, text: str, said: str) -> None:
    world.write("web/site.yml", text)
    world.host("a")
    found = unknown(world.observe()["a.web"])
    assert said in found.reason and str(world.root) not in found.reason
    outcome = world.apply()["a.web"]
    assert outcome.status is Status.FAILED and said in outcome.error


def test_a_playbook_that_is_not_there(world: World) -> None:
    world.tasks(MOTD)
    world.write("empty/x.txt", "")
    roles = [
        ("gone", {"playbook": "web/gone.yml"}),
        ("outside", {"playbook": "web/site.yml", "project": "empty"}),
        ("web", {"playbook": "web/site.yml"}),
    ]
    world.host("a", roles=roles)
    found = world.observe()
    assert unknown(found["a.gone"]).code == unknown(found["a.outside"]).code == "playbook-missing"
    assert unknown(found["a.gone"]).reason == "the playbook web/gone.yml or its project web is not in the repository"
    assert unknown(found["a.outside"]).reason == "the playbook web/site.yml is not below its project empty"
    assert world.apply()["a.gone"].status is Status.FAILED
    proposed(found["a.web"])


def test_tags_and_become_reach_ansible(world: World) -> None:
    world.tasks(
        """
- name: Tagged
  file: {path: "{{ base }}/d", state: directory}
  tags: [yes-please]
- name: Other
  file: {path: "{{ base }}/e", state: directory}
"""
    )
    world.host("a", roles=[("web", {"playbook": "web/site.yml", "tags": ["yes-please"], "become": False})])
    assert [field.path for field in proposed(world.observe()["a.web"]).fields] == ["/tasks/Tagged/state"]
