"""The file that an event names as a task's place: a playbook says it, so it is a plain one of the project, or nothing is read of it."""

import os
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.ansible.events import MOST_BYTES, Listener

TASK = "- name: Give {{ inventory_hostname }} its turn\n"
OUTSIDE = "- name: it is secret {{ because }}\n"


def told(project: Path, place: str) -> str:
    """What a task is called whose event names that place."""
    log: list[str] = []
    listener = Listener(hosts=("h",), project=project, wrapper=None, told_as="web", check=False, redact=str, log=log.append)
    data: dict[str, Any] = {"host": "h", "task": "filled in", "task_uuid": "1", "task_path": place, "res": {"changed": True}}
    listener({"event": "runner_on_ok", "stdout": "", "event_data": data})
    (result,) = listener.stories["h"].results
    return result.name


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "main.yml").write_text(OUTSIDE)
    made = tmp_path / "project"
    (made / "roles").mkdir(parents=True)
    (made / "main.yml").write_text(TASK)
    (made / "link.yml").symlink_to(tmp_path / "outside" / "main.yml")
    (made / "out").symlink_to(tmp_path / "outside")
    (made / "in").symlink_to(made)
    os.mkfifo(made / "pipe.yml")
    (made / "large.yml").write_text("#" * MOST_BYTES + "\n" + TASK)
    return made


def test_a_plain_file_of_the_project_is_read(project: Path) -> None:
    assert told(project, f"{project}/main.yml:1") == "Give {{ inventory_hostname }} its turn"
    assert told(project, f"{project}/in/main.yml:1") == "filled in", "no link is followed, not even one that stays in the project"


@pytest.mark.parametrize(
    "place",
    [
        *("link.yml:1", "out/main.yml:1", "../outside/main.yml:1", "pipe.yml:1", "roles:1", "large.yml:2", "no.yml:1"),
        *(
            "main.yml:0",
            "main.yml:2",
            "main.yml:\u00b2",
            f"main.yml:{'9' * 5000}",
            "main.yml",
            "main\0.yml:1",
            f"{'x' * 5000}:1",
            "\ud800:1",
        ),
    ],
)
def test_nothing_else_is(project: Path, place: str) -> None:
    assert told(project, f"{project}/{place}") == "filled in"
