"""Roles, playbooks of collections and other repositories: what a Role may name besides a playbook, run by the real ansible-playbook."""

import shutil
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from reconciler.drivers.ansible.galaxy import Galaxy
from reconciler.drivers.ansible.resources import grouped
from reconciler.drivers.driver import Context
from reconciler.errors import Permanent
from reconciler.types.outcome import Status
from tests.drivers.ansible_artifacts import collection, need_galaxy, role_archive
from tests.drivers.ansible_world import World, need_ansible, present, unknown

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OTHER: dict[str, Any] = {"url": "https://git.example.net/web.git", "commit": COMMIT}


@dataclass(kw_only=True)
class Whole(World):
    """With another repository, in the directory `other`."""

    def export_from(self, url: str, commit: str, path: str, into: Path) -> None:
        if (url, commit) != (OTHER["url"], COMMIT):
            raise Permanent(f"{url} has no commit {commit[:10]}", code="repository-commit-missing")
        shutil.copytree(self.root / "other" / path, into)

    def context(self) -> Context:
        return replace(super().context(), export_from=self.export_from)


@pytest.fixture
def world(tmp_path: Path) -> Whole:
    need_ansible()
    need_galaxy()
    (tmp_path / "repository").mkdir()
    return Whole(root=tmp_path, galaxy=Galaxy(directory=tmp_path / "galaxy"))


def test_roles_of_project_requirements_and_collections_run_in_order(world: Whole) -> None:
    world.write(
        "web/roles/site/tasks/main.yml", "- ansible.builtin.copy: {content: '{{ title }}', dest: '{{ base }}/site', mode: '0644'}\n"
    )
    shutil.copy(collection(world.root / "made"), world.repository / "web" / "example.tar.gz")
    role_archive(world.repository / "web" / "said.tar.gz")
    world.write("web/requirements.yml", "collections:\n  - example.tar.gz\nroles:\n  - src: said.tar.gz\n    name: said\n")
    roles = [{"name": "site", "vars": {"title": "Shop"}}, {"name": "said"}, {"name": "example.web.greet", "vars": {"greeting": "hello"}}]
    world.host("a", roles=[("web", {"roles": roles, "project": "web"})])
    assert world.apply()["a.web"].status is Status.DONE
    assert (world.base("a") / "site").read_text() == "Shop"
    assert (world.base("a") / "said").read_text() == "from a role"
    assert (world.base("a") / "greeting").read_text() == "from a collection hello"


def test_a_playbook_of_a_collection_runs(world: Whole) -> None:
    shutil.copy(collection(world.root / "made"), world.root / "example.tar.gz")
    world.write("web/requirements.yml", "collections:\n  - example.tar.gz\n")
    shutil.move(world.root / "example.tar.gz", world.repository / "web" / "example.tar.gz")
    world.host("a", roles=[("web", {"collectionPlaybook": "example.web.deploy", "project": "web"})])
    assert world.apply()["a.web"].status is Status.DONE
    assert (world.base("a") / "greeting").read_text() == "from a collection "


def test_a_playbook_of_another_repository_runs(world: Whole) -> None:
    (world.root / "other" / "plays").mkdir(parents=True)
    (world.root / "other" / "plays" / "site.yml").write_text(
        "- hosts: all\n  gather_facts: false\n  tasks:\n    - ansible.builtin.copy: {content: x, dest: '{{ base }}/other', mode: '0644'}\n"
    )
    world.host("a", roles=[("web", {"playbook": "plays/site.yml", "repository": OTHER})])
    resource = world.resources()["a.web"]
    assert resource.spec["repository"] == OTHER
    assert "content" not in resource.spec
    assert world.apply()["a.web"].status is Status.DONE
    assert (world.base("a") / "other").read_text() == "x"


def test_what_cannot_be_had_is_unknown_for_these_hosts_alone(world: Whole) -> None:
    world.tasks("- ansible.builtin.debug: {msg: x}")
    world.write("loose/site.yml", "- hosts: all\n")
    world.write("loose/requirements.yml", "collections:\n  - example.web\n")
    (world.root / "other").mkdir()
    missing = {"url": "https://git.example.net/none.git", "commit": COMMIT}
    world.host("a")
    world.host("b", roles=[("web", {"playbook": "site.yml", "repository": missing})])
    world.host("c", roles=[("web", {"playbook": "site.yml", "repository": OTHER})])
    world.host("d", roles=[("web", {"playbook": "loose/site.yml"})])
    world.host("e", roles=[("web", {"roles": [{"name": "site"}], "project": "nowhere"})])
    found = world.observe()
    present(found["a.web"])
    codes = {name: unknown(found[f"{name}.web"]).code for name in "bcde"}
    assert codes == {"b": "repository-commit-missing", "c": "playbook-missing", "d": "requirements-refused", "e": "playbook-missing"}
    assert "loose/requirements.yml:2:5" in unknown(found["d.web"]).reason
    outcomes = world.apply()
    assert {name: outcomes[f"{name}.web"].status for name in "bcde"} == dict.fromkeys("bcde", Status.FAILED)
    assert outcomes["a.web"].status is Status.DONE


def test_other_roles_or_another_commit_are_another_run(world: Whole) -> None:
    world.host("a", roles=[("web", {"roles": [{"name": "one"}], "project": "p"})])
    world.host("b", roles=[("web", {"roles": [{"name": "one"}], "project": "p"})])
    world.host("c", roles=[("web", {"roles": [{"name": "one", "vars": {"x": 1}}], "project": "p"})])
    world.host("d", roles=[("web", {"roles": [{"name": "one"}], "repository": OTHER})])
    world.host("e", roles=[("web", {"roles": [{"name": "one"}], "repository": {**OTHER, "commit": "f" * 40}})])
    groups = [[item.spec["host"]["name"] for item in group] for group in grouped(list(world.resources().values()))]
    assert groups == [["a", "b"], ["c"], ["d"], ["e"]]


def test_with_a_warm_cache_nothing_is_installed_again(world: Whole) -> None:
    role_archive(world.root / "said.tar.gz")
    world.write("web/requirements.yml", "roles:\n  - src: said.tar.gz\n    name: said\n")
    shutil.move(world.root / "said.tar.gz", world.repository / "web" / "said.tar.gz")
    world.host("a", roles=[("web", {"roles": [{"name": "said"}], "project": "web"})])
    world.observe()
    entry = next(path for path in (world.root / "galaxy").iterdir() if path.is_dir())
    made = entry.stat().st_ino
    began = time.time()
    assert world.apply()["a.web"].status is Status.DONE
    assert entry.stat().st_ino == made
    assert not any(path.name == "__pycache__" or path.stat().st_mtime > began for path in entry.rglob("*"))
