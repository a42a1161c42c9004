"""Events as they come, without a run: what ansible-runner says in rare cases, and what a host's story then means."""

from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.ansible.blind import read_banner, skip_reason
from reconciler.drivers.ansible.events import Listener
from reconciler.drivers.ansible.fields import fields, pieces, proposal_digest
from reconciler.drivers.ansible.run import End
from reconciler.drivers.ansible.verdict import Heard, ended, observed
from reconciler.types.observation import Present, Proposed, Unknown
from reconciler.types.origin import Origin
from reconciler.types.outcome import Status
from reconciler.types.resource import Resource, Rules

DESIRED = Resource(address="ansible/role/t/h.r", spec={}, rules=Rules(tenant="t"), group="host/t/h", origin=Origin(path=""))
PROJECT = Path("/scratch/ansible-1/project")


def heard(*events: dict[str, Any], check: bool = True, end: End = End.FINISHED, log: list[str] | None = None) -> Heard:
    listener = Listener(
        hosts=("h",),
        project=PROJECT,
        wrapper=PROJECT / ".w.yml",
        told_as="web",
        check=check,
        redact=lambda text: text.replace("hunter2", "***"),
        log=[].append if log is None else log.append,
    )
    for event in events:
        listener(event)
    return Heard(listener=listener, end=end, playbook="web/site.yml")


def task(kind: str, name: str = "x", stdout: str = "", host: str = "h", res: dict[str, Any] | None = None, **data: Any) -> dict[str, Any]:
    path = f"{PROJECT}/site.yml:3"
    return {
        "event": kind,
        "stdout": stdout,
        "event_data": {"host": host, "task": name, "task_uuid": name, "task_path": path, "res": res, **data},
    }


def stats(**counts: int) -> dict[str, Any]:
    return {"event": "playbook_on_stats", "event_data": {name: {"h": count} for name, count in counts.items()}}


LAST = task("runner_on_ok", task_path=f"{PROJECT}/.w.yml:1", res={"msg": ["h"]})
CHANGED = task("runner_on_ok", "Directory", res={"changed": True, "diff": {"before": {"state": "absent"}, "after": {"state": "directory"}}})
GONE = task("runner_on_unreachable", "Next", res={"unreachable": True, "msg": "ssh: connection closed, password hunter2"})


def test_unreachable_after_a_change_is_partial() -> None:
    log: list[str] = []
    outcome = ended(heard(CHANGED, GONE, stats(dark=1, changed=1), check=False, log=log), "h", DESIRED, 1.0)
    assert outcome.status is Status.PARTIAL
    assert outcome.error == "unreachable: ssh: connection closed, password ***; changed before that: Directory"
    assert log == ["h: Directory (web/site.yml:3): changed", "h: Next (web/site.yml:3): unreachable: ssh: connection closed, password ***"]
    assert ended(heard(GONE, stats(dark=1), check=False), "h", DESIRED, 1.0).status is Status.FAILED
    assert (
        isinstance(found := observed(heard(CHANGED, GONE, stats(dark=1, changed=1)), "h", DESIRED, 1.0), Unknown)
        and found.code == "unreachable"
    )


def test_silence_is_never_success() -> None:
    for events in ((), (CHANGED,), (CHANGED, stats(changed=1)), (stats(),)):
        assert isinstance(observed(heard(*events), "h", DESIRED, 1.0), Unknown)
        assert ended(heard(*events, check=False), "h", DESIRED, 1.0).status in (Status.FAILED, Status.PARTIAL)
    ok = task("runner_on_ok", res={"changed": False})
    assert isinstance(observed(heard(ok, LAST, stats(ok=1)), "h", DESIRED, 1.0), Present)
    assert isinstance(observed(heard(ok, LAST, stats(ok=1), end=End.BROKEN), "h", DESIRED, 1.0), Unknown)
    assert isinstance(observed(heard(ok, LAST, stats(failures=1)), "h", DESIRED, 1.0), Unknown)


def test_a_change_that_no_event_shows_is_proposed_all_the_same() -> None:
    found = observed(heard(task("runner_on_ok", res={"changed": False}), LAST, stats(changed=2)), "h", DESIRED, 1.0)
    assert isinstance(found, Proposed)
    assert [field.path for field in found.fields] == ["/tasks/(hidden)/change", "/tasks/(hidden)/change#2"]


def test_an_event_that_was_dropped_for_its_size_still_says_changed() -> None:
    for stdout, count in (("changed: [h]", 1), ("ok: [h]", 0)):
        found = observed(heard(task("runner_on_ok", "Big", stdout=stdout, res={}), LAST, stats(changed=count)), "h", DESIRED, 1.0)
        assert isinstance(found, Proposed if count else Present)
        if isinstance(found, Proposed):
            assert [(field.path, field.after) for field in found.fields] == [("/tasks/Big/change", "(too large to be told)")]


def test_hosts_that_are_not_of_the_run_are_told() -> None:
    added = task("runner_on_ok", host="added", res={"changed": True})
    found = observed(heard(task("runner_on_ok", res={"changed": False}), added, LAST, stats()), "h", DESIRED, 1.0)
    assert isinstance(found, Proposed) and found.blind_spots == ("the playbook also changes added, which is not a host of this run",)


