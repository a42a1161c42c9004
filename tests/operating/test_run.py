"""`octofleet run`: planned, gated, recorded and shown as any run; and nothing is wanted of it afterwards."""

import json
from pathlib import Path

import pytest

from tests.drivers.ansible_world import need_ansible
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


def test_a_playbook_that_is_not_there_is_put_off_and_nothing_runs(tmp_path: Path) -> None:
    place = Place(tmp_path, hosts=1).applied()
    found = place.command("run", "ops/none.yml", "--on", "host/*/*", "--approve")
    assert found.code == 3 and "ops/none.yml" in found.text, found.text


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
