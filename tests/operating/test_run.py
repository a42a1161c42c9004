"""`octofleet run`: planned, gated, recorded and shown as any run; and nothing is wanted of it afterwards."""

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from reconciler.operating import SCOPE
from reconciler.store.of_hosts import worked_on
from tests.drivers.ansible_world import need_ansible
from tests.ha.kept import until
from tests.operating.place import OPERATION, Place


@pytest.fixture(autouse=True)
def ansible() -> None:
    need_ansible()


def test_a_playbook_runs_once_on_the_hosts_that_were_chosen(tmp_path: Path) -> None:
    place = Place(tmp_path).applied()
    shown = place.command("run", "ops/patch.yml", "--on", "site=ams", "--dry-run")
    assert shown.code == 2, shown.text
    assert "web-01" in shown.out and "web-03" in shown.out and "web-02" not in shown.out
    assert "request" in shown.out
    assert place.counts() == {}, "a plan changes nothing"
    done = place.command("run", "ops/patch.yml", "--on", "site=ams", "--approve", "--reason", "a word")
    assert done.code == 0, done.text
    assert place.counts() == {"web-01": 1, "web-03": 1}
    again = place.command("run", "ops/patch.yml", "--on", "site=ams", "--approve")
    assert again.code == 0, again.text
    assert place.counts() == {"web-01": 2, "web-03": 2}, "asked for twice is done twice"
    runs = place.command("runs")
    assert "a word" in runs.out
    after = place.command("plan", "--refresh")
    assert after.code == 0, after.text
    assert "operation" not in place.command("status").out


def test_what_runs_is_the_commit_that_was_applied(tmp_path: Path) -> None:
    place = Place(tmp_path).applied()
    place.repo.commit({"ops/patch.yml": "- hosts: all\n  tasks: [{fail: {msg: not yet applied}}]\n"})
    done = place.command("run", "ops/patch.yml", "--on", "host/shop/web-01", "--approve")
    assert done.code == 0, done.text
    newer = place.command("run", "ops/patch.yml", "--on", "host/shop/web-01", "--rev", "HEAD", "--approve")
    assert newer.code != 0 and "not yet applied" in newer.text


def test_before_anything_was_applied_no_host_is_known(tmp_path: Path) -> None:
    place = Place(tmp_path)
    refused = place.command("run", "ops/patch.yml", "--on", "host/*/*", "--approve")
    assert refused.code == 1 and "octofleet apply" in refused.err and "Traceback" not in refused.text


def test_an_operation_of_the_repository_says_all_itself(tmp_path: Path) -> None:
    operation = OPERATION.format(more="  labels: {site: rtm}\n  risks: [reboot]\n")
    place = Place(tmp_path, operation=operation).applied()
    assert "patch: ops/patch.yml, by hand alone" in place.command("operations").out
    shown = place.command("run", "operation/shop/patch", "--dry-run", "--json")
    assert [change["address"] for change in shown.json["changes"]] == ["ansible/operation/shop/web-02.patch"]
    assert shown.json["changes"][0]["risk"] == ["reboot"] and shown.json["changes"][0]["causes"] == ["request"]
    done = place.command("run", "operation/patch", "--approve")
    assert done.code == 0, done.text
    assert place.done() == ["web-02 web-02 patched"]
    narrowed = place.command("run", "operation/patch", "--on", "host/shop/web-01", "--approve")
    assert narrowed.code == 1 and "no host" in narrowed.err


