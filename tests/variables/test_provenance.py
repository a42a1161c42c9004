"""`octofleet explain host/X vars.Y` says which file of the projects sets what an Ansible task sees, and agrees with the real Ansible."""

import json
import subprocess
from pathlib import Path

import pytest

from reconciler.drivers.ansible.plays import targeted
from tests.cli.command import quick
from tests.conftest import program
from tests.drivers.ansible_world import need_ansible
from tests.fleets import Result, fleet, host, repo

ROLE = "apiVersion: octofleet/v1\nkind: Role\nmetadata: {name: web}\nspec:\n  ansible: {playbook: play/books/site.yml, project: play}\n"
SITE = "- hosts: role_web\n  roles: [app]\n  vars: {in_play: 1}\n- hosts: other\n  vars: {x: never}\n"
LEVELS = {
    "play/roles/app/defaults/main.yml": "role defaults",
    "play/group_vars/all.yml": "group_vars/all",
    "play/books/group_vars/all/one.yml": "group_vars/all",
    "play/group_vars/tenant_shop.yml": "group_vars/tenant_shop",
    "play/books/group_vars/role_web": "group_vars/role_web",
    "role.yaml": "role/web",
    "host-1.yaml": "host/shop/web-01",
    "play/host_vars/web-01.yml": "host_vars/web-01",
    "play/books/host_vars/web-01/x.yaml": "host_vars/web-01",
    "play/books/roles/app/vars/main.yml": "role vars",
}
"""File by file, lowest first, and the layer that it is."""


class Fleet:
    """A repository, and the command on it."""

    def __init__(self, root: Path, files: dict[str, str | bytes | None]) -> None:
        self.root = root
        self.repo = repo(root / "repo", {**fleet(hosts=1), "role.yaml": ROLE, "play/books/site.yml": SITE, **files})

    def explain(self, field: str, *more: str) -> Result:
        return quick(self.root / "data", "explain", "host/web-01", field, "--repo", str(self.repo.path), *more)


def everything() -> dict[str, str | bytes | None]:
    files: dict[str, str | bytes | None] = {path: f"# a comment\nx: {path}\n" for path in LEVELS if path.startswith("play/")}
    files["role.yaml"] = ROLE + "  vars: {x: role.yaml}\n"
    files["host-1.yaml"] = host("web-01", 1, spec="  vars: {x: host-1.yaml}\n")
    files["play/roles/app/defaults/main.yml"] = None
    files["play/books/roles/app/defaults/main.yml"] = "x: play/roles/app/defaults/main.yml\n"
    return {path: text for path, text in files.items() if text is not None}


def test_names_every_layer_with_its_file_and_line_lowest_first(tmp_path: Path) -> None:
    found = Fleet(tmp_path, everything())
    (value,) = found.explain("vars.x", "--json").json["values"]
    assert value["roles"] == ["web"] and value["unread"] == []
    assert [said["value"] for said in value["settings"]] == list(LEVELS)
    assert [said["layer"] for said in value["settings"]] == list(LEVELS.values())
    assert {said["origin"]["path"]: said["origin"]["line"] for said in value["settings"]}["play/group_vars/all.yml"] == 2
    text = found.explain("vars.x").out
    assert text.startswith("in the runs of web:\nspec.vars.x comes from, lowest first:\n")
    assert text.endswith(' => "play/books/roles/app/vars/main.yml"\n      role vars  play/books/roles/app/vars/main.yml:2:1\n')
    assert found.explain("vars.in_play").out.endswith("=> 1\n      vars of play 1  play/books/site.yml:3:10\n")


@pytest.mark.parametrize("without", range(1, len(LEVELS) + 1))
def test_what_it_says_wins_is_what_the_real_ansible_takes(tmp_path: Path, without: int) -> None:
    """With ever fewer of the upper layers, against `ansible-inventory` for what is no role and no play."""
    need_ansible()
    kept = [path for path in LEVELS if "roles" not in path][: without or None]
    files: dict[str, str | bytes | None] = {
        path: text for path, text in everything().items() if path in kept or not path.startswith("play/")
    }
    if "role.yaml" not in kept:
        files["role.yaml"] = ROLE
    if "host-1.yaml" not in kept:
        files["host-1.yaml"] = host("web-01", 1)
    found = Fleet(tmp_path, files)
    (value,) = found.explain("vars.x", "--json").json["values"]
    said = value["settings"][-1]["value"]
    inventory = {"octofleet": {"hosts": {"web-01": {}}}, "tenant_shop": {"hosts": {"web-01": {}}}, "role_web": {"hosts": {"web-01": {}}}}
    manifest = next((path for path in ("host-1.yaml", "role.yaml") if path in kept), None)
    if manifest:
        inventory["octofleet"]["hosts"]["web-01"] = {"x": manifest}
    for group, priority in (("tenant_shop", 10), ("role_web", 50)):
        inventory[group]["vars"] = {"ansible_group_priority": priority}
    (found.repo.path / "play" / "inventory.yaml").write_text(json.dumps(inventory))
    command = [
        program("ansible-inventory", "ansible-core"),
        "-i",
        str(found.repo.path / "play/inventory.yaml"),
        "--playbook-dir",
        str(found.repo.path / "play/books"),
    ]
    real = subprocess.run([*command, "--host", "web-01"], check=True, capture_output=True, text=True, timeout=60, cwd=tmp_path).stdout
    assert json.loads(real)["x"] == said == kept[-1]


