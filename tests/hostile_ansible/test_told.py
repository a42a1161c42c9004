"""What hosts and playbooks tell, made by somebody who means harm: nothing of it stops the server, nor the hosts beside that one."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.ansible import events
from reconciler.drivers.ansible.events import NAME_LIMIT, Listener
from reconciler.drivers.ansible.facts import MOST_BYTES
from reconciler.drivers.ansible.stream import Endless
from reconciler.drivers.ansible.telling import Telling
from reconciler.types.canonical import canonical
from reconciler.types.task import PlayTold

HUGE = 10**400


def listening(project: Path, told: list[PlayTold] | None = None, *, check: bool = False) -> Listener:
    telling = None if told is None else Telling(tenant="t", told=told.append)
    return Listener(
        hosts=("h", "other"),
        project=project,
        wrapper=project / ".w.yml",
        told_as="web",
        check=check,
        redact=lambda text: text.replace("hunter2", "***"),
        telling=telling,
    )


def task(kind: str = "runner_on_ok", res: Any = None, *, stdout: str = "", **data: Any) -> dict[str, Any]:
    return {
        "event": kind,
        "stdout": stdout,
        "event_data": {"host": "h", "task": "x", "task_uuid": "u", "task_path": "/p/site.yml:3", "res": res, **data},
    }


def deep(levels: int) -> Any:
    found: Any = "end"
    for _ in range(levels):
        found = [found]
    return found


SAID_BY_A_HOST: list[Any] = [
    {"changed": True, "ansible_loop_var": []},
    {"changed": True, "ansible_loop_var": {}, "_ansible_item_label": float("nan")},
    {"changed": True, "ansible_loop_var": "item", "item": HUGE},
    {"changed": True, "ansible_loop_var": "item", "item": deep(450)},
    {"changed": True, "ansible_loop_var": "item", "item": "\ud800 lone"},
    {"changed": True, "diff": {"before": {"a": deep(450)}, "after": {"a": 1}}},
    {"changed": True, "diff": {"before": {"a": float("nan")}, "after": {"a": HUGE}}},
    {"changed": True, "diff": {"before": "\ud800", "after": "\x00"}},
    {"changed": True, "diff": [1, None, [], {"prepared": 3}, {"before": 1, "after": []}]},
    {"changed": True, "msg": deep(450)},
    {"changed": True, "invocation": [], "diff": {"before_header": {}, "after_header": []}},
    {"msg": {"a": 1}, "stderr": [1], "module_stderr": HUGE},
    {"censored": [1]},
    {"_ansible_delegated_vars": 1, "ansible_facts": 1},
]


@pytest.mark.parametrize("check", [True, False])
@pytest.mark.parametrize("kind", ["runner_on_ok", "runner_on_failed", "runner_on_unreachable", "runner_item_on_ok", "runner_on_skipped"])
@pytest.mark.parametrize("number", range(len(SAID_BY_A_HOST)))
def test_whatever_a_host_answers_is_told(number: int, kind: str, *, check: bool) -> None:
    told: list[PlayTold] = []
    listener = listening(Path("/p"), told, check=check)
    listener(task(kind, SAID_BY_A_HOST[number]))
    listener(task("runner_on_ok", {"changed": True}, host="other"))
    assert listener.telling is not None
    listener.telling.close()
    assert any(one.host == "other" for part in told for one in part.tasks), "the host beside it is told of as ever"
    for result in listener.stories["h"].results:
        for piece in result.pieces:
            canonical([piece.before, piece.after]).decode()
            (piece.diff + piece.item + piece.subject + result.message).encode()


FACTS: list[dict[str, Any]] = [
    {"memtotal_mb": HUGE, "swaptotal_mb": -HUGE, "kernel": "6.1"},
    {"processor_count": HUGE, "kernel": "6.1"},
    {"kernel": "6.1", "hostname": "\ud800", "fqdn": "a\x00b\x1b[31m\x9b31m"},
    {
        "kernel": "6.1",
        "interfaces": [f"eth{n}" for n in range(5000)],
        **{f"eth{n}": {"ipv4": {"address": "1" * 9000}} for n in range(5000)},
    },
    {"kernel": "6.1", "interfaces": ["eth0"], "eth0": {"ipv4": {"address": "10.0.0.1", "prefix": {"a": deep(400)}}, "mtu": HUGE}},
    {"kernel": "6.1", "mounts": [{"mount": "/", "size_total": HUGE}, {"mount": "\ud800"}, deep(400)]},
    {
        "kernel": "6.1",
        "local": {"octofleet": {"a": deep(400), "hunter2": "hunter2", "\ud800": HUGE, "deep": {"a": {"b": {"c": {"d": {"e": 1}}}}}}},
    },
]


@pytest.mark.parametrize("facts", FACTS, ids=range(len(FACTS)))
def test_facts_of_any_form_are_bounded_texts_and_numbers_that_a_database_takes(facts: dict[str, Any]) -> None:
    listener = listening(Path("/p"))
    listener(task(res={"ansible_facts": {f"ansible_{name}": value for name, value in facts.items()}}, task_action="setup"))
    (met,) = listener.met.told("t", 1.0)
    assert met.facts["kernel"] == "6.1", "the others are kept"
    kept = canonical(met.facts)
    assert len(kept) <= MOST_BYTES
    text = kept.decode("utf-8")
    assert "hunter2" not in text and "\\u0000" not in text and "\\u001b" not in text and "\x9b" not in text
    assert json.loads(text) == met.facts
    assert all(abs(value) < 1 << 63 for value in met.facts.values() if isinstance(value, int))


FORGED: list[dict[str, Any]] = [
    {"event": "runner_on_ok", "event_data": [1]},
    {"event": "runner_on_ok", "event_data": "text"},
    task(task_uuid=[1]),
    task(task_uuid={"a": 1}),
    task(host=["h"]),
    task(host={}),
    task(task_path=["/p"], task={}, role=[]),
    task(task_path="/p/.w.yml:1", res=None),
    task(task_path="/p/.w.yml:1", res={"msg": 5}),
    task(task_path="/p/.w.yml:1", res={"msg": [["h"]]}),
    task(end="0001-01-01T00:00:00", duration=HUGE),
    task(end="9999-12-31T23:59:59", duration=float("nan")),
    task(end=HUGE, duration=float("inf")),
    task(res=[1, 2]),
    task(resolved_action={}, task_action=[]),
    task(stdout="\x1b" * 100_000),
    {"event": "playbook_on_stats", "event_data": {"failures": [1], "dark": 3}},
    {"event": "playbook_on_stats", "event_data": {"changed": {"h": "many"}}},
    {"event": "playbook_on_stats", "event_data": {"changed": {"h": 10**12}}},
    {"event": "playbook_on_stats", "event_data": {"changed": None, "failures": None, "dark": None, "processed": None}},
    {"event": ["x"], "event_data": {}},
    {"event": "verbose", "stdout": {"a": 1}},
]


@pytest.mark.parametrize("number", range(len(FORGED)))
def test_events_that_no_run_tells_stop_nothing(number: int) -> None:
    told: list[PlayTold] = []
    listener = listening(Path("/p"), told)
    listener(FORGED[number])
    listener(task("runner_on_ok", {"changed": True}, host="other"))
    assert listener.telling is not None
    listener.telling.close()
    assert [one.host for part in told for one in part.tasks if one.host == "other"] == ["other"]
    for part in told:
        for one in part.tasks:
            assert 0 <= one.seconds < 1e12 and 0 <= one.at < 1e12
    assert sum(len(result.pieces) for story in listener.stories.values() for result in story.results) < 100_000


def named(project: Path, place: str) -> list[str]:
    listener = listening(project)
    listener(task("runner_on_ok", {"changed": True}, task="plain", task_path=place))
    return [result.name for result in listener.stories["h"].results]


def test_places_that_events_name_lead_out_of_no_project(tmp_path: Path) -> None:
    """A playbook may write into its project, and have the server look there for a task's name."""
    project = tmp_path / "project"
    project.mkdir()
    line = '- name: "{{ told }} canary"\n'
    (tmp_path / "settings").write_text(line)
    (project / "site.yml").write_text(line)
    (project / "linked.yml").symlink_to(tmp_path / "settings")
    (project / "around").symlink_to(tmp_path)
    assert named(project, f"{project}/site.yml:1") == ["{{ told }} canary"]
    for place in (f"{project}/../settings:1", f"{project}/linked.yml:1", f"{project}/around/settings:1", f"{project}/none.yml:1"):
        assert named(project, place) == ["plain"], place