@pytest.mark.parametrize(
    ("diff", "expected"),
    [
        ({"before": "a\n", "after": "b\n"}, [("content", "a\n", "b\n")]),
        ({"before": {"mode": "0644", "path": "/x"}, "after": {"mode": "0600", "path": "/x"}}, [("mode", "0644", "0600")]),
        ({"before": {}, "after": {"state": "file"}}, [("state", None, "file")]),
        ({"before": {"a": 1}, "after": {"a": True}}, [("a", 1, True)]),
        ({"prepared": "+ nginx\n"}, [("diff", None, "+ nginx\n")]),
        ({"dst_binary": 1, "src_binary": 1, "before": "", "after": ""}, [("content", "(binary)", "(binary)")]),
        ({"src_larger": 9, "before": "x"}, [("content", "(text)", "(more than 9 bytes)")]),
        ({"before": "same", "after": "same"}, [("changed", False, True)]),
        (["nonsense", 3], [("changed", False, True)]),
        ("nonsense", [("changed", False, True)]),
        (None, [("changed", False, True)]),
    ],
)
def test_shapes_of_diff(diff: object, expected: list[tuple[object, ...]]) -> None:
    found = pieces({"changed": True, "diff": diff, "msg": "m"}, str)
    assert [(piece.what, piece.before, piece.after) for piece in found] == expected


def test_several_files_of_one_task_have_paths_of_their_own() -> None:
    diffs = [{"before": "", "after": "x", "after_header": f"/etc/{name}"} for name in ("a", "b", "b")]
    told = [("Copy ~/all", pieces({"changed": True, "diff": diffs}, str))]
    assert [field.path for field in fields(told)] == [
        "/tasks/Copy ~0~1all/~1etc~1a/content",
        "/tasks/Copy ~0~1all/~1etc~1b/content",
        "/tasks/Copy ~0~1all/~1etc~1b/content#2",
    ]


def test_the_digest_knows_neither_order_nor_text_of_diffs() -> None:
    one = pieces({"diff": {"before": "a", "after": "b", "after_header": "x"}}, str)
    two = pieces({"diff": {"before": "a", "after": "b", "after_header": "y"}}, str)
    other = pieces({"diff": {"before": {"m": 1}, "after": {"m": 2}}}, str)
    assert proposal_digest(fields([("t", one), ("u", other)])) == proposal_digest(fields([("u", other), ("t", two)]))
    assert proposal_digest(fields([("t", one)])) != proposal_digest(fields([("t", other)]))


def test_temporary_paths_and_secrets_never_stay() -> None:
    names = (
        "/root/.ansible/tmp/ansible-local-820kr_l/tmp2f/r.j2",
        "/home/u/.ansible/tmp/ansible-tmp-17.5-1-2/source",
        f"{PROJECT.parent}/tmp/x",
    )
    diffs = [{"before": {"src": "a"}, "after": {"src": name}} for name in (*names, "hunter2")]
    found = observed(heard(task("runner_on_ok", res={"changed": True, "diff": diffs}), LAST, stats(changed=1)), "h", DESIRED, 1.0)
    assert isinstance(found, Proposed)
    assert [field.after for field in found.fields] == ["r.j2", "source", "tmp/x", "***"]


def test_banners_and_skips() -> None:
    assert read_banner("\r\nTASK [r : x] [CHECK MODE] ***********\r") is False
    assert read_banner("\r\nRUNNING HANDLER [x [y]] *****") is True
    assert read_banner("changed: [h]") is None
    assert (
        skip_reason("ansible.builtin.command", {}, 'skipping: [h] => {"changed": false, "msg": "..."}')
        == "check mode does not run a command"
    )
    assert skip_reason("command", {}, 'skipping: [h] => {"false_condition": "x", "skip_reason": "Conditional result was False"}') == ""
    assert skip_reason("copy", {}, 'skipping: [h] => {"censored": "..."}') == ""
    assert skip_reason("copy", {}, "skipping: [h]") == ""
    assert skip_reason("a.b.c", {}, 'skipping: [h] => {"changed": false}') == "the module a.b.c does not support check mode"


ITEM = {"ansible_loop_var": "item", "item": "one"}
ITEM_DONE = task("runner_item_on_ok", "Loop", res={**ITEM, "changed": True, "diff": {"before": "", "after": "x"}})
ITEM_FAILED = task("runner_item_on_failed", "Loop", res={**ITEM, "item": "two", "msg": "no room"})
LOOP_FAILED = task("runner_on_failed", "Loop", res={"failed": True, "msg": "One or more items failed"})


def test_a_loop_of_which_an_item_failed_has_done_what_came_before() -> None:
    outcome = ended(heard(ITEM_DONE, ITEM_FAILED, LOOP_FAILED, stats(failures=1), check=False), "h", DESIRED, 1.0)
    assert (outcome.status, outcome.error) == (
        Status.PARTIAL,
        "the task Loop (web/site.yml:3) failed: no room; changed before that: Loop",
    )
    alone = ended(heard(ITEM_FAILED, LOOP_FAILED, stats(failures=1), check=False), "h", DESIRED, 1.0)
    assert alone.status is Status.FAILED


@pytest.mark.parametrize("end", [End.CANCELLED, End.TIMEOUT])
def test_a_loop_in_the_middle_of_which_a_run_ends_has_done_what_its_items_did(end: End) -> None:
    listened = heard(ITEM_DONE, ITEM_DONE, check=False, end=end)
    listened.listener.close()
    outcome = ended(listened, "h", DESIRED, 1.0)
    assert outcome.status is Status.PARTIAL and outcome.error.endswith("changed before that: Loop")
    untouched = heard(task("runner_item_on_ok", "Loop", res=ITEM), check=False, end=end)
    untouched.listener.close()
    assert ended(untouched, "h", DESIRED, 1.0).status is (Status.CANCELLED if end is End.CANCELLED else Status.FAILED)