def test_what_cannot_be_read_is_told_and_no_crash(tmp_path: Path) -> None:
    site = "- hosts: all\n  roles: ['{{ which }}', ns.collection.r, ../../../etc]\n  vars_files: ['{{ os }}.yml', /etc/passwd, gone.yml]\n"
    found = Fleet(tmp_path, {
        "play/books/site.yml": site,
        "play/books/group_vars/all.yml": b"\xff\xfe\x00x: 1",
        "play/books/group_vars/role_web.yml": "a: &a 1\nx: *a\n",
        "play/books/group_vars/octofleet.yml": "$ANSIBLE_VAULT;1.1;AES256\n3030\n",
        "play/books/host_vars/web-01.yml": "x: !vault |\n  $ANSIBLE_VAULT;1.2;AES256;prod\n  3030\nt: '{{ 7*7 }}'\n",
        "play/books/group_vars/tenant_shop.yml": "- no\n- map\n",
    })  # fmt: skip
    done = found.explain("vars.x")
    assert done.code == 0 and "3030" not in done.text and "(vault value)" in done.out
    for path, why in (
        ("play/books/group_vars/all.yml", "the file is UTF-16"), ("play/books/group_vars/role_web.yml", "line 1: anchors"),
        ("play/books/group_vars/octofleet.yml", "it is encrypted as a whole"), ("the role {{ which }}", "is known only to the run"),
        ("the role ns.collection.r", "it is not in the repository"), ("play/books/gone.yml", "it is not a file of this repository"),
    ):  # fmt: skip
        assert f"not read, and it may say something: {path}: " in done.out and why in done.out, done.out
    assert '"{{ 7*7 }}"' in found.explain("vars.t").out
    assert "root:" not in done.text


@pytest.mark.parametrize(
    ("ansible", "path", "why"),
    [
        (
            f"{{playbook: play/books/site.yml, repository: {{url: 'https://git.example/p.git', commit: {'a' * 40}}}}}",
            "play/books/site.yml",
            "another repository",
        ),
        ("{roles: [{name: app}], project: play}", "the roles app", "around a playbook"),
    ],
)
def test_what_is_not_read_is_told(tmp_path: Path, ansible: str, path: str, why: str) -> None:
    role = f"apiVersion: octofleet/v1\nkind: Role\nmetadata: {{name: web}}\nspec:\n  ansible: {ansible}\n  vars: {{x: role.yaml}}\n"
    (value,) = Fleet(tmp_path, {**everything(), ".octofleetignore": "play\n", "role.yaml": role}).explain("vars.x", "--json").json["values"]
    assert [said["value"] for said in value["settings"]] == ["role.yaml", "host-1.yaml"], "a file of that name here is another one"
    ((told, reason),) = [(said["path"], said["why"]) for said in value["unread"]]
    assert told == path and why in reason


def test_links_in_the_tree_are_followed_and_no_further(tmp_path: Path) -> None:
    found = Fleet(tmp_path, {"play/books/group_vars/real": "x: linked\n", "play/books/site.yml": "- hosts: all\n"})
    vars_ = found.repo.path / "play/books/group_vars"
    (vars_ / "all.yml").symlink_to("real")
    (vars_ / "role_web.yml").symlink_to("/etc/passwd")
    (vars_ / "tenant_shop").mkdir()
    (vars_ / "tenant_shop" / "loop").symlink_to(".")
    (vars_ / "octofleet.yml").symlink_to("octofleet.yml")
    found.repo.commit({})
    done = found.explain("vars.x")
    assert '"linked"' in done.out and done.out.count("it is a link that leads out of the repository, or in a circle") == 2


def test_circles_end(tmp_path: Path) -> None:
    site = "".join("- import_playbook: site.yml\n" for _ in range(50)) + "- hosts: all\n  roles: [a]\n"
    needs = f"dependencies: [{', '.join('abcdefgh')}]\n"
    files: dict[str, str | bytes | None] = {f"play/books/roles/{name}/meta/main.yml": needs for name in "abcdefgh"}
    found = Fleet(tmp_path, {**files, "play/books/site.yml": site, "play/books/roles/h/defaults/main.yml": "x: deep\n"})
    assert '=> "deep"' in found.explain("vars.x").out


def test_a_variable_is_replaced_whole_and_says_so(tmp_path: Path) -> None:
    found = Fleet(tmp_path, {
        "role.yaml": ROLE + "  vars: {app: {port: 80, name: a}}\n", "play/books/host_vars/web-01.yml": "app: {name: b}\n",
    })  # fmt: skip
    out = found.explain("vars.app.port").out
    assert "host_vars/web-01 (without port)  play/books/host_vars/web-01.yml:1:1" in out and "80" in out


def test_other_fields_read_no_project(tmp_path: Path) -> None:
    found = Fleet(tmp_path, {"play/books/host_vars/web-01.yml": "timezone: x\n"})
    (value,) = found.explain("spec.timezone", "--json").json["values"]
    assert value["roles"] == value["unread"] == [] and value["path"] == "/timezone"
    found.repo.commit({"play/books/site.yml": "- hosts: all\n"})
    refused = found.explain("vars.nowhere")
    assert refused.code == 1 and "has no value vars.nowhere" in refused.err


@pytest.mark.parametrize(
    ("pattern", "want"),
    [("all", True), ("role_web", True), ("role_web:&label_a", True), ("role_web:!label_a", False), ("role_db", False), ("role_*", True), ("!x", True),
     (["role_db", "web-01"], True), ("role_web,&role_db", False), ("{{ what }}", True), ("web[0:3]", True), (None, False), (7, False), ("", True)],
)  # fmt: skip
def test_patterns(pattern: object, want: bool) -> None:
    assert targeted(pattern, {"all", "web-01", "role_web", "label_a"}) is want
