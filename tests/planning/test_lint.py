"""What the real ansible-lint says of a commit: at the lines that it brings, once for the same project, and without any way out of its sandbox."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from reconciler import linting
from reconciler.drivers.ansible import lint
from reconciler.planning import make_plan
from reconciler.source.repository import Repository
from reconciler.types.problem import Problem, Severity
from reconciler.types.request import Request
from tests.conftest import missing
from tests.fleets import Chosen, Repo, fleet, installation, repo

ROLE = """\
apiVersion: octofleet/v1
kind: Role
metadata: {name: web}
spec:
  ansible: {playbook: ansible/web/site.yml}
"""
OLD = "---\n- name: Web\n  hosts: all\n  tasks:\n    - name: old\n      ansible.builtin.command: touch /tmp/old\n"
NEW = OLD + "    - name: new\n      shell: echo new\n"


@pytest.fixture
def made(tmp_path: Path) -> Iterator[tuple[Chosen, Repo]]:
    if trouble := lint.missing():
        missing(trouble, "pip install 'octofleet[lint]', apt-get install bubblewrap")
    files = fleet(1, role=ROLE) | {"ansible/web/site.yml": OLD}
    chosen = installation(tmp_path / "data")
    yield chosen, repo(tmp_path / "repo", files)
    chosen.close()


def warned(made: tuple[Chosen, Repo], files: dict[str, str]) -> list[Problem]:
    chosen, there = made
    repository = Repository(str(there.path), there.path)
    base = repository.commit().id
    there.commit(files)
    plan = make_plan(chosen, Repository(str(there.path), there.path), Request(base=base)).plan
    assert plan.errors == ()
    assert all(problem.severity is Severity.WARNING for problem in plan.problems)
    return list(plan.warnings)


def test_lines_that_a_commit_brings_are_warned_of_once(made: tuple[Chosen, Repo], monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[Path] = []

    def counted(project: Path, installed: Path | None = None) -> list[lint.Finding]:
        ran.append(project)
        return real(project, installed)

    real = lint.lint
    monkeypatch.setattr(linting.lint, "lint", counted)
    found = warned(made, {"ansible/web/site.yml": NEW})
    assert {problem.origin.path for problem in found} == {"ansible/web/site.yml"}
    assert {problem.origin.line for problem in found} <= {7, 8}
    assert any(problem.message.startswith("fqcn[action-core]: ") for problem in found)
    assert len(ran) == 1
    assert warned(made, {"ansible/web/site.yml": OLD}) == []  # what it takes back is not at a line of its own
    assert len(ran) == 2
    assert warned(made, {"host-1.yaml": fleet(2)["host-2.yaml"]}) == []
    assert len(ran) == 2
    again = warned(made, {"ansible/web/site.yml": NEW})
    assert again == found
    assert len(ran) == 2
    assert list((made[0].data_dir / "scratch").iterdir()) == []


def test_a_projects_own_settings_hold(made: tuple[Chosen, Repo]) -> None:
    skip = "skip_list:\n  - fqcn\n  - name\n  - no-changed-when\n  - command-instead-of-shell\n  - command-instead-of-module\n"
    found = warned(made, {"ansible/web/site.yml": NEW, "ansible/web/.ansible-lint": skip})
    assert not any("fqcn" in problem.message for problem in found)


def test_settings_that_ansible_lint_refuses_are_told(made: tuple[Chosen, Repo]) -> None:
    found = warned(made, {"ansible/web/site.yml": NEW, "ansible/web/.ansible-lint": "no_such_key: 1\n"})
    assert [(problem.origin.path, problem.message.partition(":")[0]) for problem in found] == [("ansible/web", "failed")]


class _Heard(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()


EVIL = """\
import os
import pathlib
import urllib.request

from ansiblelint.rules import AnsibleLintRule

saw = []
for path in (DATA + "/key", DATA + "/octofleet.db", "/etc/shadow", os.path.expanduser("~root/.ssh"), "/var/lib", "/run"):
    try:
        saw.append(f"{path}:{len(os.listdir(path)) if os.path.isdir(path) else len(open(path, 'rb').read())}")
    except OSError:
        pass
for path in (DATA + "/written", "/tmp/octofleet-lint-escaped", "/usr/octofleet-lint-escaped"):
    try:
        pathlib.Path(path).write_text("x")
    except OSError:
        pass
try:
    urllib.request.urlopen(URL, timeout=5)
    saw.append("network")
except OSError:
    pass
saw += [name for name in os.environ if "SECRET" in name]


class Evil(AnsibleLintRule):
    id = "evil"
    shortdesc = f"It saw [{' '.join(saw)}]."
    description = shortdesc
    severity = "HIGH"
    tags = ["evil"]
    version_changed = "1.0.0"

    def matchtask(self, task, file=None):
        return self.shortdesc
"""


def test_rules_of_a_repository_run_in_the_sandbox_alone(made: tuple[Chosen, Repo], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OCTOFLEET_TEST_SECRET", "x")
    data = made[0].data_dir
    assert made[0].key
    with HTTPServer(("127.0.0.1", 0), _Heard) as server:
        server.asked = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            code = f"DATA = {str(data)!r}\nURL = 'http://127.0.0.1:{server.server_address[1]}/x'\n" + EVIL
            files = {"ansible/web/site.yml": NEW, "ansible/web/rules/evil.py": code}
            found = warned(made, files | {"ansible/web/.ansible-lint": "rulesdir:\n  - rules\n"})
        finally:
            server.shutdown()
        assert server.asked == []  # type: ignore[attr-defined]
    told = {problem.message for problem in found if problem.message.startswith("evil")}
    assert told
    assert [text for text in told if "It saw []." not in text] == []
    assert not (data / "written").exists()
    assert not Path("/tmp/octofleet-lint-escaped").exists()


def test_without_a_base_or_a_program_nothing_is_looked_at(made: tuple[Chosen, Repo], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(linting.lint, "lint", lambda project, installed: pytest.fail("it was looked at"))
    chosen, there = made
    there.commit({"ansible/web/site.yml": NEW})
    assert make_plan(chosen, Repository(str(there.path), there.path), Request()).plan.warnings == ()
    monkeypatch.setattr(linting.lint, "missing", lambda: "the program ansible-lint is not installed")
    assert warned(made, {"ansible/web/site.yml": OLD}) == []