@pytest.mark.parametrize(
    ("args", "says"),
    [
        (("ops/patch.yml",), "--on"),
        (("ops/patch.yml", "--on", "nonsense"), "nonsense"),
        (("ops/patch.yml", "--on", "host/shop/gone"), "no host"),
        (("operation/other",), "no Operation other"),
        (("ops/patch.yml", "--on", "host/*/*", "--var", "1x=2"), "NAME=VALUE"),
        (("ops/patch.yml", "--on", "host/*/*", "--serial", "0"), "serial is a number"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, args: tuple[str, ...], says: str) -> None:
    place = Place(tmp_path, hosts=1).applied()
    found = place.command("run", *args)
    assert found.code == 1 and says in found.err and "Traceback" not in found.text, found.text


@pytest.mark.parametrize(
    ("playbook", "hint"),
    [
        ("ops/pach.yml", "did you mean ops/patch.yml?"),
        ("other/none.yml", "from the top of the repository"),
        ("patch", "operation/patch"),
        ("ops", "from the top of the repository"),
        ("../ops/patch.yml", "from the top of the repository"),
    ],
)
def test_a_playbook_that_is_not_there_is_refused_with_what_may_be_meant(tmp_path: Path, playbook: str, hint: str) -> None:
    place = Place(tmp_path, hosts=1).applied()
    found = place.command("run", playbook, "--on", "host/*/*", "--approve")
    assert found.code == 1 and f"there is no playbook {playbook} in commit" in found.err and hint in found.err, found.text
    assert place.counts() == {}


def test_a_link_to_a_playbook_is_one(tmp_path: Path) -> None:
    place = Place(tmp_path, hosts=1)
    (place.repo.path / "ops/linked.yml").symlink_to("patch.yml")
    place.repo.commit({})
    place.applied()
    done = place.command("run", "ops/linked.yml", "--on", "host/*/*", "--approve")
    assert done.code == 0, done.text
    assert place.counts() == {"web-01": 1}


def test_a_host_tells_of_the_operations_that_ran_on_it(tmp_path: Path) -> None:
    place = Place(tmp_path).applied()
    assert place.command("run", "ops/patch.yml", "--on", "site=ams", "--approve").code == 0
    (run, first) = place.command("runs", "--json").json["runs"]
    with place.installation().store.read() as connection:
        found = {
            host: [
                (one.run, one.action) for one in worked_on(connection, "test", [f"fleet/host/shop/{host}"], f"{SCOPE}shop/{host}.", None, 9)
            ]
            for host in ("web-01", "web-02", "web-0")
        }
    both = [(run["run"], "run"), (first["run"], "create")]
    assert found == {"web-01": both, "web-02": both[1:], "web-0": []}


SLOW = """\
- hosts: all
  gather_facts: false
  tasks:
    - name: first
      ansible.builtin.copy: {content: once, dest: "{{ base }}/{{ octofleet.name }}.done", mode: "0644"}
    - name: second
      ansible.builtin.shell: echo $$ > new.{{ octofleet.name }}; mv new.{{ octofleet.name }} {{ octofleet.name }}.pid; exec sleep 3000
      args: {chdir: "{{ base }}"}
"""


def sleeps(pid: str) -> bool:
    """Whether a process goes on; one that is dead and not waited for has no command line."""
    try:
        return b"sleep" in Path("/proc", pid, "cmdline").read_bytes()
    except FileNotFoundError:
        return False


def test_a_run_that_is_to_be_stopped_ends_its_processes(tmp_path: Path) -> None:
    place = Place(tmp_path, hosts=2, env={"OCTOFLEET_APPLY__LEASE_S": "1"})
    place.repo.commit({"ops/slow.yml": SLOW})
    place.applied()
    with ThreadPoolExecutor() as pool:
        going = pool.submit(place.command, "run", "ops/slow.yml", "--on", "host/*/*", "--approve", "--no-check")
        pids = [place.base / f"web-0{n}.pid" for n in (1, 2)]
        until(lambda: going.done() or all(path.exists() for path in pids), "both at work", within_s=60)
        assert all(sleeps(path.read_text().strip()) for path in pids)
        (run, _) = place.command("runs", "--json").json["runs"]
        said = place.command("cancel", run["run"], "--stop", "--reason", "it hangs")
        assert said.code == 0 and "are stopped" in said.out, said.text
        done = going.result()
    logged = place.command("logs", run["run"]).out
    assert not any(sleeps(path.read_text().strip()) for path in pids), logged
    assert done.code == 1, done.text
    (ended, _) = place.command("runs", "--json").json["runs"]
    assert ended["state"] == "cancelled"
    for host in ("web-01", "web-02"):
        assert f"run ansible/operation/shop/{host}.slow: partial: the run was cancelled after the task first" in logged
    assert "it hangs" in logged


def test_serial_stops_at_the_first_that_fails(tmp_path: Path) -> None:
    place = Place(tmp_path).applied()
    (place.base / "web-01.count").mkdir()  # nothing can be appended to it
    done = place.command("run", "ops/patch.yml", "--on", "host/*/*", "--serial", "1", "--approve", "--no-check")
    assert done.code != 0
    assert not (place.base / "web-03.count").exists(), done.text
    (newest, *_) = place.command("runs", "--json").json["runs"]
    assert newest["state"] in ("running", "failed")


def test_the_plan_of_an_operation_is_applied_by_its_id(tmp_path: Path) -> None:
    place = Place(tmp_path, hosts=1).applied()
    shown = place.command("run", "ops/patch.yml", "--on", "host/*/*", "--dry-run", "--json")
    assert json.loads(shown.out)["applyable"]
    done = place.command("apply", shown.json["id"], "--approve")
    assert done.code == 0, done.text
    assert place.counts() == {"web-01": 1}