def test_pipes_and_endless_files_as_playbooks_hold_nobody_up(tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    os.mkfifo(project / "pipe.yml")
    with (project / "huge.yml").open("wb") as file:
        file.truncate(8 << 30)
    for name in ("pipe.yml", "huge.yml"):
        assert named(project, f"{project}/{name}:{'9' * 5000}") == ["plain"]
        assert named(project, f"{project}/{name}:1") == ["plain"]
    assert named(project, f"{project}/site.yml:0") == ["plain"]
    assert named(project, f"{project}/a\x00b.yml:1") == ["plain"]


@pytest.mark.parametrize("text", ["a/" * 400_000, "/ansible-tmp-" * 50_000, "TASK [" + "] ***" * 100_000, "@" * 400_000 + " x"])
def test_long_texts_are_looked_through_once(text: str) -> None:
    """Each would take hours if every place in it were a new beginning; this test is over when it is."""
    listener = listening(Path("/p"), check=True)
    listener(task("runner_on_failed", {"msg": text}, stdout=text))
    listener(task(res={"changed": True, "diff": {"before": text, "after": text + "x"}}))
    assert [len(result.message) <= 1100 for result in listener.stories["h"].results] == [True, True]


@pytest.mark.parametrize(
    ("line", "name"),
    [
        ('    - name: "{{ a }}"', "{{ a }}"),
        ("    - name: {{ a }} of 'it'", "{{ a }} of 'it'"),
        ("      name: '{{ a }} and'", "{{ a }} and"),
        (" " * 400_000 + "- x: {{ a }}", ""),
        ('- name: "' + "{{ a }}" * 200_000 + '" # why', None),
        ('- name: "' + "{{ a" * 200_000 + "'", None),
    ],
)
def test_a_templated_name_is_told_as_it_is_written(tmp_path: Path, line: str, name: str | None) -> None:
    (tmp_path / "site.yml").write_text(f"- hosts: all\n{line}\n")
    listener = listening(tmp_path, [])
    listener(task(task="filled in", task_path=f"{tmp_path}/site.yml:2"))
    (result,) = listener.stories["h"].results
    assert result.name == (name or "filled in") if name is not None else len(result.name) == NAME_LIMIT


def test_differences_of_long_files_are_not_looked_for_line_by_line() -> None:
    before = "".join(f"{n * 7919 % 301}\n" for n in range(30_000))
    after = "".join(f"{n * 104_729 % 301}\n" for n in range(30_000))
    listener = listening(Path("/p"), check=True)
    listener(task(res={"changed": True, "diff": {"before": before, "after": after}}))
    (piece,) = listener.stories["h"].results[0].pieces
    assert piece.before != piece.after and "30,000 lines" in piece.diff


def test_a_run_that_tells_without_end_is_broken_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "MOST_TASKS", 100)
    listener = listening(Path("/p"), [])
    for number in range(100):
        listener(task(task=f"task {number}", task_uuid=f"{number}"))
    with pytest.raises(Endless):
        listener(task(task="one more", task_uuid="more"))
    assert "more tasks than are kept" in listener.output[-1]

    listener = listening(Path("/p"), [])
    with pytest.raises(Endless):
        for number in range(200):
            listener(task(task=f"task {number}", task_uuid="one for all"))
    monkeypatch.undo()

    monkeypatch.setattr(events, "MOST_KEPT", 10_000)
    listener = listening(Path("/p"), [])
    with pytest.raises(Endless):
        for _ in range(100):
            listener(task(res={"changed": True, "diff": {"before": "a" * 1000, "after": "b" * 1000}}))
    assert "more results than are kept" in listener.output[-1]
    listener = listening(Path("/p"), [])
    for number in range(1000):
        listener(task(task_uuid=f"{number % 7}"))
    assert listener._kept < 1000, "a result that is let go of does not count"


def test_names_are_kept_short_and_a_secret_in_them_is_not_cut_in_two() -> None:
    told: list[PlayTold] = []
    listener = listening(Path("/p"), told)
    for start in (290, 295, 299, 990, 999):
        listener(task(task="x" * start + "hunter2" + "y" * (1 << 20), task_uuid=f"{start}", role="r" * (1 << 20), res={"changed": True}))
        listener(
            task(
                task="x" * start + "hunter2",
                task_uuid=f"s{start}",
                task_path="/" + "p" * start + "hunter2" + "p" * (1 << 20),
                res={"changed": True},
            )
        )
    assert listener.telling is not None
    listener.telling.close()
    kept = repr((told, listener.stories, listener._names, listener._places))
    assert "hun" not in repr((told, listener.stories)) and len(kept) < 200_000


def test_facts_that_come_in_many_events_are_bounded() -> None:
    listener = listening(Path("/p"))
    for number in range(50):
        facts = {"local": {f"n{number}": {f"k{key}": "v" * 200 for key in range(100)}}}
        listener(task(res={"ansible_facts": facts}, task_uuid=f"{number}", task_action="setup"))
    (told,) = listener.met.told("t", 1.0)
    assert 0 < len(canonical(told.facts)) <= MOST_BYTES
